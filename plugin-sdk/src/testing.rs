//! Tests of a plugin, without a gateway: `cargo test` on the author's machine.
//!
//! [`configure`] makes the plugin as the gateway would; [`get`] or [`Gateway::request`] makes an exchange; the plugin's phases are
//! called on it, and the exchange shows what they did. A phase that `export!` does not list fails the test that calls it, and so
//! does one that comes to something else than its steps ([`crate::steps`]).

use crate::backing::memory::{Handle, Head, RequestState, State, Steps, configuring, take_log};
use crate::exchange::{Exchange, Facts, Identity, NamedEntity};
use crate::exported::{Exported, decode};
use crate::flow::{Flow, Reply, Result};
use crate::log::Level;
use crate::manifest::{self, Phase};
use crate::{Findings, Plugin};
use serde_json::Value;
use std::cell::Cell;
use std::ops::Deref;
use std::time::Duration;

pub(crate) mod node;
use node::Node;

/// Makes the plugin from a configuration, as JSON. Fields that are left out get their defaults; unknown ones are refused.
pub fn configure<P: Exported>(json: &str) -> Result<Configured<P>, Findings> {
    thread_local! { static ENTRIES: Cell<u32> = const { Cell::new(0) }; }
    let mut unknown = Findings::default();
    if let Ok(config) = serde_json::from_str::<Value>(json) {
        refuse_unknown(&manifest::schema::<P>(), &config, "", &mut unknown);
    }
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let (plugin, steps) = configuring(|| decode::<P>(json.as_bytes()));
    let plugin = plugin?;
    ENTRIES.set(ENTRIES.get() + 1);
    Ok(Configured { plugin, steps, entry: ENTRIES.get() })
}

/// The schema of the plugin's configuration, as operators see it.
pub fn schema<P: Plugin>() -> Value {
    manifest::schema::<P>()
}

/// The manifest, as the gateway asks for it when the plugin is stored.
pub fn manifest<P: Exported>() -> Value {
    manifest::manifest::<P>(P::PACKAGE_NAME, P::PACKAGE_VERSION)
}

/// The lines that plugins logged in this thread since the last call.
pub fn logged() -> Vec<(Level, String)> {
    take_log()
}

/// A `GET` in a gateway of its own.
pub fn get(target: &str) -> Exchange {
    Gateway::new().get(target)
}

/// A configured plugin: one entry of a chain.
pub struct Configured<P> {
    plugin: P,
    steps: Steps,
    entry: u32,
}

impl<P> Deref for Configured<P> {
    type Target = P;
    fn deref(&self) -> &P {
        &self.plugin
    }
}

impl<P> std::fmt::Debug for Configured<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plugin entry {}", self.entry)
    }
}

impl<P: Exported> Configured<P> {
    /// Runs the request phase. A reply becomes the exchange's response.
    pub fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        self.enter(Phase::Request, exchange);
        let after_steps = exchange.handle.after_steps(&self.steps, Phase::Request);
        let answer = self.plugin.on_request(exchange);
        compare(after_steps, &answer, exchange);
        Self::settle(answer, exchange)
    }
    /// Runs the response phase; there must be a response ([`Exchange::upstream_answers`], or a reply). A reply replaces it.
    pub fn on_response(&self, exchange: &mut Exchange) -> Result<Flow> {
        self.enter(Phase::Response, exchange);
        assert!(exchange.response.status().is_some(), "there is no response yet: call upstream_answers first");
        let after_steps = exchange.handle.after_steps(&self.steps, Phase::Response);
        let answer = self.plugin.on_response(exchange);
        compare(after_steps, &answer, exchange);
        Self::settle(answer, exchange)
    }
    /// Runs the log phase. From here on both heads can only be read.
    pub fn on_log(&self, exchange: &mut Exchange) {
        self.enter(Phase::Log, exchange);
        {
            let mut state = exchange.handle.state_mut();
            state.request.head.sent = true;
            if let Some(response) = &mut state.response {
                response.head.sent = true;
            }
        }
        self.plugin.on_log(exchange);
    }

    fn enter(&self, phase: Phase, exchange: &Exchange) {
        let name = match phase {
            Phase::Request => "on_request",
            Phase::Response => "on_response",
            Phase::Log => "on_log",
        };
        assert!(
            P::PHASES.contains(&phase),
            "the gateway would never call {name} of this plugin: list it, as in export!({}: {name})",
            std::any::type_name::<P>().rsplit("::").next().unwrap_or_default()
        );
        let mut state = exchange.handle.state_mut();
        state.entry = self.entry;
        state.kinds = Some(P::CREDENTIALS);
    }
    fn settle(answer: Result<Flow>, exchange: &Exchange) -> Result<Flow> {
        if let Ok(Flow::Respond(reply)) = &answer {
            assert!((200..600).contains(&reply.status), "{} is not a status of 200 to 599", reply.status);
            assert!(reply.body.len() <= 64 << 10, "a reply has at most 64 KiB, not {}", reply.body.len());
            exchange.handle.state_mut().respond(reply);
        }
        answer
    }
}

