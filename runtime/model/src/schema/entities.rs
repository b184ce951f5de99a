//! The definitions: one per kind, fields and defaults as clients of Kong's Admin API expect them.
//!
//! What Weir does not serve yet is here with Kong's default and a `served` list, so that a client that sends the default is
//! understood and any other value is refused by name, never accepted and ignored.

use super::{
    Auto, Bounds, Check, Field, Length, MapSpec, Record, Schema, Shape, Shorthand, Spec, Text, TextRule, rules, shorthand,
};
use crate::entity::ComponentSettings;
use crate::{Findings, Kind};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::LazyLock;

pub(super) fn of(kind: Kind) -> &'static Schema {
    static ALL: LazyLock<[Schema; 6]> =
        LazyLock::new(|| [services(), routes(), consumers(), key_auths(), plugins(), components()]);
    let [services, routes, consumers, key_auths, plugins, components] = &*ALL;
    match kind {
        Kind::Service => services,
        Kind::Route => routes,
        Kind::Consumer => consumers,
        Kind::KeyAuth => key_auths,
        Kind::Plugin => plugins,
        Kind::Component => components,
    }
}

/// Milliseconds; Kong's largest timeout.
const TIMEOUT_MAX: f64 = 2_147_483_646.0;
/// Kong's largest number of retries.
const RETRIES_MAX: f64 = 32_767.0;
/// Seconds of the Unix clock; up to here every number is exact in every client.
const TIME_MAX: f64 = 9_007_199_254_740_991.0;
/// The router has 32 bits for it.
const PRIORITY_MAX: f64 = 2_147_483_647.0;
/// A hundred years in seconds: a ttl beyond it is a mistake.
const TTL_MAX: f64 = 3_153_600_000.0;

// A small vocabulary, so that a definition reads as a table.
impl Spec {
    fn required(mut self) -> Self {
        self.required = true;
        self
    }
    /// Never null: absent becomes `value`.
    fn default(mut self, value: Value) -> Self {
        self.required = true;
        self.default = Some(value);
        self
    }
    fn auto(mut self, auto: Auto) -> Self {
        self.auto = Some(auto);
        self.required = auto != Auto::Ttl;
        self
    }
    fn unique(mut self) -> Self {
        self.unique = true;
        self
    }
    fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }
    fn cascade(mut self) -> Self {
        self.cascade = true;
        self
    }
    fn one_of(mut self, values: Value) -> Self {
        self.one_of = values.as_array().cloned();
        self
    }
    fn served(mut self, values: Value) -> Self {
        self.served = values.as_array().cloned();
        self
    }
    fn about(mut self, text: &'static str) -> Self {
        self.description = Some(text.to_owned());
        self
    }
}

fn text() -> Spec {
    ruled(None)
}
fn ruled(rule: Option<TextRule>) -> Spec {
    Spec::new(Shape::String(Text { length: Length { min: Some(1), max: None }, pattern: None, rule }))
}
fn matching(pattern: &str) -> Spec {
    let pattern = Regex::new(pattern).expect("the patterns of this file are constants, and a test builds every schema");
    Spec::new(Shape::String(Text { length: Length { min: Some(1), max: None }, pattern: Some(pattern), rule: None }))
}
fn integer() -> Spec {
    Spec::new(Shape::Integer(Bounds::default()))
}
fn between(min: f64, max: f64) -> Spec {
    Spec::new(Shape::Integer(Bounds { min: Some(min), max: Some(max), above: None, below: None }))
}
fn boolean() -> Spec {
    Spec::new(Shape::Boolean)
}
fn array(element: Spec) -> Spec {
    Spec::new(Shape::Array(Box::new(element.required()), Length::default()))
}
fn set(element: Spec) -> Spec {
    Spec::new(Shape::Set(Box::new(element.required()), Length::default()))
}
fn nonempty_set(element: Spec) -> Spec {
    Spec::new(Shape::Set(Box::new(element.required()), Length { min: Some(1), max: None }))
}
fn foreign(kind: Kind) -> Spec {
    Spec::new(Shape::Foreign(kind))
}
fn field(name: &'static str, spec: Spec) -> Field {
    Field { name: Cow::Borrowed(name), spec }
}

