//! The exchange as plugins see it: one HTTP request, its reply, and the facts around them.
//!
//! The proxy owns it, lends it to the plugin host for one call (a pointer moves, nothing is copied), and takes it back.

use crate::host_calls::counters::Announced;
use bytes::Bytes;
use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_model::directory::{Caller, Holder};
use weir_model::{Directory, Id};

/// One request and its reply.
pub struct Exchange {
    /// 32 lower-case hexadecimal digits; also `X-Kong-Request-Id` and in the access log.
    pub id: String,
    /// What the client asked, as the upstream will see it.
    pub request: RequestHead,
    /// The response head, once there is one.
    pub response: Option<ResponseHead>,
    /// Header writes made before there was a response, in order; the proxy applies them to whatever reply the client gets.
    pub response_edits: PendingEdits,
    /// The client's address after `trusted_ips`.
    pub client_ip: IpAddr,
    /// The matched route.
    pub route: Option<Arc<EntityFacts>>,
    /// Its service.
    pub service: Option<Arc<EntityFacts>>,
    /// Captures of the route's path regex: name (a number for unnamed groups) and value.
    pub captures: Vec<(String, String)>,
    /// Who calls, once a plugin has authenticated. The headers that say so are its, and not in the request's head: no plugin can
    /// write them, and a client's are removed.
    pub caller: Option<Arc<Caller>>,
    /// Look-up of credentials at the snapshot's revision.
    pub directory: Option<Directory>,
    /// What each plugin entry keeps between its phases: (slot of the entry, bytes).
    pub kept: Vec<(u32, Vec<u8>)>,
    /// Credentials that plugins found in this exchange, and the slot of the entry that found each; their handles are positions.
    pub found: Vec<(u32, Arc<Holder>)>,
    /// Facts of the outcome; complete in the log phase.
    pub outcome: Outcome,
}

impl Exchange {
    /// An exchange at its beginning: nobody authenticated, nothing answered.
    pub fn new(id: String, request: RequestHead, client_ip: IpAddr) -> Self {
        Self {
            id,
            request,
            response: None,
            response_edits: PendingEdits::new(),
            client_ip,
            route: None,
            service: None,
            captures: Vec::new(),
            caller: None,
            directory: None,
            kept: Vec::new(),
            found: Vec::new(),
            outcome: Outcome::default(),
        }
    }
    /// What stands in an instance while no exchange is lent to it. Allocates nothing.
    pub(crate) fn absent() -> Self {
        let request = RequestHead {
            method: Method::GET,
            scheme: "http",
            host: String::new(),
            path: String::new(),
            query: None,
            headers: HeaderMap::new(),
            sent: true,
            routed_path: None,
        };
        Self::new(String::new(), request, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }
}

/// The request head.
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// `http` or `https`, as the client sees it (after `trusted_ips`).
    pub scheme: &'static str,
    /// Host as the client sent it, lower case, without port.
    pub host: String,
    /// Path as routed, until a plugin changes it: normalised once, percent-encoded, begins with `/`.
    pub path: String,
    /// Query without `?`, as it came.
    pub query: Option<String>,
    /// Headers, hop-by-hop ones removed. `host` is in here only if a plugin set it.
    pub headers: HeaderMap,
    /// True once the head went upstream: writes are refused then (`head-already-sent`).
    pub sent: bool,
    /// The path as routed, once a plugin has set another target.
    pub routed_path: Option<String>,
}

impl RequestHead {
    /// The path as routed, whatever plugins have made of it.
    pub fn as_routed(&self) -> &str {
        self.routed_path.as_deref().unwrap_or(&self.path)
    }
}

/// The response head.
pub struct ResponseHead {
    /// Status.
    pub status: StatusCode,
    /// Headers, hop-by-hop ones removed.
    pub headers: HeaderMap,
    /// True once it went to the client.
    pub sent: bool,
}

/// Writes in their order. The usual few lie in the exchange itself.
pub type PendingEdits = SmallVec<[PendingEdit; 2]>;

/// Header writes that wait for the response. They can be applied more than once: a response may be replaced.
pub enum PendingEdit {
    /// One.
    One(HeaderEdit),
    /// A prepared list.
    List(Arc<[HeaderEdit]>),
    /// How limits stand.
    Announced(Announced),
}

impl PendingEdit {
    /// How many writes it is.
    pub fn count(&self) -> usize {
        match self {
            PendingEdit::One(_) => 1,
            PendingEdit::List(edits) => edits.len(),
            PendingEdit::Announced(announced) => announced.count(),
        }
    }
    /// Applies the writes. At the map's capacity a write is dropped: `HeaderMap` would panic.
    pub fn apply(&self, headers: &mut HeaderMap) {
        match self {
            PendingEdit::One(edit) => edit.apply(headers),
            PendingEdit::List(edits) => edits.iter().for_each(|edit| edit.apply(headers)),
            PendingEdit::Announced(announced) => announced.write(|name, value| drop(headers.try_insert(name, value))),
        }
    }
}

impl From<HeaderEdit> for PendingEdit {
    fn from(edit: HeaderEdit) -> Self {
        PendingEdit::One(edit)
    }
}

