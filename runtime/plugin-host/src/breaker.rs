//! Cuts out a plugin entry that keeps being killed, and probes it back.
//!
//! One for each entry: a bad configuration or route must not take the component away from the others. Knows kinds of kills and
//! ticks; not what was called. While nothing goes wrong a call costs one load.

use crate::exchange::Kill;
use crate::limits::{TICKS_A_SECOND, Ticks};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// Kills are counted within this time; what happened longer ago does not count.
const WINDOW: Ticks = 10 * TICKS_A_SECOND;

/// Kills that burned a worker's time (CPU or memory budget) which open the breaker. Two, not one, so that a single odd request
/// does not cut a plugin out; not more, because each holds up every neighbour on the worker for the whole budget.
const COSTLY_KILLS: u32 = 2;

/// Other kills that open the breaker, and only if at least half the calls in the window were killed: a stranger who has found a
/// request that makes a plugin trap must not be able to switch it off for everybody.
const CHEAP_KILLS: u32 = 20;

/// How long it stays open first; doubled after each failed probe, since a probe may cost a whole CPU budget.
const FIRST_PAUSE: Ticks = 5 * TICKS_A_SECOND;

/// The longest pause: an entry that was mended from outside comes back within this time.
const LONGEST_PAUSE: Ticks = 60 * TICKS_A_SECOND;

/// What the breaker says to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Go on.
    Call,
    /// Go on; this call decides whether the breaker closes.
    Probe,
    /// Do not call.
    Refused,
}

/// What an outcome did to the breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing that anybody need know.
    None,
    /// It opened (again).
    Opened,
    /// It closed.
    Closed,
}

/// The breaker of one entry.
#[derive(Default)]
pub struct Breaker {
    /// What a call sees first: 0 nothing went wrong lately, 1 something did, 2 open.
    state: AtomicU8,
    record: Mutex<Record>,
}

const QUIET: u8 = 0;
const WATCHING: u8 = 1;
const OPEN: u8 = 2;

#[derive(Default)]
struct Record {
    window_began: Ticks,
    calls: u32,
    costly: u32,
    cheap: u32,
    pause: Ticks,
    open_until: Ticks,
    closed_at: Ticks,
    probing: bool,
}

impl Breaker {
    /// Asked before each call.
    pub fn admit(&self, now: impl FnOnce() -> Ticks) -> Admission {
        if self.state.load(Ordering::Relaxed) != OPEN {
            return Admission::Call;
        }
        let mut record = self.record();
        if self.state.load(Ordering::Relaxed) != OPEN {
            return Admission::Call;
        }
        if record.probing || now() < record.open_until {
            return Admission::Refused;
        }
        record.probing = true;
        Admission::Probe
    }

    /// Told after a call that was not killed.
    pub fn survived(&self, admission: Admission, now: impl FnOnce() -> Ticks) -> Change {
        if self.state.load(Ordering::Relaxed) == QUIET {
            return Change::None;
        }
        let mut record = self.record();
        if admission == Admission::Probe {
            record.probing = false;
            let now = now();
            record.closed_at = now;
            record.begin_window(now);
            self.state.store(WATCHING, Ordering::Relaxed);
            return Change::Closed;
        }
        if self.state.load(Ordering::Relaxed) == WATCHING {
            record.calls = record.calls.saturating_add(1);
            if now() >= record.window_began + WINDOW {
                self.state.store(QUIET, Ordering::Relaxed);
            }
        }
        Change::None
    }