fn id() -> Field {
    field("id", text().auto(Auto::Id).about("Primary key: any UUID; made when absent."))
}
fn created_at() -> Field {
    field("created_at", between(0.0, TIME_MAX).auto(Auto::CreatedAt).about("Seconds of the Unix clock."))
}
fn updated_at() -> Field {
    field("updated_at", between(0.0, TIME_MAX).auto(Auto::UpdatedAt).about("Seconds of the Unix clock; set by the server."))
}
fn tags() -> Field {
    field("tags", set(ruled(Some(rules::tag))).about("Free labels to list by."))
}
fn name() -> Field {
    field("name", ruled(Some(rules::name)).unique().about("Unique name; may stand for the id in a path."))
}

fn services() -> Schema {
    let timeout = || between(1.0, TIMEOUT_MAX).default(json!(60_000));
    let protocols = json!(["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"]);
    let fields = vec![
        id(),
        created_at(),
        updated_at(),
        name(),
        field("retries", between(0.0, RETRIES_MAX).default(json!(5)).about("How often an exchange may be tried again.")),
        field(
            "protocol",
            text()
                .default(json!("http"))
                .one_of(protocols)
                .served(json!(["http", "https"]))
                .about("How to talk to the upstream."),
        ),
        field("host", ruled(Some(rules::service_host)).required().about("Host name or address, without a port.")),
        field("port", between(0.0, 65_535.0).default(json!(80))),
        field("path", ruled(Some(rules::service_path)).about("Prefix of the upstream path.")),
        field("connect_timeout", timeout().about("Milliseconds.")),
        field("write_timeout", timeout().about("Milliseconds between two writes.")),
        field("read_timeout", timeout().about("Milliseconds between two reads.")),
        tags(),
        field("client_certificate", Spec::new(Shape::Any).served(json!([])).about("Not served by this version.")),
        field("tls_verify", boolean().about("Whether the upstream's certificate is verified.")),
        field("tls_verify_depth", between(0.0, 64.0).served(json!([])).about("Not served by this version.")),
        field("ca_certificates", array(text()).served(json!([])).about("Not served by this version.")),
        field("enabled", boolean().default(json!(true)).about("The routes of a disabled service are not served.")),
    ];
    let checks = vec![Check::UnsetUnless { field: "protocol", one_of: &["https"], then: "tls_verify" }];
    Schema {
        kind: Kind::Service,
        path: "services",
        nested_path: "services",
        endpoint_key: Some("name"),
        record: Record { fields, checks },
        shorthands: &[Shorthand { name: "url", expand: shorthand::url }],
    }
}

fn routes() -> Schema {
    let protocols = json!(["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"]);
    let protocol = text().one_of(protocols).served(json!(["http", "https"]));
    let header_values = array(ruled(Some(rules::printable)));
    let headers = Shape::Map(Box::new(MapSpec { keys: ruled(Some(rules::header_name)), values: header_values.required() }));
    let fields = vec![
        id(),
        created_at(),
        updated_at(),
        name(),
        field("protocols", nonempty_set(protocol).default(json!(["http", "https"]))),
        field("methods", set(matching("^[A-Z]+$"))),
        field("hosts", array(ruled(Some(rules::route_host))).about("Exact, *.example.com or example.*; an optional port.")),
        field("paths", array(ruled(Some(rules::route_path))).about("Prefixes, or ~ and a regex.")),
        field("headers", Spec::new(headers).about("Header names and the values that match; a value ~*… is a regex.")),
        field("snis", set(text()).served(json!([])).about("Not served by this version.")),
        field("sources", set(Spec::new(Shape::Any)).served(json!([])).about("Only for protocols that are not served.")),
        field("destinations", set(Spec::new(Shape::Any)).served(json!([])).about("Only for protocols that are not served.")),
        field("https_redirect_status_code", integer().default(json!(426)).one_of(json!([426, 301, 302, 307, 308]))),
        field(
            "regex_priority",
            between(-PRIORITY_MAX, PRIORITY_MAX).default(json!(0)).about("Among regex paths, higher goes first."),
        ),
        field("strip_path", boolean().default(json!(true)).about("Cut the matched prefix from the upstream path.")),
        field("path_handling", text().default(json!("v0")).one_of(json!(["v0", "v1"]))),
        field("preserve_host", boolean().default(json!(false)).about("Send the client's Host upstream.")),
        field("request_buffering", boolean().default(json!(true)).served(json!([true])).about("Bodies stream in any case.")),
        field("response_buffering", boolean().default(json!(true)).served(json!([true])).about("Bodies stream in any case.")),
        field("service", foreign(Kind::Service).about("Where matching requests go.")),
        tags(),
    ];
    let checks = vec![
        Check::Rule { fields: &["protocols", "methods", "hosts", "headers", "paths", "snis"], run: has_matcher },
        Check::Rule { fields: &["headers"], run: header_regexes },
    ];
    Schema {
        kind: Kind::Route,
        path: "routes",
        nested_path: "routes",
        endpoint_key: Some("name"),
        record: Record { fields, checks },
        shorthands: &[],
    }
}

