//! All rules by place, made to be asked for all places that a request is for.
//!
//! A place is found by the hash of its key ([`super::key`]) in one table for all hosts and all paths, so that a look-up among a
//! hundred thousand routes waits for about as few cache lines as one among ten. Which beginnings of a path are worth asking for is
//! said by forks: after every eight bytes that several places have in common, the table holds a mark that says where, within
//! the next eight bytes, places end, and whether any goes on behind. A place that shares its beginning with no other stands where
//! the fork would be. So a walk along a path reads one fork for eight bytes, and one place for each length that is in use
//! there; how many routes there are, and how many different lengths they have elsewhere, does not matter.
//!
//! A hash only says where to look. Every place has its key compared before its rules are, and places whose hash another one
//! has already stand apart.

use super::RouteRequest;
use super::bucket::{Bucket, Rule, Work};
use super::key::{CHUNK, Key, KeyHasher, OwnedKey, Scope, Walk};
use super::table::Table;
use std::sync::Arc;

/// See the module's head.
#[derive(Clone, Default)]
pub(crate) struct Index {
    hasher: KeyHasher,
    table: Table<Slot>,
    /// Places that cannot stand in the table, because something with the same hash of 64 bits does. Asked at every look-up: there
    /// is none.
    strays: Vec<Slot>,
}

/// What a hash leads to.
#[derive(Clone)]
enum Slot {
    Fork(Fork),
    /// A place with one rule, the usual case: nothing to read between here and the route.
    One(Rule),
    Several(Arc<Place>),
}

/// A beginning that several places share, or shared.
#[derive(Clone, Copy, Default)]
struct Fork {
    /// How many places are behind here, so that it goes when none is.
    places: u32,
    /// Where to go on. Of all places that ever were behind here since there was none: too much costs a look, too little would
    /// miss a route.
    ways: Ways,
}

/// A set: the lengths, in bytes from a fork, at which places end (from none to [`CHUNK`]), and whether any is longer.
#[derive(Clone, Copy, Default)]
struct Ways(u16);

/// The bit behind those of the lengths.
const LONGER: u16 = 1 << (CHUNK + 1);

impl Ways {
    /// The way to a key that is so much longer than the fork's beginning.
    fn to(ahead: usize) -> Self {
        Self(if ahead > CHUNK { LONGER } else { 1 << ahead })
    }
    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
    fn is_longer(self) -> bool {
        self.0 & LONGER != 0
    }
    /// The lengths at which places end, of those that a path reaches that is so much longer.
    fn ends(self, ahead: usize) -> impl Iterator<Item = usize> {
        let reached = (1_u16 << (ahead.min(CHUNK) + 1)) - 1;
        let mut ends = self.0 & reached;
        std::iter::from_fn(move || {
            let next = ends.trailing_zeros() as usize;
            ends &= ends.checked_sub(1)?;
            Some(next)
        })
    }
}

/// A place with several rules.
#[derive(Clone)]
struct Place {
    key: OwnedKey,
    bucket: Bucket,
}

impl Slot {
    /// A place with one rule.
    fn new(key: Key<'_>, rule: &Rule) -> Self {
        if rule.key() == key {
            return Self::One(rule.clone());
        }
        // The rule cannot count so many hosts.
        let mut bucket = Bucket::default();
        bucket.insert(rule);
        Self::Several(Arc::new(Place { key: OwnedKey::new(key), bucket }))
    }
    /// The place's key; a fork has none.
    fn key(&self) -> Option<Key<'_>> {
        match self {
            Self::Fork(_) => None,
            Self::One(rule) => Some(rule.key()),
            Self::Several(place) => Some(place.key.key()),
        }
    }
    fn is(&self, key: Key<'_>) -> bool {
        self.key() == Some(key)
    }
    fn insert(&mut self, key: Key<'_>, rule: &Rule) {
        match self {
            Self::Fork(_) => {}
            Self::One(first) if first.order(rule).is_eq() => {}
            Self::One(first) => {
                let mut bucket = Bucket::default();
                bucket.insert(first);
                bucket.insert(rule);
                *self = Self::Several(Arc::new(Place { key: OwnedKey::new(key), bucket }));
            }
            Self::Several(place) => Arc::make_mut(place).bucket.insert(rule),
        }
    }
    /// Takes a rule out; answers whether nothing is left.
    fn remove(&mut self, rule: &Rule) -> bool {
        match self {
            Self::Fork(_) => false,
            Self::One(only) => only.order(rule).is_eq(),
            Self::Several(place) => Arc::make_mut(place).bucket.remove(rule),
        }
    }
}

