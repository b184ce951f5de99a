//! The exchange as a plugin sees it. Every method is one question to the backing; nothing is computed here.

use crate::backing::{self, Handle};
use crate::counters::Counters;
use crate::edits::{HeaderEdit, RequestEdits, ResponseEdits};
use crate::header::{HeaderFault, HeaderValue};
use crate::{Result, flow::Reply};

/// One HTTP request and its reply.
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// The response. Header writes made before there is one are kept, and applied to whatever reply the client gets.
    pub response: Response,
    /// Who calls. Needs a grant.
    pub credentials: Credentials,
    /// Counting against limits. Needs a grant.
    pub counters: Counters,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    pub(crate) handle: Handle,
}

impl Exchange {
    /// The one that the host serves now.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn current() -> Self {
        Self::of(Handle)
    }

    pub(crate) fn of(handle: Handle) -> Self {
        Self {
            request: Request { handle: handle.clone() },
            response: Response { handle: handle.clone() },
            credentials: Credentials { handle: handle.clone() },
            counters: Counters { handle: handle.clone() },
            clock: Clock { handle: handle.clone() },
            random: Random { handle: handle.clone() },
            handle,
        }
    }

    /// 32 lower-case hexadecimal digits; also in the access log and in error replies.
    pub fn id(&self) -> String {
        self.handle.exchange_id()
    }
    /// The matched route.
    pub fn route(&self) -> NamedEntity {
        self.handle.exchange_route()
    }
    /// The route's service.
    pub fn service(&self) -> Option<NamedEntity> {
        self.handle.exchange_service()
    }
    /// Who calls, once a plugin has authenticated.
    pub fn consumer(&self) -> Option<Identity> {
        self.handle.exchange_consumer()
    }
    /// What a group of the route's path regex matched, by name, or by number from "1".
    pub fn capture(&self, name: &str) -> Option<String> {
        self.handle.exchange_capture(name)
    }
    /// How it went: complete in the log phase.
    pub fn outcome(&self) -> Facts {
        self.handle.exchange_outcome()
    }
    /// Keeps bytes for this plugin's later phases of this exchange; at most 16 KiB.
    pub fn keep(&mut self, state: &[u8]) {
        self.handle.exchange_keep(state);
    }
    /// What [`Exchange::keep`] kept.
    pub fn kept(&self) -> Option<Vec<u8>> {
        self.handle.exchange_kept()
    }
    /// A reply in the gateway's form of an error: `{"message": …, "request_id": …}`.
    pub fn error(&self, status: u16, message: &str) -> Reply {
        Reply::error(status, message, &self.id())
    }
}

/// The request. Writable until its head is sent upstream, that is in the request phase. Header names are taken in any case.
pub struct Request {
    handle: Handle,
}

