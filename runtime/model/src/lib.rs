//! What Weir's configuration is: entities, identifiers, schemas, validation, findings.
//!
//! Pure: no I/O, no clock, no async, no wasm. The store keeps what this room describes, the Admin API edits it, the proxy
//! serves it; where one of those needs another's skill, the trait that stands between them is declared here (`catalog`).

pub mod catalog;
pub mod chain;
pub mod constraints;
pub mod directory;
pub mod effective;
pub mod entity;
pub mod finding;
pub mod id;
pub mod kind;
pub mod overlay;
pub mod path;
pub mod refusal;
pub mod schema;
pub mod transaction;
pub mod view;

pub use catalog::{ComponentManifest, ComponentRefusal, Phase, PluginCatalog, PluginInfo};
pub use directory::Directory;
pub use entity::{Component, Consumer, Entity, KeyAuth, Plugin, Route, Service};
pub use finding::{Finding, Findings};
pub use id::{Digest, Id};
pub use kind::Kind;
pub use overlay::Overlay;
pub use refusal::Refusal;
pub use schema::{Autos, Schema};
pub use transaction::{Op, Revision, Transaction, TransactionId};
pub use view::{Page, Selection, View, ViewError};
