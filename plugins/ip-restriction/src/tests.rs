use super::IpRestriction;
use plugin_sdk::testing::{configure, get, schema};
use plugin_sdk::{Exchange, Flow};
use serde_json::{Value, json};

fn ask(config: &str, address: &str) -> (Option<Flow>, Exchange) {
    let mut exchange = get("/").from_ip(address);
    let flow = configure::<IpRestriction>(config).unwrap().on_request(&mut exchange).ok();
    (flow, exchange)
}

fn message(exchange: &Exchange) -> Value {
    serde_json::from_slice::<Value>(&exchange.response_body()).unwrap()["message"].clone()
}

#[test]
fn an_address_that_is_not_allowed_is_refused_by_name() {
    let (_, exchange) = ask(r#"{"allow": ["10.0.0.0/8"]}"#, "203.0.113.7");
    assert_eq!(exchange.response.status(), Some(403));
    assert_eq!(message(&exchange), "IP address not allowed: 203.0.113.7");
}

#[test]
fn an_allowed_address_goes_on() {
    assert_eq!(ask(r#"{"allow": ["10.0.0.0/8", "2001:db8::/32"]}"#, "10.9.8.7").0, Some(Flow::Proceed));
    assert_eq!(ask(r#"{"allow": ["10.0.0.0/8", "2001:db8::/32"]}"#, "2001:db8::9").0, Some(Flow::Proceed));
}

#[test]
fn a_denied_address_is_refused_even_if_it_is_allowed() {
    let config = r#"{"allow": ["10.0.0.0/8"], "deny": ["10.0.0.13"], "status": 404, "message": "gone"}"#;
    let (_, exchange) = ask(config, "10.0.0.13");
    assert_eq!(exchange.response.status(), Some(404));
    assert_eq!(message(&exchange), "gone");
    assert_eq!(ask(config, "10.0.0.14").0, Some(Flow::Proceed));
}

#[test]
fn with_a_deny_list_only_everybody_else_goes_on() {
    assert_eq!(ask(r#"{"deny": ["10.0.0.0/8"]}"#, "203.0.113.7").0, Some(Flow::Proceed));
}

#[test]
fn mistakes_are_named_all_at_once() {
    let findings =
        configure::<IpRestriction>(r#"{"allow": ["10.0.0.1", "nowhere"], "deny": ["10.0.0.0/64"], "status": 42}"#).unwrap_err();
    let fields: Vec<&str> = findings.iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["allow[1]", "deny[0]", "status"]);
    assert!(configure::<IpRestriction>(r#"{"allow": []}"#).is_err());
    assert!(configure::<IpRestriction>("{}").is_err());
}

#[test]
fn the_schema_has_kongs_fields_which_are_unset_by_default() {
    let schema = schema::<IpRestriction>();
    let fields = schema["properties"].as_object().unwrap();
    for name in ["allow", "deny", "status", "message"] {
        assert_eq!(fields[name]["default"], json!(null), "{name}");
    }
    assert_eq!(fields.len(), 4);
}
