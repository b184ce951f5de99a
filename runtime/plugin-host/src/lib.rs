//! Runs plugins: wasm components, prepared, configured and called within limits.

pub mod exchange;
