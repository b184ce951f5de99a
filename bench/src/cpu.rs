//! Processors and processor time: who runs where, and what a proxy has used.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{BenchError, Result};

/// Unit of the times in `/proc/stat` and `/proc/<pid>/stat`; Linux has shown 100 to user space on all its architectures for decades.
pub const TICKS_PER_SECOND: u64 = 100;

/// The processors of a run: one for the proxy under test, another one for origin and load.
#[derive(Debug, Clone)]
pub struct Cpus {
    all: CpuSet,
    proxy: Option<usize>,
    driver: Option<usize>,
}

impl Cpus {
    /// Chooses from what this process may use. With a single processor nobody is pinned.
    pub fn choose() -> Result<Self> {
        let all = sched_getaffinity(None).map_err(|e| BenchError::io("asking for the processors")(e.into()))?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let (first, second) = (usable.next(), usable.next());
        let pinned = second.is_some();
        Ok(Self { all, proxy: first.filter(|_| pinned), driver: second })
    }

    /// Whether proxy and driver have a processor each.
    pub fn are_separate(&self) -> bool {
        self.driver.is_some()
    }

    /// Moves the calling thread to the processor of origin and load.
    pub fn use_driver_cpu(&self) -> Result<()> {
        self.driver.map_or(Ok(()), |cpu| pin(&one(cpu)))
    }

    /// Runs `start` on the processor of the proxies: what it spawns inherits the place.
    pub fn on_proxy_cpu<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(cpu) = self.proxy else { return start() };
        pin(&one(cpu))?;
        let started = start();
        pin(&self.all)?;
        started
    }
}

fn one(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

fn pin(set: &CpuSet) -> Result<()> {
    sched_setaffinity(None, set).map_err(|e| BenchError::io("moving a thread to a processor")(e.into()))
}

/// Processor time of the process `pid`, all its threads and all its descendants, so far.
///
/// From the scheduler's own account in nanoseconds (`schedstat`) where the kernel keeps one, else user and system time of `stat`
/// in hundredths of a second. A thread that ended between two calls is missing in the first: proxies do not end threads under load.
pub fn used(pid: u32) -> Result<Duration> {
    // A child may have ended since the list was made; the process itself must be there.
    let of_member = |member: u32| of_process(member).or_else(|fault| if member == pid { Err(fault) } else { Ok(Duration::ZERO) });
    family(pid)?.into_iter().map(of_member).sum()
}

fn of_process(pid: u32) -> Result<Duration> {
    let doing = || format!("reading the processor time of process {pid}");
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(BenchError::io(doing()))? {
        let task = task.map_err(BenchError::io(doing()))?.path();
        match fs::read_to_string(task.join("schedstat")) {
            Ok(account) => nanos += account.split(' ').next().and_then(|f| f.parse::<u64>().ok()).unwrap_or_default(),
            Err(_) => return ticks(pid),
        }
    }
    Ok(Duration::from_nanos(nanos))
}

fn ticks(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(BenchError::io(format!("reading /proc/{pid}/stat")))?;
    let fields = fields_after_name(&stat);
    let field = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    // utime and stime are fields 14 and 15 of the line; the name is field 2.
    Ok(Duration::from_millis((field(11) + field(12)) * 1000 / TICKS_PER_SECOND))
}

/// `pid` and all its living descendants.
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").map_err(BenchError::io("reading /proc"))?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // It may have ended since the directory was read.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = fields_after_name(&stat).get(1).and_then(|f| f.parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(member) = family.get(at) {
        family.extend(children.remove(member).unwrap_or_default());
        at += 1;
    }
    Ok(family)
}

/// The fields behind the process's name, which may itself contain blanks and brackets.
fn fields_after_name(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "12 (a) b) S 7 12 12 0 -1 0 0 0 0 0 31 9 0 0";
        assert_eq!(fields_after_name(stat).get(1), Some(&"7"));
        assert_eq!(fields_after_name(stat).get(11..13), Some(&["31", "9"][..]));
    }

    #[test]
    fn the_time_of_this_process_grows_when_it_works() {
        let before = used(std::process::id()).expect("this process is there");
        let mut sum = 0u64;
        while used(std::process::id()).expect("this process is there") == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(family(std::process::id()).expect("/proc is there").contains(&std::process::id()));
    }
}
