//! Nodes on one Cassandra: what an operator does, and what happens when it goes away.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use weir_cassandra_harness::{Cluster, shared};
use weir_tests::binary::weir_binary;
use weir_tests::gateway::GatewayBuilder;
use weir_tests::guests::component;
use weir_tests::{Client, Gateway, Upstream};

/// For everything that is waited for: machines of CI are slow, and nothing is proved by how fast they are.
const WAIT: Duration = Duration::from_secs(60);

fn builder(cluster: &Cluster, keyspace: &str) -> GatewayBuilder {
    Gateway::builder().on_cassandra(&cluster.contact_points(), keyspace, 1)
}

/// `weir migrations bootstrap` as an operator runs it: with a settings file, on a machine where no node runs.
fn bootstrap(builder: GatewayBuilder) -> String {
    let (code, said) = builder.command(&["migrations", "bootstrap"]);
    assert_eq!(code, 0, "{said}");
    said
}

fn until(what: &str, is_so: impl FnMut() -> bool) {
    weir_tests::until(what, WAIT, is_so);
}

fn status(gateway: &Gateway) -> Value {
    Client::of(gateway.status_address()).get("/status").send().expect(200).json()
}

/// Two nodes that know each other, and a route with a key and a limit that was written on the first.
struct Pair {
    a: Gateway,
    b: Gateway,
    _upstream: Upstream,
}

impl Pair {
    fn start(with: impl Fn() -> GatewayBuilder) -> Self {
        let (a, b) = (with().start(), with().start());
        let upstream = Upstream::start();
        until("both know each other", || a.admin().knows_nodes(2));
        let service = json!({ "name": "orders", "url": format!("http://{}", upstream.address()) });
        let made = a.admin().ask("POST", "/services?wait=applied", &service);
        assert_eq!(made.header("weir-served"), Some("2/2"));
        made.expect(201);
        a.admin().post("/services/orders/routes", json!({ "name": "orders", "paths": ["/orders"] }));
        a.admin().plugin_on("orders", "key-auth", json!({}));
        a.admin().plugin_on("orders", "rate-limiting", json!({ "hour": 1000, "policy": "local" }));
        a.admin().post("/consumers", json!({ "username": "ada" }));
        let last = a.admin().ask("POST", "/consumers/ada/key-auth?wait=applied", &json!({ "key": "sesame" }));
        assert_eq!(last.header("weir-served"), Some("2/2"));
        last.expect(201);
        Self { a, b, _upstream: upstream }
    }
}

fn serves(gateway: &Gateway) {
    let answer = gateway.client().get("/orders").header("apikey", "sesame").send().expect(200);
    assert!(answer.header("ratelimit-limit").is_some());
    gateway.client().get("/orders").header("apikey", "wrong").send().expect(401);
}