    /// Told after a call that was killed.
    pub fn killed(&self, admission: Admission, kill: Kill, now: Ticks) -> Change {
        let mut record = self.record();
        if admission == Admission::Probe {
            record.probing = false;
            record.pause = (record.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            record.open_until = now + record.pause;
            return Change::Opened;
        }
        match self.state.load(Ordering::Relaxed) {
            // A call that began before it opened, on another worker.
            OPEN => return Change::None,
            WATCHING if now < record.window_began + WINDOW => {}
            _ => record.begin_window(now),
        }
        self.state.store(WATCHING, Ordering::Relaxed);
        record.calls = record.calls.saturating_add(1);
        match kill {
            Kill::CpuBudget | Kill::MemoryBudget => record.costly += 1,
            _ => record.cheap += 1,
        }
        let mostly_killed = (record.cheap + record.costly).saturating_mul(2) >= record.calls;
        if record.costly < COSTLY_KILLS && !(record.cheap >= CHEAP_KILLS && mostly_killed) {
            return Change::None;
        }
        // Opening soon after a probe closed it goes on doubling: otherwise a plugin that fails half the time costs a budget a
        // window.
        let relapse = record.pause > 0 && now < record.closed_at + LONGEST_PAUSE;
        record.pause = if relapse { (record.pause * 2).min(LONGEST_PAUSE) } else { FIRST_PAUSE };
        record.open_until = now + record.pause;
        self.state.store(OPEN, Ordering::Relaxed);
        Change::Opened
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn begin_window(&mut self, now: Ticks) {
        self.window_began = now;
        (self.calls, self.costly, self.cheap) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(breaker: &Breaker, now: Ticks) {
        assert_eq!(breaker.killed(Admission::Call, Kill::CpuBudget, now), Change::None);
        assert_eq!(breaker.killed(Admission::Call, Kill::CpuBudget, now), Change::Opened);
    }

    #[test]
    fn two_cpu_kills_open_it_and_one_probe_at_a_time_is_let_through() {
        let breaker = Breaker::default();
        open(&breaker, 1_000);
        assert_eq!(breaker.admit(|| 1_000), Admission::Refused);
        assert_eq!(breaker.admit(|| 1_000 + FIRST_PAUSE), Admission::Probe);
        assert_eq!(breaker.admit(|| 1_000 + FIRST_PAUSE), Admission::Refused);
        assert_eq!(breaker.survived(Admission::Probe, || 2_000), Change::Closed);
        assert_eq!(breaker.admit(|| 2_000), Admission::Call);
    }

    #[test]
    fn failed_probes_double_the_pause_up_to_a_bound() {
        let breaker = Breaker::default();
        open(&breaker, 0);
        let mut now = FIRST_PAUSE;
        let mut pause = FIRST_PAUSE;
        for _ in 0..8 {
            assert_eq!(breaker.admit(|| now), Admission::Probe);
            assert_eq!(breaker.killed(Admission::Probe, Kill::CpuBudget, now), Change::Opened);
            pause = (pause * 2).min(LONGEST_PAUSE);
            assert_eq!(breaker.admit(|| now + pause - 1), Admission::Refused);
            now += pause;
        }
    }

    #[test]
    fn traps_open_it_only_when_most_calls_trap() {
        let mostly_fine = Breaker::default();
        for call in 0..1_000u64 {
            if call % 10 == 0 {
                assert_eq!(mostly_fine.killed(Admission::Call, Kill::Trap, 0), Change::None);
            } else {
                mostly_fine.survived(Admission::Call, || 0);
            }
        }
        let broken = Breaker::default();
        let changes: Vec<Change> = (0..CHEAP_KILLS).map(|_| broken.killed(Admission::Call, Kill::Trap, 0)).collect();
        assert_eq!(changes.last(), Some(&Change::Opened));
        assert!(changes[..changes.len() - 1].iter().all(|change| *change == Change::None));
    }

    #[test]
    fn kills_that_are_long_past_do_not_count() {
        let breaker = Breaker::default();
        breaker.killed(Admission::Call, Kill::CpuBudget, 0);
        assert_eq!(breaker.killed(Admission::Call, Kill::CpuBudget, WINDOW), Change::None);
        breaker.survived(Admission::Call, || 3 * WINDOW);
        assert_eq!(breaker.state.load(Ordering::Relaxed), QUIET);
    }

    #[test]
    fn a_relapse_soon_after_a_probe_waits_longer() {
        let breaker = Breaker::default();
        open(&breaker, 0);
        assert_eq!(breaker.admit(|| FIRST_PAUSE), Admission::Probe);
        breaker.survived(Admission::Probe, || FIRST_PAUSE);
        open(&breaker, FIRST_PAUSE + 1);
        assert_eq!(breaker.admit(|| 2 * FIRST_PAUSE + 1), Admission::Refused);
        assert_eq!(breaker.admit(|| 3 * FIRST_PAUSE + 1), Admission::Probe);
    }

    #[test]
    fn calls_that_began_before_it_opened_change_nothing() {
        let breaker = Breaker::default();
        open(&breaker, 0);
        assert_eq!(breaker.killed(Admission::Call, Kill::CpuBudget, 1), Change::None);
        assert_eq!(breaker.survived(Admission::Call, || 1), Change::None);
        assert_eq!(breaker.admit(|| 2), Admission::Refused);
    }
}
