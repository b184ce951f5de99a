//! The data of one instance's `wasmtime::Store`: the exchange that is lent to it, what the call may still use, and why it ended.
//!
//! Host functions are implemented on it (`host_calls`). It knows nothing of workers or of how instances are kept.

use crate::exchange::{Exchange, Kill};
use crate::figures::Stats;
use crate::host_calls::headers::KnownNames;
use crate::host_calls::preparations::Prepared;
use crate::limits::*;
use crate::shared::Shared;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use weir_model::{Id, Phase};

/// What all instances of a component have in common and host functions need.
pub struct Origin {
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// The kinds of credential that the manifest names.
    pub credentials: Vec<String>,
    pub stats: Arc<Stats>,
    pub shared: Arc<Shared>,
}

/// The data of a store.
pub struct State {
    /// The exchange of the running call; between calls an absent one, so that lending is an exchange of two pointers.
    pub exchange: Box<Exchange>,
    /// In which phase; none: there is no exchange (`describe`, `configure`, `release`).
    pub phase: Option<Phase>,
    /// Whose call it is.
    pub entry: Id,
    /// Its number, under which it keeps and finds things in the exchange.
    pub entry_slot: u32,
    /// What its configurations prepare, and have prepared.
    pub prepared: Prepared,
    /// Header names that it wrote lately.
    pub names: KnownNames,
    pub origin: Arc<Origin>,
    pub budget: Budget,
    pub memory: Memory,
    pub log: LogUse,
    host_calls_left: u64,
    host_bytes_left: u64,
    cpu_began: Option<Duration>,
    killed: Option<Kill>,
}

/// Linear memory and tables of the instance.
#[derive(Default)]
pub struct Memory {
    pub bytes: usize,
    pub limit: usize,
    /// A growth was refused in this call: if the guest dies of it, this is why.
    pub refused: bool,
}

/// What the call has written to the log.
#[derive(Default)]
pub struct LogUse {
    pub lines_left: u32,
    /// The line that the guest is printing through WASI.
    pub printed: Vec<u8>,
    second: Ticks,
    in_second: u32,
}

impl LogUse {
    /// Whether the node takes one more line of this instance.
    pub fn admit(&mut self, now: Ticks) -> bool {
        if self.lines_left == 0 {
            return false;
        }
        let second = now / TICKS_A_SECOND;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.lines_left -= 1;
        self.in_second += 1;
        self.in_second <= LOG_LINES_A_SECOND
    }
}

/// The error with which a host function ends the guest's call; the reason stands in the state.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Ended(pub &'static str);

impl State {
    pub fn new(origin: Arc<Origin>, budget: Budget) -> Self {
        Self {
            exchange: Box::new(Exchange::absent()),
            phase: None,
            entry: Id::from_bytes([0; 16]),
            entry_slot: u32::MAX,
            prepared: Prepared::default(),
            names: KnownNames::default(),
            memory: Memory { limit: budget.memory, ..Memory::default() },
            log: LogUse { lines_left: LOG_LINES, ..LogUse::default() },
            host_calls_left: budget.host_calls,
            host_bytes_left: budget.host_bytes,
            cpu_began: None,
            killed: None,
            origin,
            budget,
        }
    }

    /// Fills the budgets for one more call.
    pub fn begin(&mut self) {
        self.host_calls_left = self.budget.host_calls;
        self.host_bytes_left = self.budget.host_bytes;
        self.log.lines_left = LOG_LINES;
        self.memory.refused = false;
        self.cpu_began = None;
    }

    /// Counts one host call and the bytes it moves. Every host function begins with it.
    pub fn charge(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match self.host_calls_left.checked_sub(1) {
            Some(left) => self.host_calls_left = left,
            None => return Err(self.end(Kill::HostCalls, "too many calls into the host")),
        }
        self.charge_bytes(bytes)
    }

    /// Counts bytes that a host function moves beyond those that it was charged for.
    pub fn charge_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match self.host_bytes_left.checked_sub(bytes as u64) {
            Some(left) => self.host_bytes_left = left,
            None => return Err(self.end(Kill::HostBytes, "too many bytes through the host")),
        }
        Ok(())
    }

    /// The exchange; outside of one, the call ends.
    pub fn lent(&mut self) -> wasmtime::Result<&mut Exchange> {
        if self.phase.is_none() {
            return Err(self.end(Kill::Limit, "there is no exchange in `describe`, `configure` and `release`"));
        }
        Ok(&mut self.exchange)
    }

    /// Ends the guest's call: notes why, and makes the error that the host function returns.
    #[cold]
    pub fn end(&mut self, kill: Kill, why: &'static str) -> wasmtime::Error {
        self.killed = Some(kill);
        wasmtime::Error::new(Ended(why))
    }

    /// Why the call ended that returned `error`.
    pub fn judge(&self, error: &wasmtime::Error) -> Kill {
        if let Some(kill) = self.killed {
            return kill;
        }
        if self.memory.refused {
            return Kill::MemoryBudget;
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::Interrupt) => Kill::CpuBudget,
            Some(_) => Kill::Trap,
            // wasmtime has no public type for "the guest handed over more than CROSSING_BYTES at once".
            None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => Kill::HostBytes,
            None => Kill::Trap,
        }
    }

    /// Asked at each tick while the guest runs. CPU time and not wall time, so that a worker which the system put aside does not
    /// kill an innocent plugin. The clock is first read at the first tick: reading it for every call would cost more than the
    /// call.
    pub fn at_tick(mut store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        let state = store.data_mut();
        let now = thread_cpu();
        let began = *state.cpu_began.get_or_insert(now);
        // Up to a tick passed before the first look: counting it in full, a call gets its budget within one tick either way.
        let over = now.saturating_sub(began) >= state.budget.cpu.saturating_sub(TICK).max(TICK / 2).min(state.budget.cpu);
        if over {
            state.killed = Some(Kill::CpuBudget);
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.limit {
            self.refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        Ok(true)
    }
    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            self.refused = true;
        }
        Ok(desired <= TABLE_ELEMENTS)
    }
}
