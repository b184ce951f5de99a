use super::RateLimiting;
use plugin_sdk::testing::{Configured, Gateway, configure, schema};
use plugin_sdk::{Exchange, Flow};
use serde_json::{Value, json};
use std::time::Duration;

fn plugin(config: &str) -> Configured<RateLimiting> {
    configure(config).unwrap()
}

/// Sends a request; true: it went on. What the client sees is in the exchange's response.
fn passes(plugin: &Configured<RateLimiting>, exchange: &mut Exchange) -> bool {
    let passed = plugin.on_request(exchange).unwrap() == Flow::Proceed;
    if passed {
        exchange.upstream_answers(200, &[]);
    }
    passed
}

fn header(exchange: &Exchange, name: &str) -> Option<String> {
    exchange.response.header(name)?.into_string()
}

fn headers(exchange: &Exchange) -> Vec<String> {
    let mut names: Vec<String> = exchange.response.headers().into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

fn mistakes(config: &str) -> Vec<String> {
    let findings = configure::<RateLimiting>(config).err();
    findings.iter().flat_map(|findings| findings.iter().map(|(field, _)| field.to_owned())).collect()
}

#[test]
fn past_the_limit_a_request_is_refused_with_kongs_answer() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"minute": 2}"#));
    assert!(passes(&plugin, &mut gateway.get("/")) && passes(&plugin, &mut gateway.get("/")));
    let mut exchange = gateway.get("/");
    assert!(!passes(&plugin, &mut exchange));
    assert_eq!(exchange.response.status(), Some(429));
    let body: Value = serde_json::from_slice(&exchange.response_body()).unwrap();
    assert_eq!(body, json!({ "message": "API rate limit exceeded", "request_id": exchange.id() }));
    assert_eq!(header(&exchange, "retry-after").as_deref(), Some("60"));
    assert_eq!(header(&exchange, "x-ratelimit-remaining-minute").as_deref(), Some("0"));
}

#[test]
fn every_window_and_the_tightest_are_announced() {
    let gateway = Gateway::new();
    gateway.advance(Duration::from_secs(15));
    let mut exchange = gateway.get("/");
    assert!(passes(&plugin(r#"{"second": 10, "minute": 10, "hour": 100}"#), &mut exchange));
    let expected = [
        ("x-ratelimit-limit-second", "10"),
        ("x-ratelimit-remaining-second", "9"),
        ("x-ratelimit-limit-minute", "10"),
        ("x-ratelimit-remaining-minute", "9"),
        ("x-ratelimit-limit-hour", "100"),
        ("x-ratelimit-remaining-hour", "99"),
        // The second and the minute have the same room: the longer one is the one to know about.
        ("ratelimit-limit", "10"),
        ("ratelimit-remaining", "9"),
        ("ratelimit-reset", "45"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&exchange, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(headers(&exchange).len(), expected.len());
}

#[test]
fn a_refused_request_is_taken_from_no_window() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"second": 1, "hour": 3}"#));
    assert!(passes(&plugin, &mut gateway.get("/")));
    for _ in 0..5 {
        assert!(!passes(&plugin, &mut gateway.get("/")));
    }
    gateway.advance(Duration::from_secs(1));
    let mut exchange = gateway.get("/");
    assert!(passes(&plugin, &mut exchange));
    assert_eq!(header(&exchange, "x-ratelimit-remaining-hour").as_deref(), Some("1"));
}

#[test]
fn hidden_headers_are_in_no_reply() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"minute": 1, "hide_client_headers": true}"#));
    let mut exchange = gateway.get("/");
    assert!(passes(&plugin, &mut exchange));
    assert!(headers(&exchange).is_empty());
    let mut exchange = gateway.get("/");
    assert!(!passes(&plugin, &mut exchange));
    assert_eq!(headers(&exchange), ["content-type"]);
}

#[test]
fn status_and_message_of_the_refusal_are_the_operators() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"day": 1, "error_code": 503, "error_message": "later"}"#));
    assert!(passes(&plugin, &mut gateway.get("/")));
    let mut exchange = gateway.get("/");
    assert!(!passes(&plugin, &mut exchange));
    assert_eq!(exchange.response.status(), Some(503));
    assert!(String::from_utf8(exchange.response_body()).unwrap().contains("\"message\":\"later\""));
}

