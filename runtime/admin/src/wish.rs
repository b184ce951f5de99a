//! A write of an entity, judged against a view: finds what is meant, completes the body, asks the rules between entities.
//!
//! Runs at the tip of the store's journal and depends on the view and itself only, so it may run again.

use crate::path::{Parent, Via};
use crate::plugin::{self, Known, not_enabled};
use crate::precondition::Precondition;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use weir_model::constraints::{self, Change, Context, find};
use weir_model::schema::expired;
use weir_model::{Autos, Entity, Findings, Id, Kind, Op, PluginCatalog, Refusal, Schema, View};

/// What shall be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// POST: a new entity.
    Insert,
    /// PUT: the entity shall be this.
    Replace,
    /// PATCH: the entity shall differ in this.
    Merge,
}

/// Where the path points.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Into a collection.
    New(Option<Parent>),
    /// At an entity.
    At(String, Option<Parent>),
    /// At what an entity points to.
    Via(Via),
}

/// A write.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) place: Place,
    /// As the client sent it.
    pub(crate) input: Map<String, Value>,
    /// Its values are texts.
    pub(crate) form: bool,
    /// Under which state of the entity.
    pub(crate) condition: Precondition,
    pub(crate) autos: Autos,
}

/// The entities that the path names, as they are now.
struct Found {
    parent: Option<(String, Entity)>,
    owner: Option<(String, Entity)>,
    existing: Option<Entity>,
}

impl Wish {
    /// What the wish comes to. `plugins` knows the plugin of a name; it is asked for plugin entries only,
    /// also for one that shall point to what the wish makes.
    pub(crate) fn judge(&self, view: &dyn View, plugins: &dyn Fn(&str) -> Option<Arc<Known>>) -> Result<Change, Refusal> {
        let found = self.find(view)?;
        let existing = found.existing.as_ref();
        self.condition.judge(view, existing, self.autos.now)?;
        // What has expired is read as gone, so there is nothing to change; only a PUT may bring it back.
        let gone = |entity: &Entity| expired(entity, self.autos.now);
        if self.mode == Mode::Merge && existing.is_none_or(gone) {
            return Err(Refusal::NotFound);
        }
        let mut findings = Findings::default();
        let mut input = self.input.clone();
        let name = input.get("name").or_else(|| existing.filter(|_| self.mode == Mode::Merge)?.body.get("name"));
        let name = name.and_then(Value::as_str).filter(|_| self.kind == Kind::Plugin);
        let known = match name {
            Some(name) => {
                let known = plugins(name);
                if known.is_none() {
                    findings.add(["name"], not_enabled(name));
                }
                known
            }
            None => None,
        };
        let schema = known.as_ref().map_or(Schema::of(self.kind), |known| &known.schema);
        if self.form {
            input = schema.coerce(input);
        }
        self.fill_from_path(schema, &found, &mut input, &mut findings);
        let processed = match (self.mode, existing) {
            (Mode::Merge, Some(existing)) => schema.process_update(existing, input, &self.autos),
            (_, existing) => schema.process_upsert(existing, input, &self.autos),
        };
        let entity = match processed {
            Ok(entity) if findings.is_empty() => entity,
            Ok(_) => return Err(Refusal::Schema(findings)),
            Err(mut more) => {
                // Without the plugin nothing can be said about its configuration.
                more.0.retain(|finding| {
                    known.is_some() || self.kind != Kind::Plugin || finding.path.first().is_none_or(|field| field != "config")
                });
                findings.0.extend(more.0);
                return Err(Refusal::Schema(findings));
            }
        };
        let context = Context { now: self.autos.now, plugin: known.as_ref().map(|known| &known.info) };
        let mut change = constraints::put(view, entity, existing, context)?;
        if let Some((field, owner)) = found.owner.filter(|_| existing.is_none()) {
            change.ops.push(self.link(owner, &field, change.entity.id, plugins)?);
        }
        Ok(change)
    }

    /// What the guest has against the configuration of this wish, of which the schema has refused other fields.
    pub(crate) fn ask_guest(&self, view: &dyn View, catalog: &dyn PluginCatalog, known: &Known) -> Findings {
        let Ok(found) = self.find(view) else { return Findings::default() };
        let input = if self.form { known.schema.coerce(self.input.clone()) } else { self.input.clone() };
        plugin::check_config_alone(catalog, known, found.existing.as_ref(), self.mode == Mode::Merge, input, &self.autos)
    }

    /// The owner points to the new entity from then on, if it could also be told so directly.
    fn link(&self, owner: Entity, field: &str, id: Id, plugins: &dyn Fn(&str) -> Option<Arc<Known>>) -> Result<Op, Refusal> {
        let name = owner.text("name").filter(|_| owner.kind == Kind::Plugin).map(str::to_owned);
        let known = name.as_deref().and_then(plugins);
        if let (Some(name), None) = (&name, &known) {
            let mut findings = Findings::default();
            findings.add(["name"], not_enabled(name));
            return Err(Refusal::Schema(findings));
        }
        let context = Context { now: self.autos.now, plugin: known.as_ref().map(|known| &known.info) };
        constraints::link(owner, field, id, context)
    }

    fn find(&self, view: &dyn View) -> Result<Found, Refusal> {
        let mut found = Found { parent: None, owner: None, existing: None };
        let parent = match &self.place {
            Place::New(parent) => parent,
            Place::At(key, parent) => {
                found.existing = find(view, self.kind, key)?;
                parent
            }
            Place::Via(via) => {
                let owner = find(view, via.kind, &via.key)?.ok_or(Refusal::NotFound)?;
                if let Some(id) = owner.foreign(&via.field) {
                    found.existing = view.get(via.target, id)?;
                }
                found.owner = Some((via.field.clone(), owner));
                &None
            }
        };
        if let Some(parent) = parent {
            let entity = find(view, parent.kind, &parent.key)?.ok_or(Refusal::NotFound)?;
            // A child of another parent is not there, seen from this one.
            if found.existing.as_ref().is_some_and(|child| child.foreign(&parent.field) != Some(entity.id)) {
                return Err(Refusal::NotFound);
            }
            found.parent = Some((parent.field.clone(), entity));
        }
        Ok(found)
    }

    /// What the path says belongs to the body too; the two may not disagree.
    fn fill_from_path(&self, schema: &Schema, found: &Found, input: &mut Map<String, Value>, findings: &mut Findings) {
        const DISAGREES: &str = "is not the one in the path";
        if let Some((field, parent)) = &found.parent {
            let given = input.get(field).and_then(|given| given.get("id")).and_then(Value::as_str);
            if given.is_some_and(|given| Id::parse(given) != Some(parent.id)) {
                findings.add([field.as_str(), "id"], DISAGREES);
            }
            input.insert(field.clone(), json!({ "id": parent.id.to_string() }));
        }
        if self.mode != Mode::Replace {
            return;
        }
        let Place::At(key, _) = &self.place else { return };
        let field = match (Id::parse(key), schema.endpoint_key) {
            (Some(_), _) => "id",
            (None, Some(field)) => field,
            (None, None) => return,
        };
        match input.get(field).filter(|given| !given.is_null()) {
            None => drop(input.insert(field.to_owned(), Value::from(key.as_str()))),
            Some(given) => {
                let same = given.as_str().is_some_and(|given| given == key || (field == "id" && given.eq_ignore_ascii_case(key)));
                if !same {
                    findings.add([field], DISAGREES);
                }
            }
        }
    }
}