fn has_matcher(body: &Map<String, Value>, findings: &mut Findings) {
    let set = |field: &&str| super::is_set(body.get(*field));
    if ["methods", "hosts", "headers", "paths", "snis"].iter().any(set) {
        return;
    }
    let https = body.get("protocols").and_then(Value::as_array).is_some_and(|list| list.contains(&json!("https")));
    let message = if https {
        "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"
    } else {
        "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'"
    };
    findings.add::<String>([], message);
}

fn header_regexes(body: &Map<String, Value>, findings: &mut Findings) {
    for (name, values) in body.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        if values.is_empty() {
            findings.add(["headers", name], "must hold at least one value");
        }
        for (index, value) in values.iter().enumerate() {
            if let Some(Err(message)) = value.as_str().and_then(|value| value.strip_prefix("~*")).map(rules::regex) {
                findings.add(["headers".to_owned(), name.clone(), (index + 1).to_string()], message);
            }
        }
    }
}

fn consumers() -> Schema {
    let fields = vec![
        id(),
        created_at(),
        updated_at(),
        field("username", ruled(Some(rules::identity)).unique().about("Unique; may stand for the id in a path.")),
        field("custom_id", ruled(Some(rules::identity)).unique().about("Unique; the operator's own identifier.")),
        tags(),
    ];
    Schema {
        kind: Kind::Consumer,
        path: "consumers",
        nested_path: "consumers",
        endpoint_key: Some("username"),
        record: Record { fields, checks: vec![Check::AtLeastOneOf(&["custom_id", "username"])] },
        shorthands: &[],
    }
}

fn key_auths() -> Schema {
    let fields = vec![
        id(),
        created_at(),
        field("consumer", foreign(Kind::Consumer).required().cascade().about("Whose key it is.")),
        field("key", ruled(Some(rules::key)).unique().auto(Auto::Secret).about("The secret; made when absent.")),
        tags(),
        field("ttl", between(1.0, TTL_MAX).auto(Auto::Ttl).about("Seconds until it stops being valid.")),
    ];
    Schema {
        kind: Kind::KeyAuth,
        path: "key-auths",
        nested_path: "key-auth",
        endpoint_key: Some("key"),
        record: Record { fields, checks: Vec::new() },
        shorthands: &[],
    }
}

fn plugins() -> Schema {
    let protocol = text().one_of(json!(["grpc", "grpcs", "http", "https"]));
    let fields = vec![
        id(),
        created_at(),
        updated_at(),
        field("name", text().required().about("Which plugin.")),
        field("instance_name", ruled(Some(rules::name)).unique().about("Unique name of this entry.")),
        field("route", foreign(Kind::Route).cascade().about("Only on this route.")),
        field("service", foreign(Kind::Service).cascade().about("Only on routes of this service.")),
        field("consumer", foreign(Kind::Consumer).cascade().about("Only for this consumer.")),
        field("config", Spec::new(Shape::Record(Record::default())).required()),
        field("protocols", nonempty_set(protocol).default(json!(["grpc", "grpcs", "http", "https"]))),
        field("enabled", boolean().default(json!(true)).about("A disabled entry does not shadow a less specific one.")),
        tags(),
    ];
    Schema {
        kind: Kind::Plugin,
        path: "plugins",
        nested_path: "plugins",
        endpoint_key: Some("instance_name"),
        record: Record { fields, checks: Vec::new() },
        shorthands: &[],
    }
}