#[test]
fn consumers_are_counted_apart_and_strangers_by_their_address() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"minute": 1}"#));
    let (alice, bob) = (gateway.add_consumer("alice"), gateway.add_consumer("bob"));
    assert!(passes(&plugin, &mut gateway.get("/").authenticated_as(alice.clone())));
    assert!(!passes(&plugin, &mut gateway.get("/").authenticated_as(alice).from_ip("10.0.0.1")));
    assert!(passes(&plugin, &mut gateway.get("/").authenticated_as(bob)));
    assert!(passes(&plugin, &mut gateway.get("/")));
    assert!(!passes(&plugin, &mut gateway.get("/")));
    assert!(passes(&plugin, &mut gateway.get("/").from_ip("10.0.0.1")));
}

#[test]
fn a_credential_counts_only_when_the_gateway_vouches_for_it() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"minute": 1, "limit_by": "credential"}"#));
    let alice = gateway.add_consumer("alice");
    let with = |id: &str| gateway.get("/").authenticated_as(alice.clone()).with_header("x-credential-identifier", id);
    assert!(passes(&plugin, &mut with("first")) && passes(&plugin, &mut with("second")));
    assert!(!passes(&plugin, &mut with("first")));
    // Nobody was authenticated: the header is a stranger's.
    assert!(passes(&plugin, &mut gateway.get("/").with_header("x-credential-identifier", "a")));
    assert!(!passes(&plugin, &mut gateway.get("/").with_header("x-credential-identifier", "b")));
}

