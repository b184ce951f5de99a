//! What is counted of each plugin, by name: it outlives versions, entries and instances.

use crate::exchange::Kill;
use crate::limits::{FAILURE_LINES, TICKS_A_SECOND, Ticks};
use crate::shared::unix_millis;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use weir_model::Id;

/// Failure lines of a plugin are counted within this time.
const FAILURE_WINDOW: Ticks = 10 * TICKS_A_SECOND;

/// The figures of one plugin, for `/status`.
#[derive(Clone, Debug, Serialize)]
pub struct PluginFigures {
    /// Its name.
    pub name: String,
    /// The version that serves; none if it was uninstalled.
    pub version: Option<String>,
    /// `stock`, `directory` or `uploaded`.
    pub origin: Option<&'static str>,
    /// Calls of phases.
    pub calls: u64,
    /// Calls in which the plugin said that it failed.
    pub failures: u64,
    /// Calls that the host ended, and calls not made because the breaker was open, by kind.
    pub kills: BTreeMap<&'static str, u64>,
    /// `closed`, or `open` if that of at least one entry is.
    pub breaker: &'static str,
    /// The entries whose breakers are open.
    pub open_entries: Vec<Id>,
    /// Instances alive.
    pub instances: usize,
    /// Configurations that are ready in an instance.
    pub configurations: usize,
    /// Log lines that were dropped.
    pub log_lines_dropped: u64,
    /// The last failure or kill.
    pub last_failure: Option<LastFailure>,
}

/// A failure, and where it happened.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LastFailure {
    /// Milliseconds of the Unix clock.
    pub at: u64,
    /// The plugin entry.
    pub entry: Id,
    /// Name or id of the exchange's route.
    pub route: Option<String>,
    /// The version that failed.
    pub version: String,
    /// `request`, `response` or `log`.
    pub phase: &'static str,
    /// `failed` or the kind of the kill.
    pub kind: &'static str,
    /// What the plugin or the engine said.
    pub message: String,
}

/// The running figures of one plugin.
pub struct Stats {
    calls: Vec<Padded>,
    failures: AtomicU64,
    kills: [AtomicU64; Kill::ALL.len()],
    pub instances: AtomicUsize,
    pub configurations: AtomicUsize,
    pub log_lines_dropped: AtomicU64,
    open: Mutex<BTreeSet<Id>>,
    last: Mutex<Last>,
}

/// One number a cache line: workers that count calls must not meet.
#[repr(align(128))]
#[derive(Default)]
struct Padded(AtomicU64);

#[derive(Default)]
struct Last {
    failure: Option<LastFailure>,
    window: Ticks,
    lines: u32,
    suppressed: u64,
}

/// Whether a failure gets a line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// Yes; so many were left out since the last one.
    Write {
        /// Left out.
        suppressed: u64,
    },
    /// No: there were enough of them.
    LeaveOut,
}

impl Stats {
    pub fn new(workers: usize) -> Self {
        Self {
            calls: (0..workers.max(1)).map(|_| Padded::default()).collect(),
            failures: AtomicU64::new(0),
            kills: Default::default(),
            instances: AtomicUsize::new(0),
            configurations: AtomicUsize::new(0),
            log_lines_dropped: AtomicU64::new(0),
            open: Mutex::default(),
            last: Mutex::default(),
        }
    }
    /// Counts a call made by that worker. `alone`: no other one counts under its number, so that nothing has to be locked.
    pub fn called(&self, worker: usize, alone: bool) {
        match self.calls.get(worker) {
            Some(calls) if alone => calls.0.store(calls.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            Some(calls) => {
                calls.0.fetch_add(1, Ordering::Relaxed);
            }
            None => {}
        }
    }
    /// Counts a call that was not made because the breaker was open.
    pub fn refused(&self) {
        self.kills[Kill::CircuitOpen.index()].fetch_add(1, Ordering::Relaxed);
    }
    /// Notes a failure (`kill` none: the plugin said so) and answers whether it gets a log line.
    pub fn failed(&self, kill: Option<Kill>, failure: LastFailure, now: Ticks) -> Line {
        match kill {
            Some(kill) => self.kills[kill.index()].fetch_add(1, Ordering::Relaxed),
            None => self.failures.fetch_add(1, Ordering::Relaxed),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.failure = Some(failure);
        if now >= last.window + FAILURE_WINDOW {
            (last.window, last.lines) = (now, 0);
        }
        last.lines = last.lines.saturating_add(1);
        if last.lines > FAILURE_LINES {
            last.suppressed += 1;
            return Line::LeaveOut;
        }
        Line::Write { suppressed: std::mem::take(&mut last.suppressed) }
    }
    /// The breaker of that entry is open, or no longer.
    pub fn breaker(&self, entry: Id, open: bool) {
        let mut entries = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open {
            true => entries.insert(entry),
            false => entries.remove(&entry),
        };
    }
    /// The figures now.
    pub fn figures(&self, name: &str, version: Option<String>, origin: Option<&'static str>) -> PluginFigures {
        let open_entries: Vec<Id> = self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let kills = Kill::ALL.into_iter().map(|kill| (kill.name(), self.kills[kill.index()].load(Ordering::Relaxed)));
        PluginFigures {
            name: name.to_owned(),
            version,
            origin,
            calls: self.calls.iter().map(|calls| calls.0.load(Ordering::Relaxed)).sum(),
            failures: self.failures.load(Ordering::Relaxed),
            kills: kills.filter(|(_, count)| *count > 0).collect(),
            breaker: if open_entries.is_empty() { "closed" } else { "open" },
            open_entries,
            instances: self.instances.load(Ordering::Relaxed),
            configurations: self.configurations.load(Ordering::Relaxed),
            log_lines_dropped: self.log_lines_dropped.load(Ordering::Relaxed),
            last_failure: self.last.lock().unwrap_or_else(PoisonError::into_inner).failure.clone(),
        }
    }
}

impl LastFailure {
    /// A failure that happens now.
    pub fn now(entry: Id, version: &str, phase: &'static str, kind: &'static str, message: String) -> Self {
        Self { at: unix_millis(), entry, route: None, version: version.to_owned(), phase, kind, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_lines_are_limited_and_what_was_left_out_is_told_later() {
        let stats = Stats::new(1);
        let failure = || LastFailure::now(Id::random(), "1.0.0", "request", "trap", "unreachable".into());
        let lines: Vec<Line> = (0..FAILURE_LINES + 5).map(|_| stats.failed(Some(Kill::Trap), failure(), 7)).collect();
        assert_eq!(lines.iter().filter(|line| **line == Line::LeaveOut).count(), 5);
        assert_eq!(stats.failed(None, failure(), 7 + FAILURE_WINDOW), Line::Write { suppressed: 5 });
        let figures = stats.figures("p", None, None);
        assert_eq!(figures.kills.get("trap"), Some(&u64::from(FAILURE_LINES + 5)));
        assert_eq!(figures.failures, 1);
    }

    #[test]
    fn an_open_breaker_names_its_entry() {
        let stats = Stats::new(1);
        let entry = Id::random();
        stats.breaker(entry, true);
        assert_eq!(stats.figures("p", None, None).open_entries, [entry]);
        assert_eq!(stats.figures("p", None, None).breaker, "open");
        stats.breaker(entry, false);
        assert_eq!(stats.figures("p", None, None).breaker, "closed");
    }
}
