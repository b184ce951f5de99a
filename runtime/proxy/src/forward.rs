//! Step 6 of an exchange: to the upstream and back to its response head, again where that is safe.

use crate::deadlines::Wait;
use crate::error::{ProxyError, Retry};
use crate::exchange::Served;
use crate::headers::{self, Announced};
use crate::snapshot::ServiceRecord;
use crate::upstream::call::{Call, CallLimits};
use crate::upstream::pool::Way;
use crate::upstream::request_body::RequestBody;
use crate::upstream::response::Head;
use crate::upstream::stream::Connection;
use crate::worker::Stage;
use http::Method;
use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use weir_model::Phase;
use weir_plugin_host::exchange::PendingEdit;

/// Buffers for request heads that a worker keeps.
const BUFFERS_KEPT: usize = 64;
/// Headers of a reply that the gateway itself adds.
const OWN_HEADERS: usize = 6;
/// Headers of a reply that plugins of the response phase are taken to add.
const PLUGIN_HEADERS: usize = 8;
/// A buffer that grew beyond this is not kept.
const BUFFER_KEPT_BYTES: usize = 16 << 10;

/// A call whose response body is on its way.
pub(crate) struct Ongoing {
    pub call: Call,
    /// How the connection was made: into which pool it goes.
    way: Way,
}

/// Sends the request and waits for the response head.
pub(crate) async fn forward(served: &mut Served, body: &mut RequestBody) -> Result<(Head, Box<Ongoing>), ProxyError> {
    let Some(service) = served.matched.as_ref().and_then(|matched| matched.service.clone()) else {
        return Err(ProxyError::NoService);
    };
    let way = match (service.tls, served.worker.shared.tls.verifies(service.tls_verify)) {
        (false, _) => Way::Plain,
        (true, true) => Way::Verified,
        (true, false) => Way::Unverified,
    };
    let began = served.now;
    let mut raced = false;
    loop {
        let result = attempt(served, &service, way, body, raced).await;
        let error = match result {
            Ok((mut head, ongoing)) => {
                headers::clean_response(&mut head.headers);
                served.now = Instant::now();
                served.exchange.outcome.upstream = Some(served.now.duration_since(began));
                return Ok((head, ongoing));
            }
            Err(error) => error,
        };
        served.client.waits.end(Wait::Upstream);
        served.now = Instant::now();
        if !may_retry(&error, served, &service, body, &mut raced) {
            return Err(error);
        }
        tracing::debug!(id = %served.exchange.id, tries = served.tries, %error, "trying the upstream again");
    }
}

