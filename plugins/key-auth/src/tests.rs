use super::KeyAuth;
use plugin_sdk::testing::{Configured, Gateway, configure, manifest, schema};
use plugin_sdk::{Exchange, Flow};
use serde_json::{Value, json};

fn plugin(config: &str) -> Configured<KeyAuth> {
    configure(config).unwrap()
}

/// A gateway where alice has the key `secret`, and `guest` exists without one.
fn gateway() -> Gateway {
    let gateway = Gateway::new();
    gateway.add_credential("key-auth", "secret", "alice");
    gateway.add_consumer("guest");
    gateway
}

fn refused_with(exchange: &Exchange, message: &str) {
    assert_eq!(exchange.response.status(), Some(401));
    let body: Value = serde_json::from_slice(&exchange.response_body()).unwrap();
    assert_eq!(body, json!({ "message": message, "request_id": exchange.id() }));
    assert!(exchange.consumer().is_none());
}

fn username(exchange: &Exchange) -> Option<String> {
    exchange.consumer()?.username
}

#[test]
fn a_request_without_a_key_is_refused() {
    let mut exchange = gateway().get("/orders?other=1");
    plugin("{}").on_request(&mut exchange).unwrap();
    refused_with(&exchange, "No API key found in request");
    assert_eq!(exchange.response.header("www-authenticate").unwrap(), "Key");
}

#[test]
fn an_empty_key_is_no_key() {
    for mut exchange in [gateway().get("/?apikey="), gateway().get("/?apikey"), gateway().get("/").with_header("apikey", "")] {
        plugin("{}").on_request(&mut exchange).unwrap();
        refused_with(&exchange, "No API key found in request");
    }
}

#[test]
fn a_key_that_nobody_has_is_refused() {
    let mut exchange = gateway().get("/").with_header("apikey", "guess");
    plugin("{}").on_request(&mut exchange).unwrap();
    refused_with(&exchange, "Unauthorized");
}

#[test]
fn two_keys_of_one_name_are_refused_in_headers_and_in_the_query() {
    let in_headers = gateway().get("/").with_header("apikey", "secret").with_header("ApiKey", "secret");
    for mut exchange in [in_headers, gateway().get("/?apikey=secret&%61pikey=x")] {
        plugin("{}").on_request(&mut exchange).unwrap();
        refused_with(&exchange, "Duplicate API key found");
    }
}

#[test]
fn one_key_with_a_comma_in_it_is_one_key() {
    let gateway = gateway();
    gateway.add_credential("key-auth", "a, b", "carol");
    let mut exchange = gateway.get("/").with_header("apikey", "a, b");
    assert_eq!(plugin("{}").on_request(&mut exchange), Ok(Flow::Proceed));
    assert_eq!(username(&exchange).as_deref(), Some("carol"));
}

#[test]
fn the_key_is_found_in_a_header_or_in_the_query_and_names_the_consumer_upstream() {
    let in_header = gateway().get("/").with_header("APIKEY", "secret").with_header("X-Consumer-Username", "root");
    for mut exchange in [in_header, gateway().get("/?a=1&apikey=sec%72et")] {
        assert_eq!(plugin("{}").on_request(&mut exchange), Ok(Flow::Proceed));
        assert_eq!(username(&exchange).as_deref(), Some("alice"));
        assert_eq!(exchange.request.header("x-consumer-username").unwrap(), "alice");
        assert!(exchange.request.header("x-credential-identifier").is_some());
    }
}

