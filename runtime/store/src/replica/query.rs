//! Answers questions about the state: the same code for a view and for a plan inside a write transaction.

use super::{ReplicaError, State, fold, keys};
use crate::row::{malformed, parse_entity};
use redb::AccessGuard;
use std::iter::Peekable;
use std::ops::Bound;
use weir_model::{Entity, Id, Kind, Page, Revision, Selection};

/// The entity with that primary key.
pub(crate) fn get(state: &impl State, kind: Kind, id: Id) -> Result<Option<Entity>, ReplicaError> {
    let Some(row) = state.get(keys::entity(kind, id).as_slice())? else { return Ok(None) };
    let (_, body) = fold::split_value(row.value())?;
    Ok(Some(parse_entity(kind, id, body)?))
}

/// The revision that wrote the entity with that primary key.
pub(crate) fn revision_of(state: &impl State, kind: Kind, id: Id) -> Result<Option<Revision>, ReplicaError> {
    let Some(row) = state.get(keys::entity(kind, id).as_slice())? else { return Ok(None) };
    Ok(Some(fold::split_value(row.value())?.0))
}

/// The entity that holds a key of a unique index (see `keys::unique`).
pub(crate) fn holder(state: &impl State, key: &[u8; 33]) -> Result<Option<Id>, ReplicaError> {
    match state.get(key.as_slice())? {
        Some(row) => Ok(Some(keys::last_id(row.value())?)),
        None => Ok(None),
    }
}

/// How many entities of that kind there are.
pub(crate) fn count(state: &impl State, kind: Kind) -> Result<u64, ReplicaError> {
    let Some(row) = state.get(keys::count(kind).as_slice())? else { return Ok(0) };
    let count = row.value().try_into().map_err(|_| malformed("a count"))?;
    Ok(u64::from_le_bytes(count))
}

/// A page of the entities of a kind. A `limit` of 0 counts as 1: a page that cannot hold an entity would never end.
pub(crate) fn list(
    state: &impl State,
    kind: Kind,
    selection: &Selection,
    after: Option<Id>,
    limit: usize,
) -> Result<Page, ReplicaError> {
    let limit = limit.max(1);
    match selection {
        Selection::All => page_of_rows(state, kind, after, limit),
        Selection::Foreign { field, id } => page(state, kind, limit, ids_under(state, &keys::foreign(kind, field, *id), after)?),
        Selection::AllTags(tags) => match tags.split_first() {
            None => page_of_rows(state, kind, after, limit),
            Some((first, others)) => {
                let carry_first = ids_under(state, &keys::tag_of_kind(first, kind), after)?;
                page(state, kind, limit, carry_first.filter_map(|id| carries_all(state, kind, id, others).transpose()))
            }
        },
        Selection::AnyTag(tags) => {
            let mut lists = Vec::with_capacity(tags.len());
            for tag in tags {
                lists.push(ids_under(state, &keys::tag_of_kind(tag, kind), after)?.peekable());
            }
            page(state, kind, limit, Merged { lists })
        }
    }
}

/// Entries of tags, strictly after `after`.
pub(crate) fn tags(
    state: &impl State,
    tag: Option<&str>,
    after: Option<(String, Kind, Id)>,
    limit: usize,
) -> Result<Vec<(String, Kind, Id)>, ReplicaError> {
    let prefix = tag.map_or_else(|| keys::TAGS.to_vec(), keys::tag);
    let after = after.map(|(text, kind, id)| keys::tag_entry(&text, kind, id));
    let mut entries = Vec::new();
    for row in rows_under(state, &prefix, after.as_deref())?.take(limit) {
        entries.push(keys::parse_tag_entry(row?.0.value())?);
    }
    Ok(entries)
}

