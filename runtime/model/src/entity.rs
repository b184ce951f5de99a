//! Entities: as stored (a kind, an id and a complete JSON body) and as the serving rooms read them (typed).

use crate::{Digest, Id, Kind, Phase};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An entity as it is stored and shown: every field of its schema is in `body`, unset ones as null. `body` holds `id` too.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entity {
    /// Its kind.
    pub kind: Kind,
    /// Its primary key.
    pub id: Id,
    /// All fields.
    pub body: Map<String, Value>,
}

impl Entity {
    /// The typed form. An error here means that the body did not pass the kind's schema.
    pub fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Value::Object(self.body.clone()))
    }
    /// The id that the foreign key `field` points to.
    pub fn foreign(&self, field: &str) -> Option<Id> {
        self.body.get(field)?.get("id")?.as_str().and_then(Id::parse)
    }
    /// The text of a field, if it is set and text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field)?.as_str()
    }
    /// The tags, in their order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.body.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
    /// The foreign keys that are set: field and the id that it points to.
    pub fn foreign_keys(&self) -> impl Iterator<Item = (&'static str, Kind, Id)> + '_ {
        self.kind.foreign_fields().iter().filter_map(|&(field, kind)| Some((field, kind, self.foreign(field)?)))
    }
    /// The unique keys that this entity holds: (index, key). No two entities of a kind hold the same.
    ///
    /// A null field holds no key. The plugin's composite key is (name, route, service, consumer) with nulls.
    pub fn unique_keys(&self) -> Vec<(&'static str, String)> {
        let field = |name: &'static str| self.text(name).map(|value| (name, value.to_owned()));
        match self.kind {
            Kind::Service | Kind::Route => field("name").into_iter().collect(),
            Kind::Consumer => field("username").into_iter().chain(field("custom_id")).collect(),
            Kind::KeyAuth => field("key").into_iter().collect(),
            Kind::Plugin => {
                let scope = |name| self.foreign(name).map(|id| id.to_string()).unwrap_or_default();
                let name = self.text("name").unwrap_or_default();
                let key = format!("{name}|{}|{}|{}", scope("route"), scope("service"), scope("consumer"));
                field("instance_name").into_iter().chain([("scope", key)]).collect()
            }
            Kind::Component => {
                let part = |name| self.text(name).unwrap_or_default();
                vec![("name_version", format!("{}@{}", part("name"), part("version")))]
            }
        }
    }
}

impl Kind {
    /// The fields that point to other entities, and the kind that they point to.
    pub fn foreign_fields(self) -> &'static [(&'static str, Kind)] {
        match self {
            Kind::Service | Kind::Consumer | Kind::Component => &[],
            Kind::Route => &[("service", Kind::Service)],
            Kind::KeyAuth => &[("consumer", Kind::Consumer)],
            Kind::Plugin => &[("route", Kind::Route), ("service", Kind::Service), ("consumer", Kind::Consumer)],
        }
    }
}

/// A reference to another entity: `{"id": "…"}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// Its primary key.
    pub id: Id,
}

/// Where requests go.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Service {
    /// Primary key.
    pub id: Id,
    /// Unique name.
    pub name: Option<String>,
    /// `http` or `https`.
    pub protocol: String,
    /// Host name or IP address.
    pub host: String,
    /// 0–65535.
    pub port: u16,
    /// Prefix of the upstream path, begins with `/`.
    pub path: Option<String>,
    /// How often an exchange may be tried again, where that is safe.
    pub retries: u32,
    /// Milliseconds.
    pub connect_timeout: u64,
    /// Milliseconds between two successful writes.
    pub write_timeout: u64,
    /// Milliseconds between two successful reads.
    pub read_timeout: u64,
    /// A disabled service's routes are not served.
    pub enabled: bool,
    /// Whether the upstream's certificate is verified; unset means the node's default.
    #[serde(default)]
    pub tls_verify: Option<bool>,
}

