//! The last line: refuses a transaction that would break unique or foreign keys.
//!
//! Plans judge writes and give people good answers; this guards the state against a plan that judged wrongly. It only
//! reads: a refused transaction leaves nothing behind.

use super::{ReplicaError, State, blobs, fold, keys, query};
use crate::Breach;
use crate::row::Change;
use std::collections::HashMap;
use weir_model::{Entity, Id, Kind};

/// Why a transaction cannot be applied.
#[derive(Debug)]
pub(crate) enum Fault {
    Breach(Breach),
    Replica(ReplicaError),
}
impl<E: Into<ReplicaError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Replica(error.into())
    }
}

// What each entity that the transaction touches will be: nothing if it is deleted.
type After<'a> = HashMap<(Kind, Id), Option<&'a Entity>>;

/// Checks `changes` against the state that they would be applied to.
pub(crate) fn check(state: &impl State, changes: &[Change]) -> Result<(), Fault> {
    let mut after = After::with_capacity(changes.len());
    for change in changes {
        let (kind, id) = change.key();
        let entity = if let Change::Put { entity, .. } = change { Some(entity) } else { None };
        if after.insert((kind, id), entity).is_some() {
            return Err(Fault::Breach(Breach::Twice { kind, id }));
        }
    }
    let mut held = HashMap::new();
    for change in changes {
        match change {
            Change::Put { entity, .. } => {
                if entity.text("id").and_then(Id::parse) != Some(entity.id) {
                    return Err(Fault::Breach(Breach::WrongId { kind: entity.kind, id: entity.id }));
                }
                check_unique(state, &after, &mut held, entity)?;
                check_targets(state, &after, entity)?;
                check_blob(state, entity)?;
            }
            Change::Delete { kind, id } => check_referrers(state, &after, *kind, *id)?,
        }
    }
    Ok(())
}

fn check_unique(state: &impl State, after: &After, held: &mut HashMap<[u8; 33], Id>, entity: &Entity) -> Result<(), Fault> {
    let (kind, id) = (entity.kind, entity.id);
    for (index, value) in entity.unique_keys() {
        let key = keys::unique(kind, index, &value);
        let clash = |holder| Err(Fault::Breach(Breach::Unique { kind, id, holder, index }));
        if let Some(other) = held.insert(key, id) {
            return clash(other);
        }
        // A holder that this transaction touches either lets go of the key, or meets it again in `held`.
        match query::holder(state, &key)? {
            Some(holder) if holder != id && !after.contains_key(&(kind, holder)) => return clash(holder),
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn check_targets(state: &impl State, after: &After, entity: &Entity) -> Result<(), Fault> {
    for (field, target_kind, target) in entity.foreign_keys() {
        let there = match after.get(&(target_kind, target)) {
            Some(result) => result.is_some(),
            None => state.get(keys::entity(target_kind, target).as_slice())?.is_some(),
        };
        if !there {
            let (kind, id) = (entity.kind, entity.id);
            return Err(Fault::Breach(Breach::Dangling { kind, id, field, target_kind, target }));
        }
    }
    Ok(())
}

// Those in the transaction that still point to the deleted one are found by `check_targets`.
fn check_referrers(state: &impl State, after: &After, kind: Kind, id: Id) -> Result<(), Fault> {
    for by in Kind::ALL {
        for (field, _) in by.foreign_fields().iter().filter(|(_, target)| *target == kind) {
            for referrer in query::ids_under(state, &keys::foreign(by, field, id), None)? {
                let by_id = referrer?;
                if !after.contains_key(&(by, by_id)) {
                    return Err(Fault::Breach(Breach::StillReferenced { kind, id, by, by_id }));
                }
            }
        }
    }
    Ok(())
}

fn check_blob(state: &impl State, entity: &Entity) -> Result<(), Fault> {
    match fold::blob_of(entity) {
        Some(digest) if blobs::info(state, digest)?.is_none() => {
            Err(Fault::Breach(Breach::MissingBlob { id: entity.id, digest }))
        }
        Some(_) | None => Ok(()),
    }
}
