//! An Admin API on port 0 with its own store, catalog and node, and a client that speaks HTTP to it.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use weir_admin::{AdminContext, NodeFacts, NodeInfo, NodeStatus, Token, router, serve};
use weir_model::{
    Component, ComponentManifest, ComponentRefusal, Digest, Findings, Kind, Phase, PluginCatalog, PluginInfo, Revision,
    Selection, View,
};
use weir_store::{Embedded, EmbeddedOptions, Store};

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub bytes: Bytes,
}

impl Answer {
    /// The body of an answer that must have that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
    #[track_caller]
    pub fn message(self, status: u16) -> String {
        let body = self.expect(status);
        body["message"].as_str().unwrap_or_else(|| panic!("no message: {body}")).to_owned()
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Plugins as the tests want them.
pub struct Catalog {
    plugins: Mutex<Vec<PluginInfo>>,
}

fn stock(name: &str, priority: i64, authenticates: bool, config_schema: Value) -> PluginInfo {
    PluginInfo {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        priority,
        origin: "stock",
        phases: vec![Phase::Request],
        authenticates,
        config_schema,
    }
}

impl Catalog {
    fn new() -> Self {
        let key_auth = json!({"type": "object", "additionalProperties": false, "properties": {
            "key_names": {"type": "array", "items": {"type": "string"}, "default": ["apikey"]},
            "hide_credentials": {"type": "boolean", "default": false},
            "anonymous": {"type": ["string", "null"], "default": null},
        }});
        let limit = json!({"type": "object", "additionalProperties": false, "properties": {
            "minute": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "policy": {"type": "string", "enum": ["local"], "default": "local"},
            "redis": {"type": "object", "properties": {
                "host": {"type": ["string", "null"]}, "port": {"type": "integer", "default": 6379}}, "default": {}},
        }});
        Self { plugins: Mutex::new(vec![stock("key-auth", 1250, true, key_auth), stock("rate-limiting", 910, false, limit)]) }
    }
    /// What the node does when a component becomes active or goes.
    fn follow(&self, view: &dyn View) {
        let mut uploaded = Vec::new();
        view.each(Kind::Component, &Selection::All, &mut |entity| {
            let component: Component = entity.parse().expect("a component");
            if component.active {
                uploaded.push(PluginInfo {
                    name: component.name,
                    version: component.version,
                    priority: component.priority,
                    origin: "uploaded",
                    phases: component.phases,
                    authenticates: component.grants.contains(&"credentials".to_owned()),
                    config_schema: component.config_schema,
                });
            }
        })
        .expect("readable");
        let mut plugins = self.plugins.lock().expect("not poisoned");
        plugins.retain(|plugin| plugin.origin == "stock");
        plugins.extend(uploaded);
    }
}

impl PluginCatalog for Catalog {
    fn plugins(&self) -> Vec<PluginInfo> {
        self.plugins.lock().expect("not poisoned").clone()
    }
    fn plugin(&self, name: &str) -> Option<PluginInfo> {
        assert_ne!(name, "panic", "asked for the plugin that panics");
        self.plugins().into_iter().find(|plugin| plugin.name == name)
    }
    fn check_config(&self, _: &str, config: &Map<String, Value>) -> Result<(), Findings> {
        let mut findings = Findings::default();
        if config.get("minute") == Some(&json!(666)) {
            findings.add(["minute"], "the guest refuses this number");
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }
    fn try_configs(&self, _: &[u8], _: &[String], configs: &[Map<String, Value>]) -> Result<Vec<Findings>, ComponentRefusal> {
        Ok(configs.iter().map(|config| self.check_config("", config).err().unwrap_or_default()).collect())
    }
    /// A component of these tests is its manifest as JSON.
    fn inspect(&self, bytes: &[u8], _: &[String]) -> Result<ComponentManifest, ComponentRefusal> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| ComponentRefusal("not a component".to_owned()))?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Ok(ComponentManifest {
            name: text("name"),
            version: text("version"),
            priority: 5,
            config_schema: value["config"].clone(),
            phases: vec![Phase::Request, Phase::Log],
            needs_grants: value["needs"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            digest: Digest::from_bytes(*blake3::hash(bytes).as_bytes()),
            size: bytes.len() as u64,
        })
    }
}

/// A node that serves what the store has, unless it is held.
pub struct Node {
    serving: watch::Receiver<Revision>,
}

impl NodeFacts for Node {
    fn serving(&self) -> watch::Receiver<Revision> {
        self.serving.clone()
    }
    fn status(&self) -> NodeStatus {
        NodeStatus { plugins: json!([]), ..NodeStatus::default() }
    }
    fn info(&self) -> NodeInfo {
        NodeInfo {
            hostname: "here".to_owned(),
            node_id: "node".to_owned(),
            version: "0.1.0".to_owned(),
            configuration: Map::from_iter([("database".to_owned(), json!("embedded"))]),
        }
    }
}

/// A running Admin API.
pub struct Admin {
    pub address: SocketAddr,
    pub store: Arc<dyn Store>,
    /// While set, the node does not serve anything new.
    pub held: Arc<AtomicBool>,
    token: Option<&'static str>,
    stop: Option<oneshot::Sender<()>>,
    pub done: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// Settings of a test.
#[derive(Default)]
pub struct Setting {
    pub token: Option<&'static str>,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub serving_wait: Option<Duration>,
    pub export_idle: Option<Duration>,
    /// Instead of the embedded store.
    pub store: Option<Arc<dyn Store>>,
}

impl Admin {
    pub async fn start() -> Self {
        Self::with(Setting::default()).await
    }
    pub async fn with(setting: Setting) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = match setting.store {
            Some(store) => store,
            None => Embedded::open(folder.path(), EmbeddedOptions::default()).expect("a store"),
        };
        let catalog = Arc::new(Catalog::new());
        let (served, serving) = watch::channel(Revision(0));
        let held = Arc::new(AtomicBool::new(false));
        tokio::spawn(follow(store.clone(), catalog.clone(), served, held.clone()));
        let token = setting.token.and_then(Token::new);
        let mut context = AdminContext::new(store.clone(), catalog, Arc::new(Node { serving }), token);
        if let Some(wait) = setting.serving_wait {
            context = context.with_serving_wait(wait);
        }
        if let Some(idle) = setting.export_idle {
            context = context.with_export_idle(idle);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::new(context));
        let done = tokio::spawn(serve(listener, setting.tls, router, async move { drop(stopped.await) }));
        Self { address, store, held, token: setting.token, stop: Some(stop), done: Some(done), _folder: folder }
    }
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body)).await
    }
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }
    /// Creates and returns the entity.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.post(path, body).await.expect(201)
    }
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        match body {
            Some(body) => self.raw(method, path, &[("content-type", "application/json")], body.to_string()).await,
            None => self.raw(method, path, &[], "").await,
        }
    }
    pub async fn raw(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        if let Some(token) = self.token {
            request = request.header("kong-admin-token", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Full::new(body.into())).expect("a request")).await
    }
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Answer {
        let socket = TcpStream::connect(self.address).await.expect("a connection");
        exchange(socket, request).await
    }
}

/// One request on a connection of its own.
pub async fn exchange(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.expect("a handshake");
    tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("a response");
    let (parts, body) = response.into_parts();
    let bytes = Body::new(body).collect().await.expect("a body").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body, bytes }
}

async fn follow(store: Arc<dyn Store>, catalog: Arc<Catalog>, served: watch::Sender<Revision>, held: Arc<AtomicBool>) {
    let mut moves = store.revisions();
    loop {
        if !held.load(Ordering::Relaxed)
            && let Ok(view) = store.view()
        {
            catalog.follow(view.as_ref());
            served.send_replace(view.revision());
        }
        if moves.changed().await.is_err() {
            return;
        }
    }
}

/// The id of an entity.
#[track_caller]
pub fn id(entity: &Value) -> &str {
    entity["id"].as_str().unwrap_or_else(|| panic!("no id: {entity}"))
}

/// A reference to an entity.
pub fn to(entity: &Value) -> Value {
    json!({ "id": id(entity) })
}