/// Which requests, and to which service.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Route {
    /// Primary key.
    pub id: Id,
    /// Unique name.
    pub name: Option<String>,
    /// `http`, `https`.
    pub protocols: Vec<String>,
    /// Upper case; unset or empty: any.
    pub methods: Option<Vec<String>>,
    /// Exact, `*.example.com` or `example.*`, each with an optional port.
    pub hosts: Option<Vec<String>>,
    /// Prefixes beginning with `/`, or regexes beginning with `~`.
    pub paths: Option<Vec<String>>,
    /// Header names and the values that match; one value that begins with `~*` is a regex.
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    /// 426 or a redirect, when only https is allowed and http came.
    pub https_redirect_status_code: u16,
    /// Among regex paths, higher goes first.
    pub regex_priority: i64,
    /// Whether the matched prefix is cut from the upstream path.
    pub strip_path: bool,
    /// `v0` or `v1`.
    pub path_handling: String,
    /// Whether the upstream sees the client's Host.
    pub preserve_host: bool,
    /// Where to; unset: 503.
    pub service: Option<Reference>,
    /// Seconds of the Unix clock; older wins ties.
    pub created_at: u64,
}

/// Who calls.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Consumer {
    /// Primary key.
    pub id: Id,
    /// Unique.
    pub username: Option<String>,
    /// Unique; the operator's own identifier.
    pub custom_id: Option<String>,
}

/// A key of a consumer. `ttl` counts from `created_at`, in seconds.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct KeyAuth {
    /// Primary key.
    pub id: Id,
    /// Unique; the secret.
    pub key: String,
    /// Whose.
    pub consumer: Reference,
    /// Seconds until it stops being valid.
    pub ttl: Option<u64>,
}

/// A plugin with its configuration, at a scope (all of `route`, `service`, `consumer` unset: global).
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Plugin {
    /// Primary key.
    pub id: Id,
    /// The plugin's name, which a stock or uploaded component answers to.
    pub name: String,
    /// Unique name of this entry.
    pub instance_name: Option<String>,
    /// Scope.
    pub route: Option<Reference>,
    /// Scope.
    pub service: Option<Reference>,
    /// Scope.
    pub consumer: Option<Reference>,
    /// Complete configuration, defaults filled in.
    pub config: Map<String, Value>,
    /// `http`, `https`: the client protocols that it runs for.
    pub protocols: Vec<String>,
    /// A disabled entry does not shadow a less specific one.
    pub enabled: bool,
}

/// An uploaded component. One of each name is `active`: the version that serves.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Component {
    /// Primary key, derived from name and version.
    pub id: Id,
    /// The plugin name that it answers to.
    pub name: String,
    /// Its version, from the manifest.
    pub version: String,
    /// Of the bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Order in the chain: higher runs first.
    pub priority: i64,
    /// What it exports.
    pub phases: Vec<Phase>,
    /// Capabilities that it imports and was granted: `credentials`, `counters`.
    pub grants: Vec<String>,
    /// JSON Schema of the configuration, as the component described it.
    pub config_schema: Value,
    /// Whether this version serves.
    pub active: bool,
    /// Settings that an operator may change.
    #[serde(flatten)]
    pub settings: ComponentSettings,
}

/// What an operator decides about a component.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentSettings {
    /// Whether instances are shared between exchanges and configurations.
    pub isolation: Isolation,
    /// What a failure of the plugin means for the exchange. A component that may authenticate is always `closed`.
    pub on_failure: OnFailure,
    /// CPU time a call may take, milliseconds.
    pub cpu_budget_ms: u64,
    /// Linear memory an instance may have, bytes.
    pub memory_budget_bytes: u64,
    /// Calls into the host in one call of a phase.
    pub host_calls_budget: u64,
    /// Bytes moved by those calls, both ways, in one call of a phase.
    pub host_bytes_budget: u64,
}

impl Default for ComponentSettings {
    fn default() -> Self {
        Self {
            isolation: Isolation::Shared,
            on_failure: OnFailure::Closed,
            // Ten times what a slow but honest header plugin of an interpreted language needs.
            cpu_budget_ms: 50,
            // A Rust plugin lives in 2 MiB; a JavaScript one in 24.
            memory_budget_bytes: 64 << 20,
            // A plugin that copies a full head of 100 headers, twice over, stays far below.
            host_calls_budget: 10_000,
            host_bytes_budget: 4 << 20,
        }
    }
}

/// How much an instance is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// One instance per worker and component.
    Shared,
    /// One instance per worker and configuration.
    PerConfiguration,
    /// A fresh instance for every exchange.
    PerRequest,
}

/// What a plugin's failure means for the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The exchange ends with 500.
    Closed,
    /// The exchange goes on as if the plugin were not there.
    Open,
}
