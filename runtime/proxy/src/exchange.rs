//! One exchange, from a complete request head to its access event. The order is the point of this file:
//!
//! ```text
//!  1 take the snapshot            one for the whole exchange, so route, chain and credentials cannot disagree
//!  2 stamp id and clock           before anything can fail: every failure has an id
//!  3 clean the head               before plugins, so that they never see or trust what a client forged
//!  4 match the route              no match: reply, still logged
//!  5 chain: request phase         the first plugin that responds ends the walk; the upstream is not called
//!  6 forward                      bodies stream; tried again only as the error allows
//!  7 chain: response phase        same order as the request phase; sees every reply, ours included
//!  8 send                         client gone: its fault, nothing is tried again, the upstream is let go
//!  9 chain: log phase             cannot change anything; failures are only counted
//! 10 access event                 always, exactly once: dropping the exchange writes it
//! ```
//!
//! Knows the order and nothing else: each step is another module's.

use crate::access_log::{Event, EventRequest, PluginFailure};
use crate::chain::{Chain, Scheme};
use crate::client_io::Client;
use crate::deadlines::Wait;
use crate::error::ProxyError;
use crate::forward::{self, Ongoing};
use crate::headers;
use crate::reply::{self, error_reply};
use crate::reply_body::{ReplyBody, Source};
use crate::route::{HostHeader, RouteRequest, normalise};
use crate::snapshot::{Found, RouteMatch};
use crate::spares::Texts;
use crate::upstream::request_body::RequestBody;
use crate::upstream::response::Head;
use crate::walk::{Identities, Walked, walk};
use crate::worker::{Stage, Worker, add};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use weir_model::Phase;
use weir_plugin_host::exchange::{Exchange, Fault, Reply, RequestHead, ResponseHead};

/// An exchange in progress. Dropping it, wherever it has got to, runs steps 9 and 10.
pub(crate) struct Served {
    pub worker: Rc<Worker>,
    pub client: Rc<Client>,
    pub exchange: Box<Exchange>,
    /// The route and what follows from it, once it is known.
    pub matched: Option<RouteMatch>,
    /// The plugins: the route's, or the global ones.
    pub chain: Option<Arc<Chain>>,
    pub scheme: Scheme,
    /// The client's Host as it sent it.
    pub authority: Option<HeaderValue>,
    pub version: Version,
    pub began: Instant,
    /// When the exchange last went on: the clock is read where something was waited for, not where the time is asked for.
    pub now: Instant,
    /// Why it failed, if it did.
    pub error: Option<ProxyError>,
    identities: Identities,
    failures: Vec<PluginFailure>,
    pub upstream: Option<SocketAddr>,
    pub tries: u32,
    /// Whether the whole reply was handed to the client's connection.
    pub complete: bool,
    /// Where the reply's body comes from, once there is one.
    pub source: Source,
    /// The request's body, once the reply is on its way.
    pub request_body: Option<RequestBody>,
}

/// What a reply is made of.
enum Answer {
    /// A plugin's decision.
    Plugin(Reply),
    /// The upstream's response.
    Upstream(Head, Box<Ongoing>),
}

/// Serves one request. Called by the HTTP parser, one after the other on each connection. The exchange begins with the call, not
/// when the future is first polled: in between the parser reads on, and must find the connection busy.
pub(crate) fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
    let (mut served, body) = Served::begin(worker, client, request);
    let mut body = RequestBody::new(body, served.worker.settings().request_body_limit_bytes);
    async move {
        let answer = served.ask(&mut body).await;
        Ok(served.answer(answer, body))
    }
}

