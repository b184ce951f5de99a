//! Counts against limits, for the whole node.
//!
//! Knows keys, windows and amounts; nothing of plugins, requests or why something is limited. It lives as long as the host, so
//! counts outlive instances, entries and snapshots. One lock a shard makes a call all-or-none: exactly `max` pass.

pub mod cluster;
mod shards;
mod window;

pub use cluster::ClusterCounters;
pub use window::Period;

use shards::{Generations, Shards};
use weir_model::Id;

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
    shards: Shards<Generations<Cells, KEYS_A_GENERATION>>,
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
        Self { shards: Shards::new() }
    }

    /// Takes `amount` from all windows of `key` that `limits` names, or from none when one has no room. Limits beyond
    /// [`MAX_LIMITS`] are the caller's mistake and not looked at; a period must not come twice.
    pub fn take(&self, owner: Id, key: &str, limits: &[Limit], amount: u64, now: i64) -> Taken {
        let mut buffer = [0; 16 + PLAIN_KEY_BYTES];
        let key = storage_key(&mut buffer, owner, None, key.as_bytes());
        self.shards.of(key).with(key, |_| Cells::default(), |cells| take_from(cells, limits, amount, now))
    }

    /// As [`Counters::take`], for a key that is not text: `kind`, 0xf8 to 0xfd, with which no text begins, and any bytes.
    pub fn take_of(&self, owner: Id, kind: u8, what: &[u8], limits: &[Limit], amount: u64, now: i64) -> Taken {
        let mut buffer = [0; 16 + PLAIN_KEY_BYTES];
        let key = storage_key(&mut buffer, owner, Some(kind), what);
        self.shards.of(key).with(key, |_| Cells::default(), |cells| take_from(cells, limits, amount, now))
    }

    /// Forgets the keys of one shard whose windows have all ended. Called in turn for every shard, from the ticker.
    pub fn sweep(&self, turn: u64, now: i64) {
        self.shards.at(turn).retain(|cells| cells.iter().any(|cell| cell.end > now));
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.shards.sum(Generations::len)
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
