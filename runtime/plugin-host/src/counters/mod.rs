//! Counts against limits, for the whole node.
//!
//! Knows keys, windows and amounts; nothing of plugins, requests or why something is limited. It lives as long as the host, so
//! counts outlive instances, entries and snapshots. One lock a shard makes a call all-or-none: exactly `max` pass.

mod window;

pub use window::Period;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use weir_model::Id;

/// Locks that calls are spread over, so that two workers seldom meet: 64 for up to as many cores.
const SHARDS: usize = 64;

/// Keys that one shard remembers in each of its two generations. 64 x 2 x 4,096 is half a million keys at about 200 bytes: a
/// stranger who invents keys (addresses of an IPv6 network) can take 100 MiB, not more.
const KEYS_A_GENERATION: usize = 4_096;

/// Limits that one call may name: one for each period.
pub const MAX_LIMITS: usize = 6;

/// Longer keys are kept by their digest, so that the bound in bytes above holds.
const PLAIN_KEY_BYTES: usize = 128;

/// What one window allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Which window.
    pub period: Period,
    /// How much fits into it.
    pub max: u64,
}

/// How one window stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// What was taken from it.
    pub used: u64,
    /// Seconds until it ends, at least 1.
    pub resets_in: u32,
}

/// The answer to `take`: whether it took, and the windows in the order of the limits (the rest are zero).
pub type Taken = (bool, [Usage; MAX_LIMITS]);

/// All counters of the node.
pub struct Counters {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// Two generations: a key that is touched moves to the young one; when that is full, the old one is forgotten and they change
/// places. So what is forgotten under pressure is what was not asked for longest, in constant time and without a list.
#[derive(Default)]
struct Shard {
    young: HashMap<Box<[u8]>, Cells>,
    old: HashMap<Box<[u8]>, Cells>,
}

/// One cell for each period.
type Cells = [Cell; 6];

#[derive(Clone, Copy, Default)]
struct Cell {
    start: i64,
    end: i64,
    used: u64,
}

impl Cell {
    /// Moves to the window of `now`. A clock that was set back stays in the later window: going back would count twice.
    fn advance(&mut self, period: Period, now: i64) {
        if now >= self.end {
            let (start, end) = period.window(now);
            *self = Cell { start, end, used: 0 };
        }
    }
}

impl Counters {
    /// No counts.
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Takes `amount` from all windows of `key` that `limits` names, or from none when one has no room. Limits beyond
    /// [`MAX_LIMITS`] are the caller's mistake and not looked at; a period must not come twice.
    pub fn take(&self, owner: Id, key: &str, limits: &[Limit], amount: u64, now: i64) -> Taken {
        let mut buffer = [0; 16 + PLAIN_KEY_BYTES];
        let key = storage_key(&mut buffer, owner, None, key.as_bytes());
        self.shard(key).with(key, |cells| take_from(cells, limits, amount, now))
    }

    /// As [`Counters::take`], for a key that is not text: `kind`, 0xf8 to 0xfd, with which no text begins, and any bytes.
    pub fn take_of(&self, owner: Id, kind: u8, what: &[u8], limits: &[Limit], amount: u64, now: i64) -> Taken {
        let mut buffer = [0; 16 + PLAIN_KEY_BYTES];
        let key = storage_key(&mut buffer, owner, Some(kind), what);
        self.shard(key).with(key, |cells| take_from(cells, limits, amount, now))
    }

    /// Forgets the keys of one shard whose windows have all ended. Called in turn for every shard, from the ticker.
    pub fn sweep(&self, turn: u64, now: i64) {
        let index = (turn % SHARDS as u64) as usize;
        if let Some(shard) = self.shards.get(index) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard { young, old } = &mut *shard;
            for generation in [young, old] {
                generation.retain(|_, cells| cells.iter().any(|cell| cell.end > now));
                if generation.len() * 4 < generation.capacity() {
                    generation.shrink_to_fit();
                }
            }
        }
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }

    fn shard(&self, key: &[u8]) -> std::sync::MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        // The index is a remainder by the number of shards. A panic while the lock was held leaves whole numbers behind: go on.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Looks at the cells of a key; a key that was in the old generation, or nowhere, comes into the young one.
    fn with<T>(&mut self, key: &[u8], look: impl FnOnce(&mut Cells) -> T) -> T {
        // The usual case first: one look-up.
        if let Some(cells) = self.young.get_mut(key) {
            return look(cells);
        }
        let (key, mut cells) = self.old.remove_entry(key).unwrap_or_else(|| (key.into(), Cells::default()));
        let answer = look(&mut cells);
        if self.young.len() >= KEYS_A_GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, cells);
        answer
    }
}

fn take_from(cells: &mut Cells, limits: &[Limit], amount: u64, now: i64) -> Taken {
    let mut room = true;
    for limit in limits.iter().take(MAX_LIMITS) {
        let cell = &mut cells[limit.period as usize];
        cell.advance(limit.period, now);
        room &= cell.used.checked_add(amount).is_some_and(|used| used <= limit.max);
    }
    let mut usages = [Usage::default(); MAX_LIMITS];
    for (limit, usage) in limits.iter().zip(&mut usages) {
        let cell = &mut cells[limit.period as usize];
        if room {
            cell.used += amount;
        }
        let seconds = cell.end.saturating_sub(now.max(cell.start)).max(1);
        *usage = Usage { used: cell.used, resets_in: u32::try_from(seconds).unwrap_or(u32::MAX) };
    }
    (room, usages)
}

/// The owner's id, then the key, or the digest of a long one. (A short key cannot be mistaken for a digest: those have 33 bytes,
/// and begin with 0xff, which neither text nor a kind has.)
fn storage_key<'a>(buffer: &'a mut [u8; 16 + PLAIN_KEY_BYTES], owner: Id, kind: Option<u8>, key: &[u8]) -> &'a [u8] {
    buffer[..16].copy_from_slice(owner.as_bytes());
    let kind = kind.as_slice();
    let length = kind.len() + key.len();
    let length = if length <= PLAIN_KEY_BYTES {
        buffer[16..16 + kind.len()].copy_from_slice(kind);
        buffer[16 + kind.len()..16 + length].copy_from_slice(key);
        16 + length
    } else {
        let digest = blake3::Hasher::new().update(kind).update(key).finalize();
        buffer[16] = 0xff;
        buffer[17..49].copy_from_slice(digest.as_bytes());
        49
    };
    &buffer[..length]
}

#[cfg(test)]
mod tests;
