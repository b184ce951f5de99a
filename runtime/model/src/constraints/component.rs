//! Rules of components: one version of a name serves, and not while it would break the entries that use it.

use crate::schema::{Record, Shape, from_json_schema};
use crate::{Entity, Kind, Op, Refusal, Selection, View, ViewError};
use serde_json::{Map, Value};

/// How many entries a refusal names; the operator mends them and asks again.
const NAMED: usize = 5;

/// Adds what else changes when a component is put: the version that served before stops, entries get new defaults.
pub(super) fn put(
    view: &dyn View,
    component: &Entity,
    existing: Option<&Entity>,
    now: u64,
    ops: &mut Vec<Op>,
) -> Result<(), Refusal> {
    let name = component.text("name").unwrap_or_default();
    let was_active = existing.is_some_and(active);
    match (was_active, active(component)) {
        (false, true) => {
            for mut other in named(view, Kind::Component, name)? {
                if other.id != component.id && active(&other) {
                    other.body.insert("active".to_owned(), Value::Bool(false));
                    other.body.insert("updated_at".to_owned(), Value::from(now));
                    ops.push(Op::Put(other));
                }
            }
            refit(view, component, name, ops)
        }
        (true, false) => unused(view, component, name, "deactivated"),
        (true, true) | (false, false) => Ok(()),
    }
}

/// A component that serves entries stays.
pub(super) fn delete(view: &dyn View, component: &Entity) -> Result<(), Refusal> {
    if !active(component) {
        return Ok(());
    }
    unused(view, component, component.text("name").unwrap_or_default(), "deleted")
}

/// The entries of a plugin as they are after `ops`: what a version that begins to serve is asked about.
pub fn entries_after(view: &dyn View, name: &str, ops: &[Op]) -> Result<Vec<Entity>, ViewError> {
    let mut entries = named(view, Kind::Plugin, name)?;
    for entry in &mut entries {
        let changed = ops.iter().find_map(|op| match op {
            Op::Put(after) if (after.kind, after.id) == (entry.kind, entry.id) => Some(after),
            Op::Put(_) | Op::Delete { .. } => None,
        });
        if let Some(after) = changed {
            *entry = after.clone();
        }
    }
    Ok(entries)
}

fn active(component: &Entity) -> bool {
    component.body.get("active") == Some(&Value::Bool(true))
}

fn named(view: &dyn View, kind: Kind, name: &str) -> Result<Vec<Entity>, ViewError> {
    let mut found = Vec::new();
    view.each(kind, &Selection::All, &mut |entity| {
        if entity.text("name") == Some(name) {
            found.push(entity);
        }
    })?;
    Ok(found)
}

fn unused(view: &dyn View, component: &Entity, name: &str, what: &str) -> Result<(), Refusal> {
    let users = named(view, Kind::Plugin, name)?;
    if users.is_empty() {
        return Ok(());
    }
    let version = component.text("version").unwrap_or_default();
    let some = users.iter().take(NAMED).map(|user| user.id.to_string()).collect::<Vec<_>>().join(", ");
    Err(Refusal::Conflict(format!(
        "{name}@{version} serves {} plugin entries ({some}{}), so it cannot be {what}: delete them, or activate another version of '{name}', first",
        users.len(),
        if users.len() > NAMED { ", …" } else { "" }
    )))
}

/// The entries of the plugin under the new version's schema: new defaults filled in; what does not fit refuses the activation.
fn refit(view: &dyn View, component: &Entity, name: &str, ops: &mut Vec<Op>) -> Result<(), Refusal> {
    let record = match from_json_schema::record(component.body.get("config_schema").unwrap_or(&Value::Null)) {
        Ok(record) => record,
        Err(mut findings) => {
            findings.0.iter_mut().for_each(|finding| finding.path.insert(0, "config_schema".to_owned()));
            return Err(Refusal::Schema(findings));
        }
    };
    let mut misfits = Vec::new();
    for mut entry in named(view, Kind::Plugin, name)? {
        let mut config = entry.body.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        drop_unset(&record, &mut config);
        match record.process(config) {
            Ok(config) => {
                let config = Value::Object(config);
                if entry.body.get("config") != Some(&config) {
                    entry.body.insert("config".to_owned(), config);
                    ops.push(Op::Put(entry));
                }
            }
            Err(findings) => misfits.push(format!("{}: {findings}", entry.id)),
        }
    }
    if misfits.is_empty() {
        return Ok(());
    }
    let count = misfits.len();
    misfits.truncate(NAMED);
    let version = component.text("version").unwrap_or_default();
    Err(Refusal::Conflict(format!(
        "{count} entries of plugin '{name}' do not fit version {version} ({}); change them first",
        misfits.join(" | ")
    )))
}

/// A field that was never set does not have to be known to the next version.
fn drop_unset(record: &Record, config: &mut Map<String, Value>) {
    config.retain(|key, value| !value.is_null() || record.field(key).is_some());
    for (key, value) in config.iter_mut() {
        if let (Some(Shape::Record(inner)), Value::Object(map)) = (record.field(key).map(|spec| &spec.shape), value) {
            drop_unset(inner, map);
        }
    }
}