/// A question to the index, and the best answer so far.
pub(crate) struct Search<'r, 'q, 'w> {
    pub(crate) index: &'r Index,
    pub(crate) request: &'q RouteRequest<'q>,
    pub(crate) best: Option<&'r Rule>,
    pub(crate) work: &'w mut Work,
}

impl<'r> Search<'r, '_, '_> {
    /// Looks for a better rule among those of that host pattern.
    pub(crate) fn improve(&mut self, scope: &Scope<'_>) {
        let index = self.index;
        let mut walk = index.hasher.walk(scope, self.request.path.as_bytes());
        while let Some(slot) = index.table.get(walk.here(), self.work) {
            let Slot::Fork(fork) = slot else {
                self.ask(slot, scope);
                break;
            };
            for bytes in fork.ways.ends(walk.ahead()) {
                if let Some(slot) = index.table.get(walk.end(bytes), self.work) {
                    self.ask(slot, scope);
                }
            }
            if !fork.ways.is_longer() || walk.ahead() <= CHUNK {
                break;
            }
            walk.step();
        }
        for slot in &index.strays {
            self.ask(slot, scope);
        }
    }
    #[inline]
    fn ask(&mut self, slot: &'r Slot, scope: &Scope<'_>) {
        let path = self.request.path.as_bytes();
        self.work.buckets += 1;
        match slot {
            Slot::Fork(_) => {}
            Slot::One(rule) => {
                rule.improve(&mut self.best, self.request, self.work, || rule.key().begins(scope, path));
            }
            Slot::Several(place) if place.key.key().begins(scope, path) => {
                place.bucket.improve(&mut self.best, self.request, self.work);
            }
            Slot::Several(_) => {}
        }
    }
}

