//! What a well-formed entity is, as data: one definition per kind, one engine for all of them and for plugin configurations.
//!
//! Knows fields and values; not other entities (that is `constraints`), no clock and no randomness (`Autos` brings them in).
//! The Admin API derives its paths and `/schemas/*` from here; plugin configurations come in through `from_json_schema`.

mod coerce;
mod entities;
pub mod from_json_schema;
mod process;
#[cfg(test)]
mod properties;
mod render;
mod rules;
mod shorthand;
#[cfg(test)]
mod tests;

use crate::{Findings, Id, Kind};
use regex::Regex;
use serde_json::{Map, Value};
use std::borrow::Cow;

pub use entities::component_settings;
pub use process::{expired, present};
pub use rules::REGEX_SIZE_LIMIT;

/// The schema of one kind of entity.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The kind that it describes.
    pub kind: Kind,
    /// The path of its collection: `services`, `key-auths`.
    pub path: &'static str,
    /// The path of its collection below a parent: `routes`, `key-auth`.
    pub nested_path: &'static str,
    /// The unique field that may stand for the id in a path.
    pub endpoint_key: Option<&'static str>,
    /// Its fields.
    pub record: Record,
    /// Write-only fields that stand for others.
    pub shorthands: &'static [Shorthand],
}

/// Named fields, and rules over several of them.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order in which they are shown.
    pub fields: Vec<Field>,
    /// Rules over several fields.
    pub checks: Vec<Check>,
}

/// A named field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its key.
    pub name: Cow<'static, str>,
    /// Its value.
    pub spec: Spec,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its type.
    pub shape: Shape,
    /// Null is refused, and absence too unless there is a default.
    pub required: bool,
    /// An unset value is left out instead of being shown as null: for programs that do not read null as "unset".
    pub omit_unset: bool,
    /// What an absent value becomes.
    pub default: Option<Value>,
    /// Where an absent value comes from, if the server makes it.
    pub auto: Option<Auto>,
    /// No two entities of the kind hold the same value.
    pub unique: bool,
    /// Set when the entity is made, by the server, and never again.
    pub immutable: bool,
    /// Of a reference: deleting what it points to deletes this entity too. Otherwise that deletion is refused.
    pub cascade: bool,
    /// The values that Kong's API knows.
    pub one_of: Option<Vec<Value>>,
    /// Of those, the ones that this version serves; an empty list: only unset (or an empty list).
    pub served: Option<Vec<Value>>,
    /// For people.
    pub description: Option<String>,
}

/// The type of a value, with the rules of that type.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Text.
    String(Text),
    /// A whole number.
    Integer(Bounds),
    /// Any number.
    Number(Bounds),
    /// True or false.
    Boolean,
    /// Values in order.
    Array(Box<Spec>, Length),
    /// Values in order, duplicates dropped.
    Set(Box<Spec>, Length),
    /// Free keys.
    Map(Box<MapSpec>),
    /// Named fields.
    Record(Record),
    /// A reference to another entity.
    Foreign(Kind),
    /// Any JSON.
    Any,
}

/// Keys and values of a map.
#[derive(Clone, Debug)]
pub struct MapSpec {
    /// What a key must be.
    pub keys: Spec,
    /// What a value must be.
    pub values: Spec,
}

/// A rule in code: what is wrong with the text, in a sentence.
pub type TextRule = fn(&str) -> Result<(), String>;

/// Rules of a text.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// In characters.
    pub length: Length,
    /// Must be found in the text.
    pub pattern: Option<Regex>,
    /// A rule in code; its error is the finding.
    pub rule: Option<TextRule>,
}

/// Least and most, both allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length {
    /// At least.
    pub min: Option<usize>,
    /// At most.
    pub max: Option<usize>,
}

/// Rules of a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
    /// More than.
    pub above: Option<f64>,
    /// Less than.
    pub below: Option<f64>,
}

/// Values that the server makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auto {
    /// A random primary key.
    Id,
    /// When it was made; a client may say it.
    CreatedAt,
    /// When it was last changed; the server says it.
    UpdatedAt,
    /// A random secret.
    Secret,
    /// Seconds from the write on; kept as seconds from `created_at` on.
    Ttl,
}

/// What the server puts into a new body. Random values and the clock come from outside: this room has neither.
#[derive(Clone, Debug)]
pub struct Autos {
    /// Seconds of the Unix clock.
    pub now: u64,
    /// The primary key of a new entity that brings none.
    pub id: Id,
    /// The secret of a new credential that brings none.
    pub secret: String,
}

/// A rule over several fields. It is asked when all of its fields are well formed.
#[derive(Clone, Debug)]
pub enum Check {
    /// At least one of the fields is set.
    AtLeastOneOf(&'static [&'static str]),
    /// When `field` has none of the values, `then` must be unset.
    UnsetUnless {
        /// The field that decides.
        field: &'static str,
        /// Its values that allow `then`.
        one_of: &'static [&'static str],
        /// The field that must be unset otherwise.
        then: &'static str,
    },
    /// A rule in code.
    Rule {
        /// What it looks at.
        fields: &'static [&'static str],
        /// Adds what is wrong.
        run: fn(&Map<String, Value>, &mut Findings),
    },
}

/// A write-only field that stands for others.
#[derive(Clone, Copy, Debug)]
pub struct Shorthand {
    /// Its key.
    pub name: &'static str,
    /// The fields that it sets.
    pub expand: fn(&str) -> Result<Map<String, Value>, String>,
}

impl Schema {
    /// The schema of a kind. That of plugins leaves `config` to `with_config`.
    pub fn of(kind: Kind) -> &'static Schema {
        entities::of(kind)
    }
    /// The schema whose collection has that path (`key-auths`).
    pub fn at_path(path: &str) -> Option<&'static Schema> {
        Kind::ALL.into_iter().map(Schema::of).find(|schema| schema.path == path)
    }
    /// The schema of that name (`keyauth_credentials`).
    pub fn named(name: &str) -> Option<&'static Schema> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).map(Schema::of)
    }
    /// The schema of plugin entries of one plugin: `config` is that plugin's own record.
    pub fn with_config(config: Record) -> Schema {
        let mut schema = Schema::of(Kind::Plugin).clone();
        if let Some(field) = schema.record.fields.iter_mut().find(|field| field.name == "config") {
            field.spec.shape = Shape::Record(config);
        }
        schema
    }
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Spec> {
        self.record.field(name)
    }
    /// The fields that point to other entities.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&str, Kind, &Spec)> {
        self.record.fields.iter().filter_map(|field| match field.spec.shape {
            Shape::Foreign(kind) => Some((field.name.as_ref(), kind, &field.spec)),
            _ => None,
        })
    }
}

impl Record {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Spec> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.spec)
    }
}

impl Spec {
    /// Of that type, optional, nothing else.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            required: false,
            omit_unset: false,
            default: None,
            auto: None,
            unique: false,
            immutable: false,
            cascade: false,
            one_of: None,
            served: None,
            description: None,
        }
    }
}

/// Whether a value counts as set in rules such as "at least one of": not null, not empty.
pub(crate) fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}
