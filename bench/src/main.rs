//! Compares a built gateway with nginx, HAProxy and Envoy on this machine: processor time of a request and its latency.
//!
//! Knows the gateway only from outside: its program, its settings file, its Admin API. `docs/benchmarks.md` has the method and the
//! last results; `cargo xtask bench` builds what is needed and runs this. Phase calls are measured by `bench/phases`, which knows the
//! plugin host; this program only runs it.

mod arms;
mod driver;
mod histogram;
mod http;
mod load;
mod machine;
mod origin;
mod probe;
mod report;
mod response;
mod rounds;
mod work;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use weir_bench::{cpu, error, peers, process};

use crate::arms::{ALL, Arm, Place, Running};
use crate::error::Result;
use crate::rounds::Extent;
use crate::work::{LOAD_LIMIT, PROBE_LIMIT, Work};

/// Processor time and latency of Weir and of other proxies doing the same work on this machine.
#[derive(Parser)]
#[command(name = "weir-bench")]
struct Options {
    /// The gateway's program [default: `weir` beside this program].
    #[arg(long)]
    weir: Option<PathBuf>,
    /// The program that measures phase calls [default: `weir-bench-phases` beside this program].
    #[arg(long)]
    phases: Option<PathBuf>,
    /// Folder of the stock plugins as components [default: `plugins` in the target folder that this program is in].
    #[arg(long)]
    components: Option<PathBuf>,
    /// Folder that the other proxies are unpacked into, and kept.
    #[arg(long, default_value = "target/bench-peers")]
    peers: PathBuf,
    /// The repository: the filter for Envoy is built from it, and `--write` fills its page.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    /// Rounds; each measures every arm once. Many short ones: a difference is taken within a round, so that the machine is as fast
    /// for one arm as for the other.
    #[arg(long, default_value_t = 41)]
    rounds: usize,
    /// Requests of one arm in one round.
    #[arg(long, default_value_t = 10_000)]
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
    /// Leave out the phase calls.
    #[arg(long)]
    no_phases: bool,
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

fn run(options: Options) -> Result<()> {
    let programs = Programs::find(&options)?;
    let cpus = cpu::Cpus::choose()?;
    let page = options.repository.join("docs/benchmarks.md");
    if !options.probe && !options.no_phases {
        let phases = phase_calls(&programs, &cpus);
        println!("{phases}\n");
        if options.write {
            report::write_between(&page, "phases", &phases)?;
        }
    }
    let proxies = proxies(&options, &programs, &cpus)?;
    if let Some(report) = proxies {
        println!("\n{report}");
        if options.write {
            report::write_between(&page, "proxies", &report)?;
        }
    }
    Ok(())
}

/// Where everything is that the benchmark runs or reads. Absolute: arms run in folders of their own.
struct Programs {
    weir: PathBuf,
    phases: PathBuf,
    components: PathBuf,
    peers: PathBuf,
}

impl Programs {
    fn find(options: &Options) -> Result<Self> {
        let here = std::env::current_exe().map_err(error::BenchError::io("looking for this program's folder"))?;
        let beside = |name: &str| here.with_file_name(name);
        let given = |path: &Option<PathBuf>, default: PathBuf| absolute(path.as_deref().unwrap_or(&default));
        Ok(Self {
            weir: given(&options.weir, beside("weir"))?,
            phases: given(&options.phases, beside("weir-bench-phases"))?,
            // <target>/<profile>/weir-bench and <target>/plugins
            components: given(&options.components, here.ancestors().nth(2).unwrap_or(&here).join("plugins"))?,
            peers: absolute(&options.peers)?,
        })
    }
}

/// The table of phase calls, or a line that says why there is none.
fn phase_calls(programs: &Programs, cpus: &cpu::Cpus) -> String {
    let mut command = Command::new(&programs.phases);
    command.arg("--components").arg(&programs.components);
    cpus.on_proxy_cpu(|| process::output_of(&mut command)).unwrap_or_else(|fault| format!("Not measured: {fault}"))
}

/// Measures the proxies; none when only their work was to be checked.
fn proxies(options: &Options, programs: &Programs, cpus: &cpu::Cpus) -> Result<Option<String>> {
    let driver = driver::Driver::start(cpus)?;
    let place =
        Place { origin: driver.origin, peers: &programs.peers, weir: &programs.weir, repository: &options.repository, cpus };
    let wanted: Vec<Arm> = ALL.into_iter().filter(|arm| options.only.is_empty() || options.only.contains(arm)).collect();
    let work = Work::new(LOAD_LIMIT, options.injected);
    let (running, missing) = start(&wanted, &place, &work);
    if options.probe {
        return Ok(None);
    }
    let extent = Extent {
        rounds: options.rounds,
        requests: options.requests,
        connections: options.connections,
        driver_has_a_cpu: cpus.are_separate(),
    };
    let mut facts = machine::facts(cpus, extent);
    facts.extend(arms::versions(&wanted, &programs.peers, &programs.weir));
    let others = machine::Others::watch()?;
    let samples = rounds::measure(&driver, &running, &work, extent);
    facts.push(others.said()?);
    Ok(Some(report::render(&samples, &report::Circumstances { facts, missing })))
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
