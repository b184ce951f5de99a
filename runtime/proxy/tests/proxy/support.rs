//! A gateway on port 0 with routes from memory, upstreams that do what a test tells them, and clients that send raw bytes.
//!
//! Everything blocks with a deadline: a test that waits for something that never comes fails, it does not hang.

use serde_json::{Map, Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weir_model::{Entity, Id, Kind, Page, Revision, Selection, View, ViewError};
use weir_plugin_host::{Compiler, Host, HostSettings};
use weir_proxy::snapshot::SnapshotBuilder;
use weir_proxy::{AccessLogTarget, ListenerSpec, Proxy, ProxySettings, UpstreamTls};

/// How long anything may take. Long, because it is met only by tests that fail.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Configuration in memory.
#[derive(Default, Clone)]
pub struct MemoryView {
    entities: Vec<Entity>,
}

impl MemoryView {
    pub fn put(&mut self, kind: Kind, body: Value) -> Id {
        let id = Id::random();
        let Value::Object(mut body) = body else { panic!("an entity is an object") };
        body.insert("id".to_owned(), json!(id.to_string()));
        self.entities.push(Entity { kind, id, body });
        id
    }
}

impl View for MemoryView {
    fn revision(&self) -> Revision {
        Revision(1)
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(self.entities.iter().find(|entity| entity.kind == kind && entity.id == id).cloned())
    }
    fn find(&self, _kind: Kind, _index: &str, _key: &str) -> Result<Option<Id>, ViewError> {
        Ok(None)
    }
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        let selected = |entity: &&Entity| {
            entity.kind == kind
                && after.is_none_or(|after| entity.id > after)
                && match selection {
                    Selection::All => true,
                    Selection::Foreign { field, id } => entity.foreign(field) == Some(*id),
                    Selection::AllTags(_) | Selection::AnyTag(_) => false,
                }
        };
        let mut entities: Vec<Entity> = self.entities.iter().filter(selected).cloned().collect();
        entities.sort_by_key(|entity| entity.id);
        let next = (entities.len() > limit).then(|| entities[limit - 1].id);
        entities.truncate(limit);
        Ok(Page { entities, next })
    }
    fn tags(
        &self,
        _tag: Option<&str>,
        _after: Option<(String, Kind, Id)>,
        _limit: usize,
    ) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        Ok(Vec::new())
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        Ok(self.entities.iter().filter(|entity| entity.kind == kind).count() as u64)
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(self.get(kind, id)?.map(|_| self.revision()))
    }
}

fn service(address: SocketAddr, changes: Value) -> Value {
    let mut body = json!({
        "name": null, "protocol": "http", "host": address.ip().to_string(), "port": address.port(), "path": null, "retries": 5,
        "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 60000, "enabled": true, "tls_verify": null
    });
    merge(&mut body, changes);
    body
}
fn route(service: Option<Id>, changes: Value) -> Value {
    let mut body = json!({
        "name": null, "protocols": ["http", "https"], "methods": null, "hosts": null, "paths": ["/"], "headers": null,
        "https_redirect_status_code": 426, "regex_priority": 0, "strip_path": true, "path_handling": "v0", "preserve_host": false,
        "service": service.map(|id| json!({"id": id.to_string()})), "created_at": 0
    });
    merge(&mut body, changes);
    body
}
fn merge(body: &mut Value, changes: Value) {
    if let (Value::Object(body), Value::Object(changes)) = (body, changes) {
        body.extend::<Map<String, Value>>(changes);
    }
}

/// A gateway that is being put together.
pub struct Setup {
    pub settings: ProxySettings,
    pub view: MemoryView,
    pub listeners: Vec<ListenerSpec>,
    pub roots: Option<rustls::RootCertStore>,
}

impl Setup {
    pub fn new() -> Self {
        let settings = ProxySettings { workers: 1, ..ProxySettings::default() };
        let listeners = vec![ListenerSpec { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None }];
        Self { settings, view: MemoryView::default(), listeners, roots: None }
    }
    /// Everything goes to that upstream.
    pub fn to(upstream: SocketAddr) -> Self {
        Self::new().route(upstream, json!({}), json!({}))
    }
    pub fn route(mut self, upstream: SocketAddr, service_changes: Value, route_changes: Value) -> Self {
        let service = self.view.put(Kind::Service, service(upstream, service_changes));
        self.view.put(Kind::Route, route(Some(service), route_changes));
        self
    }
    pub fn route_without_service(mut self, route_changes: Value) -> Self {
        self.view.put(Kind::Route, route(None, route_changes));
        self
    }
    pub fn with(mut self, change: impl FnOnce(&mut ProxySettings)) -> Self {
        change(&mut self.settings);
        self
    }
    pub fn start(mut self) -> Gateway {
        let cache = tempfile::tempdir().unwrap();
        let host = Host::new(HostSettings::new(self.settings.workers, cache.path().join("cwasm"), Compiler::InProcess)).unwrap();
        let mut builder = SnapshotBuilder::new(Arc::clone(&host));
        let snapshot = builder.load(Arc::new(self.view)).unwrap();
        let (lines, events) = channel();
        self.settings.access_log = AccessLogTarget::Lines(lines);
        let tls = self.roots.map_or_else(|| UpstreamTls::with_roots(rustls::RootCertStore::empty()), UpstreamTls::with_roots);
        let proxy = Proxy::start_with(self.settings, self.listeners, host, snapshot, tls).unwrap();
        Gateway { address: proxy.local_addrs()[0], proxy, events: Events { lines: events, waiting: Vec::new() }, _cache: cache }
    }
}

