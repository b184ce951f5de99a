//! What `cargo xtask run` and the end-to-end tests share: the sample configuration, its upstream, and the README's tour.

pub mod gateway;
pub mod http;
pub mod sample;
pub mod tour;
