//! The harness of the end-to-end tests: a real gateway on free ports, an upstream and clients in this process.
//!
//! Knows the built binary, its files and its addresses; none of the rooms behind them. Waits are for events and have deadlines.

pub mod admin;
pub mod binary;
pub mod client;
pub mod gateway;
pub mod guests;
pub mod upstream;

pub use admin::Admin;
pub use client::{Client, Reply};
pub use gateway::{Gateway, GatewayBuilder};
pub use upstream::Upstream;