#[test]
fn places_that_are_switched_off_are_not_looked_at() {
    let mut exchange = gateway().get("/").with_header("apikey", "secret");
    plugin(r#"{"key_in_header": false}"#).on_request(&mut exchange).unwrap();
    refused_with(&exchange, "No API key found in request");
    let mut exchange = gateway().get("/?apikey=secret");
    plugin(r#"{"key_in_query": false}"#).on_request(&mut exchange).unwrap();
    refused_with(&exchange, "No API key found in request");
}

#[test]
fn the_first_name_that_is_there_counts() {
    let plugin = plugin(r#"{"key_names": ["x-first", "x-second"]}"#);
    let mut exchange = gateway().get("/").with_header("x-second", "secret");
    assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
    let mut exchange = gateway().get("/").with_header("x-second", "secret").with_header("x-first", "wrong");
    plugin.on_request(&mut exchange).unwrap();
    refused_with(&exchange, "Unauthorized");
}

#[test]
fn hidden_credentials_go_upstream_in_neither_place() {
    let plugin = plugin(r#"{"hide_credentials": true}"#);
    let mut exchange = gateway().get("/orders?a=%31&apikey=secret&b").with_header("apikey", "secret");
    assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
    assert_eq!(exchange.request.header("apikey"), None);
    assert_eq!((exchange.request.path().as_str(), exchange.request.query().as_deref()), ("/orders", Some("a=%31&b")));
    let mut exchange = gateway().get("/orders?apikey=secret");
    assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
    assert_eq!(exchange.request.query(), None);
}

#[test]
fn without_a_valid_key_the_anonymous_consumer_is_meant() {
    let plugin = plugin(r#"{"anonymous": "guest"}"#);
    for mut exchange in [gateway().get("/"), gateway().get("/?apikey=guess")] {
        assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
        assert_eq!(username(&exchange).as_deref(), Some("guest"));
        assert_eq!(exchange.request.header("x-anonymous-consumer").unwrap(), "true");
    }
    let mut exchange = gateway().get("/?apikey=secret");
    assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
    assert_eq!(username(&exchange).as_deref(), Some("alice"));
}

#[test]
fn an_anonymous_consumer_that_does_not_exist_is_a_failure() {
    let mut exchange = gateway().get("/");
    let failure = plugin(r#"{"anonymous": "nobody"}"#).on_request(&mut exchange).unwrap_err();
    assert_eq!(failure.message(), "`anonymous` names the consumer 'nobody', which does not exist");
    assert!(exchange.consumer().is_none());
}

#[test]
fn with_anonymous_a_caller_who_is_known_already_stays() {
    let gateway = gateway();
    let bob = gateway.add_consumer("bob");
    let mut exchange = gateway.get("/?apikey=secret").authenticated_as(bob.clone());
    plugin(r#"{"anonymous": "guest"}"#).on_request(&mut exchange).unwrap();
    assert_eq!(username(&exchange).as_deref(), Some("bob"));
    // Without it, every authentication plugin must agree.
    let mut exchange = gateway.get("/").authenticated_as(bob);
    plugin("{}").on_request(&mut exchange).unwrap();
    assert_eq!(exchange.response.status(), Some(401));
}

#[test]
fn a_preflight_needs_no_key_if_that_is_configured() {
    let mut exchange = gateway().request("OPTIONS", "/");
    plugin("{}").on_request(&mut exchange).unwrap();
    refused_with(&exchange, "No API key found in request");
    let mut exchange = gateway().request("OPTIONS", "/");
    assert_eq!(plugin(r#"{"run_on_preflight": false}"#).on_request(&mut exchange), Ok(Flow::Proceed));
}

#[test]
fn the_realm_is_in_the_challenge() {
    let mut exchange = gateway().get("/");
    plugin(r#"{"realm": "orders"}"#).on_request(&mut exchange).unwrap();
    assert_eq!(exchange.response.header("www-authenticate").unwrap(), "Key realm=\"orders\"");
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_and_all_at_once() {
    let refused =
        configure::<KeyAuth>(r#"{"key_in_body": true, "key_names": ["ok", "not ok", "x-consumer-id"], "realm": "a\"b"}"#);
    let findings = refused.unwrap_err();
    let fields: Vec<&str> = findings.iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["key_names[1]", "key_names[2]", "key_in_body", "realm"]);
    assert!(configure::<KeyAuth>(r#"{"isolation": "shared"}"#).is_err());
}

#[test]
fn the_schema_has_kongs_fields_and_defaults() {
    let defaults: serde_json::Map<String, Value> = schema::<KeyAuth>()["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, field)| (name.clone(), field.get("default").cloned().unwrap_or(json!("no default"))))
        .collect();
    let expected = json!({
        "key_names": ["apikey"], "hide_credentials": false, "anonymous": null, "key_in_header": true, "key_in_query": true,
        "key_in_body": false, "run_on_preflight": true, "realm": null,
    });
    assert_eq!(Value::Object(defaults), expected);
    let manifest = manifest::<KeyAuth>();
    assert_eq!((&manifest["name"], &manifest["priority"]), (&json!("key-auth"), &json!(1250)));
    assert_eq!(manifest["credentials"], json!(["key-auth"]));
}
