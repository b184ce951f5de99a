//! The harness of the end-to-end tests: a real gateway on free ports, an upstream and clients in this process.
//!
//! Knows the built binary, its files and its addresses; none of the rooms behind them. Waits are for events and have deadlines.

#![expect(clippy::panic, reason = "a harness fails its test by a panic that says why")]

pub mod admin;
pub mod binary;
pub mod client;
pub mod gateway;
pub mod guests;
pub mod upstream;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use admin::Admin;
pub use client::{Client, Reply};
pub use gateway::{Gateway, GatewayBuilder};
pub use upstream::Upstream;

/// Waits until it is so; fails the test when that takes longer than `within`.
pub fn until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Says that it is over when it is dropped: the threads beside a test must end when the test fails, too.
pub struct OverAtEnd<'a>(pub &'a AtomicBool);

impl Drop for OverAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
