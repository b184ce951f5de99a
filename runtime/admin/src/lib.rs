//! The Admin API: reads and writes of the configuration over HTTP, in the form that clients of Kong's Admin API speak.
//!
//! Everything per entity follows from the model's schemas: paths, fields, codes. It edits the store and asks the plugin catalog;
//! it does not know wasm, the proxy or how the node serves what was written, only when (`NodeFacts`).
//! Order of a request: token, origin, path, method, body, judgement at the tip of the store, wait until this node serves it.

mod answer;
mod body;
mod cluster;
mod component;
mod context;
mod entity;
mod error;
pub mod export;
mod guard;
mod information;
mod json;
mod operation;
mod path;
mod plugin;
mod precondition;
mod query;
mod read;
mod schemas;
mod serve;
mod transaction;
mod wait;
mod wish;

pub use context::{API_VERSION, AdminContext, NodeFacts, NodeInfo, NodeStatus, ServerFigures, Token};
pub use guard::router;
pub use serve::serve;
