//! Small guests written as core WebAssembly text, and what a test needs around them.
//!
//! A guest is a template with holes: the body of each phase and of `configure`. It has two pages of memory: results at 256, the
//! text that it was configured with at 512, data from 1024, and a heap that only grows from 65536.

// Not every test needs everything; and a test that cannot go on has failed.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_model::entity::ComponentSettings;
use weir_model::{Id, Plugin};
use weir_plugin_host::exchange::{EntityFacts, Exchange, RequestHead};
use weir_plugin_host::{Compiler, Entry, Host, HostSettings, Origin, PluginFigures};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

/// A part of WASI 0.2, as far as the guests below use it.
const WASI: &str = "
    package wasi:io@0.2.6 {
        interface poll { resource pollable { block: func(); ready: func() -> bool; } poll: func(in: list<borrow<pollable>>) -> list<u32>; }
        interface error { resource error; }
        interface streams {
            use error.{error}; use poll.{pollable};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                check-write: func() -> result<u64, stream-error>;
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                subscribe: func() -> pollable;
            }
        }
    }
    package wasi:clocks@0.2.6 {
        interface monotonic-clock { use wasi:io/poll@0.2.6.{pollable}; subscribe-duration: func(when: u64) -> pollable; now: func() -> u64; }
    }
    package wasi:cli@0.2.6 {
        interface stdout { use wasi:io/streams@0.2.6.{output-stream}; get-stdout: func() -> output-stream; }
        interface stderr { use wasi:io/streams@0.2.6.{output-stream}; get-stderr: func() -> output-stream; }
        interface environment { get-environment: func() -> list<tuple<string, string>>; }
    }
    package wasi:sockets@0.2.6 {
        interface network { resource network; }
        interface instance-network { use network.{network}; instance-network: func() -> network; }
    }
    package wasi:http@0.2.6 { interface types { now: func() -> u64; } }
";

const WASI_IMPORTS: &str = "import wasi:cli/stdout@0.2.6; import wasi:cli/stderr@0.2.6; import wasi:cli/environment@0.2.6;
    import wasi:io/streams@0.2.6; import wasi:io/poll@0.2.6; import wasi:clocks/monotonic-clock@0.2.6;
    import wasi:sockets/instance-network@0.2.6; import wasi:http/types@0.2.6;";

/// A guest to be built.
#[derive(Clone)]
pub struct Guest {
    pub name: String,
    pub version: String,
    /// Instead of the manifest that follows from the name and version.
    pub manifest: Option<String>,
    /// Core imports, as text.
    pub imports: String,
    /// Bodies that return the address of a result; none: the phase is not exported.
    pub request: Option<String>,
    pub response: Option<String>,
    pub log: Option<String>,
    /// Returns the address of a result; the JSON is at `$json`, `$length` bytes.
    pub configure: String,
    /// In `release`.
    pub release: String,
    /// At instantiation.
    pub start: String,
    /// At 1024.
    pub data: String,
    /// Pages of memory.
    pub pages: u32,
    /// The interface's own text is changed so, to make guests for another world.
    pub replace: Vec<(&'static str, &'static str)>,
}

/// A guest that proceeds.
pub fn guest(name: &str) -> Guest {
    Guest {
        name: name.into(),
        version: "1.0.0".into(),
        manifest: None,
        imports: String::new(),
        request: Some("(call $proceed)".into()),
        response: None,
        log: None,
        configure: "(call $ok (i32.const 0))".into(),
        release: String::new(),
        start: String::new(),
        data: String::new(),
        pages: 4,
        replace: Vec::new(),
    }
}

