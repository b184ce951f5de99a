//! Counts against limits, for all nodes on one store.
//!
//! A call is judged by this node's own count and by what the others had taken when that was last read: memory only, nothing is
//! waited for. In rounds, somebody else (who knows the store) fetches the windows that changed here and brings back what the others
//! took from them. Own counts only grow, so a round may be lost, repeated or late: the next one says all that it would have said.
//!
//! How much may pass beyond a limit, and why no more: `docs/decisions/counts-are-shared-in-rounds.md`.

use super::shards::{Generations, SHARDS, Shards};
use super::{Limit, MAX_LIMITS, PLAIN_KEY_BYTES, Period, Taken, Usage, storage_key};
use crate::limits::{TICKS_A_SECOND, Ticks};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use weir_model::Id;

/// Keys that one shard remembers in each of its two generations. 64 x 2 x 1,024 is 130,000 keys at about 600 bytes, 80 MiB: fewer
/// than of the node's own counters, because each that is in use is written and read in the store as well.
const KEYS_A_GENERATION: usize = 1_024;

/// Windows of one shard that wait for a round: as many as it has keys. One that finds no place asks again at its next call.
const WAITING_MOST: usize = 2 * KEYS_A_GENERATION;

/// What this node counted in a window, for the other nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnCount {
    /// Whose window: the same bytes on every node.
    pub key: Box<[u8]>,
    /// How long it is.
    pub period: Period,
    /// Its first second on the Unix clock.
    pub start: i64,
    /// The first second after it.
    pub end: i64,
    /// Tells this count from others that this process made of the same window, if it forgot one under pressure in between.
    pub part: u32,
    /// All that was taken; it only grows.
    pub count: u64,
    /// Whether that is more than was shared before. If not, only what the others took is asked for.
    pub grown: bool,
}

/// Windows whose counts are being shared.
#[must_use = "windows of a round that does not end are not shared again"]
#[derive(Debug)]
pub struct Round {
    began: Ticks,
    /// At most as many as were asked for.
    pub own: Vec<OwnCount>,
}

/// How sharing goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct SharingFigures {
    /// Callers whose windows are remembered.
    pub keys: usize,
    /// Windows that wait for a round.
    pub waiting: usize,
    /// Rounds that were answered whole.
    pub rounds: u64,
    /// How long ago the last of them began.
    pub age_ms: u64,
}

/// The counters of the cluster, as this node knows them.
pub struct ClusterCounters {
    shards: Shards<Shard>,
    /// Ticks after which what is known of the others is stale. Unset: this node is alone, and its own counts are all there are.
    stale_after: OnceLock<Ticks>,
    /// When the newest round began that was answered whole.
    fresh: AtomicU64,
    rounds: AtomicU64,
}

#[derive(Default)]
struct Shard {
    keys: Generations<Counted, KEYS_A_GENERATION>,
    /// The windows that have something to tell or to ask, in the order in which they came to it.
    waiting: VecDeque<(Box<[u8]>, Period)>,
}

struct Counted {
    part: u32,
    /// One for each period.
    cells: [Cell; 6],
}

#[derive(Clone, Copy, Default)]
struct Cell {
    start: i64,
    end: i64,
    /// Taken here.
    own: u64,
    /// Of that, what is in the store.
    shared: u64,
    /// Taken by the other nodes, when they were last asked.
    others: u64,
    /// In the queue.
    waits: bool,
    /// Was read once more after the last change: what the others took in the same round is known too.
    settled: bool,
}

impl Cell {
    /// Moves to the window of `now`. A clock that was set back stays in the later window: going back would count twice.
    fn advance(&mut self, period: Period, now: i64) {
        if now >= self.end {
            let (start, end) = period.window(now);
            *self = Self { start, end, waits: self.waits, ..Self::default() };
        }
    }
    fn used(&self) -> u64 {
        self.own.saturating_add(self.others)
    }
    /// Puts it into the queue, if it is not there and there is room.
    fn wait(&mut self, waiting: &mut VecDeque<(Box<[u8]>, Period)>, key: &[u8], period: Period) {
        if !self.waits && waiting.len() < WAITING_MOST {
            self.waits = true;
            waiting.push_back((key.into(), period));
        }
    }
}

impl ClusterCounters {
    /// No counts, and no other nodes.
    pub fn new() -> Self {
        Self { shards: Shards::new(), stale_after: OnceLock::new(), fresh: AtomicU64::new(0), rounds: AtomicU64::new(0) }
    }

    /// There are other nodes from now on, and rounds will come.
    pub fn begin(&self, stale_after: Duration, now: Ticks) {
        self.fresh.fetch_max(now, Ordering::Relaxed);
        let ticks = u64::try_from(stale_after.as_millis()).unwrap_or(u64::MAX).saturating_mul(TICKS_A_SECOND) / 1000;
        // Whoever began first decides.
        let _ = self.stale_after.set(ticks);
    }

    /// Whether what is known of the others is too old to be relied on.
    pub fn is_stale(&self, now: Ticks) -> bool {
        self.stale_after.get().is_some_and(|after| now.saturating_sub(self.fresh.load(Ordering::Relaxed)) > *after)
    }

