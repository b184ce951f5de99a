//! What a store promises: the trait that the embedded store and Cassandra implement.
//!
//! Says nothing about files, drivers or how a change is made durable. The conformance suite holds every store to it.

use crate::{SharedCounts, StoreError, WriteError};
use serde::Serialize;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use weir_model::{Digest, Op, Refusal, Revision, Transaction, TransactionId, View};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Judges a write at the tip: reads the view, and says which results to append, or why not.
///
/// It is called at the tip, with the writes before it visible, and may be called again if another writer was faster.
/// So it must depend on nothing but the view and what it captured, and must not keep what an earlier call saw. It runs
/// on the store's writer: it must not wait for anything. A panic refuses this write only.
pub type Plan = Box<dyn FnMut(&dyn View) -> Result<Planned, Refusal> + Send>;

/// What a plan decided.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Complete results, at most one per entity. Empty: nothing to do, and no new revision.
    pub ops: Vec<Op>,
    /// Handed back with the answer, untouched.
    pub answer: serde_json::Value,
}

/// A write that is durable.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// The revision that the write holds at: its own, or, if there was nothing to do, the tip that it was judged at.
    pub revision: Revision,
    /// What the plan answered.
    pub answer: serde_json::Value,
}

/// A totally ordered journal and the state that is its fold.
///
/// Answers to writes are linearizable: each holds at a revision that was the tip after the write was asked for. A write
/// that was answered `Ok` is never lost and never half applied. A refused write leaves nothing behind.
pub trait Store: Send + Sync {
    /// The newest committed state. Cheap; the view stays valid, and the same, for as long as it is held.
    fn view(&self) -> Result<Arc<dyn View>, StoreError>;
    /// Runs `plan` at the tip, appends its results as one transaction, and answers when they are durable.
    ///
    /// Writes are taken in the order in which they were asked for. Dropping the future does not undo the write: it
    /// is then either done or not begun.
    fn write(&self, plan: Plan) -> BoxFuture<'_, Result<Written, WriteError>>;
    /// Moves after each commit; `view()` then shows at least this revision. Closed when the store is.
    fn revisions(&self) -> watch::Receiver<Revision>;
    /// The transactions after `after`, in order and without holes: at most `limit`, and fewer when they are large.
    /// Empty means that `after` is the tip.
    fn transactions(&self, after: Revision, limit: usize) -> Result<Vec<Transaction>, StoreError>;
    /// Stores immutable bytes under their digest. They are kept for 24 hours, and as long as an entity refers to them.
    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>>;
    /// The bytes with that digest, checked against it.
    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;
    /// How the store is doing, for people and for alarms.
    fn status(&self) -> StoreStatus;
    /// What became of an append that [`WriteError::Unknown`] named.
    fn outcome(&self, transaction: TransactionId) -> BoxFuture<'_, Result<Outcome, StoreError>>;
    /// Who this node is and what its proxy serves, told again whenever it changes. Others learn of it at once.
    fn tell(&self, node: &OwnState);
    /// The nodes on this store, this one first. Cheap: as this node knows them; [`Store::nodes_moved`] says when to ask again.
    fn nodes(&self) -> Vec<NodeState>;
    /// Moves whenever [`Store::nodes`] may answer something else. While somebody holds one, this node looks as often as it follows.
    fn nodes_moved(&self) -> watch::Receiver<u64>;
    /// Takes the history that the shared store has, whatever it is, and leaves this node's own beside it. Answers where it ends.
    /// For a node that holds, and an operator who knows that the store is right.
    fn adopt(&self) -> BoxFuture<'_, Result<Revision, WriteError>>;
    /// Makes this node's configuration the shared store's, as a new history above every revision that was seen. Answers where it
    /// ends. For an operator who knows that this node is right; the others hold until they adopt it.
    fn republish(&self) -> BoxFuture<'_, Result<Revision, WriteError>>;
    /// Where the nodes on this store tell each other what they counted; nothing if it is one node's own.
    fn counts(&self) -> Option<&dyn SharedCounts> {
        None
    }
}

/// What a node tells of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnState {
    /// The newest revision that the proxy serves.
    pub serving: Revision,
    /// Why that is not the newest that there is.
    pub trouble: Option<String>,
}

/// Which node a store is opened for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeIdentity {
    /// The same after a restart.
    pub id: weir_model::Id,
    /// For people: the host's name.
    pub name: String,
    /// Of weir.
    pub version: String,
}

impl Default for NodeIdentity {
    fn default() -> Self {
        Self { id: weir_model::Id::random(), name: "localhost".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// A node that has told the store of itself lately.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NodeState {
    /// Its own id, the same after a restart.
    pub id: String,
    /// Its host's name.
    pub name: String,
    /// Its version of weir.
    pub version: String,
    /// The newest revision that it has.
    pub applied: Revision,
    /// The newest revision that its proxy serves.
    pub serving: Revision,
    /// Revisions that it serves later than the tip that this node knows.
    pub lag: u64,
    /// Why it does not serve what it has, or does not follow.
    pub trouble: Option<String>,
    /// Whether it has told of itself within three of its own periods, by the clock of the node that says so.
    pub live: bool,
    /// How long ago it has, by that clock, in milliseconds; since this node looks, if it never did.
    pub silent_ms: u64,
    /// Whether it is the node that says so.
    pub own: bool,
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It stands in the journal.
    Done,
    /// It does not, and never will.
    NotDone,
    /// Neither is certain yet; the node that made it goes on settling it.
    Open,
    /// It is too long ago to be known.
    Forgotten,
}

/// How a store is doing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StoreStatus {
    /// `embedded` or `cassandra`.
    pub kind: &'static str,
    /// Which history this is: a random id from the store's first day.
    pub cluster: String,
    /// The newest revision.
    pub revision: Revision,
    /// Hash of the whole history up to that revision, in hexadecimal. Equal heads mean equal histories.
    pub head: String,
    /// Hash of the state at that revision, in hexadecimal. Equal hashes mean equal states.
    pub state: String,
    /// Milliseconds since the store that nodes share was last known to have nothing newer. Unset for a store that is one node's own,
    /// and from a node's start until it is first known.
    pub confirmed_ms: Option<u64>,
    /// The oldest revision that `transactions` can still continue from.
    pub floor: Revision,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Where it is.
    pub path: String,
    /// Writes that wait to be taken.
    pub writes_waiting: usize,
    /// Why writes are refused at the moment, and what to do about it; unset when they are not.
    pub holding: Option<String>,
}
