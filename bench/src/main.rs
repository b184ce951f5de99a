//! Compares a built gateway with nginx, HAProxy and Envoy on this machine: processor time of a request and its latency.
//!
//! Knows the gateway only from outside: its program, its settings file, its Admin API. `docs/benchmarks.md` has the method and the
//! last results; `cargo xtask bench` builds what is needed and runs this.

mod arms;
mod cpu;
mod driver;
mod error;
mod histogram;
mod http;
mod load;
mod machine;
mod origin;
mod peers;
mod probe;
mod process;
mod report;
mod response;
mod rounds;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::arms::{ALL, Arm, Place, Running};
use crate::error::Result;
use crate::rounds::Extent;
use crate::work::{LOAD_LIMIT, PROBE_LIMIT, Work};

/// Processor time and latency of Weir and of other proxies doing the same work on this machine.
#[derive(Parser)]
#[command(name = "weir-bench")]
struct Options {
    /// The gateway's program; without it the rows of Weir say that it was not measured.
    #[arg(long)]
    weir: Option<PathBuf>,
    /// Folder that the other proxies are unpacked into, and kept.
    #[arg(long, default_value = "target/bench-peers")]
    peers: PathBuf,
    /// The repository.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    /// Rounds; each measures every arm once.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Requests of one arm in one round.
    #[arg(long, default_value_t = 40_000)]
    requests: u64,
    /// Keep-alive connections, each with one request in flight.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Response headers that the chain adds besides those of the rate limit (at most 6).
    #[arg(long, default_value_t = 6)]
    injected: usize,
    /// Only these arms: weir, weir-chain, nginx, nginx-lua, haproxy, haproxy-chain, envoy, envoy-wasm, envoy-lua.
    #[arg(long, value_delimiter = ',', value_parser = arm)]
    only: Vec<Arm>,
    /// Check that every arm does its work, and measure nothing.
    #[arg(long)]
    probe: bool,
    /// Put the results into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

fn arm(word: &str) -> std::result::Result<Arm, String> {
    Arm::named(word).ok_or_else(|| format!("no arm is called {word:?}"))
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("weir-bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut options: Options) -> Result<()> {
    // Arms run in folders of their own.
    options.peers = absolute(&options.peers)?;
    options.weir = options.weir.as_deref().map(absolute).transpose()?;
    let cpus = cpu::Cpus::choose()?;
    let driver = driver::Driver::start(&cpus)?;
    let place = Place {
        origin: driver.origin,
        peers: &options.peers,
        weir: options.weir.as_deref(),
        repository: &options.repository,
        cpus: &cpus,
    };
    let wanted: Vec<Arm> = ALL.into_iter().filter(|arm| options.only.is_empty() || options.only.contains(arm)).collect();
    let work = Work::new(LOAD_LIMIT, options.injected);
    let (running, missing) = start(&wanted, &place, &work);
    if options.probe {
        return Ok(());
    }
    let extent = Extent { rounds: options.rounds, requests: options.requests, connections: options.connections };
    let mut facts = machine::facts(&cpus, extent);
    facts.extend(arms::versions(&wanted, &options.peers, options.weir.as_deref()));
    let others = machine::Others::watch()?;
    let samples = rounds::measure(&driver, &running, &work, extent);
    facts.push(others.said()?);
    let report = report::render(&samples, &report::Circumstances { facts, missing });
    println!("\n{report}");
    if options.write {
        report::write_between(&options.repository.join("docs/benchmarks.md"), "proxies", &report)?;
    }
    Ok(())
}

/// Starts every arm twice: with a small limit for all probes, then with the limit of the load. One that fails is left out and named.
fn start(wanted: &[Arm], place: &Place<'_>, work: &Work) -> (Vec<Running>, Vec<(Arm, String)>) {
    let (mut running, mut missing) = (vec![], vec![]);
    for &arm in wanted {
        let small = work.with_limit(PROBE_LIMIT);
        let started = arms::start(arm, place, &small)
            .and_then(|probed| probe::check(&probed, &small))
            .and_then(|()| arms::start(arm, place, work))
            .and_then(|started| probe::check(&started, work).map(|()| started));
        match started {
            Ok(started) => {
                println!("{}: does its work", arm.title());
                running.push(started);
            }
            Err(fault) => {
                println!("{}: not measured: {fault}", arm.title());
                missing.push((arm, fault.to_string()));
            }
        }
    }
    (running, missing)
}

fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(error::BenchError::io(format!("resolving {}", path.display())))
}