    /// As [`super::Counters::take_of`], from windows that all nodes share. With `known` false nothing is taken, but the others are
    /// asked as if it had been.
    #[expect(clippy::too_many_arguments, reason = "those of the node's own counters, and one more")]
    pub fn take_of(&self, owner: Id, kind: u8, what: &[u8], limits: &[Limit], amount: u64, now: i64, known: bool) -> Taken {
        let mut buffer = [0; 16 + PLAIN_KEY_BYTES];
        let key = storage_key(&mut buffer, owner, Some(kind), what);
        let shares = self.stale_after.get().is_some();
        let mut shard = self.shards.of(key);
        let Shard { keys, waiting } = &mut *shard;
        keys.with(
            key,
            |part| Counted { part, cells: Default::default() },
            |counted| {
                let taken = take_from(&mut counted.cells, limits, amount, now, known);
                // Who is refused by what is known already has nothing to tell, and nothing to ask: counts do not shrink.
                if shares && (taken.0 || !known) {
                    for limit in limits.iter().take(MAX_LIMITS).filter(|limit| is_shared(limit.period)) {
                        counted.cells[limit.period as usize].wait(waiting, key, limit.period);
                    }
                }
                taken
            },
        )
    }

    /// Fetches windows to be shared: at most `most`, those that wait longest first in each shard.
    pub fn begin_round(&self, most: usize, now: i64, began: Ticks) -> Round {
        let mut own = Vec::new();
        for turn in 0..SHARDS {
            // Each its share of what is left, so that a crowded one does not keep the others waiting; in turns, so that the remainder
            // does not always go to the same.
            let quota = (most - own.len()).div_ceil(SHARDS - turn);
            let mut shard = self.shards.at(self.rounds.load(Ordering::Relaxed).wrapping_add(turn as u64));
            let end = own.len() + quota;
            while own.len() < end {
                let Some((key, period)) = shard.waiting.pop_front() else { break };
                let Some(counted) = shard.keys.peek(&key) else { continue };
                let (part, cell) = (counted.part, &mut counted.cells[period as usize]);
                cell.waits = false;
                // Nobody asks for a window that has ended. (A clock that is beyond the calendar has no windows to share.)
                if cell.end <= now || cell.start < 0 {
                    continue;
                }
                let (start, end, count, grown) = (cell.start, cell.end, cell.own, cell.own > cell.shared);
                own.push(OwnCount { key, period, start, end, part, count, grown });
            }
        }
        Round { began, own }
    }

    /// Takes what the others took, in the order of the round; `None` or missing: it could not be learnt, and is asked for again.
    /// `reached`: whether the store answered at all, which a round without windows says only so.
    pub fn end_round(&self, round: Round, reached: bool, others: &[Option<u64>]) {
        let mut well = reached;
        for (at, own) in round.own.iter().enumerate() {
            let others = others.get(at).copied().flatten();
            well &= others.is_some();
            self.learn(own, others);
        }
        if well {
            self.rounds.fetch_add(1, Ordering::Relaxed);
            self.fresh.fetch_max(round.began, Ordering::Relaxed);
        }
    }

    fn learn(&self, told: &OwnCount, others: Option<u64>) {
        let mut shard = self.shards.of(&told.key);
        let Shard { keys, waiting } = &mut *shard;
        let Some(counted) = keys.peek(&told.key).filter(|counted| counted.part == told.part) else { return };
        let cell = &mut counted.cells[told.period as usize];
        if cell.start != told.start {
            return;
        }
        let settled = match others {
            Some(others) => {
                cell.shared = cell.shared.max(told.count);
                // A replica that missed something gives nothing away.
                cell.others = cell.others.max(others);
                cell.own == cell.shared && std::mem::replace(&mut cell.settled, true)
            }
            None => false,
        };
        if !settled {
            cell.wait(waiting, &told.key, told.period);
        }
    }

    /// Forgets the keys of one shard whose windows have all ended. Called in turn for every shard, from the ticker.
    pub fn sweep(&self, turn: u64, now: i64) {
        self.shards.at(turn).keys.retain(|counted| counted.cells.iter().any(|cell| cell.end > now));
    }

    /// How sharing goes; nothing where nothing is shared.
    pub fn figures(&self, now: Ticks) -> Option<SharingFigures> {
        self.stale_after.get()?;
        let age = now.saturating_sub(self.fresh.load(Ordering::Relaxed));
        Some(SharingFigures {
            keys: self.shards.sum(|shard| shard.keys.len()),
            waiting: self.shards.sum(|shard| shard.waiting.len()),
            rounds: self.rounds.load(Ordering::Relaxed),
            age_ms: age.saturating_mul(1000) / TICKS_A_SECOND,
        })
    }
}

/// A window of a second is over before the others have heard of it: telling them would be work for nothing.
fn is_shared(period: Period) -> bool {
    period != Period::Second
}

fn take_from(cells: &mut [Cell; 6], limits: &[Limit], amount: u64, now: i64, known: bool) -> Taken {
    let mut room = known;
    for limit in limits.iter().take(MAX_LIMITS) {
        let cell = &mut cells[limit.period as usize];
        cell.advance(limit.period, now);
        room &= cell.used().checked_add(amount).is_some_and(|used| used <= limit.max);
    }
    let mut usages = [Usage::default(); MAX_LIMITS];
    for (limit, usage) in limits.iter().zip(&mut usages) {
        let cell = &mut cells[limit.period as usize];
        if room {
            cell.own += amount;
            cell.settled &= amount == 0;
        }
        let seconds = cell.end.saturating_sub(now.max(cell.start)).max(1);
        *usage = Usage { used: cell.used(), resets_in: u32::try_from(seconds).unwrap_or(u32::MAX) };
    }
    (room, usages)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
