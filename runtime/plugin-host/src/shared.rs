//! What everything in the host shares: time in ticks, counters, and the numbers that entries and components go by.

use crate::counters::{ClusterCounters, Counters};
use crate::limits::Ticks;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A shard of the counters is swept every so many ticks: each of the 64 about every ten seconds.
const SWEEP_EVERY: Ticks = 16;

/// Shared by the host, its components, entries, workers and instances.
pub struct Shared {
    pub counters: Counters,
    /// Those that all nodes on one store share.
    pub cluster: ClusterCounters,
    /// Numbers of living entries.
    pub entries: Slots,
    /// Numbers of living components.
    pub components: Slots,
    ticks: AtomicU64,
    began: Instant,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            counters: Counters::new(),
            cluster: ClusterCounters::new(),
            entries: Slots::default(),
            components: Slots::default(),
            ticks: AtomicU64::new(0),
            began: Instant::now(),
        }
    }
    /// Now, in ticks: one load.
    pub fn now(&self) -> Ticks {
        self.ticks.load(Ordering::Relaxed)
    }
    /// Moves time on; only the ticker does. By the clock and not by one, since the ticker may be late.
    pub fn tick(&self) -> Ticks {
        let ticks = u64::try_from(self.began.elapsed().as_millis() / 10).unwrap_or(u64::MAX);
        self.ticks.store(ticks, Ordering::Relaxed);
        ticks
    }
    /// Gives back counters whose windows ended.
    pub fn sweep(&self, tick: Ticks) {
        if tick.is_multiple_of(SWEEP_EVERY) {
            let (turn, now) = (tick / SWEEP_EVERY, unix_seconds());
            self.counters.sweep(turn, now);
            self.cluster.sweep(turn, now);
        }
    }
    /// Nanoseconds since the host started.
    pub fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds of the Unix clock.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds of the Unix clock, as of the kernel's last tick: some milliseconds late, and read at a fifth of the price.
pub fn unix_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec
}

/// Dense numbers, given again after use, each with a serial that never is: a table by number stays small, and what stands in it
/// can be told from what stood there before.
#[derive(Default)]
pub struct Slots {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// The serial of who holds each number; 0: nobody.
    holders: Vec<u64>,
    free: Vec<u32>,
    last_serial: u64,
}

/// A number and its serial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    pub number: u32,
    pub serial: u64,
}

impl Slots {
    pub fn take(&self) -> Slot {
        let mut table = self.table();
        table.last_serial += 1;
        let serial = table.last_serial;
        let number = table.free.pop().unwrap_or_else(|| {
            table.holders.push(0);
            u32::try_from(table.holders.len() - 1).expect("four billion living entries do not fit into memory")
        });
        if let Some(holder) = table.holders.get_mut(number as usize) {
            *holder = serial;
        }
        Slot { number, serial }
    }
    pub fn give_back(&self, slot: Slot) {
        let mut table = self.table();
        if let Some(holder) = table.holders.get_mut(slot.number as usize) {
            *holder = 0;
            table.free.push(slot.number);
        }
    }
    /// Whether that holder lives.
    pub fn lives(&self, slot: Slot) -> bool {
        self.table().holders.get(slot.number as usize) == Some(&slot.serial)
    }
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_a_new_holder_is_told_from_the_old_one() {
        let slots = Slots::default();
        let (first, second) = (slots.take(), slots.take());
        assert_eq!((first.number, second.number), (0, 1));
        slots.give_back(first);
        let again = slots.take();
        assert_eq!(again.number, 0);
        assert!(!slots.lives(first) && slots.lives(again) && slots.lives(second));
    }
}
