//! The state as bytes, in pieces: what a node that has nothing loads, and checks against the hash of the state.
//!
//! A piece is a row of entities, each with the revision that wrote it. Indexes, counts and the sum are made anew from them.

use super::{ReplicaError, State, StateTable, fold, keys, query};
use crate::hash::{Hashes, StateSum};
use crate::row::{Change, malformed, parse_entity, take_array};
use weir_model::{Kind, Revision};

/// Bytes after which a piece ends: some thousands of entities, which one commit takes in well.
const PART_BYTES: usize = 4 << 20;

/// A piece, and the key of the state table after which the next begins.
pub(crate) type PartAndKey = (Vec<u8>, Vec<u8>);

/// The next piece after `after` (empty at first); nothing at the end.
pub(crate) fn part(state: &impl State, after: &[u8]) -> Result<Option<PartAndKey>, ReplicaError> {
    let (mut bytes, mut last) = (Vec::new(), Vec::new());
    for row in query::rows_under(state, keys::ENTITIES, Some(after).filter(|after| !after.is_empty()))? {
        let (key, value) = row?;
        let (revision, body) = fold::split_value(value.value())?;
        let key = key.value();
        let kind = key.get(1).copied().ok_or_else(|| malformed("the key of an entity"))?;
        bytes.push(kind);
        bytes.extend(keys::last_id(key)?.as_bytes());
        bytes.extend(revision.0.to_le_bytes());
        bytes.extend(u32::try_from(body.len()).map_err(|_| malformed("an entity is too large"))?.to_le_bytes());
        bytes.extend(body);
        last = key.to_vec();
        if bytes.len() >= PART_BYTES {
            break;
        }
    }
    Ok((!bytes.is_empty()).then_some((bytes, last)))
}

/// An entity of a piece.
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    pub(crate) change: Change,
}

/// Reads a piece.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Vec<Entry>, ReplicaError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let [kind] = take_array(&mut bytes)?;
        let kind = Kind::from_number(kind).ok_or_else(|| malformed(format!("kind {kind} is not known")))?;
        let id = weir_model::Id::from_bytes(take_array(&mut bytes)?);
        let revision = Revision(u64::from_le_bytes(take_array(&mut bytes)?));
        let length = u32::from_le_bytes(take_array(&mut bytes)?) as usize;
        let (body, rest) = bytes.split_at_checked(length).ok_or_else(|| malformed("a piece of the state is cut"))?;
        bytes = rest;
        entries.push(Entry { revision, change: Change::Put { entity: parse_entity(kind, id, body)?, body: body.to_vec() } });
    }
    Ok(entries)
}

/// Puts the entities of a piece into a state that has none of them.
pub(crate) fn load(
    state: &mut StateTable<'_>,
    hashes: &Hashes,
    sum: &mut StateSum,
    entries: &[Entry],
    now: u64,
) -> Result<(), ReplicaError> {
    for entry in entries {
        // One by one: each has a revision of its own. None is there yet, so nothing is looked up in vain but that.
        fold::apply(state, hashes, sum, entry.revision, std::slice::from_ref(&entry.change), now)?;
    }
    Ok(())
}