impl Request {
    /// Upper case.
    pub fn method(&self) -> String {
        self.handle.request_method()
    }
    /// `http` or `https`, as the client sees it.
    pub fn scheme(&self) -> String {
        self.handle.request_scheme()
    }
    /// Lower case, without the port.
    pub fn host(&self) -> String {
        self.handle.request_host()
    }
    /// Percent-encoded, dot segments resolved, begins with `/`.
    pub fn path(&self) -> String {
        self.handle.request_path()
    }
    /// Without `?`, percent-encoded; `None` if there is no `?`.
    pub fn query(&self) -> Option<String> {
        self.handle.request_query()
    }
    /// The client's address after `trusted_ips`.
    pub fn client_ip(&self) -> String {
        self.handle.request_client_ip()
    }
    /// The value of a header. Several come as one, joined with `, `; [`Request::header_values`] has them apart.
    pub fn header(&self, name: &str) -> Option<HeaderValue> {
        self.handle.request_header(name).map(HeaderValue)
    }
    /// All values of a header, in their order.
    pub fn header_values(&self, name: &str) -> Vec<HeaderValue> {
        self.handle.request_header_values(name).into_iter().map(HeaderValue).collect()
    }
    /// All headers: lower-case names and values. For copying them, not for looking one up.
    pub fn headers(&self) -> Vec<(String, HeaderValue)> {
        self.handle.request_headers().into_iter().map(|(name, value)| (name, HeaderValue(value))).collect()
    }
    /// Changes the method.
    pub fn set_method(&mut self, method: &str) -> Result<(), HeaderFault> {
        self.handle.request_set_method(method)
    }
    /// Changes path and query, both percent-encoded. The route stays the one that was matched.
    pub fn set_target(&mut self, path: &str, query: Option<&str>) -> Result<(), HeaderFault> {
        self.handle.request_set_target(path, query)
    }
    /// Replaces all headers of that name.
    pub fn set_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderFault> {
        self.handle.request_set_header(name, value.as_ref())
    }
    /// Adds one more header of that name.
    pub fn add_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderFault> {
        self.handle.request_add_header(name, value.as_ref())
    }
    /// Removes all headers of that name, if there are any and they may be removed.
    pub fn remove_header(&mut self, name: &str) {
        self.handle.request_remove_header(name);
    }
    /// Replaces the headers of all these names, in one call of the host: all are written, or none.
    pub fn set_headers<N: AsRef<str>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> Result<(), HeaderFault> {
        self.handle.request_set_headers(fields)
    }
    /// Prepares changes that are the same in every exchange; only in [`crate::Plugin::check`]. At most 1,000 edits and 256 KiB of
    /// names and values for one configuration. `host` cannot be renamed, nor be a new name.
    pub fn prepare(edits: Vec<HeaderEdit>) -> Result<RequestEdits, HeaderFault> {
        backing::request_prepare_edits(edits).map(|prepared| RequestEdits(Some(prepared)))
    }
    /// Makes prepared changes, in one call of the host: all of them, or none.
    pub fn apply(&mut self, edits: &RequestEdits) -> Result<(), HeaderFault> {
        edits.0.as_ref().map_or(Ok(()), |prepared| self.handle.request_apply_edits(prepared))
    }
}

/// The response. Writable until its head is sent; in the log phase it can only be read.
pub struct Response {
    handle: Handle,
}

impl Response {
    /// `None` before there is a response.
    pub fn status(&self) -> Option<u16> {
        self.handle.response_status()
    }
    /// 200 to 599. Nothing happens before there is a response.
    pub fn set_status(&mut self, status: u16) {
        self.handle.response_set_status(status);
    }
    /// As [`Request::header`].
    pub fn header(&self, name: &str) -> Option<HeaderValue> {
        self.handle.response_header(name).map(HeaderValue)
    }
    /// As [`Request::header_values`].
    pub fn header_values(&self, name: &str) -> Vec<HeaderValue> {
        self.handle.response_header_values(name).into_iter().map(HeaderValue).collect()
    }
    /// As [`Request::headers`].
    pub fn headers(&self) -> Vec<(String, HeaderValue)> {
        self.handle.response_headers().into_iter().map(|(name, value)| (name, HeaderValue(value))).collect()
    }
    /// Replaces all headers of that name.
    pub fn set_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderFault> {
        self.handle.response_set_header(name, value.as_ref())
    }
    /// Adds one more header of that name.
    pub fn add_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderFault> {
        self.handle.response_add_header(name, value.as_ref())
    }
    /// Removes all headers of that name, if there are any and they may be removed.
    pub fn remove_header(&mut self, name: &str) {
        self.handle.response_remove_header(name);
    }
    /// Replaces the headers of all these names, in one call of the host: all are written, or none.
    pub fn set_headers<N: AsRef<str>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> Result<(), HeaderFault> {
        self.handle.response_set_headers(fields)
    }
    /// Prepares changes that are the same in every exchange; only in [`crate::Plugin::check`]. At most 1,000 edits and 256 KiB of
    /// names and values for one configuration.
    pub fn prepare(edits: Vec<HeaderEdit>) -> Result<ResponseEdits, HeaderFault> {
        backing::response_prepare_edits(edits).map(|prepared| ResponseEdits(Some(prepared)))
    }
    /// Makes prepared changes, in one call of the host: all of them, or none.
    pub fn apply(&mut self, edits: &ResponseEdits) -> Result<(), HeaderFault> {
        edits.0.as_ref().map_or(Ok(()), |prepared| self.handle.response_apply_edits(prepared))
    }
}

