//! `weir config export` and `weir config import`: a configuration moves from store to store and comes out the same, whatever happens on
//! the way.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its own functions as well")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use weir_cassandra_harness::Cluster;
use weir_tests::gateway::GatewayBuilder;
use weir_tests::guests::component;
use weir_tests::{Admin, Gateway, Upstream};

/// Every kind of entity, entries of plugins at each scope, a component with settings of its own, texts of all sorts, large bodies.
fn fill(admin: &Admin, upstream: SocketAddr) {
    admin.route_to("orders", upstream).route_to("other", upstream).consumer_with_key("ada", "sesame");
    let tags = json!(["prod", "größe", "日本", "a b"]);
    admin.patch("/services/orders", json!({ "tags": tags, "retries": 0, "path": "/base" }));
    admin.patch("/routes/other", json!({ "headers": { "x-a": ["~*^b$", "ü"] }, "methods": ["GET"], "regex_priority": -5 }));
    admin.put("/consumers/zoë", json!({ "custom_id": "№ 7", "tags": ["x"] }));
    admin.put("/consumers/old", json!({ "custom_id": null, "tags": null }));
    admin.post("/consumers/zoë/key-auth", json!({ "key": "passing", "ttl": 86_400, "tags": ["t"] }));
    admin.post("/services", json!({ "host": "nameless.example", "enabled": false }));
    admin.upload(component("neighbour"), "").expect(201);
    let stored = admin.get("/components")["data"][0]["id"].as_str().unwrap().to_owned();
    admin.patch(&format!("/components/{stored}"), json!({ "cpu_budget_ms": 70, "isolation": "per_request", "tags": ["mine"] }));
    admin.plugin_on("orders", "key-auth", json!({ "key_names": ["apikey", "x-key"] }));
    admin.plugin_on("other", "neighbour", json!({}));
    let limit = |minute: u64| json!({ "minute": minute, "policy": "local" });
    let with = |mut scope: Value| {
        scope["name"] = json!("rate-limiting");
        scope["config"] = limit(1000);
        admin.post("/plugins", scope);
    };
    with(json!({ "instance_name": "global", "tags": ["g"] }));
    with(json!({ "service": { "name": "orders" }, "enabled": false }));
    with(json!({ "route": { "name": "orders" }, "consumer": { "username": "ada" } }));
    with(json!({ "consumer": { "username": "zoë" }, "protocols": ["https"] }));
    // Large: many headers of a kilobyte each, more than a response may have, so it is not enabled.
    let many: Vec<String> = (0..200).map(|number| format!("x-{number}:{}", "ä".repeat(500))).collect();
    let large = json!({ "name": "response-transformer", "config": { "add": { "headers": many } }, "enabled": false });
    admin.post("/routes/other/plugins", large);
}

/// The entities of an export, without what each store says for itself.
fn entities(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kept = lines.filter(|line| line.get("header").is_none() && line.get("end").is_none());
    let plain = |mut line: Value| {
        let is_component = line.get("components").is_some();
        let (_, body) = line.as_object_mut().unwrap().iter_mut().next().unwrap();
        body.as_object_mut().unwrap().remove("updated_at");
        if is_component {
            body.as_object_mut().unwrap().remove("created_at");
        }
        // A second may pass between two clocks that are read.
        if let Some(ttl) = body.get("ttl").and_then(Value::as_u64) {
            assert!((86_340..=86_460).contains(&ttl), "{ttl}");
            body["ttl"] = json!("a day");
        }
        line
    };
    kept.map(plain).collect()
}

