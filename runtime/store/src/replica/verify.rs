//! Reads everything and proves it: chain, state sum, every index entry, every blob.
//!
//! The quick half runs at every open and costs the same whatever the size of the file; the whole half is for `weir
//! check` and for tests.

use super::{ReplicaError, State, blobs, fold, keys, meta::Meta, query};
use crate::hash::{Hashes, StateSum};
use crate::row::{Row, decode_changes, malformed, parse_entity};
use redb::ReadableTable;
use std::collections::BTreeMap;
use weir_model::{Digest, Entity, Kind, Revision};

/// Rows at the end of the journal that are checked at every open: where an unclean end would show.
const QUICK_ROWS: u64 = 100;
/// Bytes of those rows after which the quick check ends. Rows of 8 MiB may stand there, and a start must not wait for them.
const QUICK_BYTES: u64 = 4 << 20;

/// What a whole check has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The newest revision.
    pub revision: Revision,
    /// Rows of the journal.
    pub transactions: u64,
    /// Entities of all kinds.
    pub entities: u64,
    /// Blobs.
    pub blobs: u64,
}

pub(crate) type Bytes = &'static [u8];

/// Checks that the end of the journal is a chain that ends at the tip.
pub(crate) fn quick(meta: &Meta, journal: &impl ReadableTable<u64, Bytes>, hashes: &Hashes) -> Result<(), ReplicaError> {
    check_chain(meta, journal, hashes, QUICK_ROWS, QUICK_BYTES, false)?;
    let kept = journal.len()?;
    if meta.floor.0.checked_add(kept) != Some(meta.tip.revision.0) {
        return Err(malformed(format!("the journal has {kept} rows between {} and {}", meta.floor, meta.tip.revision)).into());
    }
    Ok(())
}

/// Checks everything.
pub(crate) fn whole(
    state: &impl State,
    journal: &impl ReadableTable<u64, Bytes>,
    chunks: &impl ReadableTable<Bytes, Bytes>,
    hashes: &Hashes,
) -> Result<Verified, ReplicaError> {
    let meta = Meta::read(state)?;
    quick(&meta, journal, hashes)?;
    let transactions = check_chain(&meta, journal, hashes, u64::MAX, u64::MAX, true)?;
    let entities = check_entities(state, &meta, hashes)?;
    let blobs = check_blobs(state, chunks)?;
    Ok(Verified { revision: meta.tip.revision, transactions, entities, blobs })
}

// Walks back from the tip: contiguous, chained and unaltered, down to the floor or until `rows` or `bytes` were seen.
fn check_chain(
    meta: &Meta,
    journal: &impl ReadableTable<u64, Bytes>,
    hashes: &Hashes,
    rows: u64,
    bytes: u64,
    contents: bool,
) -> Result<u64, ReplicaError> {
    let (mut seen, mut weight) = (0, 0);
    let (mut at, mut head) = (meta.tip.revision, meta.tip.head);
    for entry in journal.range::<u64>(..)?.rev() {
        if seen == rows || weight >= bytes {
            return Ok(seen);
        }
        let (key, value) = entry?;
        let row = Row::decode(value.value())?;
        if key.value() != at.0 {
            return Err(malformed(format!("revision {at} is missing from the journal")).into());
        }
        if row.head != head {
            return Err(malformed(format!("revision {at} is not what the history continues from")).into());
        }
        if hashes.head(&row.previous, at, row.format, &row.ops, &row.state) != row.head {
            return Err(malformed(format!("revision {at} was altered")).into());
        }
        if seen == 0 && row.state != meta.tip.state {
            return Err(malformed("the state is not the one that the journal leads to").into());
        }
        if contents {
            decode_changes(&row.ops)?;
        }
        seen += 1;
        weight += row.ops.len() as u64;
        head = row.previous;
        at = Revision(at.0.saturating_sub(1));
    }
    if at != meta.floor || head != meta.floor_head {
        return Err(malformed(format!("the journal begins after {at}, not after {}", meta.floor)).into());
    }
    Ok(seen)
}

#[derive(Default)]
struct Expected {
    entities: u64,
    uniques: u64,
    foreigns: u64,
    tags: u64,
    uses: u64,
    per_kind: BTreeMap<Kind, u64>,
    sum: StateSum,
}

