//! What the figures depend on besides the programs: processors, kernel, how busy the machine was.

use std::fs;
use std::time::{Duration, Instant};

use crate::cpu::{self, Cpus};
use crate::error::Result;
use crate::rounds::Extent;

/// One line for each fact.
pub fn facts(cpus: &Cpus, extent: Extent) -> Vec<String> {
    let pinned = if cpus.are_separate() {
        "proxy on one of them, origin and load on another"
    } else {
        "one only: proxy, origin and load share it"
    };
    vec![
        format!("{} x {}; {pinned}", processors(), model()),
        format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!(
            "{} rounds of {} requests each, arms in turn, {} keep-alive connections with one request in flight; medians of the rounds",
            extent.rounds, extent.requests, extent.connections
        ),
    ]
}

/// How much of the machine went to anything but this benchmark, from construction to `said`.
pub struct Others {
    started: Instant,
    all: Duration,
    ours: Duration,
}

impl Others {
    /// Starts to look.
    pub fn watch() -> Result<Self> {
        Ok(Self { started: Instant::now(), all: busy(), ours: cpu::used(std::process::id())? })
    }

    /// The fact so far. The proxies are children of this process, so its family is all that the benchmark uses.
    pub fn said(&self) -> Result<String> {
        let ours = cpu::used(std::process::id())?.saturating_sub(self.ours);
        let others = busy().saturating_sub(self.all).saturating_sub(ours);
        let share = others.as_secs_f64() / self.started.elapsed().as_secs_f64().max(f64::EPSILON) * 100.0;
        Ok(format!("other programs, interrupts and the hypervisor used {share:.0} % of one processor during the run"))
    }
}

/// What all processors did since the machine started, idle time and waiting for disks left out.
fn busy() -> Duration {
    let stat = read("/proc/stat");
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; guest time is part of user time already.
    let ticks = fields.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).filter_map(|(_, f)| f.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1000 / cpu::TICKS_PER_SECOND)
}

fn processors() -> usize {
    read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count()
}

fn model() -> String {
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    model.map_or_else(|| "processors of unknown model".to_owned(), |(_, name)| name.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
