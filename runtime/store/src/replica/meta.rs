//! The one row that says whose file this is and how far it has come.
//!
//! It is written in the same `redb` transaction as the state and the journal, so the three never disagree.

use super::{ReplicaError, State, StateTable, keys};
use crate::hash::{Hashes, StateSum};
use crate::row::{FORMAT, Malformed, malformed, take_array};
use weir_model::{Id, Revision};

/// The end of the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tip {
    pub(crate) revision: Revision,
    pub(crate) head: [u8; 32],
    pub(crate) state: StateSum,
}

/// Whose journal a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Its own: this file is the only copy.
    Embedded = 1,
    /// A copy of the journal that a cluster shares.
    Replica = 2,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "an embedded store",
            Self::Replica => "a replica of a cluster",
        })
    }
}

/// Whose file this is, and how far it has come.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Meta {
    pub(crate) role: Role,
    pub(crate) cluster: Id,
    pub(crate) key_check: [u8; 32],
    pub(crate) tip: Tip,
    /// Rows up to and including this revision are gone from the journal.
    pub(crate) floor: Revision,
    /// The head at the floor, which the first row that is kept continues.
    pub(crate) floor_head: [u8; 32],
    /// Bytes of the rows that are kept.
    pub(crate) journal_bytes: u64,
}

impl Meta {
    /// Of an empty history.
    pub(crate) fn genesis(role: Role, cluster: Id, hashes: &Hashes) -> Self {
        let head = hashes.genesis(cluster);
        Self {
            role,
            cluster,
            key_check: hashes.key_check(cluster),
            tip: Tip { revision: Revision(0), head, state: StateSum::default() },
            floor: Revision(0),
            floor_head: head,
            journal_bytes: 0,
        }
    }
    /// Of a history that is known from `tip` on.
    pub(crate) fn based(role: Role, cluster: Id, hashes: &Hashes, tip: Tip) -> Self {
        Self { tip, floor: tip.revision, floor_head: tip.head, ..Self::genesis(role, cluster, hashes) }
    }
    /// The format of the file, which is readable whatever the rest looks like; nothing if there is no such row.
    pub(crate) fn format(state: &impl State) -> Result<Option<u32>, ReplicaError> {
        let Some(row) = state.get(keys::META)? else { return Ok(None) };
        Ok(Some(u32::from_le_bytes(take_array(&mut row.value())?)))
    }
    /// Reads the row.
    pub(crate) fn read(state: &impl State) -> Result<Self, ReplicaError> {
        let row = state.get(keys::META)?.ok_or_else(|| malformed("it is not a store of weir"))?;
        Ok(Self::decode(row.value())?)
    }
    /// Writes the row.
    pub(crate) fn write(&self, state: &mut StateTable<'_>) -> Result<(), ReplicaError> {
        state.insert(keys::META, self.encode().as_slice())?;
        Ok(())
    }
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(200);
        out.extend(FORMAT.to_le_bytes());
        out.push(self.role as u8);
        out.extend(self.cluster.as_bytes());
        out.extend(self.key_check);
        out.extend(self.tip.revision.0.to_le_bytes());
        out.extend(self.tip.head);
        out.extend(self.tip.state.0);
        out.extend(self.floor.0.to_le_bytes());
        out.extend(self.floor_head);
        out.extend(self.journal_bytes.to_le_bytes());
        out
    }
    fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        let format = u32::from_le_bytes(take_array(bytes)?);
        if format != FORMAT {
            return Err(malformed(format!("the file has format {format}; this version knows {FORMAT}")));
        }
        let [role] = take_array(bytes)?;
        Ok(Self {
            role: match role {
                1 => Role::Embedded,
                2 => Role::Replica,
                _ => return Err(malformed("role of the file")),
            },
            cluster: Id::from_bytes(take_array(bytes)?),
            key_check: take_array(bytes)?,
            tip: Tip {
                revision: Revision(u64::from_le_bytes(take_array(bytes)?)),
                head: take_array(bytes)?,
                state: StateSum(take_array(bytes)?),
            },
            floor: Revision(u64::from_le_bytes(take_array(bytes)?)),
            floor_head: take_array(bytes)?,
            journal_bytes: u64::from_le_bytes(take_array(bytes)?),
        })
    }
}
