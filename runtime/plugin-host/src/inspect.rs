//! Judges a component's bytes: everything that can be known before it serves. Every refusal says why, and what to do.

use crate::compile::Code;
use crate::exchange::Kill;
use crate::host::Host;
use crate::instance::Instance;
use crate::limits::{Budget, COMPONENT_BYTES};
use crate::link::Linked;
use crate::manifest::Manifest;
use crate::prepared::{Draft, Origin};
use crate::state;
use std::sync::Arc;
use weir_model::entity::ComponentSettings;
use weir_model::schema::from_json_schema;
use weir_model::{ComponentRefusal, Digest, PluginInfo};

/// The refusal with that reason.
pub fn refused(reason: &str) -> ComponentRefusal {
    ComponentRefusal(format!("the component is refused: {reason}"))
}

/// Compiles, links and asks a component.
pub fn draft(host: &Host, bytes: &[u8], origin: Origin, grants: &[String]) -> Result<Draft, ComponentRefusal> {
    check_bytes(bytes).map_err(|reason| refused(&reason))?;
    let digest = Digest::from_bytes(*blake3::hash(bytes).as_bytes());
    let linked = Arc::new(link(host, bytes, digest)?);
    let lacking: Vec<&str> = linked.needs_grants.iter().filter(|need| !grants.contains(need)).map(String::as_str).collect();
    if !lacking.is_empty() {
        return Err(refused(&format!(
            "it imports {}, which the operator must grant: if it may have that, send it again with ?grants={} (of a file in \
             plugins_dir, the .toml beside it says `grants = [...]`)",
            lacking.join(" and "),
            linked.needs_grants.join(",")
        )));
    }
    let manifest = describe(host, &linked)?;
    let name = &manifest.name;
    if origin != Origin::Stock && host.installed(name).is_some_and(|installed| installed.origin == Origin::Stock) {
        return Err(refused(&format!("'{name}' is the name of a stock plugin; give it another name")));
    }
    if let Err(findings) = from_json_schema::record(&manifest.config) {
        return Err(refused(&format!("the schema of its configuration cannot be used: {findings}")));
    }
    let info = PluginInfo {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        priority: manifest.priority,
        origin: origin.name(),
        phases: linked.phases(),
        authenticates: linked.needs_grants.iter().any(|grant| grant == "credentials"),
        config_schema: manifest.config,
    };
    let common = Arc::new(state::Origin {
        name: manifest.name.as_str().into(),
        version: manifest.version.as_str().into(),
        credentials: manifest.credentials,
        stats: host.stats(&manifest.name),
        shared: host.shared_arc(),
    });
    Ok(Draft { info, digest, linked, common })
}

/// The first bytes tell what it is; only a component goes on to the compiler.
fn check_bytes(bytes: &[u8]) -> Result<(), String> {
    const WASM: &[u8] = b"\0asm";
    const ELF: &[u8] = b"\x7fELF";
    const MODULE: [u8; 4] = [1, 0, 0, 0];
    const COMPONENT: [u8; 4] = [13, 0, 1, 0];
    if bytes.is_empty() {
        return Err("there are no bytes; send the component itself as the body".into());
    }
    if bytes.len() > COMPONENT_BYTES {
        return Err(format!("it has {} bytes; at most {COMPONENT_BYTES} are allowed", bytes.len()));
    }
    if bytes.starts_with(ELF) {
        return Err(
            "it is compiled machine code (.cwasm), which is never accepted from outside; send the component (.wasm)".into()
        );
    }
    let Some(version) = bytes.strip_prefix(WASM).and_then(|rest| rest.first_chunk::<4>()) else {
        return Err("it is not WebAssembly".into());
    };
    match *version {
        COMPONENT => Ok(()),
        MODULE => Err(
            "it is a core module, not a component; build it for wasm32-wasip2, or make one of it by `wasm-tools component new`"
                .into(),
        ),
        other => Err(format!("it is WebAssembly of an unknown format ({other:02x?})")),
    }
}

fn link(host: &Host, bytes: &[u8], digest: Digest) -> Result<Linked, ComponentRefusal> {
    let engine = &host.pools.small.engine;
    let compiled = |error: crate::compile::CompileError| refused(&error.to_string());
    let code = host.compilation.code(engine, bytes, digest).map_err(compiled)?;
    match load(host, &code) {
        // What the cache had is of no use, whatever the reason: the compiler decides.
        Err(_) if code.is_remembered() => load(host, &host.compilation.compile(engine, bytes, digest).map_err(compiled)?),
        outcome => outcome,
    }
}

/// Into the small pool if it fits, else into the large one.
fn load(host: &Host, code: &Code) -> Result<Linked, ComponentRefusal> {
    let pools = &host.pools;
    let small = match code.load(&pools.small.engine) {
        Ok(component) => return Linked::new(&pools.small, &component).map_err(|reason| refused(&reason)),
        Err(error) => error,
    };
    match code.load(&pools.large.engine) {
        Ok(component) => Linked::new(&pools.large, &component).map_err(|reason| refused(&reason)),
        Err(large) => {
            Err(refused(&format!("it needs more than an instance may have: {large:#} (and as a small one: {small:#})")))
        }
    }
}

fn describe(host: &Host, linked: &Linked) -> Result<Manifest, ComponentRefusal> {
    let unnamed = Arc::new(state::Origin {
        name: "(being inspected)".into(),
        version: "".into(),
        credentials: Vec::new(),
        stats: host.scratch_stats(),
        shared: host.shared_arc(),
    });
    let budget = Budget::scratch(&ComponentSettings::default());
    let answer = Instance::start(linked, &unnamed, budget).and_then(|mut instance| instance.describe());
    let json = answer.map_err(|death| match death.kill {
        Kill::Host => refused(&death.message),
        kill => refused(&format!("it was killed when it was asked to describe itself ({}): {}", kill.name(), death.message)),
    })?;
    Manifest::read(&json).map_err(|reason| refused(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_get_as_far_as_the_compiler() {
        for (bytes, says) in [
            (&b""[..], "no bytes"),
            (b"hello, wasm", "not WebAssembly"),
            (b"\0asm", "not WebAssembly"),
            (b"\x7fELF\x02\x01\x01", "never accepted from outside"),
            (b"\0asm\x01\0\0\0", "a core module"),
            (b"\0asm\x0a\0\x01\0", "an unknown format"),
        ] {
            let reason = check_bytes(bytes).unwrap_err();
            assert!(reason.contains(says), "{reason}");
        }
        assert!(check_bytes(&vec![0; COMPONENT_BYTES + 1]).unwrap_err().contains("at most 33554432"));
        assert_eq!(check_bytes(b"\0asm\x0d\0\x01\0"), Ok(()));
    }
}