/// The largest budgets that an operator may give: beyond them a plugin's call would be an outage of its worker.
const CPU_BUDGET_MAX_MS: f64 = 10_000.0;
/// Below this no guest begins: its stack alone takes as much.
const MEMORY_BUDGET_MIN: f64 = (1_u64 << 20) as f64;
const MEMORY_BUDGET_MAX: f64 = (1_u64 << 30) as f64;
const CALLS_BUDGET_MAX: f64 = 10_000_000.0;
const BYTES_BUDGET_MAX: f64 = (1_u64 << 30) as f64;

fn components() -> Schema {
    let defaults = serde_json::to_value(ComponentSettings::default()).unwrap_or_default();
    let budget = |name: &str, min: f64, max: f64| between(min, max).default(defaults.get(name).cloned().unwrap_or_default());
    let grant = text().one_of(json!(["counters", "credentials"]));
    let fields = vec![
        id(),
        created_at(),
        updated_at(),
        field("name", ruled(Some(rules::name)).required().immutable().about("The plugin that it is.")),
        field("version", text().required().immutable()),
        field("digest", text().required().immutable().about("BLAKE3 of the bytes.")),
        field("size", integer().required().immutable().about("Bytes.")),
        field("priority", integer().required().immutable().about("Higher runs first.")),
        field("phases", array(text()).required().immutable().about("What it handles.")),
        field("grants", array(grant).default(json!([])).immutable().about("What it was allowed to import.")),
        field("config_schema", Spec::new(Shape::Any).required().immutable().about("JSON Schema of its configuration.")),
        field("active", boolean().default(json!(true)).about("Whether this version serves; one version of a name does.")),
        field(
            "isolation",
            text()
                .default(json!("shared"))
                .one_of(json!(["shared", "per_configuration", "per_request"]))
                .about("Who shares an instance."),
        ),
        field("on_failure", text().default(json!("closed")).one_of(json!(["closed", "open"])).about("What its failure means.")),
        field("cpu_budget_ms", budget("cpu_budget_ms", 1.0, CPU_BUDGET_MAX_MS).about("CPU time of a call.")),
        field(
            "memory_budget_bytes",
            budget("memory_budget_bytes", MEMORY_BUDGET_MIN, MEMORY_BUDGET_MAX).about("Memory of an instance."),
        ),
        field("host_calls_budget", budget("host_calls_budget", 1.0, CALLS_BUDGET_MAX).about("Host calls in a call.")),
        field("host_bytes_budget", budget("host_bytes_budget", 1.0, BYTES_BUDGET_MAX).about("Bytes moved in a call.")),
        tags(),
    ];
    Schema {
        kind: Kind::Component,
        path: "components",
        nested_path: "components",
        // `name@version`, which is no single field: `constraints` knows how to find one.
        endpoint_key: None,
        record: Record { fields, checks: vec![Check::Rule { fields: &["grants", "on_failure"], run: stays_closed }] },
        shorthands: &[],
    }
}

/// What an operator may say of a component, wherever it comes from: of an upload through the Admin API, of a file beside it.
pub fn component_settings() -> Record {
    const SETTINGS: [&str; 7] =
        ["grants", "isolation", "on_failure", "cpu_budget_ms", "memory_budget_bytes", "host_calls_budget", "host_bytes_budget"];
    let mut record = Schema::of(Kind::Component).record.clone();
    record.fields.retain(|field| SETTINGS.contains(&field.name.as_ref()));
    record
}

fn stays_closed(body: &Map<String, Value>, findings: &mut Findings) {
    let authenticates = body.get("grants").and_then(Value::as_array).is_some_and(|list| list.contains(&json!("credentials")));
    if authenticates && body.get("on_failure") == Some(&json!("open")) {
        findings.add(["on_failure"], "must be 'closed': this component may authenticate, and its failure must not let anyone in");
    }
}
