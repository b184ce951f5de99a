//! What the figures depend on besides the programs: processors, kernel, how busy the machine was.

use std::fs;

use crate::cpu::Cpus;
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

/// The load average, so that a disturbed run can be recognised.
pub fn load_average() -> String {
    let load = read("/proc/loadavg");
    let minute = load.split(' ').next().unwrap_or("unknown");
    format!("load average of the last minute when the run ended: {minute} (the benchmark itself is about 2)")
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
