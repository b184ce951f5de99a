//! Where counts are kept: keys spread over locks, each with a bound on what it remembers.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks that calls are spread over, so that two workers seldom meet: 64 for up to as many cores.
pub const SHARDS: usize = 64;

/// A shard for each key.
pub struct Shards<S> {
    hasher: RandomState,
    shards: Vec<Mutex<S>>,
}

impl<S: Default> Shards<S> {
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
    /// The shard of a key.
    pub fn of(&self, key: &[u8]) -> MutexGuard<'_, S> {
        let index = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        // The index is a remainder by the number of shards. A panic while the lock was held leaves whole numbers behind: go on.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// One shard after the other, by turns.
    pub fn at(&self, turn: u64) -> MutexGuard<'_, S> {
        self.shards[(turn % SHARDS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// All of them, each locked while it is looked at.
    pub fn sum(&self, count: impl Fn(&S) -> usize) -> usize {
        self.shards.iter().map(|shard| count(&shard.lock().unwrap_or_else(PoisonError::into_inner))).sum()
    }
}

/// Two generations: a key that is touched moves to the young one; when that is full, the old one is forgotten and they change
/// places. So what is forgotten under pressure is what was not asked for longest, in constant time and without a list.
pub struct Generations<V, const KEYS: usize> {
    young: HashMap<Box<[u8]>, V>,
    old: HashMap<Box<[u8]>, V>,
    forgotten: u32,
}

impl<V, const KEYS: usize> Default for Generations<V, KEYS> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), forgotten: 0 }
    }
}

impl<V, const KEYS: usize> Generations<V, KEYS> {
    /// Looks at the value of a key; a key that was in the old generation, or nowhere, comes into the young one. `new` is told how
    /// often a generation was forgotten so far.
    pub fn with<T>(&mut self, key: &[u8], new: impl FnOnce(u32) -> V, look: impl FnOnce(&mut V) -> T) -> T {
        // The usual case first: one look-up.
        if let Some(value) = self.young.get_mut(key) {
            return look(value);
        }
        let forgotten = self.forgotten;
        let (key, mut value) = self.old.remove_entry(key).unwrap_or_else(|| (key.into(), new(forgotten)));
        let answer = look(&mut value);
        if self.young.len() >= KEYS {
            self.old = std::mem::take(&mut self.young);
            self.forgotten = self.forgotten.wrapping_add(1);
        }
        self.young.insert(key, value);
        answer
    }
    /// The value of a key, which is not touched by that.
    pub fn peek(&mut self, key: &[u8]) -> Option<&mut V> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }
    /// Forgets those that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|_, value| keep(value));
            if generation.len() * 4 < generation.capacity() {
                generation.shrink_to_fit();
            }
        }
    }
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
