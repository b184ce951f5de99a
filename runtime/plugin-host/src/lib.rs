//! Runs plugins: wasm components, prepared, configured and called within limits.

mod error;
pub mod exchange;
mod host;
mod settings;

pub use error::{EntryError, HostError};
pub use host::*;
pub use settings::{Compiler, HostSettings, MAX_COMPONENTS};
