//! What the journal holds: transactions of complete results, so that applying them needs no logic.

use crate::{Entity, Id, Kind};
use serde::{Deserialize, Serialize};

/// The number of a transaction in the journal; the first is 1, an empty store is at 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of the next transaction.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One complete result: defaults filled, cascades spelled out. At most one op per entity in a transaction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The entity is now exactly this.
    Put(Entity),
    /// The entity is gone.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its primary key.
        id: Id,
    },
}

impl Op {
    /// Which entity this op is about.
    pub fn key(&self) -> (Kind, Id) {
        match self {
            Op::Put(entity) => (entity.kind, entity.id),
            Op::Delete { kind, id } => (*kind, *id),
        }
    }
}

/// One row of the journal: all of its ops hold from `revision` on, or none.
#[derive(Clone, PartialEq, Debug)]
pub struct Transaction {
    /// Its place in the total order.
    pub revision: Revision,
    /// The results, one per entity.
    pub ops: Vec<Op>,
}

/// Names an append to a shared journal, so that whoever was not told how it ended can ask. Written `42-7f3a…`: the place that
/// it was for, and a random id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId {
    /// The place of its first transaction, if it got one.
    pub first: Revision,
    /// Tells it from every other that wanted the same place.
    pub random: Id,
}

impl TransactionId {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, random) = text.split_once('-')?;
        Some(Self { first: Revision(first.parse().ok()?), random: Id::parse(random)? })
    }
}
impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.random)
    }
}
