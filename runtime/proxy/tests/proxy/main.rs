//! The data path over real sockets: raw bytes in, raw bytes out, an upstream that records what it gets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a step that fails is a test that fails")]

mod framing;
mod headers;
mod life;
mod support;
mod upstreams;
