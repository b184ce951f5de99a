//! Runs plugins: wasm components, prepared, configured and called within limits.
//!
//! A plugin can slow, fail or kill only its own exchange. This room knows exchanges, components and configurations; never the
//! store, sockets or HTTP on the wire. No host function waits, nothing in here panics into the caller, and machine code comes
//! only from this node's own compiler (`trusted_code`).

mod bindings;
mod breaker;
mod catalog;
mod compile;
mod counters;
mod engine;
mod error;
pub mod exchange;
mod figures;
mod host;
mod host_calls;
mod inspect;
mod instance;
pub mod limits;
mod link;
mod manifest;
mod prepared;
mod settings;
mod shared;
mod state;
mod trusted_code;
mod worker;

// The guests of the integration tests, also for tests that need the inside of this room.
#[cfg(test)]
extern crate self as weir_plugin_host;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

pub use compile::compile_child;
pub use counters::Period;
pub use counters::cluster::{OwnCount, Round, SharingFigures};
pub use error::{EntryError, HostError};
pub use figures::{LastFailure, PluginFigures};
pub use host::Host;
pub use host_calls::headers::{is_identity_header, is_reserved};
pub use prepared::{Entry, Origin, Prepared};
pub use settings::{Compiler, HostSettings, MAX_COMPONENTS};
pub use worker::{WorkerPlugins, WorkerUsage};