impl Served {
    /// Steps 1 and 2. The snapshot is taken in step 4, in one look-up that gives everything that hangs together.
    fn begin(worker: Rc<Worker>, client: Rc<Client>, request: Request<Incoming>) -> (Box<Self>, Incoming) {
        let began = client.exchange_begins();
        let Texts { mut id, host, mut path, query: mut query_text } = worker.spares.borrow_mut().take_texts();
        worker.ids.borrow_mut().next_into(&mut id);
        let figures = worker.figures();
        add(&figures.requests, 1);
        add(&figures.in_flight, 1);
        let (head, body) = request.into_parts();
        path.push_str(head.uri.path());
        let query = head.uri.query().map(|query| {
            query_text.push_str(query);
            query_text
        });
        let request = RequestHead {
            method: head.method,
            scheme: client.facts.scheme.name(),
            host,
            path,
            query,
            headers: head.headers,
            sent: false,
            routed_path: None,
        };
        let client_ip = client.facts.peer.ip();
        let served = Self {
            exchange: Box::new(Exchange::new(id, request, client_ip)),
            matched: None,
            chain: None,
            scheme: client.facts.scheme,
            authority: None,
            version: head.version,
            began,
            now: began,
            error: None,
            identities: Identities::default(),
            failures: Vec::new(),
            upstream: None,
            tries: 0,
            complete: false,
            source: Source::Nothing,
            request_body: None,
            worker,
            client,
        };
        (Box::new(served), body)
    }

    /// Steps 3 to 6.
    async fn ask(&mut self, body: &mut RequestBody) -> Result<Answer, ProxyError> {
        if self.worker.figures().in_flight.load(Ordering::Relaxed) > self.worker.in_flight_limit() {
            return Err(ProxyError::Overloaded);
        }
        self.clean_head()?;
        self.match_route()?;
        body.check_announced()?;
        match self.walk(Phase::Request) {
            Walked::Through => {}
            Walked::Replied(reply) => return Ok(Answer::Plugin(reply)),
            Walked::Failed(error) => return Err(error),
        }
        forward::forward(self, body).await.map(|(head, ongoing)| Answer::Upstream(head, ongoing))
    }

    /// Step 3.
    fn clean_head(&mut self) -> Result<(), ProxyError> {
        let settings = self.worker.settings();
        let facts = &self.client.facts;
        let request = &mut self.exchange.request;
        headers::clean_request(&mut request.headers, facts.trusted, settings)?;
        if facts.trusted {
            self.exchange.client_ip = headers::client_ip(&request.headers, facts.peer.ip(), &settings.trusted_ips);
            self.scheme = headers::client_scheme(&request.headers, facts.scheme);
            request.scheme = self.scheme.name();
        }
        // An absolute target names the host that its Host header names: `framing` has compared them.
        self.authority = request.headers.remove(header::HOST);
        let normal = normalise(&request.path).map_err(|_| ProxyError::RequestPath)?;
        if let std::borrow::Cow::Owned(normal) = normal {
            request.path = normal;
        }
        Ok(())
    }

    /// Step 4, and step 1: the worker's snapshot is looked at once.
    fn match_route(&mut self) -> Result<(), ProxyError> {
        let host = match &self.authority {
            Some(authority) => Some(HostHeader::parse(authority.as_bytes()).map_err(|_| ProxyError::RequestPath)?),
            None => None,
        };
        let port = host.as_ref().and_then(|host| host.port).unwrap_or(self.scheme.default_port());
        let request = &mut self.exchange.request;
        if let Some(host) = host {
            request.host.push_str(&host.name);
        }
        let mut cache = self.worker.snapshot.borrow_mut();
        let snapshot = cache.load();
        let found = snapshot.find(&RouteRequest {
            scheme: self.scheme,
            method: &request.method,
            host: &request.host,
            port,
            path: &request.path,
            headers: &request.headers,
        });
        match found {
            Found::Route(mut matched) => {
                self.exchange.route = Some(Arc::clone(&matched.route.facts));
                self.exchange.service = matched.service.as_ref().map(|service| Arc::clone(&service.facts));
                self.exchange.captures = std::mem::take(&mut matched.captures);
                if matched.chain.handles(Phase::Request) {
                    self.exchange.directory = Some(snapshot.directory().clone());
                }
                self.chain = Some(Arc::clone(&matched.chain));
                self.matched = Some(matched);
                Ok(())
            }
            Found::NeedsHttps { route, status } => {
                self.exchange.route = Some(Arc::clone(&route.facts));
                self.chain = Some(Arc::clone(snapshot.global_chain()));
                let query = request.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
                let location =
                    (status != StatusCode::UPGRADE_REQUIRED).then(|| format!("https://{}{}{query}", request.host, request.path));
                Err(ProxyError::HttpsRequired { status: status.as_u16(), location })
            }
            Found::None => {
                self.chain = Some(Arc::clone(snapshot.global_chain()));
                Err(ProxyError::NoRoute)
            }
        }
    }

