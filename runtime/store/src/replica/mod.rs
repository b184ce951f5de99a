//! The state as rows of one `redb` table: where each fact stands, how a transaction changes it, how it is asked.
//!
//! Knows entities and their keys; does not know where transactions come from or when they become durable. The embedded
//! store and, later, a node's copy of the Cassandra journal are both made of this.

pub(crate) mod blobs;
pub(crate) mod fold;
pub(crate) mod image;
pub(crate) mod integrity;
pub(crate) mod keys;
pub(crate) mod meta;
pub(crate) mod query;
pub(crate) mod verify;

use crate::row::Malformed;
use redb::{ReadableTable, TableDefinition};

/// Entities, their indexes, counts and the tip, by prefixed keys (`keys`). One table, so that a view opens one tree.
pub(crate) const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
/// Revision to row.
pub(crate) const JOURNAL: TableDefinition<u64, &[u8]> = TableDefinition::new("journal");
/// Digest and chunk number to bytes.
pub(crate) const BLOBS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blobs");

/// A table that can be written.
pub(crate) type StateTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The state, readable: of a view or inside a write transaction.
pub(crate) trait State: ReadableTable<&'static [u8], &'static [u8]> {}
impl<T: ReadableTable<&'static [u8], &'static [u8]>> State for T {}

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaError {
    /// The file, or the disk under it.
    #[error(transparent)]
    File(Box<redb::Error>),
    /// A plan could not read what it wanted to know.
    #[error("{0}")]
    Read(String),
    /// The bytes are there, and not what was written.
    #[error("the file is damaged: {0}")]
    Malformed(#[from] Malformed),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for ReplicaError {
            fn from(error: $error) -> Self {
                Self::File(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError, redb::SetDurabilityError);

impl From<ReplicaError> for weir_model::ViewError {
    fn from(error: ReplicaError) -> Self {
        Self(error.to_string())
    }
}