fn check_entities(state: &impl State, meta: &Meta, hashes: &Hashes) -> Result<u64, ReplicaError> {
    let mut expected = Expected::default();
    for row in query::rows_under(state, keys::ENTITIES, None)? {
        let (key, value) = row?;
        let kind = key.value().get(1).copied().and_then(Kind::from_number).ok_or_else(|| malformed("kind of an entity"))?;
        let id = keys::last_id(key.value())?;
        let (revision, body) = fold::split_value(value.value())?;
        if revision > meta.tip.revision {
            return Err(malformed(format!("{kind:?} {id} is of revision {revision}")).into());
        }
        expected.sum.add(&hashes.entity(kind, id, body));
        expected.entities += 1;
        *expected.per_kind.entry(kind).or_default() += 1;
        check_index_entries(state, &parse_entity(kind, id, body)?, &mut expected)?;
    }
    if expected.sum != meta.tip.state {
        return Err(malformed("the entities do not add up to the hash of the state").into());
    }
    for kind in Kind::ALL {
        if query::count(state, kind)? != expected.per_kind.get(&kind).copied().unwrap_or(0) {
            return Err(malformed(format!("the count of {kind:?}")).into());
        }
    }
    // Every entry that must be there is, so equal numbers mean that there is no other.
    let parts = [
        (keys::UNIQUES, expected.uniques),
        (keys::FOREIGNS, expected.foreigns),
        (keys::TAGS, expected.tags),
        (keys::BLOB_USES, expected.uses),
    ];
    for (prefix, number) in parts {
        if count_under(state, prefix)? != number {
            return Err(malformed("an index has entries of entities that are gone").into());
        }
    }
    Ok(expected.entities)
}

fn check_index_entries(state: &impl State, entity: &Entity, expected: &mut Expected) -> Result<(), ReplicaError> {
    let (kind, id) = (entity.kind, entity.id);
    let missing = |what: &str| malformed(format!("{kind:?} {id} is missing from the index of {what}"));
    for (index, value) in entity.unique_keys() {
        if query::holder(state, &keys::unique(kind, index, &value))? != Some(id) {
            return Err(missing(index).into());
        }
        expected.uniques += 1;
    }
    for (field, target_kind, target) in entity.foreign_keys() {
        if state.get(keys::foreign_entry(kind, field, target, id).as_slice())?.is_none() {
            return Err(missing(field).into());
        }
        if state.get(keys::entity(target_kind, target).as_slice())?.is_none() {
            return Err(malformed(format!("'{field}' of {kind:?} {id} points to nothing")).into());
        }
        expected.foreigns += 1;
    }
    let tags: std::collections::BTreeSet<_> = entity.tags().collect();
    for tag in tags {
        if state.get(keys::tag_entry(tag, kind, id).as_slice())?.is_none() {
            return Err(missing("tags").into());
        }
        expected.tags += 1;
    }
    if let Some(digest) = fold::blob_of(entity) {
        let used = state.get(keys::blob_use(digest, kind, id).as_slice())?.is_some();
        if !used || blobs::info(state, digest)?.is_none() {
            return Err(missing("blobs").into());
        }
        expected.uses += 1;
    }
    Ok(())
}

fn check_blobs(state: &impl State, chunks: &impl ReadableTable<Bytes, Bytes>) -> Result<u64, ReplicaError> {
    let mut number = 0;
    for row in query::rows_under(state, keys::BLOBS, None)? {
        let key = row?.0;
        let digest = key.value().last_chunk::<32>().map(|digest| Digest::from_bytes(*digest));
        let digest = digest.ok_or_else(|| malformed("the key of a blob"))?;
        let bytes = blobs::read(state, chunks, digest)?.unwrap_or_default();
        if blobs::digest(&bytes) != digest {
            return Err(malformed(format!("blob {digest} does not have its digest")).into());
        }
        number += 1;
    }
    Ok(number)
}

fn count_under(state: &impl State, prefix: &[u8]) -> Result<u64, ReplicaError> {
    let mut number = 0;
    for row in query::rows_under(state, prefix, None)? {
        row?;
        number += 1;
    }
    Ok(number)
}