    /// One phase of the chain; without plugins in it, one test of a bit.
    fn walk(&mut self, phase: Phase) -> Walked {
        let Some(chain) = self.chain.as_ref().filter(|chain| chain.handles(phase)) else { return Walked::Through };
        // Calls are synchronous and never come back to us, so nobody else holds the instances.
        let Ok(mut plugins) = self.worker.plugins.try_borrow_mut() else {
            return Walked::Failed(ProxyError::Internal("plugins are in use"));
        };
        let entered = plugins.entered();
        let walked = walk(chain, phase, self.scheme, &mut plugins, &mut self.exchange, &mut self.identities, &mut self.failures);
        // Steps that were prepared take no time to speak of; calls of plugins may.
        if plugins.entered() != entered {
            self.now = Instant::now();
        }
        walked
    }

    /// Steps 7 and 8.
    fn answer(mut self: Box<Self>, answer: Result<Answer, ProxyError>, body: RequestBody) -> Response<ReplyBody> {
        let (mut head, mut source) = match answer {
            Ok(Answer::Plugin(reply)) => plugin_reply(reply),
            Ok(Answer::Upstream(head, ongoing)) => {
                let Head { status, headers, .. } = head;
                (ResponseHead { status, headers, sent: false }, Source::Upstream(ongoing))
            }
            Err(error) => self.fail(error),
        };
        let edits = std::mem::take(&mut self.exchange.response_edits);
        edits.iter().for_each(|edit| edit.apply(&mut head.headers));
        self.exchange.response = Some(head);
        let replaced = match self.walk(Phase::Response) {
            Walked::Through => None,
            Walked::Replied(reply) => Some(plugin_reply(reply)),
            Walked::Failed(error) => Some(self.fail(error)),
        };
        if let Some((mut head, replacement)) = replaced {
            edits.iter().for_each(|edit| edit.apply(&mut head.headers));
            self.exchange.response = Some(head);
            source = replacement;
        }
        self.send(source, body)
    }

