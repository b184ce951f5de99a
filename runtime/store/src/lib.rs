//! Keeps the configuration: a totally ordered journal of transactions, and the state that is its fold.
//!
//! Knows entities, their unique and foreign keys and how to make a change durable; does not know HTTP, routes being
//! served, plugins, or what a change means. Data comes from the Admin API as plans and leaves as views and transactions.
//!
//! # Following the store (what a node does)
//!
//! 1. `let mut moves = store.revisions();` *before* the first read, so that no commit falls between the two.
//! 2. `let view = store.view()?;` and build the first snapshot of it; `applied = view.revision()`.
//! 3. For ever: `moves.changed().await`, then `store.transactions(applied, limit)` until it answers an empty list. Apply
//!    each transaction in order (`Transaction::revision` is always `applied.next()`), publish, then set `applied`.
//!    A store that has gone away drops the sender: `changed()` fails, and the node serves what it has.
//! 4. [`StoreError::Trimmed`] means that the journal no longer reaches back to `applied`: begin again at 2.
//! 5. A view that is held stays valid and never changes; hold one per snapshot, and let go of old snapshots, because
//!    the file cannot reuse the room of what an old view still sees.
//!
//! Every `Written::revision` is in the journal, durable and visible to `view()` before `write` answers; a node that
//! wants to answer after it *serves* the change waits until its own `applied` has reached that revision.

mod canonical;
mod cassandra;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod contract;
mod counts;
mod embedded;
mod error;
mod hash;
mod local;
mod replica;
mod row;

pub use cassandra::{
    Cassandra, CassandraOptions, CassandraTls, ClientFiles, Readiness, Replication, TlsFile, TlsFileError, replica_folder,
};
pub use contract::{BoxFuture, NodeIdentity, NodeState, Outcome, OwnState, Plan, Planned, Store, StoreStatus, Written};
pub use counts::{EXCHANGE_LIMIT, Exchanged, SharedCounts, WindowCount};
pub use embedded::{Embedded, EmbeddedOptions};
pub use error::{Breach, OpenError, StoreError, WriteError};
pub use replica::verify::Verified;
