//! A view with results on top that are not written yet: what the second operation of a transaction sees of the first.
//!
//! Holds the results of one transaction in memory, one per entity, with the indexes that judging asks for. Does not judge, and does
//! not know where the view below comes from.

use crate::{Entity, Id, Kind, Op, Page, Revision, Selection, View, ViewError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// Entities that are read from below at once, beyond those asked for: some of them may be hidden by results.
const AHEAD: usize = 16;

/// `base`, and on top of it what [`Overlay::apply`] was given.
pub struct Overlay<'a> {
    base: &'a dyn View,
    results: BTreeMap<(Kind, Id), Pending>,
    /// Unique keys of the entities on top.
    unique: HashMap<(Kind, String, String), Id>,
    /// Their foreign keys: kind, field, target, id. A listing of children must not look at every result.
    foreign: BTreeSet<(Kind, &'static str, Id, Id)>,
}

/// The result for one entity.
struct Pending {
    /// Unset: it is gone.
    entity: Option<Entity>,
    /// Whether the base has it.
    based: bool,
}

impl<'a> Overlay<'a> {
    /// Nothing on top yet.
    pub fn new(base: &'a dyn View) -> Self {
        Self { base, results: BTreeMap::new(), unique: HashMap::new(), foreign: BTreeSet::new() }
    }

    /// Puts these results on top, as one transaction would: at most one per entity, and two may swap a unique key.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), ViewError> {
        for op in ops {
            let key = op.key();
            let based = match self.results.get(&key) {
                Some(pending) => pending.based,
                None => self.base.revision_of(key.0, key.1)?.is_some(),
            };
            self.set(key, None, based);
        }
        for op in ops {
            let Op::Put(entity) = op else { continue };
            let based = self.results.get(&op.key()).is_some_and(|pending| pending.based);
            self.set(op.key(), Some(entity.clone()), based);
        }
        Ok(())
    }

    /// All results, one per entity: the last of each. Of what came and went again there is none.
    pub fn into_ops(self) -> Vec<Op> {
        let op = |((kind, id), pending): ((Kind, Id), Pending)| match pending.entity {
            Some(entity) => Some(Op::Put(entity)),
            None => pending.based.then_some(Op::Delete { kind, id }),
        };
        self.results.into_iter().filter_map(op).collect()
    }

    fn set(&mut self, key: (Kind, Id), entity: Option<Entity>, based: bool) {
        let (kind, id) = key;
        if let Some(entity) = &entity {
            for (index, value) in entity.unique_keys() {
                self.unique.insert((kind, index.to_owned(), value), id);
            }
            self.foreign.extend(entity.foreign_keys().map(|(field, _, target)| (kind, field, target, id)));
        }
        let Some(Pending { entity: Some(old), .. }) = self.results.insert(key, Pending { entity, based }) else { return };
        let new = self.results.get(&key).and_then(|pending| pending.entity.as_ref());
        let kept = new.map(Entity::unique_keys).unwrap_or_default();
        for (index, value) in old.unique_keys().into_iter().filter(|key| !kept.contains(key)) {
            self.unique.remove(&(kind, index.to_owned(), value));
        }
        let kept: Vec<_> = new.into_iter().flat_map(Entity::foreign_keys).collect();
        for (field, _, target) in old.foreign_keys().filter(|key| !kept.contains(key)) {
            self.foreign.remove(&(kind, field, target, id));
        }
    }

    /// The entities on top that a selection wants, by id, after `after`.
    fn on_top<'s>(
        &'s self,
        kind: Kind,
        selection: &'s Selection,
        after: Option<Id>,
    ) -> Box<dyn Iterator<Item = &'s Entity> + 's> {
        let entity = move |id: Id| self.results.get(&(kind, id)).and_then(|pending| pending.entity.as_ref());
        if let Selection::Foreign { field, id: target } = selection {
            let key = |id| (kind, field.as_str(), *target, id);
            let from = after.map_or(Bound::Included(key(FIRST)), |after| Bound::Excluded(key(after)));
            let found = self.foreign.range((from, Bound::Included(key(LAST))));
            return Box::new(found.filter_map(move |(.., id)| entity(*id)));
        }
        let from = after.map_or(Bound::Included((kind, FIRST)), |after| Bound::Excluded((kind, after)));
        let found = self.results.range((from, Bound::Included((kind, LAST))));
        Box::new(found.filter_map(|(_, pending)| pending.entity.as_ref()).filter(move |entity| selects(selection, entity)))
    }
}

