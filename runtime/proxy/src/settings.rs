//! What the operator decides about the data path, with the defaults that are safe at the edge.

use crate::framing::HeadLimits;
use ipnet::IpNet;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Settings of the proxy. Every limit is met at its value and refused beyond it.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Worker threads, each with its own runtime, plugin instances and upstream connections. One per core.
    pub workers: usize,
    /// Bytes of a request head. Room for large cookies and tokens; what a header block may cost in memory per connection.
    pub request_head_limit_bytes: usize,
    /// Bytes of the request target. Longer ones do not fit into the lines of most servers behind us.
    pub request_target_limit_bytes: usize,
    /// Bytes of a request body, 0 for no limit (Kong's default): bodies stream, so a long one costs no memory.
    pub request_body_limit_bytes: u64,
    /// Bytes of a response head from an upstream.
    pub response_head_limit_bytes: usize,
    /// From a request's first byte to the end of its head; also from the accept to the first byte. Slower is an attack or a dead
    /// line.
    pub request_head_timeout: Duration,
    /// Between two reads of a request body.
    pub request_body_timeout: Duration,
    /// Between two writes to the client that make progress.
    pub send_timeout: Duration,
    /// How long an idle client connection is kept.
    pub keepalive_timeout: Duration,
    /// Requests on one client connection; then it is closed, so that a load balancer can move its clients.
    pub keepalive_requests: u64,
    /// Client connections of the node. Each may hold a socket, a head and two buffers.
    pub connections_limit: usize,
    /// Requests being served at once on the node. Beyond it the answer is 503: a queue would only hide the overload.
    pub requests_in_flight_limit: usize,
    /// Idle connections to one upstream address, per worker.
    pub upstream_idle_connections: usize,
    /// How long a connection to an upstream may be idle. Shorter than most servers' own limit, so that they seldom close first.
    pub upstream_idle_timeout: Duration,
    /// Requests on one upstream connection, so that a balancer behind us can move it.
    pub upstream_keepalive_requests: u32,
    /// Whether an upstream's certificate is verified where the service does not say.
    pub upstream_tls_verify: bool,
    /// Peers that may say who the client is (`X-Forwarded-*`, `Forwarded`). Nobody is trusted by being on a private network.
    pub trusted_ips: Vec<IpNet>,
    /// What becomes of request headers with `_` in their names, which some servers read as `-`.
    pub underscore_headers: UnderscoreHeaders,
    /// Whether the headers that name the gateway are added: `Via`.
    pub via_header: bool,
    /// Whether replies carry `X-Kong-Proxy-Latency`, `X-Kong-Upstream-Latency` or `X-Kong-Response-Latency`.
    pub latency_headers: bool,
    /// Whether upstream and client are told the request id (`X-Kong-Request-Id`).
    pub request_id_header: bool,
    /// Where access events go.
    pub access_log: AccessLogTarget,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            request_head_limit_bytes: 32 << 10,
            request_target_limit_bytes: 8 << 10,
            request_body_limit_bytes: 0,
            response_head_limit_bytes: 64 << 10,
            request_head_timeout: Duration::from_secs(10),
            request_body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(75),
            keepalive_requests: 10_000,
            connections_limit: 16_384,
            requests_in_flight_limit: 8_192,
            upstream_idle_connections: 256,
            upstream_idle_timeout: Duration::from_secs(55),
            upstream_keepalive_requests: 10_000,
            upstream_tls_verify: true,
            trusted_ips: Vec::new(),
            underscore_headers: UnderscoreHeaders::Drop,
            via_header: true,
            latency_headers: true,
            request_id_header: true,
            access_log: AccessLogTarget::Stdout,
        }
    }
}

impl ProxySettings {
    pub(crate) fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            head: self.request_head_limit_bytes,
            target: self.request_target_limit_bytes,
            headers: crate::headers::HEADERS_LIMIT,
        }
    }
}

/// What becomes of request headers with `_` in their names. Aliases of headers that the gateway vouches for are removed always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnderscoreHeaders {
    /// They are removed.
    Drop,
    /// The request is refused.
    Refuse,
    /// They are passed on.
    Pass,
}

/// Where access events go, one JSON object a line.
#[derive(Clone, Debug)]
pub enum AccessLogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file, which is opened again on `Proxy::reopen_access_log`.
    File(PathBuf),
    /// To another part of the program, some lines at a time.
    Lines(Sender<Vec<u8>>),
}