impl Index {
    /// Whether there is no place at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.strays.is_empty()
    }
    /// Adds a rule at its place.
    pub(crate) fn insert(&mut self, key: Key<'_>, rule: &Rule) {
        if let Some(found) = self.locate(key)
            && let Some(slot) = self.table.get_mut(found.at)
        {
            return slot.insert(key, rule);
        }
        match self.strays.iter_mut().find(|slot| slot.is(key)) {
            Some(slot) => slot.insert(key, rule),
            None => self.add(Slot::new(key, rule), key),
        }
    }
    /// Takes a rule out of its place.
    pub(crate) fn remove(&mut self, key: Key<'_>, rule: &Rule) {
        let Some(found) = self.locate(key) else {
            self.strays.retain_mut(|slot| !slot.is(key) || !slot.remove(rule));
            return;
        };
        if self.table.get_mut(found.at).is_some_and(|slot| slot.remove(rule)) {
            self.table.remove(found.at);
            self.forget(&found.forks);
        }
    }
    /// Where in the table the place is, and the forks before it.
    fn locate(&self, key: Key<'_>) -> Option<Located> {
        let mut walk = self.hasher.walk(&key.scope, key.path);
        let mut forks = Vec::new();
        while let Some(Slot::Fork(_)) = self.slot(walk.here()) {
            forks.push(walk.here());
            if walk.ahead() <= CHUNK {
                let at = walk.end(walk.ahead());
                return self.slot(at)?.is(key).then_some(Located { at, forks });
            }
            walk.step();
        }
        let at = walk.here();
        self.slot(at)?.is(key).then_some(Located { at, forks })
    }
    fn slot(&self, hash: u64) -> Option<&Slot> {
        self.table.get(hash, &mut Work::default())
    }
    /// One place less behind each of the forks.
    fn forget(&mut self, forks: &[u64]) {
        for hash in forks {
            if let Some(Slot::Fork(fork)) = self.table.get_mut(*hash) {
                fork.places = fork.places.saturating_sub(1);
                if fork.places == 0 {
                    self.table.remove(*hash);
                }
            }
        }
    }
    /// Adds a place that is not in here.
    fn add(&mut self, place: Slot, key: Key<'_>) {
        // Again only after another place became a stray, so no more often than there are places.
        while let Some(fault) = self.try_add(&place, key) {
            match fault {
                Taken::ByAnother => return self.strays.push(place),
                Taken::ByOneThatHadToGo => {}
            }
        }
    }
    fn try_add(&mut self, place: &Slot, key: Key<'_>) -> Option<Taken> {
        let mut walk = self.hasher.walk(&key.scope, key.path);
        let mut forks: Vec<(u64, Ways)> = Vec::new();
        let at = loop {
            let at = walk.here();
            match self.slot(at) {
                None => break at,
                Some(Slot::Fork(_)) => {
                    forks.push((at, Ways::to(walk.ahead())));
                    if walk.ahead() <= CHUNK {
                        let end = walk.end(walk.ahead());
                        if self.slot(end).is_some() {
                            return Some(Taken::ByAnother);
                        }
                        break end;
                    }
                    walk.step();
                }
                Some(other) => {
                    let other = other.clone();
                    let behind = key.path.get(..key.path.len() - walk.ahead()).unwrap_or_default();
                    if !self.stands_at_beginning(&other, key.scope, behind, at) {
                        return Some(Taken::ByAnother);
                    }
                    if !self.move_behind_fork(other, at, behind.len(), &forks) {
                        return Some(Taken::ByOneThatHadToGo);
                    }
                }
            }
        };
        for (hash, ways) in forks {
            if let Some(Slot::Fork(fork)) = self.table.get_mut(hash) {
                fork.places += 1;
                fork.ways.add(ways);
            }
        }
        self.table.set(at, place.clone());
        None
    }
    /// Whether a place stands at `at` because it is the only one with that beginning, and not by chance.
    fn stands_at_beginning(&self, place: &Slot, scope: Scope<'_>, beginning: &[u8], at: u64) -> bool {
        place.key().is_some_and(|key| {
            let mut walk = self.hasher.walk(&key.scope, key.path);
            while walk.ahead() > CHUNK {
                walk.step();
            }
            key.begins_with(&scope, beginning) && walk.end(walk.ahead()) != at
        })
    }
    /// Puts a fork in the stead of a place, and the place behind it. If its next hash is taken, it becomes a stray instead, `forks`
    /// (those before it) forget it, and the answer is no.
    fn move_behind_fork(&mut self, place: Slot, at: u64, length: usize, forks: &[(u64, Ways)]) -> bool {
        let Some(key) = place.key() else { return false };
        let mut walk = self.hasher.walk(&key.scope, key.path);
        let steps = length / CHUNK;
        (0..steps).for_each(|_| walk.step());
        let ways = Ways::to(walk.ahead());
        let next = next_hash(&mut walk);
        if next == at || self.slot(next).is_some() {
            self.table.remove(at);
            let passed: Vec<u64> = forks.iter().map(|(hash, _)| *hash).collect();
            self.forget(&passed);
            self.strays.push(place);
            return false;
        }
        self.table.set(at, Slot::Fork(Fork { places: 1, ways }));
        self.table.set(next, place);
        true
    }
}

/// The hash behind a fork for the key that is walked along.
fn next_hash(walk: &mut Walk<'_>) -> u64 {
    if walk.ahead() <= CHUNK {
        return walk.end(walk.ahead());
    }
    walk.step();
    walk.here()
}

struct Located {
    at: u64,
    forks: Vec<u64>,
}

/// Why a place could not be added: the hash that it needs has something else.
enum Taken {
    ByAnother,
    /// It is a stray now; the way is free.
    ByOneThatHadToGo,
}

#[cfg(test)]
impl Index {
    /// One whose hashes have only so many different bits, and are the same in every run.
    pub(crate) fn fixed(bits: u32) -> Self {
        let kept = (0..bits).fold(0, |kept, bit| kept | 1 << (bit * 63 / bits));
        Self { hasher: KeyHasher::fixed(kept), ..Self::default() }
    }
    pub(crate) fn strays(&self) -> usize {
        self.strays.len()
    }
    /// How many pages and fans the table has, and how many of them that of `other` does not share.
    pub(crate) fn count_against(&self, other: &Self) -> (usize, usize) {
        self.table.count_against(&other.table)
    }
    /// The bytes of a cell of the table.
    pub(crate) const CELL_BYTES: usize = Table::<Slot>::CELL_BYTES;
}
