//! The chain that a route has, for people: which entry of each plugin runs, where it comes from, what it hides.
//!
//! The proxy's own chain is built elsewhere for speed; both use the precedence of `chain`.

use crate::chain::{Scope, order};
use crate::{Entity, Id, Kind, Phase, PluginInfo, View, ViewError};
use serde::Serialize;
use serde_json::Value;

/// One plugin of the chain.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Link {
    /// Its name.
    pub plugin: String,
    /// The version that serves.
    pub version: String,
    /// Higher runs first.
    pub priority: i64,
    /// `stock`, `directory` or `uploaded`.
    pub origin: &'static str,
    /// What it handles.
    pub phases: Vec<Phase>,
    /// The entry that runs.
    pub entry: Source,
    /// Entries of the same plugin that would apply but do not run.
    pub shadowed: Vec<Source>,
}

/// An entry, and where it comes from.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Source {
    /// Its id.
    pub id: Id,
    /// Its name, if it has one.
    pub instance_name: Option<String>,
    /// `global`, `service`, `route`, `consumer`, or several with `+`.
    pub scope: &'static str,
    /// Why it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// A plugin that has entries here, none of which is enabled.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Disabled {
    /// Its name.
    pub plugin: String,
    /// Its entries.
    pub entries: Vec<Source>,
}

/// The chain of a route.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Effective {
    /// In the order in which they run, in every phase.
    pub chain: Vec<Link>,
    /// Plugins whose entries are all disabled.
    pub disabled: Vec<Disabled>,
}

/// The chain of exchanges on `route` by `consumer` (nobody known, when unset), of the plugins that this node can run.
pub fn effective(view: &dyn View, route: &Entity, consumer: Option<Id>, plugins: &[PluginInfo]) -> Result<Effective, ViewError> {
    let service = route.foreign("service");
    let mut result = Effective::default();
    for plugin in plugins {
        let mut entries = candidates(view, &plugin.name, route.id, service, consumer)?;
        // The enabled before the disabled, among them the most specific first.
        entries.sort_by_key(|(scope, entry)| (!enabled(entry), std::cmp::Reverse(scope.specificity())));
        let mut sources = entries.iter().map(|(scope, entry)| Source {
            id: entry.id,
            instance_name: entry.text("instance_name").map(str::to_owned),
            scope: scope.name(),
            reason: Some(if enabled(entry) { "less specific" } else { "disabled" }),
        });
        match entries.first() {
            None => {}
            Some((_, first)) if !enabled(first) => {
                result.disabled.push(Disabled { plugin: plugin.name.clone(), entries: sources.collect() });
            }
            Some(_) => {
                let Some(first) = sources.next() else { continue };
                result.chain.push(Link {
                    plugin: plugin.name.clone(),
                    version: plugin.version.clone(),
                    priority: plugin.priority,
                    origin: plugin.origin,
                    phases: plugin.phases.clone(),
                    entry: Source { reason: None, ..first },
                    shadowed: sources.collect(),
                });
            }
        }
    }
    result.chain.sort_by(|a, b| order((a.priority, &a.plugin), (b.priority, &b.plugin)));
    Ok(result)
}

fn enabled(entry: &Entity) -> bool {
    entry.body.get("enabled") == Some(&Value::Bool(true))
}

/// Every scope that can apply has at most one entry of a plugin, found by the plugin's composite unique key: no listing.
fn candidates(
    view: &dyn View,
    plugin: &str,
    route: Id,
    service: Option<Id>,
    consumer: Option<Id>,
) -> Result<Vec<(Scope, Entity)>, ViewError> {
    let choices = |id: Option<Id>| [None, id].into_iter().take(if id.is_some() { 2 } else { 1 });
    let mut found = Vec::new();
    for route in choices(Some(route)) {
        for service in choices(service) {
            for consumer in choices(consumer) {
                let text = |id: Option<Id>| id.map(|id| id.to_string()).unwrap_or_default();
                let key = format!("{plugin}|{}|{}|{}", text(route), text(service), text(consumer));
                let Some(id) = view.find(Kind::Plugin, "scope", &key)? else { continue };
                if let Some(entry) = view.get(Kind::Plugin, id)? {
                    found.push((Scope { route, service, consumer }, entry));
                }
            }
        }
    }
    Ok(found)
}