/// Fails the test if the steps before a phase went through and came to something else than the phase itself: the gateway would
/// have taken them in its place.
fn compare(after_steps: Option<String>, answer: &Result<Flow>, exchange: &Exchange) {
    if let Some(after_steps) = after_steps {
        assert_eq!(*answer, Ok(Flow::Proceed), "the steps before the phase go through, so the gateway would not call it");
        assert_eq!(
            after_steps,
            exchange.handle.described(),
            "the steps before the phase (left) come to something else than it does"
        );
    }
}

/// A gateway node, as far as plugins can notice it: consumers, credentials, counts, and a clock that only the test moves.
///
/// It begins at 2026-01-01T00:00:00Z. Exchanges of one gateway share its counts.
pub struct Gateway {
    node: Node,
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// Nobody known, nothing counted.
    pub fn new() -> Self {
        Self { node: Node::new() }
    }
    /// A consumer.
    pub fn add_consumer(&self, username: &str) -> Identity {
        self.node.add_consumer(username)
    }
    /// A credential of a consumer, which is added if it is not there: `add_credential("key-auth", "secret", "alice")`.
    pub fn add_credential(&self, kind: &str, key: &str, username: &str) {
        let consumer = self.node.consumer(username).unwrap_or_else(|| self.add_consumer(username));
        self.node.add_credential(kind, key, consumer);
    }
    /// Sets the clock, in seconds of the Unix clock.
    pub fn set_time(&self, unix_seconds: u64) {
        self.node.set_now_ms(unix_seconds * 1000);
    }
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.node.set_now_ms(self.node.now_ms().saturating_add(by));
    }
    /// From now on what the other nodes took is not known (true), or is again (false): it matters to rules of
    /// [`crate::Scope::ClusterStrict`]. This gateway has no other nodes, so that the others of a cluster took nothing.
    pub fn lose_other_nodes(&self, lost: bool) {
        self.node.lose_the_others(lost);
    }
    /// A `GET`.
    pub fn get(&self, target: &str) -> Exchange {
        self.request("GET", target)
    }
    /// A request for `/path?query`, from 203.0.113.7 to `http://example.test`.
    pub fn request(&self, method: &str, target: &str) -> Exchange {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let request = RequestState {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            host: "example.test".to_owned(),
            path: path.to_owned(),
            query,
            client_ip: "203.0.113.7".to_owned(),
            head: Head::default(),
        };
        let id = format!("{:032x}", self.node.serial());
        Exchange::of(Handle::new(State::new(self.node.clone(), id, request)))
    }
}

/// What a test can say of an exchange, and ask it. Not there inside the gateway.
impl Exchange {
    /// The client sent this header (in addition to others of that name).
    pub fn with_header(self, name: &str, value: &str) -> Self {
        let field = (name.to_ascii_lowercase(), value.as_bytes().to_vec());
        self.handle.state_mut().request.head.fields.push(field);
        self
    }
    /// The client has this address.
    pub fn from_ip(self, address: &str) -> Self {
        self.handle.state_mut().request.client_ip = address.to_owned();
        self
    }
    /// The client used this host.
    pub fn with_host(self, host: &str) -> Self {
        self.handle.state_mut().request.host = host.to_owned();
        self
    }
    /// The route has this service.
    pub fn with_service(self, name: &str) -> Self {
        let id = "00000000-0000-4000-8000-000000000002".to_owned();
        self.handle.state_mut().service = Some(NamedEntity { id, name: Some(name.to_owned()) });
        self
    }
    /// The route's path regex captured this.
    pub fn with_capture(self, name: &str, value: &str) -> Self {
        self.handle.state_mut().captures.push((name.to_owned(), value.to_owned()));
        self
    }
    /// Another plugin authenticated this consumer before.
    pub fn authenticated_as(self, consumer: Identity) -> Self {
        self.handle.state_mut().consumer = Some(consumer);
        self
    }
    /// The upstream answers: what the request phases wrote to the response is applied, and the request cannot change any more.
    pub fn upstream_answers(&mut self, status: u16, headers: &[(&str, &str)]) {
        let reply = headers.iter().fold(Reply::new(status), |reply, (name, value)| reply.header(name, value));
        self.handle.state_mut().respond(&reply);
    }
    /// How the exchange went, for the log phase.
    pub fn set_outcome(&mut self, facts: Facts) {
        self.handle.state_mut().outcome = facts;
    }
    /// The body of a plugin's reply.
    pub fn response_body(&self) -> Vec<u8> {
        self.handle.state().response.as_ref().map(|response| response.body.clone()).unwrap_or_default()
    }
}

fn refuse_unknown(schema: &Value, config: &Value, path: &str, findings: &mut Findings) {
    let (Some(fields), Some(config)) = (schema.get("properties").and_then(Value::as_object), config.as_object()) else { return };
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (name, value) in config {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match fields.get(name) {
            Some(inner) => refuse_unknown(inner, value, &path, findings),
            None if closed => findings.add(path, "unknown field"),
            None => {}
        }
    }
}