/// Who calls. Finding and authenticating are two steps: what was found, the host still holds and vouches for.
pub struct Credentials {
    handle: Handle,
}

impl Credentials {
    /// The credential of that kind (`key-auth`) with that key. The kind must be in [`crate::Plugin::CREDENTIALS`].
    pub fn find(&self, kind: &str, key: impl AsRef<[u8]>) -> Option<Credential> {
        self.handle.credentials_find(kind, key.as_ref())
    }
    /// Makes the credential's consumer the exchange's; false if the credential is not of this exchange.
    pub fn authenticate(&mut self, credential: &Credential) -> bool {
        self.handle.credentials_authenticate(credential.handle)
    }
    /// Makes this consumer, by id or username, the exchange's, without a credential; false if there is no such consumer.
    pub fn authenticate_anonymous(&mut self, consumer: &str) -> bool {
        self.handle.credentials_authenticate_anonymous(consumer)
    }
    /// Prepares finding and authenticating by the value of a request header; only in [`crate::Plugin::check`]. At most 32 for one
    /// configuration.
    pub fn prepare_lookup(kind: &str, header: &str) -> Result<Lookup, HeaderFault> {
        backing::credentials_prepare_lookup(kind, header).map(Lookup)
    }
    /// Finds the credential whose key the header has, and authenticates with it, in one call of the host: the key does not come
    /// into the plugin's memory.
    pub fn authenticate_by(&mut self, lookup: &Lookup) -> LookedUp {
        self.handle.credentials_authenticate_by(&lookup.0)
    }
}

/// A look-up of credentials by a request header, from [`Credentials::prepare_lookup`].
#[derive(Debug)]
pub struct Lookup(pub(crate) backing::Lookup);

/// What [`Credentials::authenticate_by`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookedUp {
    /// The request does not have the header.
    Absent,
    /// It has the header without a value.
    Empty,
    /// It has the header more than once. Nothing was looked up.
    Repeated,
    /// There is no such credential, it expired, or its consumer is gone.
    Unknown,
    /// The credential's consumer is the exchange's now.
    Authenticated,
}

/// A credential that was found. Valid until the exchange ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    pub(crate) handle: u32,
    /// The fields that the kind opens to plugins, as a JSON object.
    pub data: Vec<u8>,
}

/// Time.
pub struct Clock {
    handle: Handle,
}

impl Clock {
    /// Milliseconds of the Unix clock.
    pub fn now_ms(&self) -> u64 {
        self.handle.clock_now_ms()
    }
    /// Nanoseconds since some moment; never goes back.
    pub fn monotonic_ns(&self) -> u64 {
        self.handle.clock_monotonic_ns()
    }
}

/// Randomness that nobody can guess.
pub struct Random {
    handle: Handle,
}

impl Random {
    /// At most 1,024 bytes.
    pub fn bytes(&self, len: u32) -> Vec<u8> {
        self.handle.random_bytes(len)
    }
}

/// A consumer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Primary key, a UUID.
    pub id: String,
    /// Unique name.
    pub username: Option<String>,
    /// The operator's own identifier.
    pub custom_id: Option<String>,
}

/// A route or a service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NamedEntity {
    /// Primary key, a UUID.
    pub id: String,
    /// Unique name.
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
    /// The gateway's own.
    Gateway,
}

/// How the exchange went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// What the client got; 0 while nothing.
    pub status: u16,
    /// Whose fault, if it failed.
    pub fault: Fault,
    /// Microseconds from the request's first byte to the reply's last.
    pub total_us: u64,
    /// Microseconds until the upstream's response head.
    pub upstream_us: Option<u64>,
    /// Of the request's body.
    pub request_bytes: u64,
    /// Of the response's body.
    pub response_bytes: u64,
}
