//! The host as `weir_model::PluginCatalog`: what the Admin API asks when configurations and components are written.

use crate::host::Host;
use crate::host_calls::log::cut;
use crate::inspect;
use crate::instance::{Death, Instance};
use crate::limits::{Budget, CONFIG_BYTES, CONFIGURE_ERROR_BYTES};
use crate::prepared::{Origin, Prepared};
use serde_json::{Map, Value};
use std::sync::Arc;
use weir_model::entity::ComponentSettings;
use weir_model::{ComponentManifest, ComponentRefusal, Findings, PluginCatalog, PluginInfo};

impl PluginCatalog for Host {
    fn plugins(&self) -> Vec<PluginInfo> {
        self.all_installed().iter().map(|prepared| prepared.info.clone()).collect()
    }

    fn plugin(&self, name: &str) -> Option<PluginInfo> {
        self.installed(name).map(|prepared| prepared.info.clone())
    }

    /// Runs the guest's `configure` in an instance of its own. The findings' paths begin inside the configuration.
    fn check_config(&self, name: &str, config: &Map<String, Value>) -> Result<(), Findings> {
        let Some(prepared) = self.installed(name) else {
            return whole(format!("the plugin '{name}' is not installed on this node"));
        };
        judge(&prepared, config)
    }

    fn try_configs(
        &self,
        bytes: &[u8],
        grants: &[String],
        configs: &[Map<String, Value>],
    ) -> Result<Vec<Findings>, ComponentRefusal> {
        let draft = inspect::draft(self, bytes, Origin::Uploaded, grants)?;
        let prepared = Arc::new(Prepared::new(draft, Origin::Uploaded, ComponentSettings::default()));
        Ok(configs.iter().map(|config| judge(&prepared, config).err().unwrap_or_default()).collect())
    }

    fn inspect(&self, bytes: &[u8], grants: &[String]) -> Result<ComponentManifest, ComponentRefusal> {
        let draft = inspect::draft(self, bytes, Origin::Uploaded, grants)?;
        Ok(ComponentManifest {
            name: draft.info.name,
            version: draft.info.version,
            priority: draft.info.priority,
            config_schema: draft.info.config_schema,
            phases: draft.info.phases,
            needs_grants: draft.linked.needs_grants.clone(),
            digest: draft.digest,
            size: bytes.len() as u64,
        })
    }
}

fn judge(prepared: &Arc<Prepared>, config: &Map<String, Value>) -> Result<(), Findings> {
    let json = serde_json::to_vec(config).unwrap_or_default();
    if json.len() > CONFIG_BYTES {
        return whole(format!("the configuration has {} bytes of JSON; at most {CONFIG_BYTES} are allowed", json.len()));
    }
    match try_configure(prepared, &json) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(message)) => Err(findings(cut(&message, CONFIGURE_ERROR_BYTES), config)),
        Err(death) => {
            whole(format!("the plugin was killed while it read the configuration ({}): {}", death.kill.name(), death.message))
        }
    }
}

fn try_configure(prepared: &Arc<Prepared>, json: &[u8]) -> Result<Result<(), String>, Death> {
    let budget = Budget::scratch(&prepared.settings);
    let mut instance = Instance::start(&prepared.linked, &prepared.common, budget)?;
    let configuration = match instance.configure(json)? {
        Ok(configuration) => configuration,
        Err(message) => return Ok(Err(message)),
    };
    instance.begin();
    instance.release(configuration.handle)?;
    Ok(Ok(()))
}

fn whole(message: String) -> Result<(), Findings> {
    let mut findings = Findings::default();
    findings.add(Vec::<String>::new(), message);
    Err(findings)
}

/// `remove.headers[1]` in steps. Guests count from 0, as their languages do; findings count from 1, as Kong's clients expect.
fn steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let position = part.strip_suffix(']').and_then(|part| part.split_once('['));
        let position = position.and_then(|(name, at)| Some((name, at.parse::<usize>().ok()?.checked_add(1)?)));
        match position {
            Some((name, at)) => steps.extend([name.to_owned(), at.to_string()]),
            None => steps.push(part.to_owned()),
        }
    }
    steps
}

/// Each line of the guest's error is a finding: `field.inner: reason`, or only a reason. A line that merely looks like the former
/// ("a: b") names no field of the configuration.
fn findings(message: &str, config: &Map<String, Value>) -> Findings {
    let mut findings = Findings::default();
    for line in message.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let field = line.split_once(": ").filter(|(path, _)| {
            let first = path.split(['.', '[']).next().unwrap_or_default();
            config.contains_key(first)
        });
        match field {
            Some((path, reason)) => findings.add(steps(path), reason),
            None => findings.add(Vec::<String>::new(), line),
        }
    }
    if findings.is_empty() {
        findings.add(Vec::<String>::new(), "the plugin refused the configuration without saying why");
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_line_of_the_guests_error_becomes_a_finding_at_its_field() {
        let Value::Object(config) = json!({"add": {"headers": []}, "limit": 1}) else { unreachable!() };
        let text =
            "add.headers: one has no colon\nlimit: must be positive\n\nnote: both are wrong\nadd.headers[1]: odd\nlimit[x]: what";
        let found = findings(text, &config);
        let at = |index: usize| (found.0[index].path.join("/"), found.0[index].message.as_str());
        assert_eq!(found.0.len(), 5);
        assert_eq!(at(0), ("add/headers".into(), "one has no colon"));
        assert_eq!(at(1), ("limit".into(), "must be positive"));
        assert_eq!(at(2), (String::new(), "note: both are wrong"));
        assert_eq!((at(3).0, at(4).0), ("add/headers/2".into(), "limit[x]".into()), "positions as all other findings have them");
        assert_eq!(findings(" \n", &config).0[0].message, "the plugin refused the configuration without saying why");
    }
}
