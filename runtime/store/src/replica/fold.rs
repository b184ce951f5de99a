//! Applies a transaction to the state: entities, indexes, counts and the sum.
//!
//! No judgement here: the changes are complete results that `integrity` has checked. The same changes on the same state
//! give the same state on every node.

use super::{ReplicaError, StateTable, blobs, keys};
use crate::hash::{Hashes, StateSum};
use crate::row::{Change, malformed, parse_entity};
use std::collections::{BTreeMap, BTreeSet};
use weir_model::{Digest, Entity, Kind, Revision};

const NOTHING: &[u8] = &[];

/// An entity as it stands in the table: the revision that wrote it, then the body.
pub(crate) fn split_value(value: &[u8]) -> Result<(Revision, &[u8]), ReplicaError> {
    let (revision, body) = value.split_first_chunk::<8>().ok_or_else(|| malformed("an entity's row is too short"))?;
    Ok((Revision(u64::from_le_bytes(*revision)), body))
}

/// The blob that an entity needs.
pub(crate) fn blob_of(entity: &Entity) -> Option<Digest> {
    match entity.kind {
        Kind::Component => entity.text("digest")?.parse().ok(),
        Kind::Service | Kind::Route | Kind::Consumer | Kind::KeyAuth | Kind::Plugin => None,
    }
}

/// Applies `changes` as `revision`; `now` is when blobs that nothing uses any more begin to wait for their collection.
pub(crate) fn apply(
    state: &mut StateTable<'_>,
    hashes: &Hashes,
    sum: &mut StateSum,
    revision: Revision,
    changes: &[Change],
    now: u64,
) -> Result<(), ReplicaError> {
    let mut counts = BTreeMap::<Kind, i64>::new();
    let mut released = BTreeSet::new();
    // All old rows first: two entities may swap a unique key in one transaction.
    for change in changes {
        let (kind, id) = change.key();
        let Some(old) = state.remove(keys::entity(kind, id).as_slice())?.map(|row| row.value().to_vec()) else { continue };
        let (_, body) = split_value(&old)?;
        sum.subtract(&hashes.entity(kind, id, body));
        let entity = parse_entity(kind, id, body)?;
        unindex(state, &entity)?;
        released.extend(blob_of(&entity));
        *counts.entry(kind).or_default() -= 1;
    }
    for change in changes {
        let Change::Put { entity, body } = change else { continue };
        sum.add(&hashes.entity(entity.kind, entity.id, body));
        let mut value = Vec::with_capacity(8 + body.len());
        value.extend(revision.0.to_le_bytes());
        value.extend(body);
        state.insert(keys::entity(entity.kind, entity.id).as_slice(), value.as_slice())?;
        index(state, entity)?;
        *counts.entry(entity.kind).or_default() += 1;
    }
    for (kind, difference) in counts {
        add_to_count(state, kind, difference)?;
    }
    for digest in released {
        blobs::note_release(state, digest, now)?;
    }
    Ok(())
}

fn index(state: &mut StateTable<'_>, entity: &Entity) -> Result<(), ReplicaError> {
    let (kind, id) = (entity.kind, entity.id);
    for (index, value) in entity.unique_keys() {
        state.insert(keys::unique(kind, index, &value).as_slice(), id.as_bytes().as_slice())?;
    }
    for (field, _, target) in entity.foreign_keys() {
        state.insert(keys::foreign_entry(kind, field, target, id).as_slice(), NOTHING)?;
    }
    for tag in entity.tags() {
        state.insert(keys::tag_entry(tag, kind, id).as_slice(), NOTHING)?;
    }
    if let Some(digest) = blob_of(entity) {
        state.insert(keys::blob_use(digest, kind, id).as_slice(), NOTHING)?;
    }
    Ok(())
}

fn unindex(state: &mut StateTable<'_>, entity: &Entity) -> Result<(), ReplicaError> {
    let (kind, id) = (entity.kind, entity.id);
    for (index, value) in entity.unique_keys() {
        state.remove(keys::unique(kind, index, &value).as_slice())?;
    }
    for (field, _, target) in entity.foreign_keys() {
        state.remove(keys::foreign_entry(kind, field, target, id).as_slice())?;
    }
    for tag in entity.tags() {
        state.remove(keys::tag_entry(tag, kind, id).as_slice())?;
    }
    if let Some(digest) = blob_of(entity) {
        state.remove(keys::blob_use(digest, kind, id).as_slice())?;
    }
    Ok(())
}

fn add_to_count(state: &mut StateTable<'_>, kind: Kind, difference: i64) -> Result<(), ReplicaError> {
    let count = super::query::count(state, kind)?.saturating_add_signed(difference);
    state.insert(keys::count(kind).as_slice(), count.to_le_bytes().as_slice())?;
    Ok(())
}
