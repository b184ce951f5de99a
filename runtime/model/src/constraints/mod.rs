//! Rules between entities: unique values, references, what goes when something goes.
//!
//! Turns a wish (this entity shall be, that one shall not) into complete results, one per entity, judged against one view.
//! Knows nothing of how the view is kept or when it was read: the store runs this at the tip of its journal.

mod component;
#[cfg(test)]
mod tests;

pub use component::entries_after;

use crate::schema::{expired, is_set};
use crate::{Entity, Findings, Id, Kind, Op, PluginInfo, Refusal, Schema, Selection, View};
use serde_json::{Map, Value, json};

/// How many entities one deletion may take with it. A consumer with more keys than this is emptied first, so that one
/// request cannot make the gateway collect millions of results in memory.
pub const CASCADE_LIMIT: usize = 50_000;

/// What a write comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// The entity as it is from then on.
    pub entity: Entity,
    /// The results, one per entity; empty when everything is so already.
    pub ops: Vec<Op>,
}

/// What the view does not know.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Seconds of the Unix clock.
    pub now: u64,
    /// For an entry of a plugin: that plugin.
    pub plugin: Option<&'a PluginInfo>,
}

/// The entity shall be so. `existing` is what it replaces, read from the same view.
pub fn put(view: &dyn View, mut entity: Entity, existing: Option<&Entity>, context: Context) -> Result<Change, Refusal> {
    if existing.is_none() && view.get(entity.kind, entity.id)?.is_some() {
        return Err(Refusal::PrimaryKey(entity.kind, entity.id));
    }
    resolve(view, &mut entity)?;
    if let Some(plugin) = context.plugin {
        check_scope(plugin, &entity)?;
    }
    let mut ops = Vec::new();
    for (index, key) in entity.unique_keys() {
        let Some(holder) = view.find(entity.kind, index, &key)?.filter(|holder| *holder != entity.id) else { continue };
        let over = view.get(entity.kind, holder)?.is_some_and(|holder| expired(&holder, context.now));
        if !over {
            return Err(Refusal::Unique(colliding(&entity, index)));
        }
        // Its time is over, so its value is free; the dead one goes with the same transaction.
        let gone = Op::Delete { kind: entity.kind, id: holder };
        if !ops.contains(&gone) {
            ops.push(gone);
        }
    }
    if let Some(existing) = existing.filter(|existing| unchanged(existing, &entity)) {
        return Ok(Change { entity: existing.clone(), ops: Vec::new() });
    }
    if entity.kind == Kind::Component {
        component::put(view, &entity, existing, context.now, &mut ops)?;
    }
    ops.push(Op::Put(entity.clone()));
    Ok(Change { entity, ops })
}

/// `owner`, pointing to an entity that the same transaction makes: nobody else can point there yet, so nothing can collide.
pub fn link(mut owner: Entity, field: &str, id: Id, context: Context) -> Result<Op, Refusal> {
    owner.body.insert(field.to_owned(), json!({ "id": id.to_string() }));
    if owner.body.contains_key("updated_at") {
        owner.body.insert("updated_at".to_owned(), Value::from(context.now));
    }
    if let Some(plugin) = context.plugin {
        check_scope(plugin, &owner)?;
    }
    Ok(Op::Put(owner))
}

/// The entity shall not be: it, and everything that goes with it.
pub fn delete(view: &dyn View, kind: Kind, id: Id) -> Result<Vec<Op>, Refusal> {
    let entity = view.get(kind, id)?.ok_or(Refusal::NotFound)?;
    if kind == Kind::Component {
        component::delete(view, &entity)?;
    }
    let mut gone = vec![(kind, id)];
    let mut next = 0;
    while let Some(&(kind, id)) = gone.get(next) {
        next += 1;
        for schema in Kind::ALL.map(Schema::of) {
            for (field, target, spec) in schema.foreign_fields() {
                if target == kind {
                    follow(view, schema.kind, field, spec.cascade, (kind, id), &mut gone)?;
                }
            }
        }
    }
    Ok(gone.into_iter().map(|(kind, id)| Op::Delete { kind, id }).collect())
}

