//! A gateway that starts while Cassandra is away, gone or hanging, has what it needs on its own disk.

use super::{GatewaysOn, cassandra, until};
use serde_json::json;
use std::time::Instant;
use weir_cassandra_harness::Cluster;
use weir_tests::{Client, Gateway, Upstream};

/// Authentication, limits and chains: what a route with all three answers to who may, who may not, and who has had enough.
fn serves_everything(gateway: &Gateway) {
    let ask = |key: &str| gateway.client().get("/orders").header("apikey", key).send();
    let allowed = ask("sesame").expect(200);
    assert!(allowed.header("ratelimit-limit").is_some(), "{:?}", allowed.headers);
    assert_eq!(allowed.header("x-chain"), Some("whole"));
    ask("wrong").expect(401);
    ask("once").expect(200);
    assert_eq!(ask("once").expect(429).header("x-chain"), Some("whole"));
}

/// What `/status/ready` says of the configuration's age, in milliseconds: nothing while it is not known since the start.
fn age(gateway: &Gateway) -> Option<u64> {
    let ready = Client::of(gateway.status_address()).get("/status/ready").send().expect(200).json();
    assert!(ready["configuration"]["serving"].as_u64().is_some_and(|serving| serving > 0), "{ready}");
    ready["configuration"]["confirmed_ms"].as_u64()
}

fn restarted(gateway: Gateway, how: &str) -> Gateway {
    let folder = gateway.end("TERM");
    let begun = Instant::now();
    let gateway = Gateway::builder().settings_of(folder).start();
    serves_everything(&gateway);
    println!("with Cassandra {how}, a gateway that was restarted serves after {:.2?}", begun.elapsed());
    gateway
}

fn all(cluster: &Cluster, what: impl Fn(&weir_cassandra_harness::Node)) {
    cluster.nodes().iter().for_each(what);
}

#[test]
fn a_gateway_restarts_without_cassandra_and_catches_up_when_it_returns() {
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "outage", every_s: "0.1" };
    on.bootstrap();
    let (mut a, b) = (on.start(), on.start());
    until("both know each other", || a.admin().knows_nodes(2));
    let upstream = Upstream::start();
    let admin = a.admin();
    admin.route_to("orders", upstream.address());
    admin.plugin_on("orders", "key-auth", json!({}));
    admin.plugin_on("orders", "rate-limiting", json!({ "hour": 1000, "policy": "local" }));
    admin.plugin_on("orders", "response-transformer", json!({ "add": { "headers": ["x-chain:whole"] } }));
    admin.consumer_with_key("ada", "sesame").consumer_with_key("bob", "once");
    admin.post("/consumers/bob/plugins", json!({ "name": "rate-limiting", "config": { "hour": 1, "policy": "local" } }));
    admin.ask("PUT", "/consumers/last?wait=applied&timeout=60", &json!({})).expect(200);

    all(&cluster, |node| node.pause().unwrap());
    until("the other's configuration grows old, and it is ready", || age(&b).is_some_and(|age| age > 3_000));
    a = restarted(a, "hanging");
    assert_eq!(age(&a), None);
    all(&cluster, |node| node.resume().unwrap());
    let written = b.admin();
    until("a change is taken again", || written.ask("PUT", "/consumers/later", &json!({})).status == 200);
    until("and arrives", || a.admin().ask("GET", "/consumers/later", &serde_json::Value::Null).status == 200);
    until("both are fresh", || [&a, &b].into_iter().all(|one| age(one).is_some_and(|age| age < 3_000)));

    all(&cluster, |node| node.kill().unwrap());
    a = restarted(a, "stopped");
    all(&cluster, |node| node.start_again().unwrap());
    cluster.until_all_up().unwrap();
    until("a change is taken again", || written.ask("PUT", "/consumers/latest", &json!({})).status == 200);
    until("and arrives", || a.admin().ask("GET", "/consumers/latest", &serde_json::Value::Null).status == 200);
}