/// One header write.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderEdit {
    /// Replaces all of that name.
    Set(HeaderName, HeaderValue),
    /// Replaces all of that name, if there is one.
    SetIfPresent(HeaderName, HeaderValue),
    /// Adds one more.
    Add(HeaderName, HeaderValue),
    /// Adds it, if there is none of that name.
    AddIfAbsent(HeaderName, HeaderValue),
    /// Removes all of that name.
    Remove(HeaderName),
    /// Gives all of the first name the second one, in place of those that had it.
    Rename(HeaderName, HeaderName),
}

impl HeaderEdit {
    /// Applies the write. At the map's capacity the write is dropped: `HeaderMap` would panic.
    pub fn apply(&self, headers: &mut HeaderMap) {
        // Names are hashed once for each edit: hashing is most of what it costs.
        match self {
            HeaderEdit::Set(name, value) => drop(headers.try_insert(name, value.clone())),
            HeaderEdit::Add(name, value) => drop(headers.try_append(name, value.clone())),
            HeaderEdit::SetIfPresent(name, value) => {
                if let Ok(Entry::Occupied(mut there)) = headers.try_entry(name) {
                    there.insert(value.clone());
                }
            }
            HeaderEdit::AddIfAbsent(name, value) => {
                if let Ok(Entry::Vacant(place)) = headers.try_entry(name) {
                    drop(place.try_insert(value.clone()));
                }
            }
            HeaderEdit::Remove(name) => drop(headers.remove(name)),
            HeaderEdit::Rename(old, new) => rename(headers, old, new),
        }
    }
}

fn rename(headers: &mut HeaderMap, old: &HeaderName, new: &HeaderName) {
    if old == new {
        return;
    }
    let values: Vec<HeaderValue> = match headers.try_entry(old) {
        Ok(Entry::Occupied(there)) => there.remove_entry_mult().1.collect(),
        Ok(Entry::Vacant(_)) | Err(_) => return,
    };
    headers.remove(new);
    for value in values {
        drop(headers.try_append(new.clone(), value));
    }
}

/// A route or a service, as far as plugins may know it.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityFacts {
    /// Primary key.
    pub id: Id,
    /// The id in text: asked for often, rendered once.
    pub id_text: String,
    /// Name.
    pub name: Option<String>,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    /// Nothing failed.
    #[default]
    None,
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
    /// A plugin's.
    Plugin,
    /// Ours.
    Gateway,
}

impl Fault {
    /// The word in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Client => "client",
            Fault::Upstream => "upstream",
            Fault::Plugin => "plugin",
            Fault::Gateway => "gateway",
        }
    }
}

/// How the exchange ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the client got; 0 while nothing.
    pub status: u16,
    /// Whose fault, if it failed.
    pub fault: Fault,
    /// From the request's first byte to the reply's last.
    pub total: Duration,
    /// From the request to the upstream to its response head.
    pub upstream: Option<Duration>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the response body.
    pub response_bytes: u64,
}

/// A reply that a plugin made.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Status, 200–599.
    pub status: StatusCode,
    /// Headers; never framing or hop-by-hop ones.
    pub headers: HeaderMap,
    /// The whole body; the proxy sets content-length.
    pub body: Bytes,
}

/// How one call of a phase ended. What the plugin decided, what it reported and what was done to it are kept apart.
#[derive(Debug)]
pub enum Ending {
    /// The next plugin, in the end the upstream.
    Proceed,
    /// The plugin's decision: this is the reply.
    Respond(Reply),
    /// The plugin said that it failed; the exchange goes by `on_failure`.
    Failed(String),
    /// The host ended the call; the exchange goes by `on_failure`.
    Killed(Kill),
}

/// Why the host ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kill {
    /// The guest trapped (a panic of the plugin is one).
    Trap,
    /// CPU time was used up.
    CpuBudget,
    /// The memory limit was met.
    MemoryBudget,
    /// Too many calls into the host.
    HostCalls,
    /// Too many bytes through the host.
    HostBytes,
    /// A limit of the interface was exceeded (header count, reply size, …).
    Limit,
    /// The guest tried to wait.
    Wait,
    /// The guest refused, at first use, a configuration that it had accepted at write time.
    Configure,
    /// The circuit breaker is open: the plugin was not called.
    CircuitOpen,
    /// The host itself failed; caught.
    Host,
}

impl Kill {
    /// All kinds.
    pub const ALL: [Kill; 10] = [
        Kill::Trap,
        Kill::CpuBudget,
        Kill::MemoryBudget,
        Kill::HostCalls,
        Kill::HostBytes,
        Kill::Limit,
        Kill::Wait,
        Kill::Configure,
        Kill::CircuitOpen,
        Kill::Host,
    ];

    /// Its place in `ALL`, which has the order of the declaration.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
    /// The word in logs, metrics and the Admin API.
    pub fn name(self) -> &'static str {
        match self {
            Kill::Trap => "trap",
            Kill::CpuBudget => "cpu_budget",
            Kill::MemoryBudget => "memory_budget",
            Kill::HostCalls => "host_calls",
            Kill::HostBytes => "host_bytes",
            Kill::Limit => "limit",
            Kill::Wait => "wait",
            Kill::Configure => "configure",
            Kill::CircuitOpen => "circuit_open",
            Kill::Host => "host",
        }
    }
}
