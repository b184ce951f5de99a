//! What `plugins_dir` holds: components, and beside each what the operator decided about it. Reads and judges; installs nothing.

use std::path::{Path, PathBuf};
use weir_model::PluginCatalog;
use weir_model::entity::ComponentSettings;
use weir_model::schema::component_settings;
use weir_plugin_host::Host;
use weir_plugin_host::limits::COMPONENT_BYTES;

/// One file of `plugins_dir`.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) file: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) beside: Beside,
}

/// What a file `name.toml` beside `name.wasm` may say: the operator's decisions, which the component cannot make for itself.
#[derive(Debug, PartialEq, serde::Deserialize)]
pub(super) struct Beside {
    /// Capabilities: `credentials`, `counters`.
    pub(super) grants: Vec<String>,
    #[serde(flatten)]
    pub(super) settings: ComponentSettings,
}

/// Each file of the folder with the name of its plugin, or why it is refused.
pub fn inspect(host: &Host, folder: &Path) -> std::io::Result<Vec<(PathBuf, Result<String, String>)>> {
    let name = |file: &Path| {
        let found = read_local(file)?;
        host.inspect(&found.bytes, &found.beside.grants).map(|manifest| manifest.name).map_err(|refusal| refusal.to_string())
    };
    Ok(wasm_files(folder)?.into_iter().map(|file| (file.clone(), name(&file))).collect())
}

pub(super) fn wasm_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Anything else that looks like a plugin is refused by name rather than passed over: `.cwasm` above all.
        if path.extension().is_some_and(|ending| ["wasm", "cwasm", "wat"].iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
    // The same order on every start.
    files.sort();
    Ok(files)
}

pub(super) fn read_local(file: &Path) -> Result<Local, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    // Before it is read: a file that landed there by mistake may be of any size.
    if size > COMPONENT_BYTES as u64 {
        return Err(format!("it has {size} bytes, {COMPONENT_BYTES} is the most"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let settings = file.with_extension("toml");
    let beside = match std::fs::read_to_string(&settings) {
        Ok(text) => Beside::read(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Beside::read(""),
        Err(error) => Err(error.to_string()),
    };
    let beside = beside.map_err(|reason| format!("{}: {reason}", settings.display()))?;
    Ok(Local { file: file.to_path_buf(), bytes, beside })
}

impl Beside {
    /// Judged as the Admin API judges the settings of an upload: what the node would not keep to is refused by name.
    fn read(text: &str) -> Result<Self, String> {
        let given = toml::from_str(text).map_err(|error| error.to_string())?;
        let settings = component_settings().process(given).map_err(|findings| findings.to_string())?;
        serde_json::from_value(settings.into()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_beside_a_component_are_refused_by_name_with_what_is_allowed() {
        let beside = Beside::read("grants = [\"counters\"]\ncpu_budget_ms = 10000\nisolation = \"per_request\"").unwrap();
        assert_eq!((beside.grants, beside.settings.cpu_budget_ms), (vec!["counters".to_owned()], 10_000));
        assert_eq!(beside.settings.isolation, weir_model::entity::Isolation::PerRequest);
        assert_eq!(Beside::read("").unwrap().settings, ComponentSettings::default());
        for (text, says) in [
            ("cpu_budget_ms = 0", "cpu_budget_ms: value should be between 1 and 10000"),
            ("cpu_budget_ms = 10001", "cpu_budget_ms: value should be between 1 and 10000"),
            ("memory_budget_bytes = 1048575", "memory_budget_bytes: value should be between 1048576 and 1073741824"),
            ("memory_budget_bytes = 9223372036854775807", "memory_budget_bytes: value should be between 1048576 and 1073741824"),
            ("host_calls_budget = 0", "host_calls_budget: value should be between 1 and 10000000"),
            ("host_bytes_budget = -1", "host_bytes_budget: value should be between 1 and 1073741824"),
            ("cpu_budget_ms = \"50\"", "cpu_budget_ms: expected an integer"),
            ("isolation = \"none\"", "isolation: expected one of: shared, per_configuration, per_request"),
            ("on_failure = \"ignore\"", "on_failure: expected one of: closed, open"),
            ("grants = [\"credentials\"]\non_failure = \"open\"", "on_failure: must be 'closed'"),
            ("grants = [\"sockets\"]", "expected one of: counters, credentials"),
            ("cpu_budget = 5", "cpu_budget: unknown field"),
            ("priority = 5", "priority: unknown field"),
            ("cpu_budget_ms", "TOML parse error"),
        ] {
            let reason = Beside::read(text).unwrap_err();
            assert!(reason.contains(says), "{text}: {reason}");
        }
        // All of them at once.
        let reason = Beside::read("cpu_budget_ms = 0\nhost_calls_budget = 0").unwrap_err();
        assert!(reason.contains("cpu_budget_ms: ") && reason.contains("host_calls_budget: "), "{reason}");
    }
}