    /// Step 8: the last headers, and off.
    fn send(mut self: Box<Self>, source: Source, body: RequestBody) -> Response<ReplyBody> {
        let keeps_log = self.chain.as_ref().is_some_and(|chain| chain.handles(Phase::Log));
        let mut response = Response::new(ReplyBody::empty());
        let Some(head) = &mut self.exchange.response else { return response };
        *response.status_mut() = head.status;
        head.sent = true;
        let mut headers = if keeps_log { head.headers.clone() } else { std::mem::take(&mut head.headers) };
        self.exchange.outcome.status = response.status().as_u16();
        source.frame(&mut headers);
        self.add_own_headers(&mut headers, matches!(source, Source::Upstream(_)));
        if !self.keeps_connection(&body) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            self.client.closing.set(true);
        }
        *response.headers_mut() = headers;
        *response.body_mut() = ReplyBody::new(self, source, body);
        response
    }

    fn add_own_headers(&self, headers: &mut HeaderMap, proxied: bool) {
        let settings = self.worker.settings();
        // At the map's capacity (32768 names) a header is left out; `insert` would panic.
        let mut set = |name, value| drop(headers.try_insert(name, value));
        if settings.latency_headers {
            let total = self.now.duration_since(self.began);
            match self.exchange.outcome.upstream.filter(|_| proxied) {
                Some(upstream) => {
                    set(headers::UPSTREAM_LATENCY, headers::milliseconds(upstream));
                    set(headers::PROXY_LATENCY, headers::milliseconds(total.saturating_sub(upstream)));
                }
                None => set(headers::RESPONSE_LATENCY, headers::milliseconds(total)),
            }
        }
        if settings.request_id_header
            && let Ok(id) = HeaderValue::from_str(&self.exchange.id)
        {
            set(headers::REQUEST_ID, id);
        }
        if settings.via_header && proxied {
            drop(headers.try_append(header::VIA, HeaderValue::from_static("1.1 weir")));
        }
    }

    /// Whether the client's connection serves further requests.
    fn keeps_connection(&self, body: &RequestBody) -> bool {
        let client = &self.client;
        let refused = self.error.as_ref().is_some_and(|error| !reply::shown(error).keep);
        // What is left of a request's body would be read as the next request.
        body.ended
            && !refused
            && !client.closing.get()
            && self.worker.stage.get() == Stage::Serving
            && client.requests.get() < self.worker.settings().keepalive_requests
    }

    /// Notes a failure and makes its reply.
    fn fail(&mut self, error: ProxyError) -> (ResponseHead, Source) {
        let accept = self.exchange.request.headers.get(header::ACCEPT);
        let (head, body) = error_reply(&error, &self.exchange.id, accept);
        self.error = Some(error);
        (head, Source::Bytes(body))
    }

    /// Steps 9 and 10.
    fn finish(&mut self) {
        if let Some(body) = self.request_body.take() {
            self.exchange.outcome.request_bytes = body.received;
        }
        // What the upstream still sends is for nobody: its connection goes before the exchange counts as over.
        self.source = Source::Nothing;
        self.complete |= self.exchange.request.method == Method::HEAD && self.exchange.outcome.status != 0;
        if !self.complete && self.error.is_none() {
            self.error = Some(if std::thread::panicking() {
                ProxyError::Internal("panic")
            } else if self.worker.stage.get() == Stage::Stopped {
                ProxyError::Stopped
            } else {
                ProxyError::ClientGone
            });
        }
        // A complete reply noted the time when the last of it was handed over.
        if !self.complete {
            self.now = Instant::now();
        }
        let now = self.now;
        let outcome = &mut self.exchange.outcome;
        if outcome.status == 0 {
            outcome.status = self.error.as_ref().map_or(0, |error| reply::shown(error).status);
        }
        outcome.fault = self.error.as_ref().map_or(Fault::None, ProxyError::fault);
        outcome.total = now.duration_since(self.began);
        // While a panic unwinds, a plugin is the last thing to call.
        if !std::thread::panicking() {
            self.walk(Phase::Log);
        }
        self.client.exchange_ends(now);
        let figures = self.worker.figures();
        add(&figures.in_flight, -1);
        figures.count_fault(self.exchange.outcome.fault);
        self.log();
        self.worker.spares.borrow_mut().keep(&mut self.exchange);
    }

    fn log(&self) {
        if !self.worker.log.is_on() {
            return;
        }
        let exchange = &self.exchange;
        let outcome = &exchange.outcome;
        let consumer = exchange.caller.as_ref().map(|caller| &caller.consumer);
        self.worker.log.add(&Event {
            at: self.worker.wall_time(self.began),
            id: &exchange.id,
            client_ip: exchange.client_ip,
            request: Some(EventRequest {
                method: exchange.request.method.as_str(),
                scheme: exchange.request.scheme,
                host: &exchange.request.host,
                path: exchange.request.as_routed(),
            }),
            status: outcome.status,
            fault: outcome.fault,
            error: self.error.as_ref().map(|error| (error.kind(), error.to_string())),
            route: exchange.route.as_deref(),
            service: exchange.service.as_deref(),
            consumer: consumer.map(|consumer| (consumer.id, consumer.username.as_deref())),
            upstream: self.upstream,
            tries: self.tries,
            total: outcome.total,
            upstream_time: outcome.upstream,
            request_bytes: outcome.request_bytes,
            response_bytes: outcome.response_bytes,
            failures: &self.failures,
        });
    }

    /// How long the client's connection may wait for the upstream.
    pub fn wait_for_upstream(&self, limit: Duration) {
        self.client.waits.set(Wait::Upstream, self.now.checked_add(limit));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.finish();
    }
}

fn plugin_reply(reply: Reply) -> (ResponseHead, Source) {
    (ResponseHead { status: reply.status, headers: reply.headers, sent: false }, Source::Bytes(reply.body))
}

impl Source {
    /// Makes the framing headers agree with what is going to be sent.
    fn frame(&self, headers: &mut HeaderMap) {
        headers.remove(header::TRANSFER_ENCODING);
        match self {
            // The HTTP parser's other half writes the length from the body.
            Source::Bytes(_) => drop(headers.remove(header::CONTENT_LENGTH)),
            Source::Upstream(_) | Source::Broken | Source::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_an_exchange_is_small() {
        // It is moved some times with every request, so what is rare and large belongs on the heap.
        assert!(size_of_future(serve) <= 1024, "{}", size_of_future(serve));
    }
}