type RowGuard<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// All rows whose key begins with `prefix`, in order, strictly after `after`.
pub(crate) fn rows_under<'a, S: State>(
    state: &'a S,
    prefix: &[u8],
    after: Option<&[u8]>,
) -> Result<impl Iterator<Item = Result<RowGuard<'a>, ReplicaError>> + use<'a, S>, ReplicaError> {
    let prefix = prefix.to_vec();
    // A key before the prefix would begin the scan in foreign rows, which end it at once.
    let start = match after {
        Some(after) if after >= prefix.as_slice() => Bound::Excluded(after.to_vec()),
        Some(_) | None => Bound::Included(prefix.clone()),
    };
    let start = match &start {
        Bound::Excluded(key) => Bound::Excluded(key.as_slice()),
        Bound::Included(key) => Bound::Included(key.as_slice()),
        Bound::Unbounded => Bound::Unbounded,
    };
    let rows = state.range::<&[u8]>((start, Bound::Unbounded))?;
    Ok(rows
        .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.value().starts_with(&prefix)))
        .map(|row| row.map_err(ReplicaError::from)))
}

/// The ids at the end of all keys that begin with `prefix`, in order, strictly after `after`.
pub(crate) fn ids_under<'a, S: State>(
    state: &'a S,
    prefix: &[u8],
    after: Option<Id>,
) -> Result<impl Iterator<Item = Result<Id, ReplicaError>> + use<'a, S>, ReplicaError> {
    let after = after.map(|id| [prefix, id.as_bytes()].concat());
    Ok(rows_under(state, prefix, after.as_deref())?.map(|row| Ok(keys::last_id(row?.0.value())?)))
}

// The rows themselves, without looking each up again.
fn page_of_rows(state: &impl State, kind: Kind, after: Option<Id>, limit: usize) -> Result<Page, ReplicaError> {
    let mut page = Page::default();
    let after = after.map(|id| keys::entity(kind, id));
    for row in rows_under(state, &keys::entities(kind), after.as_ref().map(<[u8; 18]>::as_slice))? {
        let (key, value) = row?;
        if page.entities.len() == limit {
            page.next = page.entities.last().map(|entity: &Entity| entity.id);
            break;
        }
        let (_, body) = fold::split_value(value.value())?;
        page.entities.push(parse_entity(kind, keys::last_id(key.value())?, body)?);
    }
    Ok(page)
}

fn page(
    state: &impl State,
    kind: Kind,
    limit: usize,
    ids: impl Iterator<Item = Result<Id, ReplicaError>>,
) -> Result<Page, ReplicaError> {
    let mut page = Page::default();
    for id in ids {
        let id = id?;
        if page.entities.len() == limit {
            page.next = page.entities.last().map(|entity: &Entity| entity.id);
            break;
        }
        let entity = get(state, kind, id)?.ok_or_else(|| malformed(format!("an index names {kind:?} {id}, which is gone")))?;
        page.entities.push(entity);
    }
    Ok(page)
}

fn carries_all(
    state: &impl State,
    kind: Kind,
    id: Result<Id, ReplicaError>,
    tags: &[String],
) -> Result<Option<Id>, ReplicaError> {
    let id = id?;
    for tag in tags {
        if state.get(keys::tag_entry(tag, kind, id).as_slice())?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(id))
}

// Several ordered lists of ids as one, each id once.
struct Merged<I: Iterator<Item = Result<Id, ReplicaError>>> {
    lists: Vec<Peekable<I>>,
}
impl<I: Iterator<Item = Result<Id, ReplicaError>>> Iterator for Merged<I> {
    type Item = Result<Id, ReplicaError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut smallest = None;
        for list in &mut self.lists {
            match list.peek() {
                Some(Ok(id)) => smallest = Some(smallest.map_or(*id, |known: Id| known.min(*id))),
                Some(Err(_)) => return list.next(),
                None => {}
            }
        }
        let smallest = smallest?;
        for list in &mut self.lists {
            list.next_if(|id| matches!(id, Ok(id) if *id == smallest));
        }
        Some(Ok(smallest))
    }
}
