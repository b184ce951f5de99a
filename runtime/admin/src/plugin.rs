//! What a write of a plugin entry needs to know of the plugin: its schema, and whether the guest takes the configuration.

use crate::error::Fault;
use serde_json::{Map, Value};
use std::sync::Arc;
use weir_model::schema::from_json_schema;
use weir_model::{Autos, Entity, Findings, PluginCatalog, PluginInfo, Schema};

/// The largest configuration, as JSON: what a guest is given to `configure`.
const CONFIG_LIMIT: usize = 1 << 20;

/// A plugin that entries can be made of.
pub(crate) struct Known {
    /// What the catalog says.
    pub(crate) info: PluginInfo,
    /// The schema of its entries.
    pub(crate) schema: Schema,
}

/// The plugin of that name, if this node has it.
pub(crate) fn known(catalog: &dyn PluginCatalog, name: &str) -> Result<Option<Known>, Fault> {
    let Some(info) = catalog.plugin(name) else { return Ok(None) };
    // A component is refused at upload when this fails, so here it is a fault of the gateway.
    let config = from_json_schema::record(&info.config_schema)
        .map_err(|findings| Fault::Crashed(format!("the configuration schema of '{name}' cannot be read: {findings}")))?;
    Ok(Some(Known { info, schema: Schema::with_config(config) }))
}

/// The plugin of an entry that shall point to the entity which a write makes. One whose schema cannot be read is no plugin there.
pub(crate) fn pointed_to(catalog: &dyn PluginCatalog, name: &str) -> Option<Arc<Known>> {
    known(catalog, name).ok().flatten().map(Arc::new)
}

/// What a finding says about a name that the catalog does not know.
pub(crate) fn not_enabled(name: &str) -> String {
    format!("plugin '{name}' not enabled; upload a component of that name, or put one into 'plugins_dir'")
}

/// The same of an entry of which other fields are wrong. Of one whose configuration itself does not fit its schema, nothing: the guest is
/// shown complete configurations only, and with a default in place of what is wrong it would judge what nobody wrote.
pub(crate) fn check_config_alone(
    catalog: &dyn PluginCatalog,
    known: &Known,
    existing: Option<&Entity>,
    merge: bool,
    mut input: Map<String, Value>,
    autos: &Autos,
) -> Findings {
    input.retain(|field, value| matches!(field.as_str(), "name" | "config") || (field == "enabled" && value.is_boolean()));
    let entry = match existing.filter(|_| merge) {
        Some(existing) => known.schema.process_update(existing, input, autos),
        None => known.schema.process_upsert(existing, input, autos),
    };
    entry.map(|entry| check_config(catalog, &known.info.name, &entry.body)).unwrap_or_default()
}

/// What the guest has against the configuration of this complete entry. A disabled entry is never given to it.
pub(crate) fn check_config(catalog: &dyn PluginCatalog, name: &str, entry: &Map<String, Value>) -> Findings {
    let mut findings = Findings::default();
    if entry.get("enabled") == Some(&Value::Bool(false)) {
        return findings;
    }
    let Some(Value::Object(config)) = entry.get("config") else { return findings };
    let size = serde_json::to_vec(config).map_or(0, |bytes| bytes.len());
    if size > CONFIG_LIMIT {
        findings.add(["config"], format!("has {size} bytes as JSON; {CONFIG_LIMIT} may be"));
    } else if let Err(found) = catalog.check_config(name, config) {
        findings.extend_under("config", found);
    }
    findings
}