#[test]
fn a_node_needs_tables_and_says_which_command_makes_them() {
    let cluster = shared(1).unwrap();
    let with = || builder(cluster, "tables");
    let (code, said) = with().start_refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("weir migrations bootstrap"), "{said}");
    assert_ne!(with().command(&["check"]).0, 0, "without tables a node is not good to start");
    assert_ne!(with().command(&["migrations", "status"]).0, 0);
    assert!(bootstrap(with()).contains("begins"));
    assert!(bootstrap(with()).contains("already"));
    assert_eq!(with().command(&["migrations", "status"]).0, 0);
    let (code, said) = with().command(&["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("one copy") && said.contains("cluster_key_file"), "{said}");
}

#[test]
fn two_nodes_are_one_gateway_and_serve_on_without_their_store() {
    let cluster = Cluster::start(1).unwrap();
    let with = || builder(&cluster, "weir");
    bootstrap(with());
    let Pair { a, b, _upstream } = Pair::start(with);
    serves(&b);
    // The other way round, read at the revision that the write has answered.
    let written = b.admin().ask("POST", "/consumers", &json!({ "username": "bob" })).expect(201);
    let revision = written.header("weir-revision").unwrap();
    assert_eq!(a.admin().get(&format!("/consumers/bob?min_revision={revision}"))["username"], "bob");

    // The store hangs, and then is gone: both serve on, nothing is written, and both say why.
    cluster.node(0).pause().unwrap();
    serves(&a);
    serves(&b);
    until("writes are refused", || {
        let refused = a.admin().ask("POST", "/consumers", &json!({ "username": "late" })).expect(503);
        refused.text().contains("traffic is served as before")
    });
    assert_eq!(a.admin().get("/consumers/ada")["username"], "ada");
    until("the figures say so", || status(&a)["database"]["reachable"] == json!(false));
    cluster.node(0).resume().unwrap();
    cluster.node(0).kill().unwrap();
    // A node that starts now has its replica, and needs nothing else.
    let begun = Instant::now();
    let b = b.restarted_by("TERM");
    println!("restarted without the store in {:.1?}", begun.elapsed());
    serves(&b);

    cluster.node(0).start_again().unwrap();
    until("writes are taken again", || b.admin().ask("PUT", "/consumers/late", &json!({ "username": "late" })).status < 300);
    until("the other has it", || a.admin().ask("GET", "/consumers/late", &Value::Null).status == 200);
    let head = |gateway: &Gateway| status(gateway)["database"]["store"]["head"].clone();
    until("both have one history", || head(&a) == head(&b));
}

/// Uploads a component and answers what `Weir-Served` says.
fn uploaded(to: &Gateway, bytes: Vec<u8>, timeout: u32) -> String {
    let admin = Client::of(to.addresses("admin")[0].0);
    let path = format!("/components?wait=applied&timeout={timeout}");
    let stored = admin.request("POST", &path).header("content-type", "application/wasm").body(bytes).send();
    let served = stored.header("weir-served").unwrap_or_default().to_owned();
    stored.expect(201);
    served
}

#[test]
fn a_component_is_compiled_everywhere_before_the_answer_and_who_cannot_compile_it_is_named() {
    let cluster = shared(1).unwrap();
    let with = || builder(cluster, "components");
    bootstrap(with());
    // A node compiles in a process of its own program: without its file it cannot.
    let programs = tempfile::tempdir().unwrap();
    let (program, away) = (programs.path().join("weir"), programs.path().join("away"));
    std::fs::copy(weir_binary(), &program).unwrap();
    let (a, b) = (with().start(), with().program(&program).start());
    let upstream = Upstream::start();
    until("both know each other", || a.admin().knows_nodes(2));
    a.admin().route_to("good", upstream.address());
    assert_eq!(uploaded(&a, component("neighbour"), 60), "2/2");
    let entry = json!({ "name": "neighbour", "config": { "value": "first" } });
    a.admin().ask("POST", "/routes/good/plugins?wait=applied", &entry).expect(201);
    let reply = b.client().get("/good").send().expect(200);
    assert!(reply.text().contains("first"), "{}", reply.text());

    std::fs::rename(&program, &away).unwrap();
    let id = status(&b)["node_id"].as_str().map(str::to_owned);
    let served = uploaded(&a, component("printing"), 2);
    assert!(served.starts_with("1/2; missing="), "{served}");
    assert!(id.is_none_or(|id| served.ends_with(&id)), "{served}");
    let trouble = |gateway: &Gateway| status(gateway)["trouble"]["snapshot"].to_string();
    until("it says why", || trouble(&b).contains("printing"));
    let nodes = a.admin().get("/cluster/nodes");
    let told = nodes["data"].as_array().unwrap().iter().any(|node| node["trouble"].to_string().contains("printing"));
    assert!(told, "{nodes:#}");
    // What it has it serves on, and it makes up for all when it can.
    b.client().get("/good").send().expect(200);
    std::fs::rename(&away, &program).unwrap();
    let last = a.admin().ask("PUT", "/consumers/ada?wait=applied&timeout=60", &json!({}));
    assert_eq!(last.header("weir-served"), Some("2/2"), "{}", trouble(&b));
    assert_eq!(trouble(&b), "null");
}

#[test]
fn three_operators_may_bootstrap_at_once() {
    let cluster = shared(1).unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| bootstrap(builder(cluster, "at_once")))).collect();
        let said: Vec<String> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(said.iter().filter(|said| said.contains("begins")).count(), 1, "{said:?}");
    });
    builder(cluster, "at_once").start();
}

#[test]
fn a_store_that_was_emptied_gets_the_configuration_of_a_node_again() {
    let cluster = shared(1).unwrap();
    let with = || builder(cluster, "emptied");
    bootstrap(with());
    let (a, b) = (with().start(), with().start());
    until("both know each other", || a.admin().knows_nodes(2));
    a.admin().ask("PUT", "/consumers/ada?wait=applied", &json!({})).expect(200);
    let (code, said) = with().command(&["migrations", "reset"]);
    assert!(code != 0 && said.contains("--yes"), "{said}");
    let (code, said) = with().command(&["migrations", "reset", "--yes"]);
    assert_eq!(code, 0, "{said}");
    bootstrap(with());
    let holds =
        |gateway: &Gateway| status(gateway)["database"]["store"]["holding"].as_str().is_some_and(|why| why.contains("republish"));
    until("both hold", || holds(&a) && holds(&b));
    assert_eq!(b.admin().get("/consumers/ada")["username"], "ada");
    let (code, said) = a.weir(&["cluster", "republish"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = b.weir(&["cluster", "adopt"]);
    assert_eq!(code, 0, "{said}");
    // Their rows went with the keyspace.
    until("both know each other again", || a.admin().knows_nodes(2));
    a.admin().ask("PUT", "/consumers/bob?wait=applied", &json!({})).expect(200);
    assert_eq!(b.admin().get("/consumers/bob")["username"], "bob");
    assert_eq!(b.admin().get("/consumers/ada")["username"], "ada");
    let (code, said) = a.weir(&["cluster", "nodes"]);
    assert!(code == 0 && said.contains("\"live\":true"), "{said}");
}