/// Whether the request may go out once more. Content that was taken from the client is gone, so with any there is no second time.
fn may_retry(error: &ProxyError, served: &Served, service: &ServiceRecord, body: &RequestBody, raced: &mut bool) -> bool {
    let idempotent =
        matches!(served.exchange.request.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    let retries_left = served.tries <= service.retries;
    let reused = matches!(error, ProxyError::UpstreamClosed { reused: true, .. });
    let safe = match error.retry() {
        Retry::Never => false,
        Retry::AlwaysSafe => true,
        Retry::IfReused => idempotent && body.is_empty(),
    };
    // A connection that was closed while it lay in our pool is our own choice: one fresh one, even for a service without retries.
    let first_race = reused && !std::mem::replace(raced, *raced || reused);
    safe && body.received == 0 && (retries_left || first_race)
}

async fn attempt(
    served: &mut Served,
    service: &Arc<ServiceRecord>,
    way: Way,
    body: &mut RequestBody,
    fresh: bool,
) -> Result<(Head, Box<Ongoing>), ProxyError> {
    let connection = connect(served, service, way, fresh).await?;
    served.upstream = Some(connection.peer);
    let out = encode(served, service, body)?;
    let limits = CallLimits {
        write: service.write_timeout,
        read: service.read_timeout,
        head: served.worker.settings().response_head_limit_bytes,
        spare_headers: spare_headers(served),
    };
    // Boxed before it is used: it is large, and moves with the reply.
    let headers = served.worker.spares.borrow_mut().take_headers();
    let mut ongoing = Box::new(Ongoing { call: Call::new(connection, out, body, headers, limits, served.now), way });
    served.exchange.request.sent = true;
    let method = &served.exchange.request.method;
    let waits = &served.client.waits;
    let head = poll_fn(|cx| ongoing.call.poll_head(cx, body, method, waits)).await?;
    Ok((head, ongoing))
}

/// How many headers the reply is likely to get here: its map has room for them from the start.
fn spare_headers(served: &Served) -> usize {
    let plugins = served.chain.as_ref().is_some_and(|chain| chain.handles(Phase::Response));
    OWN_HEADERS
        + served.exchange.response_edits.iter().map(PendingEdit::count).sum::<usize>()
        + if plugins { PLUGIN_HEADERS } else { 0 }
}

/// A connection: an idle one, or a new one in time.
async fn connect(served: &mut Served, service: &Arc<ServiceRecord>, way: Way, fresh: bool) -> Result<Connection, ProxyError> {
    let attempt = served.tries;
    served.tries += 1;
    let worker = std::rc::Rc::clone(&served.worker);
    if !fresh {
        let pooled = worker.pool.borrow_mut().take(service, way, served.now, &worker.pool_limits());
        if let Some(connection) = pooled {
            return Ok(connection);
        }
    }
    served.wait_for_upstream(service.connect_timeout);
    // On the heap, because it is rare and large (TLS most of all): within the exchange's future it would be moved with each.
    let mut opening = Box::pin(Connection::open(service, attempt, &worker.resolver, &worker.shared.tls));
    let waits = &served.client.waits;
    let opened = poll_fn(|cx| match opening.as_mut().poll(cx) {
        Poll::Pending if waits.take_expired(Wait::Upstream) => Poll::Ready(Err(ProxyError::UpstreamConnectTimeout)),
        other => other,
    })
    .await;
    waits.end(Wait::Upstream);
    served.now = Instant::now();
    opened
}

/// The request head as bytes.
fn encode(served: &Served, service: &ServiceRecord, body: &RequestBody) -> Result<Vec<u8>, ProxyError> {
    let request = &served.exchange.request;
    let Some(matched) = &served.matched else { return Err(ProxyError::Internal("no route")) };
    let routed = request.as_routed();
    // A path that a plugin set is the upstream's path; otherwise the route and the service make it.
    let path = if request.path != routed {
        Cow::Borrowed(request.path.as_str())
    } else {
        matched.upstream_path(routed).map_err(|_| ProxyError::RequestPath)?
    };
    let preserved = served.authority.as_ref().filter(|_| matched.route.preserve_host);
    let host = preserved.unwrap_or(&service.host_header);
    let way = headers::Way {
        peer: &served.client.facts.peer_text,
        trusted: served.client.facts.trusted,
        local_port: &served.client.facts.local_port,
        path: routed,
        prefix: matched.stripped_prefix(routed),
        version: served.version,
    };
    let announced = match body.length() {
        Some(length) => Announced::Length(length),
        None => Announced::Chunked,
    };
    let mut out = served.worker.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1 << 10));
    headers::encode_head(&mut out, &served.exchange, &path, host, announced, &way, served.worker.settings());
    Ok(out)
}

/// Ends a call: its connection and its buffer are used again, if they are fit for it.
pub(crate) fn release(served: &Served, ongoing: Ongoing) {
    let Ongoing { mut call, way } = ongoing;
    let worker = &served.worker;
    let mut buffer = call.take_buffer();
    if buffer.capacity() <= BUFFER_KEPT_BYTES {
        buffer.clear();
        let mut buffers = worker.buffers.borrow_mut();
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    }
    let Some(service) = served.matched.as_ref().and_then(|matched| matched.service.as_ref()) else { return };
    if let Some(connection) = call.into_connection()
        && worker.stage.get() < Stage::Draining
    {
        worker.pool.borrow_mut().put(service, way, connection, served.now, &worker.pool_limits());
    }
}
