//! Judges a component by its imports and exports, and links it.
//!
//! Every refusal names the import or export and what to do. Nothing of the component runs here.

use crate::bindings::exports::weir::plugin as exports;
use crate::engine::Pool;
use crate::host_calls::wasi;
use crate::state::State;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};
use weir_model::Phase;

/// The interface that this node speaks. In 0.x a component may be built for this or an earlier patch, nothing else.
const PACKAGE: &str = "weir:plugin";
const VERSION: [u64; 3] = [0, 1, 0];

/// Capabilities that an operator must grant.
pub const GRANTABLE: [&str; 2] = ["counters", "credentials"];

/// A component that is linked and only waits for instances.
pub struct Linked {
    pub engine: Engine,
    pub pre: InstancePre<State>,
    pub plugin: exports::plugin::GuestIndices,
    pub request: Option<exports::request_phase::GuestIndices>,
    pub response: Option<exports::response_phase::GuestIndices>,
    pub log: Option<exports::log_phase::GuestIndices>,
    /// Imported capabilities that need a grant, in order.
    pub needs_grants: Vec<String>,
}

impl Linked {
    /// Judges and links. The error is the rest of a sentence that begins with "the component is refused: ".
    pub fn new(pool: &Pool, component: &Component) -> Result<Self, String> {
        let mut linker = pool.linker.clone();
        let needs_grants = imports(&pool.engine, component, &mut linker)?;
        let phases = phases(&pool.engine, component)?;
        let pre = linker.instantiate_pre(component).map_err(|error| format!("its imports do not fit: {error:#}"))?;
        let wrong = |error: wasmtime::Error| format!("an export of the interface is missing: {error:#}");
        let has = |phase| phases.contains(&phase);
        Ok(Self {
            plugin: exports::plugin::GuestIndices::new(&pre).map_err(wrong)?,
            request: has(Phase::Request).then(|| exports::request_phase::GuestIndices::new(&pre)).transpose().map_err(wrong)?,
            response: has(Phase::Response)
                .then(|| exports::response_phase::GuestIndices::new(&pre))
                .transpose()
                .map_err(wrong)?,
            log: has(Phase::Log).then(|| exports::log_phase::GuestIndices::new(&pre)).transpose().map_err(wrong)?,
            engine: pool.engine.clone(),
            pre,
            needs_grants,
        })
    }

    pub fn phases(&self) -> Vec<Phase> {
        let phases = [
            (Phase::Request, self.request.is_some()),
            (Phase::Response, self.response.is_some()),
            (Phase::Log, self.log.is_some()),
        ];
        phases.into_iter().filter_map(|(phase, there)| there.then_some(phase)).collect()
    }
}

/// `package/interface` and version of an import or export; none if it has another form.
fn parts(name: &str) -> Option<(&str, semver::Version)> {
    let (interface, version) = name.rsplit_once('@')?;
    Some((interface, semver::Version::parse(version).ok()?))
}

/// Judges each import and defines those of WASI. Returns what needs a grant.
fn imports(engine: &Engine, component: &Component, linker: &mut Linker<State>) -> Result<Vec<String>, String> {
    let component_type = component.component_type();
    let mut needs_grants = Vec::new();
    for (name, import) in component_type.imports(engine) {
        let unknown = || {
            format!(
                "it imports `{name}`, which this node does not have; there is {PACKAGE}@{} and WASI 0.2 without files or sockets",
                version()
            )
        };
        let Some((interface, found)) = parts(name) else { return Err(unknown()) };
        let ComponentItem::ComponentInstance(instance) = &import.ty else { return Err(unknown()) };
        let Some((package, capability)) = interface.split_once('/') else { return Err(unknown()) };
        if package == PACKAGE {
            check_version(name, &found)?;
            if GRANTABLE.contains(&capability) {
                needs_grants.push(capability.to_owned());
            }
        } else if wasi::PACKAGES.contains(&package) && (found.major, found.minor) == (0, 2) {
            let failed = |error: wasmtime::Error| format!("its import `{name}` cannot be served: {error:#}");
            let mut instance_linker = linker.instance(name).map_err(failed)?;
            for (item_name, item) in instance.exports(engine) {
                wasi::define(&mut instance_linker, interface, item_name, &item.ty).map_err(failed)?;
            }
        } else {
            return Err(unknown());
        }
    }
    needs_grants.sort();
    Ok(needs_grants)
}

/// Judges the exports that are the interface's; others are the component's own business.
fn phases(engine: &Engine, component: &Component) -> Result<Vec<Phase>, String> {
    let component_type = component.component_type();
    let mut phases = Vec::new();
    let mut is_plugin = false;
    for (name, _) in component_type.exports(engine) {
        let Some((interface, found)) = parts(name) else { continue };
        let Some(interface) = interface.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else { continue };
        check_version(name, &found)?;
        match interface {
            "plugin" => is_plugin = true,
            "request-phase" => phases.push(Phase::Request),
            "response-phase" => phases.push(Phase::Response),
            "log-phase" => phases.push(Phase::Log),
            _ => return Err(format!("it exports `{name}`, a phase that this node does not serve")),
        }
    }
    if !is_plugin {
        return Err(format!("it does not export `{PACKAGE}/plugin@{}`: it is a component, but not a Weir plugin", version()));
    }
    if phases.is_empty() {
        return Err(
            "it exports no phase, so there is nothing to call it for; the phases are request-phase, response-phase and log-phase"
                .into(),
        );
    }
    Ok(phases)
}

fn check_version(name: &str, found: &semver::Version) -> Result<(), String> {
    let [major, minor, patch] = VERSION;
    if (found.major, found.minor) == (major, minor) && found.patch <= patch && found.pre.is_empty() {
        return Ok(());
    }
    Err(format!("it is built for another version of the interface: `{name}`; this node speaks {PACKAGE}@{}", version()))
}

fn version() -> String {
    VERSION.map(|part| part.to_string()).join(".")
}