const FIRST: Id = Id::from_bytes([0; 16]);
const LAST: Id = Id::from_bytes([u8::MAX; 16]);

fn selects(selection: &Selection, entity: &Entity) -> bool {
    let carries = |tag: &String| entity.tags().any(|own| own == tag);
    match selection {
        Selection::All => true,
        Selection::Foreign { field, id } => entity.foreign_keys().any(|(own, _, target)| own == field && target == *id),
        Selection::AllTags(tags) => tags.iter().all(carries),
        Selection::AnyTag(tags) => tags.iter().any(carries),
    }
}

impl View for Overlay<'_> {
    /// Of the base: the results are not written yet.
    fn revision(&self) -> Revision {
        self.base.revision()
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        match self.results.get(&(kind, id)) {
            Some(pending) => Ok(pending.entity.clone()),
            None => self.base.get(kind, id),
        }
    }
    /// Of an entity on top, the revision that the results will get.
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        match self.results.get(&(kind, id)) {
            Some(pending) => Ok(pending.entity.as_ref().map(|_| self.base.revision().next())),
            None => self.base.revision_of(kind, id),
        }
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        if let Some(id) = self.unique.get(&(kind, index.to_owned(), key.to_owned())) {
            return Ok(Some(*id));
        }
        let below = self.base.find(kind, index, key)?;
        Ok(below.filter(|id| !self.results.contains_key(&(kind, *id))))
    }
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        // One more than asked for tells whether there is a next page.
        let wanted = limit.max(1).saturating_add(1);
        let mut top = self.on_top(kind, selection, after).peekable();
        let mut entities = Vec::new();
        let mut below = Vec::new().into_iter().peekable();
        let mut next = Some(after);
        while entities.len() < wanted {
            if below.peek().is_none()
                && let Some(after) = next
            {
                let page = self.base.list(kind, selection, after, (wanted - entities.len()).saturating_add(AHEAD))?;
                next = page.next.map(Some);
                let visible = page.entities.into_iter().filter(|entity| !self.results.contains_key(&(kind, entity.id)));
                below = visible.collect::<Vec<_>>().into_iter().peekable();
                continue;
            }
            let from_below = match (below.peek(), top.peek()) {
                (Some(below), Some(top)) => below.id < top.id,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            entities.extend(if from_below { below.next() } else { top.next().cloned() });
        }
        let more = entities.len() == wanted;
        entities.truncate(wanted - 1);
        let next = entities.last().map(|last| last.id).filter(|_| more);
        Ok(Page { entities, next })
    }
    fn tags(
        &self,
        tag: Option<&str>,
        after: Option<(String, Kind, Id)>,
        limit: usize,
    ) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        let mut rows = BTreeSet::new();
        for ((kind, id), pending) in &self.results {
            let own = pending.entity.iter().flat_map(Entity::tags).filter(|own| tag.is_none_or(|tag| tag == *own));
            let row = own.map(|own| (own.to_owned(), *kind, *id));
            rows.extend(row.filter(|row| after.as_ref().is_none_or(|after| row > after)));
        }
        // As many from below as can be among the first; those on top only push some of them out.
        let (mut after, mut kept) = (after, 0);
        while kept < limit {
            let page = self.base.tags(tag, after.take(), limit)?;
            after = page.last().filter(|_| page.len() == limit).cloned();
            for row in page.into_iter().filter(|(_, kind, id)| !self.results.contains_key(&(*kind, *id))) {
                rows.insert(row);
                kept += 1;
            }
            if after.is_none() {
                break;
            }
        }
        Ok(rows.into_iter().take(limit).collect())
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        let mut count = self.base.count(kind)?;
        for pending in self.results.range((kind, FIRST)..=(kind, LAST)).map(|(_, pending)| pending) {
            match (&pending.entity, pending.based) {
                (Some(_), false) => count = count.saturating_add(1),
                (None, true) => count = count.saturating_sub(1),
                (Some(_), true) | (None, false) => {}
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