#[test]
fn addresses_services_headers_and_paths_can_be_counted() {
    let gateway = Gateway::new();
    let alice = gateway.add_consumer("alice");
    let by_ip = plugin(r#"{"minute": 1, "limit_by": "ip"}"#);
    assert!(passes(&by_ip, &mut gateway.get("/").authenticated_as(alice)));
    assert!(!passes(&by_ip, &mut gateway.get("/")));

    let by_service = plugin(r#"{"minute": 1, "limit_by": "service"}"#);
    assert!(passes(&by_service, &mut gateway.get("/").with_service("orders").from_ip("10.0.0.1")));
    assert!(!passes(&by_service, &mut gateway.get("/").with_service("orders").from_ip("10.0.0.2")));

    let by_header = plugin(r#"{"minute": 1, "limit_by": "header", "header_name": "X-Tenant"}"#);
    assert!(passes(&by_header, &mut gateway.get("/").with_header("x-tenant", "a")));
    assert!(!passes(&by_header, &mut gateway.get("/").with_header("x-tenant", "a").from_ip("10.0.0.1")));
    assert!(passes(&by_header, &mut gateway.get("/").with_header("x-tenant", "b")));
    // A value that looks like an address is not the address's window.
    assert!(passes(&by_header, &mut gateway.get("/").with_header("x-tenant", "203.0.113.7")));
    assert!(passes(&by_header, &mut gateway.get("/")));

    let by_path = plugin(r#"{"minute": 1, "limit_by": "path", "path": "/status"}"#);
    assert!(passes(&by_path, &mut gateway.get("/status?x").from_ip("10.0.0.1")));
    assert!(!passes(&by_path, &mut gateway.get("/status").from_ip("10.0.0.2")));
    assert!(passes(&by_path, &mut gateway.get("/other").from_ip("10.0.0.2")));
}

#[test]
fn a_long_header_value_is_counted_by_its_beginning() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"minute": 1, "limit_by": "header", "header_name": "x-tenant"}"#));
    assert!(passes(&plugin, &mut gateway.get("/").with_header("x-tenant", &"ä".repeat(2000))));
    assert!(!passes(&plugin, &mut gateway.get("/").with_header("x-tenant", &"ä".repeat(2001))));
}

#[test]
fn a_limit_may_be_a_fraction() {
    let (gateway, plugin) = (Gateway::new(), plugin(r#"{"minute": 1.5}"#));
    let mut exchange = gateway.get("/");
    assert!(passes(&plugin, &mut exchange));
    assert_eq!(header(&exchange, "x-ratelimit-limit-minute").as_deref(), Some("1.5"));
    assert!(passes(&plugin, &mut gateway.get("/")));
    assert!(!passes(&plugin, &mut gateway.get("/")));
}

#[test]
fn counts_of_the_cluster_are_apart_from_those_of_the_node() {
    let gateway = Gateway::new();
    let (local, cluster) = (plugin(r#"{"minute": 1}"#), plugin(r#"{"minute": 1, "policy": "cluster"}"#));
    assert!(passes(&local, &mut gateway.get("/")) && !passes(&local, &mut gateway.get("/")));
    assert!(passes(&cluster, &mut gateway.get("/")));
    let mut exchange = gateway.get("/");
    assert!(!passes(&cluster, &mut exchange));
    assert_eq!(exchange.response.status(), Some(429));
    assert_eq!(header(&exchange, "x-ratelimit-remaining-minute").as_deref(), Some("0"));
}

#[test]
fn while_the_other_nodes_are_not_known_fault_tolerant_decides() {
    let gateway = Gateway::new();
    let (tolerant, strict) = (
        plugin(r#"{"minute": 2, "policy": "cluster"}"#),
        plugin(r#"{"minute": 2, "policy": "cluster", "fault_tolerant": false}"#),
    );
    // There is nothing to lose with local counts.
    let local = plugin(r#"{"minute": 2, "policy": "local", "fault_tolerant": false}"#);
    assert!(passes(&strict, &mut gateway.get("/")));
    gateway.lose_other_nodes(true);
    assert!(passes(&tolerant, &mut gateway.get("/")) && passes(&local, &mut gateway.get("/")));
    let mut exchange = gateway.get("/");
    assert!(!passes(&strict, &mut exchange));
    assert_eq!(exchange.response.status(), Some(500));
    let body: Value = serde_json::from_slice(&exchange.response_body()).unwrap();
    assert_eq!(body["message"], "An unexpected error occurred");
    assert_eq!(headers(&exchange), ["content-type"]);
    gateway.lose_other_nodes(false);
    let mut exchange = gateway.get("/");
    assert!(passes(&strict, &mut exchange), "what was answered 500 was not counted");
    assert_eq!(header(&exchange, "x-ratelimit-remaining-minute").as_deref(), Some("0"));
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    assert_eq!(
        mistakes(r#"{"minute": 1, "policy": "redis", "redis": {"host": "r"}, "sync_rate": 1}"#),
        ["policy", "redis", "sync_rate"]
    );
    assert_eq!(mistakes(r#"{"minute": 1, "redis": {"hostname": "r"}}"#), ["redis.hostname"]);
    assert_eq!(mistakes(r#"{"minute": 1, "redis": {"port": 6379}, "sync_rate": -1, "fault_tolerant": false}"#), [""; 0]);
}

#[test]
fn what_does_not_fit_is_refused_all_at_once() {
    assert_eq!(mistakes("{}"), [""]);
    assert_eq!(mistakes(r#"{"second": 5, "minute": 3, "hour": 4, "day": 0}"#), ["day", "minute", "hour", "day", "day", "day"]);
    assert_eq!(mistakes(r#"{"minute": 1, "limit_by": "header"}"#), ["header_name"]);
    assert_eq!(mistakes(r#"{"minute": 1, "limit_by": "path"}"#), ["path"]);
    assert_eq!(
        mistakes(r#"{"minute": 1, "header_name": "not ok", "path": "x", "error_code": 99}"#),
        ["header_name", "path", "error_code"]
    );
}

#[test]
fn the_schema_has_kongs_fields_and_defaults() {
    let schema = schema::<RateLimiting>();
    let fields = schema["properties"].as_object().unwrap();
    let redis = json!({
        "host": null, "port": 6379, "timeout": 2000, "username": null, "password": null, "database": 0, "ssl": false,
        "ssl_verify": false, "server_name": null,
    });
    let expected = json!({
        "second": null, "minute": null, "hour": null, "day": null, "month": null, "year": null, "limit_by": "consumer",
        "header_name": null, "path": null, "policy": "local", "fault_tolerant": true, "redis": redis,
        "hide_client_headers": false, "error_code": 429, "error_message": "API rate limit exceeded", "sync_rate": -1.0,
    });
    let defaults = fields.iter().map(|(name, field)| (name.clone(), field["default"].clone())).collect();
    assert_eq!(Value::Object(defaults), expected);
    for (name, default) in redis.as_object().unwrap() {
        assert_eq!(fields["redis"]["properties"][name]["default"], *default, "redis.{name}");
    }
    assert_eq!(fields["limit_by"]["enum"], json!(["consumer", "credential", "ip", "service", "header", "path"]));
}