fn export(gateway: &Gateway, to: &Path) -> String {
    let (code, said) = gateway.weir(&["config", "export", "--out", &to.to_string_lossy()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("in the clear"), "{said}");
    std::fs::read_to_string(to).unwrap()
}

fn import(gateway: &Gateway, file: &Path, more: &[&str]) -> (i32, String) {
    gateway.weir(&[&["config", "import", &file.to_string_lossy()], more].concat())
}

fn imported(gateway: &Gateway, file: &Path) -> String {
    let (code, said) = import(gateway, file, &[]);
    assert_eq!(code, 0, "{said}");
    said
}

fn revision(gateway: &Gateway) -> u64 {
    gateway.admin().ask("GET", "/services", &Value::Null).expect(200).header("weir-revision").unwrap().parse().unwrap()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ndjson");
    (folder, file)
}

/// Consumers in transactions of a thousand.
fn consumers(admin: &Admin, count: usize) {
    for first in (0..count).step_by(1000) {
        let operation =
            |number| json!({ "method": "PUT", "path": format!("/consumers/c{number}"), "body": { "tags": ["many"] } });
        let operations: Vec<Value> = (first..count.min(first + 1000)).map(operation).collect();
        admin.ask("POST", "/transactions", &json!({ "operations": operations })).expect(200);
    }
}

#[test]
fn a_configuration_moves_and_comes_out_the_same() {
    let upstream = Upstream::start();
    let (source, target) = (Gateway::start(), Gateway::start());
    fill(&source.admin(), upstream.address());
    let (folder, file) = folder();
    let text = export(&source, &file);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
    for kind in ["services", "routes", "consumers", "key-auths", "components", "plugins", "bytes"] {
        assert!(text.contains(&format!("\n{{\"{kind}\":")), "{kind}");
    }
    let said = imported(&target, &file);
    assert!(said.contains("; revision ") && said.contains("all of it is there"), "{said}");
    let again = export(&target, &folder.path().join("again.ndjson"));
    assert_eq!(entities(&again), entities(&text));
    // It is served.
    target.client().get("/orders").send().expect(401);
    target.client().get("/orders").header("apikey", "sesame").send().expect(200);
    target.client().get("/other").header("x-a", "b").send().expect(200);
    // Once more there is nothing to do, here and there.
    for gateway in [&source, &target] {
        let before = revision(gateway);
        let said = imported(gateway, &file);
        assert!(said.contains("0 were written"), "{said}");
        assert_eq!(revision(gateway), before);
    }
}

#[test]
fn standard_output_has_the_export_and_a_node_must_run() {
    let gateway = Gateway::start();
    gateway.admin().put("/consumers/ada", json!({}));
    let output = weir_tests::binary::run(&["config", "export"], gateway.prefix());
    assert_eq!(entities(&String::from_utf8(output.stdout).unwrap()).len(), 1);
    let (code, said) = GatewayBuilder::default().command(&["config", "export"]);
    assert!(code == 1 && said.contains("no node runs"), "{said}");
    let url = format!("http://{}", gateway.addresses("admin")[0].0);
    let (code, said) = GatewayBuilder::default().command(&["config", "export", "--admin", &url]);
    assert!(code == 0 && said.contains("\"username\":\"ada\""), "{said}");
    let (code, said) = gateway.weir(&["config", "export", "--admin", "https://127.0.0.1:1"]);
    assert!(code == 1 && said.contains("plain HTTP only"), "{said}");
}

/// Stands between the command and the Admin API, and does to the transactions what a test says.
struct Between {
    address: SocketAddr,
}

#[derive(Clone, Copy)]
enum Does {
    Pass,
    /// The gateway gets the request, and its answer gets nowhere.
    LoseAnswer,
    /// Neither gets anything.
    LoseRequest,
    /// The gateway gets it; the answer is that it is not known how it ended.
    DoneUnknown,
    /// The gateway does not get it; the answer is the same.
    NotDoneUnknown,
}

impl Between {
    fn start(gateway: SocketAddr, does: impl Fn(usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (count, outcome) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
            for stream in listener.incoming() {
                // A client that has gone is what these tests are about.
                let _ = carry(stream.unwrap(), gateway, &does, &count, &outcome);
            }
        });
        Self { address }
    }
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn carry(
    mut client: TcpStream,
    gateway: SocketAddr,
    does: &dyn Fn(usize) -> Does,
    count: &AtomicUsize,
    outcomes: &Mutex<Vec<&'static str>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let begins = head.len();
        reader.read_line(&mut head)?;
        let line = head[begins..].trim_end();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length: ").map_or(length, |text| text.parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let forward = || {
        let mut stream = TcpStream::connect(gateway)?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let say = |client: &mut TcpStream, status: u16, body: Value| {
        let text = body.to_string();
        write!(client, "HTTP/1.0 {status} x\r\ncontent-length: {}\r\n\r\n{text}", text.len())
    };
    let unknown = json!({ "message": "it is not known", "transaction": "7-0" });
    if head.starts_with("GET /transactions/7-0 ") {
        let outcome = outcomes.lock().unwrap().pop().unwrap_or("forgotten");
        return say(&mut client, 200, json!({ "id": "7-0", "outcome": outcome }));
    }
    let is_write = head.starts_with("POST /transactions ");
    match if is_write { does(count.fetch_add(1, Ordering::SeqCst)) } else { Does::Pass } {
        Does::Pass => client.write_all(&forward()?),
        Does::LoseAnswer => forward().map(drop),
        Does::LoseRequest => Ok(()),
        Does::DoneUnknown => {
            forward()?;
            *outcomes.lock().unwrap() = vec!["done", "open", "open"];
            say(&mut client, 503, unknown)
        }
        Does::NotDoneUnknown => {
            *outcomes.lock().unwrap() = vec!["not_done", "open"];
            say(&mut client, 503, unknown)
        }
    }
}

#[test]
fn an_import_that_was_cut_goes_on_behind_what_is_there() {
    let source = Gateway::start();
    consumers(&source.admin(), 3500);
    let (folder, file) = folder();
    let text = export(&source, &file);
    for lost in [Does::LoseAnswer, Does::LoseRequest] {
        let target = Gateway::start();
        let admin = target.addresses("admin")[0].0;
        let between = Between::start(admin, move |number| if number == 1 { lost } else { Does::Pass });
        let (code, said) = import(&target, &file, &["--admin", &between.url()]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("1,000 of 3,500 entities") && said.contains("goes on"), "{said}");
        let said = imported(&target, &file);
        let there = if matches!(lost, Does::LoseAnswer) { "2,000 were there" } else { "1,000 were there" };
        assert!(said.contains(there) && said.contains("3,500 of 3,500 entities"), "{said}");
        assert_eq!(entities(&export(&target, &folder.path().join("again"))), entities(&text));
    }
}

#[test]
fn an_import_goes_on_after_its_gateway_was_killed() {
    let source = Gateway::start();
    consumers(&source.admin(), 3500);
    let (folder, file) = folder();
    let text = export(&source, &file);
    let target = Gateway::start();
    let pid = target.pid().to_string();
    let between = Between::start(target.addresses("admin")[0].0, move |number| {
        if number == 2 {
            std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        }
        Does::Pass
    });
    let (code, said) = import(&target, &file, &["--admin", &between.url()]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("2,000 of 3,500 entities"), "{said}");
    let target = target.restarted_by("KILL");
    assert!(imported(&target, &file).contains("2,000 were there"));
    assert_eq!(entities(&export(&target, &folder.path().join("again"))), entities(&text));
}

#[test]
fn a_transaction_of_unknown_end_is_asked_about() {
    let source = Gateway::start();
    consumers(&source.admin(), 2500);
    let (folder, file) = folder();
    let text = export(&source, &file);
    let target = Gateway::start();
    let between = Between::start(target.addresses("admin")[0].0, |number| match number {
        0 => Does::DoneUnknown,
        2 => Does::NotDoneUnknown,
        _ => Does::Pass,
    });
    let (code, said) = import(&target, &file, &["--admin", &between.url()]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(entities(&export(&target, &folder.path().join("again"))), entities(&text));
    assert_eq!(revision(&target), 3);
}

#[test]
fn a_damaged_file_changes_nothing() {
    let source = Gateway::start();
    consumers(&source.admin(), 1500);
    let (folder, file) = folder();
    let text = export(&source, &file);
    let target = Gateway::start();
    let half = text.len() / 2;
    let cases = [
        (text[..half].to_owned(), "it was cut"),
        (text.lines().take(1200).map(|line| format!("{line}\n")).collect(), "line 1201: it ends here"),
        (text.replacen("\"many\"", "\"mamy\"", 1), "do not have the digest"),
        (text.replacen("{\"consumers\":", "<consumers>", 1), "line 2: no JSON object"),
        (text.replacen("\"format\":1", "\"format\":2", 1), "format 2, made by weir"),
        ("_format_version: \"3.0\"\n".to_owned(), "line 1: no JSON"),
        (String::new(), "line 1: it is empty"),
    ];
    for (text, part) in cases {
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, text).unwrap();
        let (code, said) = import(&target, &damaged, &[]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said) = import(&target, &folder.path().join("none"), &[]);
    assert!(code == 2 && said.contains("none"), "{said}");
    assert_eq!(revision(&target), 0);
}

#[test]
fn what_differs_is_refused_and_replaced_only_when_told() {
    let source = Gateway::start();
    source.admin().put("/services/orders", json!({ "host": "a.example" }));
    source.admin().put("/consumers/ada", json!({}));
    let (_folder, file) = folder();
    export(&source, &file);
    let target = Gateway::start();
    target.admin().put("/consumers/mine", json!({}));
    imported(&target, &file);
    target.admin().patch("/services/orders", json!({ "host": "b.example" }));
    target.admin().delete("/consumers/ada");
    let before = revision(&target);
    let id = source.admin().get("/services/orders")["id"].as_str().unwrap().to_owned();
    for more in [&[][..], &["--dry-run"]] {
        let (code, said) = import(&target, &file, more);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("line 2: http://") && said.contains(&format!("/services/{id} differs in host")), "{said}");
        assert!(said.contains("--overwrite"), "{said}");
    }
    let (code, said) = import(&target, &file, &["--dry-run", "--overwrite"]);
    assert!(code == 0 && said.contains("1 entities are new, 0 are there and equal, 1 would be replaced"), "{said}");
    assert!(said.contains("would take what is new"), "{said}");
    assert_eq!(revision(&target), before);
    let (code, said) = import(&target, &file, &["--overwrite"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(target.admin().get("/services/orders")["host"], "a.example");
    target.admin().get("/consumers/ada");
    // What the file has not stays.
    target.admin().get("/consumers/mine");
}

#[test]
fn what_the_gateway_refuses_is_named_with_its_line() {
    let plugins = tempfile::tempdir().unwrap();
    std::fs::write(plugins.path().join("neighbour.wasm"), component("neighbour")).unwrap();
    let source = Gateway::builder().with("plugins_dir", &format!("{:?}", plugins.path())).start();
    source.admin().put("/consumers/ada", json!({}));
    source.admin().post("/plugins", json!({ "name": "neighbour" }));
    let (_folder, file) = folder();
    export(&source, &file);
    let target = Gateway::start();
    for more in [&["--dry-run"][..], &[]] {
        let (code, said) = import(&target, &file, more);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("line 3 (plugins/") && said.contains("plugin 'neighbour' not enabled"), "{said}");
    }
    assert_eq!(revision(&target), 0);
    // A name that another entity has.
    target.admin().put("/consumers/ada", json!({}));
    let (code, said) = import(&target, &file, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("line 2 (consumers/") && said.contains("\"username\":\"ada\""), "{said}");
}

fn on(cluster: &Cluster, keyspace: &str) -> GatewayBuilder {
    Gateway::builder().on_cassandra(&cluster.contact_points(), keyspace, 1)
}

#[test]
fn a_configuration_moves_into_cassandra_and_back() {
    let cluster = Cluster::start(1).unwrap();
    let upstream = Upstream::start();
    let embedded = Gateway::start();
    fill(&embedded.admin(), upstream.address());
    let (folder, file) = folder();
    let text = export(&embedded, &file);
    let (code, said) = on(&cluster, "moving").command(&["migrations", "bootstrap"]);
    assert_eq!(code, 0, "{said}");
    let (a, b) = (on(&cluster, "moving").start(), on(&cluster, "moving").start());
    imported(&a, &file);
    let at = revision(&a);
    b.admin().get(&format!("/services/orders?min_revision={at}"));
    // From the other node, and while the store is away.
    cluster.node(0).kill().unwrap();
    let back = folder.path().join("back.ndjson");
    assert_eq!(entities(&export(&b, &back)), entities(&text));
    let home = Gateway::start();
    imported(&home, &back);
    assert_eq!(entities(&export(&home, &folder.path().join("home.ndjson"))), entities(&text));
    home.client().get("/orders").header("apikey", "sesame").send().expect(200);
}

/// A component, and another version of it.
fn versions() -> (Vec<u8>, Vec<u8>) {
    const NAMED: &[u8] = b"neighbour0.1.0";
    let first = component("neighbour");
    let at = first.windows(NAMED.len()).position(|bytes| bytes == NAMED).unwrap();
    let mut second = first.clone();
    second[at + NAMED.len() - 1] = b'1';
    (first, second)
}

#[test]
fn versions_of_a_component_move_and_the_one_that_serves_is_not_changed_unasked() {
    let (first, second) = versions();
    let source = Gateway::start();
    source.admin().upload(first.clone(), "").expect(201);
    source.admin().upload(second, "").expect(201);
    source.admin().patch("/components/neighbour@0.1.1", json!({ "active": true, "cpu_budget_ms": 99 }));
    source.admin().post("/plugins", json!({ "name": "neighbour" }));
    let (folder, file) = folder();
    let text = export(&source, &file);
    // One that was uploaded and whose settings an import has not come to takes them.
    let begun = Gateway::start();
    begun.admin().upload(versions().1, "").expect(201);
    for target in [Gateway::start(), begun] {
        imported(&target, &file);
        assert_eq!(entities(&export(&target, &folder.path().join("again"))), entities(&text));
    }
    let target = Gateway::start();
    target.admin().upload(first, "").expect(201);
    target.admin().post("/plugins", json!({ "name": "neighbour", "instance_name": "own", "enabled": false }));
    target.admin().delete("/plugins/own");
    let before = revision(&target);
    let (code, said) = import(&target, &file, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("component neighbour@0.1.0 (active)"), "{said}");
    assert!(said.contains("component neighbour@0.1.1 (active: version 0.1.0 serves there)"), "{said}");
    assert_eq!(revision(&target), before);
    let (code, said) = import(&target, &file, &["--overwrite"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(entities(&export(&target, &folder.path().join("again"))), entities(&text));
    // Other bytes under a known version are replaced by nobody.
    let other = Gateway::start();
    let mut third = versions().0;
    third.extend([0, 5, 4, b'n', b'o', b't', b'e']);
    other.admin().upload(third, "").expect(201);
    let (code, said) = import(&other, &file, &["--overwrite"]);
    assert!(code == 2 && said.contains("other bytes"), "{said}");
}

#[test]
fn the_lines_of_the_page_work_as_printed() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/moving.md")).unwrap();
    let (old, new) = (Gateway::start(), Gateway::start());
    consumers(&old.admin(), 10);
    let (folder, _) = folder();
    let (here, there) = (old.addresses("admin")[0].0.to_string(), new.addresses("admin")[0].0.to_string());
    let shell = page.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines());
    let mut carried_out = 0;
    for line in shell {
        let line = line
            .replace("/etc/weir/weir.toml", &format!("{} -p {}", old.settings_file().display(), old.prefix().display()))
            .replace("/etc/weir/new.toml", &format!("{} -p {}", new.settings_file().display(), new.prefix().display()))
            .replace("127.0.0.1:8001", &here)
            .replace("127.0.0.1:9001", &there);
        let words = line.strip_prefix("weir ").map(|words| format!("{} {words}", weir_tests::binary::weir_binary().display()));
        let output = std::process::Command::new("sh").args(["-c", &words.unwrap_or(line.clone())]).current_dir(&folder).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {}", weir_tests::binary::printed(&output));
        carried_out += 1;
    }
    assert!(carried_out >= 5, "a page of {carried_out} lines");
    new.admin().get("/consumers/c9");
}
