//! What a phase call of each stock plugin costs, next to the same lines in native Rust.
//!
//! Through the plugin host's public interface, as the proxy calls it, with exchanges that are made outside the measured time. Both
//! sides must leave the same exchange behind, or there is no figure. Prints a table in Markdown.

mod cases;
mod native;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;
use weir_model::entity::ComponentSettings;
use weir_model::{Findings, Id, Plugin, schema};
use weir_plugin_host::exchange::{Ending, Exchange};
use weir_plugin_host::{Compiler, Entry, Host, HostSettings, Origin, WorkerPlugins};

use crate::cases::Case;
use crate::native::Native;
use crate::world::World;

// The gateway's allocator: both sides allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exchanges that one measurement runs over: many enough that reading the clock vanishes, few enough to stay in the cache as in a
/// proxy, where an exchange was touched a moment ago.
const BATCH: usize = 32;

/// Costs of phase calls.
#[derive(Parser)]
#[command(name = "weir-bench-phases")]
struct Options {
    /// Folder with the stock plugins as components, named like `key-auth.wasm`.
    #[arg(long, default_value = "target/plugins")]
    components: PathBuf,
    /// Rounds; each measures every case on both sides.
    #[arg(long, default_value_t = 3000)]
    rounds: usize,
}

/// Why there is no figure for a case, or none at all.
#[derive(Debug, thiserror::Error)]
enum PhasesError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the plugin host does not start: {0}")]
    Host(#[from] weir_plugin_host::HostError),
    #[error("{plugin} is refused: {source}")]
    Component { plugin: &'static str, source: weir_model::ComponentRefusal },
    #[error("{plugin} takes no such configuration: {findings}")]
    Config { plugin: &'static str, findings: Findings },
    #[error("{0}")]
    Entry(#[from] weir_plugin_host::EntryError),
    #[error("{plugin} does not handle the {phase} phase")]
    Phase { plugin: &'static str, phase: &'static str },
    #[error("{plugin} ended with {ending}")]
    Ending { plugin: &'static str, ending: String },
    #[error("{plugin} and its native form leave different exchanges behind:\n  {component}\n  {native}")]
    Differ { plugin: &'static str, component: String, native: String },
}

/// A case that is ready to be measured.
struct Ready {
    case: Case,
    entry: Arc<Entry>,
    component: Vec<Duration>,
    native: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("weir-bench-phases: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<String, PhasesError> {
    let cache = tempfile::tempdir().map_err(|source| PhasesError::File { path: std::env::temp_dir(), source })?;
    let host = Host::new(HostSettings::new(1, cache.path().to_owned(), Compiler::InProcess))?;
    let mut plugins = WorkerPlugins::new(Arc::clone(&host));
    let (world, native) = (World::new(), Native::new());
    let (mut ready, mut lines) = (vec![], vec![]);
    for case in cases::all() {
        let title = format!("{}, {}", case.plugin, case.does);
        let prepared = prepare(&host, &options.components, case)
            .and_then(|ready| check(&mut plugins, &world, &native, &ready).map(|()| ready));
        match prepared {
            Ok(prepared) => ready.push(prepared),
            Err(fault) => lines.push(format!("- not measured: {title}: {fault}")),
        }
    }
    for _ in 0..options.rounds {
        for one in &mut ready {
            measure(&mut plugins, &world, &native, one);
        }
    }
    Ok(table(&ready, &lines))
}

fn prepare(host: &Host, components: &Path, case: Case) -> Result<Ready, PhasesError> {
    let plugin = case.plugin;
    let path = components.join(plugin).with_extension("wasm");
    let bytes = std::fs::read(&path).map_err(|source| PhasesError::File { path, source })?;
    let grants = ["credentials".to_owned(), "counters".to_owned()];
    let installed = host
        .install(&bytes, Origin::Stock, &grants, ComponentSettings::default())
        .map_err(|source| PhasesError::Component { plugin, source })?;
    // As the Admin API does it: the plugin's own schema fills in what the operator left out.
    let config = match &case.config {
        Value::Object(config) => config.clone(),
        _ => serde_json::Map::new(),
    };
    let config = schema::from_json_schema::record(&installed.info.config_schema)
        .and_then(|record| record.process(config))
        .map_err(|findings| PhasesError::Config { plugin, findings })?;
    let entry = host.entry(&Plugin {
        id: Id::random(),
        name: plugin.to_owned(),
        instance_name: None,
        route: None,
        service: None,
        consumer: None,
        config,
        protocols: vec!["http".to_owned()],
        enabled: true,
    })?;
    if !entry.handles(case.phase) {
        return Err(PhasesError::Phase { plugin, phase: cases::phase_name(case.phase) });
    }
    Ok(Ready { case, entry, component: vec![], native: vec![] })
}

/// Runs both sides once and compares what they did.
fn check(plugins: &mut WorkerPlugins, world: &World, native: &Native, ready: &Ready) -> Result<(), PhasesError> {
    let plugin = ready.case.plugin;
    let (mut by_component, mut by_native) = ((ready.case.exchange)(world, 0), (ready.case.exchange)(world, 0));
    match plugins.call(ready.case.phase, &ready.entry, &mut by_component) {
        Ending::Proceed => {}
        other => return Err(PhasesError::Ending { plugin, ending: format!("{other:?}") }),
    }
    if !(ready.case.native)(native, &mut by_native) {
        return Err(PhasesError::Ending { plugin: "the native form", ending: "a refusal".to_owned() });
    }
    let (component, native) = (world::describe(by_component), world::describe(by_native));
    if component == native { Ok(()) } else { Err(PhasesError::Differ { plugin, component, native }) }
}

/// One batch on each side. Exchanges are made before the clock starts and dropped after it stops.
fn measure(plugins: &mut WorkerPlugins, world: &World, native: &Native, ready: &mut Ready) {
    let batch = || -> Vec<Box<Exchange>> { (0..BATCH).map(|number| (ready.case.exchange)(world, number)).collect() };
    let mut exchanges = batch();
    let began = Instant::now();
    for exchange in &mut exchanges {
        std::hint::black_box(plugins.call(ready.case.phase, &ready.entry, exchange));
    }
    let component = began.elapsed();
    let mut exchanges = batch();
    let began = Instant::now();
    for exchange in &mut exchanges {
        std::hint::black_box((ready.case.native)(native, exchange));
    }
    let by_native = began.elapsed();
    ready.component.push(component);
    ready.native.push(by_native);
}

fn table(ready: &[Ready], lines: &[String]) -> String {
    let mut rows = vec![
        "| plugin | phase | what it does | component, ns | native, ns | difference | median component, native |".to_owned(),
        "|---|---|---|--:|--:|--:|--:|".to_owned(),
    ];
    for one in ready {
        let (component, native) = (least(&one.component), least(&one.native));
        rows.push(format!(
            "| {} | {} | {} | {component:.0} | {native:.0} | {:.0} | {:.0}, {:.0} |",
            one.case.plugin,
            cases::phase_name(one.case.phase),
            one.case.does,
            component - native,
            middle(&one.component),
            middle(&one.native)
        ));
    }
    rows.push(String::new());
    rows.extend_from_slice(lines);
    rows.join("\n").trim_end().to_owned()
}

fn least(batches: &[Duration]) -> f64 {
    batches.iter().min().map_or(0.0, |batch| a_call(*batch))
}

fn middle(batches: &[Duration]) -> f64 {
    let mut sorted = batches.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).map_or(0.0, |batch| a_call(*batch))
}

fn a_call(batch: Duration) -> f64 {
    batch.as_nanos() as f64 / BATCH as f64
}
