//! Which room may depend on which, and which third-party crates belong to one room alone.

use super::{Source, Sources};

/// Folder of the manifest, and the crates of ours that it may name under `[dependencies]`. A new edge is the rarest of changes:
/// it comes with a note in `docs/decisions/`.
const EDGES: &[(&str, &[&str])] = &[
    ("runtime/model", &[]),
    ("runtime/store", &["weir-model"]),
    ("runtime/plugin-host", &["weir-model"]),
    ("runtime/proxy", &["weir-model", "weir-plugin-host"]),
    ("runtime/admin", &["weir-model", "weir-store"]),
    ("runtime", &["weir-model", "weir-store", "weir-plugin-host", "weir-proxy", "weir-admin"]),
    ("plugin-sdk", &[]),
    // The harness speaks to the built binary; from the tasks it takes the sample and the tour,
    // from the benchmark a load balancer.
    ("tests", &["xtask", "weir-bench", "weir-cassandra-harness"]),
    // Knows processes and sockets only, so that the store's own tests may use it, too: those make no edge here.
    ("tests/cassandra", &[]),
    // Measures whole requests on the built binary; beside it, single calls of plugins in the plugin host, and the same work for Envoy.
    ("bench", &[]),
    ("bench/phases", &["weir-model", "weir-plugin-host"]),
    ("bench/envoy-filter", &[]),
    // Where Cassandra is kept, and how a cluster for developers starts.
    ("xtask", &["weir-cassandra-harness"]),
    ("tools/componentize", &[]),
    // A workspace of its own, for cargo-fuzz.
    ("runtime/proxy/fuzz", &["weir-model", "weir-proxy"]),
];

/// Folders of plugins: each knows the SDK and nothing else of ours.
const GUESTS: &[&str] = &["plugins/", "tests/guests/", "plugin-sdk/examples/"];

/// Crates that one room owns, and who else may name them and why.
const OWNED: &[(&str, &[&str])] = &[
    ("redb", &["runtime/store"]),
    ("scylla", &["runtime/store"]),
    ("wasmtime", &["runtime/plugin-host"]),
    ("wasmtime-wasi", &["runtime/plugin-host"]),
    ("axum", &["runtime/admin"]),
    // The Admin API's connections are hyper's too; tests and benchmark are clients.
    ("hyper", &["runtime/proxy", "runtime/admin", "tests", "bench"]),
    // The guest speaks a version of the interface that the SDK does not.
    ("wit-bindgen", &["plugin-sdk", "tests/guests/wrong-interface-version"]),
];

/// Findings on all manifests.
pub fn check(sources: &Sources) -> Vec<String> {
    sources.all("toml").filter(|source| source.path.ends_with("Cargo.toml")).flat_map(manifest).collect()
}

fn manifest(source: &Source) -> Vec<String> {
    let folder = source.path.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    if folder.is_empty() {
        return Vec::new();
    }
    let allowed: Vec<&str> = match EDGES.iter().find(|(room, _)| *room == folder) {
        Some((_, allowed)) => allowed.to_vec(),
        None if GUESTS.iter().any(|guests| folder.starts_with(guests)) => vec!["plugin-sdk"],
        None => return vec![format!("{}: no room of ARCHITECTURE.md; add it to xtask/src/tidy/edges.rs", source.path.display())],
    };
    let mut findings = Vec::new();
    for name in dependencies(&source.text) {
        let ours = name.starts_with("weir") || name == "plugin-sdk" || name == "xtask";
        if ours && !allowed.contains(&name) {
            findings.push(format!("{}: {folder} must not know {name}", source.path.display()));
        }
        if let Some((_, owners)) = OWNED.iter().find(|(owned, _)| *owned == name)
            && !owners.contains(&folder.as_str())
        {
            findings.push(format!("{}: {name} belongs to {}", source.path.display(), owners.join(", ")));
        }
    }
    findings
}

/// Names under `[dependencies]` and under a target's; what only tests need makes no edge.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header == "dependencies" || header.ends_with(".dependencies") && header.starts_with("target.");
            if let Some(name) = header.strip_prefix("dependencies.") {
                names.push(name);
            }
        } else if inside && !line.starts_with('#') {
            names.extend(line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(folder: &str, manifest_text: &str) -> Vec<String> {
        manifest(&Source { path: format!("{folder}/Cargo.toml").into(), text: manifest_text.to_owned() })
    }

    #[test]
    fn an_edge_that_the_design_does_not_have_is_refused() {
        let text = "[dependencies]\nweir-model.workspace = true\nweir-store.workspace = true\nserde = \"1\"\n";
        assert_eq!(findings("runtime/proxy", text), ["runtime/proxy/Cargo.toml: runtime/proxy must not know weir-store"]);
        assert!(findings("runtime/admin", text).is_empty());
        assert_eq!(findings("plugins/key-auth", "[dependencies]\nweir-model = { path = \"x\" }\n").len(), 1);
        assert_eq!(findings("runtime/new", "[dependencies]\n").len(), 1);
    }

    #[test]
    fn a_crate_that_one_room_owns_is_refused_elsewhere() {
        assert_eq!(findings("runtime/admin", "[dependencies]\nwasmtime = \"48\"\n").len(), 1);
        assert!(findings("runtime/admin", "[dev-dependencies]\nwasmtime = \"48\"\n").is_empty());
    }
}