impl Guest {
    pub fn import(mut self, interface: &str, function: &str, declaration: &str) -> Self {
        let interface = if interface.contains('@') { interface.to_owned() } else { format!("weir:plugin/{interface}@0.1.0") };
        self.imports += &format!("(import \"{interface}\" \"{function}\" {declaration})\n");
        self
    }
    pub fn request(mut self, body: &str) -> Self {
        self.request = Some(body.into());
        self
    }
    pub fn response(mut self, body: &str) -> Self {
        self.response = Some(body.into());
        self
    }
    pub fn log(mut self, body: &str) -> Self {
        self.log = Some(body.into());
        self
    }
    pub fn configure(mut self, body: &str) -> Self {
        self.configure = body.into();
        self
    }
    pub fn data(mut self, data: &str) -> Self {
        self.data = data.into();
        self
    }
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }
    pub fn manifest(mut self, manifest: &str) -> Self {
        self.manifest = Some(manifest.into());
        self
    }

    /// The core module's text.
    fn text(&self) -> String {
        let manifest = self.manifest.clone().unwrap_or_else(|| {
            let schema = r#"{"type":"object","properties":{"text":{"type":["string","null"]}}}"#;
            format!(r#"{{"name":"{}","version":"{}","priority":1,"config":{schema}}}"#, self.name, self.version)
        });
        let length = manifest.len();
        let escaped: String = manifest.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let phase = |interface: &str, function: &str, body: &Option<String>, result: &str| match body {
            Some(body) => {
                format!(
                    "(func (export \"weir:plugin/{interface}@0.1.0#{function}\") (param $config i32) {result} (local $i i32) {body})"
                )
            }
            None => String::new(),
        };
        let Self { imports, configure, release, start, data, pages, .. } = self;
        let request = phase("request-phase", "on-request", &self.request, "(result i32)");
        let response = phase("response-phase", "on-response", &self.response, "(result i32)");
        let log = phase("log-phase", "on-log", &self.log, "");
        format!(
            r#"(module {imports}
            (memory (export "memory") {pages})
            (global $heap (mut i32) (i32.const 65536))
            (global $calls (mut i32) (i32.const 0))
            (global $configs (mut i32) (i32.const 0))
            (global $configured (mut i32) (i32.const 0))
            (data (i32.const 1024) "{data}")
            (data (i32.const 8192) "{escaped}")
            (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
              (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
              (global.set $heap (i32.add (local.get $at) (local.get $size)))
              (block $fits (loop $grow
                (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                (br $grow)))
              (local.get $at))
            ;; ok(proceed), and room for anything else
            (func $clear (memory.fill (i32.const 256) (i32.const 0) (i32.const 64)) (global.set $heap (i32.const 65536)))
            (func $proceed (result i32) (call $clear) (i32.const 256))
            ;; ok(number)
            (func $ok (param $number i32) (result i32)
              (call $clear) (i32.store (i32.const 260) (local.get $number)) (i32.const 256))
            ;; err(text)
            (func $err (param $text i32) (param $length i32) (result i32)
              (call $clear) (i32.store8 (i32.const 256) (i32.const 1))
              (i32.store (i32.const 260) (local.get $text)) (i32.store (i32.const 264) (local.get $length)) (i32.const 256))
            ;; ok(respond(status, no headers, body))
            (func $respond (param $status i32) (param $body i32) (param $length i32) (result i32)
              (call $clear) (i32.store8 (i32.const 260) (i32.const 1)) (i32.store16 (i32.const 264) (local.get $status))
              (i32.store (i32.const 276) (local.get $body)) (i32.store (i32.const 280) (local.get $length)) (i32.const 256))
            (func (export "weir:plugin/plugin@0.1.0#describe") (result i32)
              (i32.store (i32.const 256) (i32.const 8192)) (i32.store (i32.const 260) (i32.const {length})) (i32.const 256))
            (func (export "weir:plugin/plugin@0.1.0#configure") (param $json i32) (param $length i32) (result i32)
              (global.set $configured (i32.add (global.get $configured) (i32.const 1)))
              {configure})
            (func (export "weir:plugin/plugin@0.1.0#release") (param $config i32)
              (global.set $configured (i32.sub (global.get $configured) (i32.const 1))) {release})
            {request} {response} {log}
            (func $start {start}) (start $start))"#
        )
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        let mut interface = String::from("package weir:plugin@0.1.0;\n");
        let mut files: Vec<_> = std::fs::read_dir(wit).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "wit")) {
            interface += &std::fs::read_to_string(file).unwrap().replacen("package weir:plugin@0.1.0;", "", 1);
        }
        let exports = [("request-phase", &self.request), ("response-phase", &self.response), ("log-phase", &self.log)];
        let exports: String = exports
            .iter()
            .filter(|(_, body)| body.is_some())
            .map(|(phase, _)| format!("export weir:plugin/{phase}@0.1.0;"))
            .collect();
        let mut world = format!("package test:guest; world guest {{ include weir:plugin/base@0.1.0; {WASI_IMPORTS} {exports} }}");
        let mut text = self.text();
        for (from, to) in &self.replace {
            interface = interface.replace(from, to);
            world = world.replace(from, to);
            text = text.replace(from, to);
        }
        let mut resolve = Resolve::default();
        // Nested packages need an outer one in the same source.
        for (name, source) in [("wasi.wit", format!("package test:outer;\n{WASI}")), ("weir.wit", interface)] {
            push(&mut resolve, name, &source);
        }
        let package = push(&mut resolve, "guest.wit", &world);
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        let mut encoder = ComponentEncoder::default();
        encoder.module(&module).unwrap();
        encoder.encode().unwrap()
    }
}

