//! Measures the arms in turn, round after round, so that whatever else the machine does meets all of them alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::arms::{Arm, Running};
use crate::cpu;
use crate::driver::Driver;
use crate::error::{BenchError, Result};
use crate::load::Load;
use crate::work::Work;

/// Longest measurement of one arm in one round; a proxy that is slower than this is measured with fewer requests.
const ROUND_LIMIT: Duration = Duration::from_secs(30);
/// Part of a round's requests that is sent first and not measured: connections open, pools and branch predictors fill.
const WARM_UP_SHARE: u64 = 10;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Rounds; each measures every arm once.
    pub rounds: usize,
    /// Requests of one arm in one round.
    pub requests: u64,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Whether origin and load have a processor for themselves.
    pub driver_has_a_cpu: bool,
}

/// One arm in one round.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Processor time of the proxy for one request, in microseconds.
    pub cpu_micros: f64,
    /// Half of the requests took no longer.
    pub p50: Duration,
    /// 99 of 100 requests took no longer.
    pub p99: Duration,
    /// Requests in a second of wall time.
    pub rate: f64,
    /// Share of the wall time that the proxy was running.
    pub proxy_busy: f64,
}

/// All rounds of all arms; an arm that failed in a round has no sample there and its reason is among the faults.
#[derive(Debug, Default)]
pub struct Samples {
    /// By arm, in the order of the rounds.
    pub by_arm: BTreeMap<Arm, Vec<Option<Sample>>>,
    /// What went wrong.
    pub faults: Vec<String>,
}

/// Runs all rounds.
pub fn measure(driver: &Driver, arms: &[Running], work: &Work, extent: Extent) -> Samples {
    let heads = Arc::new(work.heads());
    let mut samples = Samples::default();
    for round in 0..extent.rounds {
        let mut said = vec![];
        // Another arm goes first in each round: whoever is first after a pause always has it a little different.
        for running in arms.iter().cycle().skip(round % arms.len().max(1)).take(arms.len()) {
            let sample = one(driver, running, &heads, extent);
            let sample = match sample {
                Ok(sample) => {
                    said.push(format!("{} {:.1}", running.arm.word(), sample.cpu_micros));
                    Some(sample)
                }
                Err(fault) => {
                    samples.faults.push(format!("round {}: {}: {fault}", round + 1, running.arm.title()));
                    None
                }
            };
            samples.by_arm.entry(running.arm).or_default().push(sample);
        }
        println!("round {}/{}, CPU-us a request: {}", round + 1, extent.rounds, said.join(", "));
    }
    samples
}

fn one(driver: &Driver, running: &Running, heads: &Arc<Vec<Vec<u8>>>, extent: Extent) -> Result<Sample> {
    let load = |requests| Load {
        target: running.address,
        heads: Arc::clone(heads),
        connections: extent.connections,
        requests,
        stay_awake: extent.driver_has_a_cpu,
        at_most: ROUND_LIMIT,
    };
    driver.run(load((extent.requests / WARM_UP_SHARE).max(1)))?;
    let before = cpu::used(running.pid())?;
    let served = driver.run(load(extent.requests))?;
    let used = cpu::used(running.pid())?.saturating_sub(before);
    if served.reconnects > 0 {
        return Err(BenchError::Response(format!("it closed {} connections that should have been kept", served.reconnects)));
    }
    let requests = served.requests.max(1) as f64;
    let took = served.took.as_secs_f64().max(f64::EPSILON);
    Ok(Sample {
        cpu_micros: used.as_secs_f64() * 1e6 / requests,
        p50: served.latencies.quantile(0.5),
        p99: served.latencies.quantile(0.99),
        rate: requests / took,
        proxy_busy: used.as_secs_f64() / took,
    })
}