fn follow(
    view: &dyn View,
    by: Kind,
    field: &str,
    cascade: bool,
    (kind, id): (Kind, Id),
    gone: &mut Vec<(Kind, Id)>,
) -> Result<(), Refusal> {
    let selection = Selection::Foreign { field: field.to_owned(), id };
    if !cascade {
        let page = view.list(by, &selection, None, 1)?;
        return if page.entities.is_empty() { Ok(()) } else { Err(Refusal::Referenced { kind, by }) };
    }
    let mut after = None;
    loop {
        let page = view.list(by, &selection, after, 1000)?;
        for child in page.entities {
            // A plugin entry can hang on two of them at once; it goes once.
            if !gone.contains(&(child.kind, child.id)) {
                gone.push((child.kind, child.id));
            }
        }
        if gone.len() > CASCADE_LIMIT {
            return Err(Refusal::Conflict(format!(
                "more than {CASCADE_LIMIT} entities would go with it; delete its {} in smaller steps first",
                by.name()
            )));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// The entity that a path names: by id, or by the kind's endpoint key (`name@version` for components).
pub fn find(view: &dyn View, kind: Kind, key: &str) -> Result<Option<Entity>, Refusal> {
    let id = match (Id::parse(key), Schema::of(kind).endpoint_key, kind) {
        (Some(id), _, _) => Some(id),
        (None, Some(field), _) => view.find(kind, field, key)?,
        (None, None, Kind::Component) => view.find(kind, "name_version", key)?,
        (None, None, _) => None,
    };
    Ok(match id {
        Some(id) => view.get(kind, id)?,
        None => None,
    })
}

/// References by name become references by id; each must lead somewhere.
fn resolve(view: &dyn View, entity: &mut Entity) -> Result<(), Refusal> {
    for (field, kind, _) in Schema::of(entity.kind).foreign_fields() {
        let Some(value) = entity.body.get(field).filter(|value| is_set(Some(value))) else { continue };
        let missing = || Refusal::ForeignKey { field: field.to_owned(), kind, value: value.clone() };
        let key = Schema::of(kind).endpoint_key.unwrap_or("id");
        let id = match (value.get("id").and_then(Value::as_str), value.get(key).and_then(Value::as_str)) {
            (Some(id), _) => Id::parse(id),
            (None, Some(name)) => view.find(kind, key, name)?,
            (None, None) => None,
        };
        let id = id.ok_or_else(missing)?;
        if view.get(kind, id)?.is_none() {
            return Err(missing());
        }
        entity.body.insert(field.to_owned(), json!({ "id": id.to_string() }));
    }
    Ok(())
}

/// Who the consumer is follows from authentication, so what authenticates cannot depend on it.
fn check_scope(plugin: &PluginInfo, entity: &Entity) -> Result<(), Refusal> {
    if plugin.authenticates && entity.foreign("consumer").is_some() {
        let mut findings = Findings::default();
        findings.add(["consumer"], "value must be null");
        return Err(Refusal::Schema(findings));
    }
    Ok(())
}

/// The fields of a unique index and their values, as the refusal shows them.
fn colliding(entity: &Entity, index: &str) -> Map<String, Value> {
    let fields: &[&str] = match index {
        "scope" => &["consumer", "name", "route", "service"],
        "name_version" => &["name", "version"],
        field => &[field],
    };
    fields.iter().map(|field| ((*field).to_owned(), entity.body.get(*field).cloned().unwrap_or_default())).collect()
}

/// Whether nothing but the time of the write differs.
fn unchanged(before: &Entity, after: &Entity) -> bool {
    before.body.len() == after.body.len()
        && after.body.iter().all(|(key, value)| key == "updated_at" || before.body.get(key) == Some(value))
}