pub struct Gateway {
    pub address: SocketAddr,
    pub proxy: Proxy,
    pub events: Events,
    _cache: tempfile::TempDir,
}

/// Access events, in order.
pub struct Events {
    lines: Receiver<Vec<u8>>,
    waiting: Vec<Value>,
}

impl Events {
    /// The next one.
    pub fn next(&mut self) -> Value {
        while self.waiting.is_empty() {
            let lines = self.lines.recv_timeout(DEADLINE).expect("an access event");
            let lines = String::from_utf8(lines).unwrap();
            self.waiting.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        self.waiting.remove(0)
    }
    /// All that are left once the proxy is gone.
    pub fn rest(mut self) -> Vec<Value> {
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(lines) => {
                    let lines = String::from_utf8(lines).unwrap();
                    self.waiting.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
                }
                Err(RecvTimeoutError::Disconnected) => return self.waiting,
                Err(RecvTimeoutError::Timeout) => panic!("the access log did not end"),
            }
        }
    }
}

impl Gateway {
    pub fn client(&self) -> Wire {
        Wire::connect(self.address)
    }
    /// One request on a connection of its own, and its response.
    pub fn ask(&self, request: &str) -> Response {
        let mut client = self.client();
        client.send(request.as_bytes());
        client.response()
    }
    pub fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: gateway.test\r\n\r\n"))
    }
    /// Stops it and returns the events that were not asked for.
    pub fn stop(self) -> Vec<Value> {
        drop(self.proxy);
        self.events.rest()
    }
    /// Waits until the figures say so.
    pub fn wait_for(&self, what: &str, reached: impl Fn(&weir_proxy::Figures) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !reached(&self.proxy.figures()) {
            assert!(Instant::now() < end, "waited in vain for: {what}; {:?}", self.proxy.figures());
            std::thread::yield_now();
        }
    }
}

/// One side of a connection, read and written byte by byte.
pub struct Wire {
    pub stream: TcpStream,
    input: Vec<u8>,
}

/// A message as it was on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    headers(head, name).into_iter().next()
}
pub fn headers<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: Vec::new() }
    }
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }
    /// Sends as far as the other side takes it.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("reading: {error}; {} bytes so far", self.input.len()),
        }
    }
    /// A head, or nothing at the end of the connection.
    pub fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.input.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more() {
                assert!(self.input.is_empty(), "an incomplete head: {:?}", String::from_utf8_lossy(&self.input));
                return None;
            }
        }
    }
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            assert!(self.more(), "the connection ended before {count} bytes, with {}", self.input.len());
        }
        self.input.drain(..count).collect()
    }
    /// Everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.input)
    }
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.more(), "the connection ended in a line");
        }
    }
    /// The content of a chunked body; panics if it is cut.
    pub fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(self.line().split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                assert_eq!(self.line(), "");
                return body;
            }
            body.extend(self.exactly(size));
            assert_eq!(self.line(), "");
        }
    }
    /// A body that is delimited by what its head says.
    pub fn body(&mut self, head: &str) -> Vec<u8> {
        match header(head, "content-length") {
            Some(length) => self.exactly(length.parse().unwrap()),
            None if header(head, "transfer-encoding").is_some() => self.chunks(),
            None => Vec::new(),
        }
    }
    pub fn try_response(&mut self) -> Option<Response> {
        let head = self.head()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let bodyless = matches!(status, 204 | 304) || status < 200;
        let body = if bodyless { Vec::new() } else { self.body(&head) };
        Some(Response { status, head, body })
    }
    pub fn response(&mut self) -> Response {
        self.try_response().expect("a response")
    }
    /// Whether the other side closes without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.input.is_empty() && !self.more()
    }
    /// Closes with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A request as an upstream saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
    pub fn headers(&self, name: &str) -> Vec<&str> {
        headers(&self.head, name)
    }
}

/// An upstream: a listener, and a thread for each connection.
pub struct Upstream {
    pub address: SocketAddr,
    pub seen: Receiver<Seen>,
    _accepting: JoinHandle<()>,
}

impl Upstream {
    /// Each connection is served by `serve`.
    pub fn serving(serve: impl Fn(Wire, &Sender<Seen>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = channel();
        let serve = Arc::new(serve);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serve, sender) = (Arc::clone(&serve), sender.clone());
                std::thread::spawn(move || serve(Wire::new(stream), &sender));
            }
        });
        Self { address, seen, _accepting: accepting }
    }
    /// Reads requests one after the other, notes each, and answers with `ok`.
    pub fn recording() -> Self {
        Self::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    }
    /// Reads requests one after the other, notes each, and answers with these bytes.
    pub fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(move |mut wire, sender| {
            while let Some(seen) = wire.request() {
                let answer = answer(&seen);
                sender.send(seen).ok();
                if wire.try_send(&answer).is_err() {
                    return;
                }
            }
        })
    }
    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(DEADLINE).expect("a request at the upstream")
    }
    pub fn saw_nothing(&self) -> bool {
        self.seen.try_recv().is_err()
    }
}

impl Wire {
    /// A request, or nothing at the end of the connection.
    pub fn request(&mut self) -> Option<Seen> {
        let head = self.head()?;
        assert!(
            header(&head, "content-length").is_none() || header(&head, "transfer-encoding").is_none(),
            "two lengths reached the upstream: {head}"
        );
        let body = self.body(&head);
        Some(Seen { head, body })
    }
}
