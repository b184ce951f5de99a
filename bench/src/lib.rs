//! What the benchmark shares with the end-to-end tests: other proxies, got and started.

pub mod cpu;
pub mod error;
pub mod peers;
pub mod process;
