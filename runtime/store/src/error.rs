//! What can go wrong with a store, and for whom.
//!
//! Each message names the way out, since it is what the operator reads.

use std::path::PathBuf;
use weir_model::{Id, Kind, Refusal, Revision};

/// Why the store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal no longer reaches back that far. Reload from a view.
    #[error("the journal begins after revision {floor}; reload the whole state")]
    Trimmed {
        /// The oldest revision that can be continued from.
        floor: Revision,
    },
    /// The asker has seen a revision that the journal does not have: it followed another history.
    #[error("revision {asked} is not in the journal, whose newest is {tip}")]
    Ahead {
        /// The revision asked for.
        asked: Revision,
        /// The newest.
        tip: Revision,
    },
    /// The bytes of a blob do not have the digest that they are stored under.
    #[error("the blob {0} is damaged; upload the component again")]
    BlobDamaged(weir_model::Digest),
    /// The file or the cluster cannot be read.
    #[error("the store cannot be read: {cause}")]
    Unavailable {
        /// What happened, and what to do.
        cause: String,
    },
}

/// Why a write was not done (or, in one case, may have been).
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The plan refused; the writer's to mend.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More than a transaction may hold.
    #[error("the write has {size} {unit}, more than the {limit} of one transaction; split it")]
    TooLarge {
        /// What was counted: `bytes` or `entities`.
        unit: &'static str,
        /// How many.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Too many writes wait already. Nothing was done; try again later.
    #[error("{waiting} writes wait for the store already; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The store cannot write now. Nothing was done; try again when the cause is gone.
    #[error("the store does not take writes: {cause}")]
    Unavailable {
        /// What happened, and what to do.
        cause: String,
    },
    /// The write may or may not be durable: the store failed while it committed.
    #[error("it is not known whether the write was done: {cause}")]
    Unknown {
        /// By which it can be asked how it ended; unset if that will not be known before somebody has seen to the store.
        transaction: Option<weir_model::TransactionId>,
        /// What happened, and what to do.
        cause: String,
    },
    /// The plan's results would have broken the state. A fault of this gateway, not of the writer; nothing was done.
    #[error("the write would break the configuration: {0}")]
    Unsound(#[from] Breach),
    /// The plan panicked. A fault of this gateway, not of the writer; nothing was done.
    #[error("judging the write failed inside the gateway: {0}")]
    Panicked(String),
}

/// A rule of the state that a transaction would have broken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Breach {
    /// Two results for one entity.
    #[error("two results for {kind:?} {id}")]
    Twice {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Id,
    },
    /// The `id` in the body is not the entity's.
    #[error("the body of {kind:?} {id} carries another id")]
    WrongId {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Id,
    },
    /// Two entities would hold one unique key. The key itself may be a secret and is not told.
    #[error("{kind:?} {id} and {holder} would hold the same '{index}'")]
    Unique {
        /// Their kind.
        kind: Kind,
        /// One.
        id: Id,
        /// The other.
        holder: Id,
        /// The unique index.
        index: &'static str,
    },
    /// An entity would point to one that is not there.
    #[error("'{field}' of {kind:?} {id} would point to {target_kind:?} {target}, which does not exist")]
    Dangling {
        /// Kind of the one that points.
        kind: Kind,
        /// The one that points.
        id: Id,
        /// With this field.
        field: &'static str,
        /// Kind of the one that is missing.
        target_kind: Kind,
        /// The one that is missing.
        target: Id,
    },
    /// A deleted entity is still pointed to.
    #[error("{kind:?} {id} would be deleted while {by:?} {by_id} points to it")]
    StillReferenced {
        /// Kind of the deleted one.
        kind: Kind,
        /// The deleted one.
        id: Id,
        /// Kind of the one that points.
        by: Kind,
        /// The one that points.
        by_id: Id,
    },
    /// A component without its bytes.
    #[error("component {id} refers to the blob {digest}, which is not stored")]
    MissingBlob {
        /// The component.
        id: Id,
        /// The blob.
        digest: weir_model::Digest,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by {holder}; stop that process first (`weir stop`), or give this one another prefix", path = path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
        /// `process 4711`, or `another process`.
        holder: String,
    },
    /// The folder or file cannot be written.
    #[error(
        "{path} cannot be written ({cause}); make it writable for the user that runs weir, or give another prefix",
        path = path.display()
    )]
    NotWritable {
        /// What.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// No room.
    #[error("no room for {path} ({cause}); make room on that disk and start again", path = path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Its bytes are not what was written.
    #[error(
        "{path} is damaged ({cause}); it was left as it is. Restore it from a backup: move it away, put the copy in its \
         place under the same name, start again",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// It belongs to another history.
    #[error(
        "{path} holds another configuration ({found}) than its name says; it was not touched. Give it back its own name, \
         or move it away",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        found: String,
    },
    /// Written by a newer version.
    #[error(
        "{path} has format {found}, and this version of weir knows formats up to {known}; start the version that wrote it",
        path = path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The cluster key is not the one that the file was written with.
    #[error("{path} was written with another cluster key, or without one; start with the same `cluster_key`", path = path.display())]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// The file that the folder names is not there.
    #[error(
        "{path}, which holds the configuration, is gone; put it back (from a backup), or delete {pointer} to begin with an \
         empty configuration",
        path = path.display(), pointer = pointer.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The file that names it.
        pointer: PathBuf,
    },
    /// Several files could be meant.
    #[error("{path} holds several configurations ({files}); move all but one away", path = path.display())]
    Ambiguous {
        /// The folder.
        path: PathBuf,
        /// Their names.
        files: String,
    },
    /// Cassandra has no tables that this version could use.
    #[error("{0}")]
    Tables(crate::Readiness),
    /// There is nothing to serve from.
    #[error(
        "{path} has no replica yet, so this node cannot start without the store: {cause}",
        path = path.display()
    )]
    NoReplica {
        /// Where it would be.
        path: PathBuf,
        /// Why the store could not be asked.
        cause: String,
    },
    /// The replica cannot be read, and the store, which could give it again, not be asked.
    #[error("{damage}. Or start this node when the store answers, which has it all: the file is then set aside. Now: {cause}")]
    ReplicaLost {
        /// What is wrong with it.
        damage: Box<OpenError>,
        /// Why the store could not be asked.
        cause: Box<OpenError>,
    },
    /// Any other failure of the system.
    #[error("{path} cannot be opened ({cause})", path = path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}