fn push(resolve: &mut Resolve, name: &str, source: &str) -> wit_parser::PackageId {
    let mut sources = SourceMap::default();
    sources.push_str(name, source);
    let group = sources.parse().unwrap_or_else(|(sources, error)| panic!("{name}: {}", error.render(&sources)));
    resolve.push_group(group).unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

/// A host with its own cache, and the folder that must outlive it.
pub struct World {
    pub host: Arc<Host>,
    pub dir: tempfile::TempDir,
}

pub fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = HostSettings::new(4, dir.path().join("code"), Compiler::InProcess);
    settings.max_components = 8;
    World { host: Host::new(settings).unwrap(), dir }
}

pub fn grants() -> Vec<String> {
    vec!["credentials".into(), "counters".into()]
}

impl World {
    pub fn install(&self, guest: &Guest) {
        self.install_with(guest, ComponentSettings::default());
    }
    pub fn install_with(&self, guest: &Guest, settings: ComponentSettings) {
        self.host.install(&guest.build(), Origin::Uploaded, &grants(), settings).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    pub fn refusal(&self, guest: &Guest, grants: &[String]) -> String {
        let outcome = self.host.install(&guest.build(), Origin::Uploaded, grants, ComponentSettings::default());
        outcome.err().expect("it is refused").to_string()
    }
    pub fn entry(&self, name: &str) -> Arc<Entry> {
        self.host.entry(&plugin(name)).unwrap()
    }
    pub fn figures(&self, name: &str) -> PluginFigures {
        self.host.figures().into_iter().find(|figures| figures.name == name).unwrap()
    }
}

/// A plugin entity without a scope.
pub fn plugin(name: &str) -> Plugin {
    let config = serde_json::json!({"text": null});
    let entity = serde_json::json!({
        "id": Id::random(), "name": name, "instance_name": null, "route": null, "service": null, "consumer": null,
        "config": config, "protocols": ["http", "https"], "enabled": true,
    });
    serde_json::from_value(entity).unwrap()
}

/// A GET of `/orders?id=7`, on a route.
pub fn exchange() -> Box<Exchange> {
    let request = RequestHead {
        method: http::Method::GET,
        scheme: "http",
        host: "example.com".into(),
        path: "/orders".into(),
        query: Some("id=7".into()),
        headers: http::HeaderMap::new(),
        sent: false,
        routed_path: None,
    };
    let mut exchange = Exchange::new("0123456789abcdef0123456789abcdef".into(), request, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let id = Id::random();
    exchange.route = Some(Arc::new(EntityFacts { id, id_text: id.to_string(), name: Some("orders".into()) }));
    Box::new(exchange)
}

/// Runs on a current-thread runtime, as the proxy's workers do.
pub fn in_runtime<T>(run: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { run() })
}

/// Tries until it holds; ten seconds are given up on.
pub fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come about within ten seconds");
        std::thread::yield_now();
    }
}
