use super::ResponseTransformer;
use plugin_sdk::testing::{configure, get, schema};
use plugin_sdk::{Exchange, Flow};
use serde_json::{Value, json};

fn transformed(config: Value, headers: &[(&str, &str)]) -> Exchange {
    let plugin = configure::<ResponseTransformer>(&config.to_string()).unwrap();
    let mut exchange = get("/");
    exchange.upstream_answers(200, headers);
    assert_eq!(plugin.on_response(&mut exchange), Ok(Flow::Proceed));
    exchange
}

fn values(exchange: &Exchange, name: &str) -> Vec<String> {
    exchange.response.header_values(name).into_iter().filter_map(|value| value.into_string()).collect()
}

fn mistakes(config: Value) -> Vec<String> {
    let findings = configure::<ResponseTransformer>(&config.to_string()).unwrap_err();
    findings.iter().map(|(field, _)| field.to_owned()).collect()
}

#[test]
fn removes_all_of_a_name() {
    let exchange =
        transformed(json!({"remove": {"headers": ["Server", "x-none"]}}), &[("server", "a"), ("Server", "b"), ("x", "1")]);
    assert_eq!(values(&exchange, "server"), [""; 0]);
    assert_eq!(values(&exchange, "x"), ["1"]);
}

#[test]
fn renames_with_all_values_and_in_place_of_the_new_name() {
    let config = json!({"rename": {"headers": ["x-old:x-new", "x-none:x-other"]}});
    let exchange = transformed(config, &[("x-old", "1"), ("X-Old", "2"), ("x-new", "0"), ("x-other", "kept")]);
    assert_eq!(values(&exchange, "x-new"), ["1", "2"]);
    assert_eq!(values(&exchange, "x-old"), [""; 0]);
    assert_eq!(values(&exchange, "x-other"), ["kept"]);
}

#[test]
fn replaces_only_what_is_there_and_adds_only_what_is_not() {
    let config = json!({"replace": {"headers": ["a:new", "b:new"]}, "add": {"headers": ["a:added", "c:added:with colon"]}});
    let exchange = transformed(config, &[("a", "old")]);
    assert_eq!(values(&exchange, "a"), ["new"]);
    assert_eq!(values(&exchange, "b"), [""; 0]);
    assert_eq!(values(&exchange, "c"), ["added:with colon"]);
}

#[test]
fn appends_in_any_case() {
    let exchange = transformed(json!({"append": {"headers": ["set-cookie:a=1", "x:1"]}}), &[("Set-Cookie", "b=2")]);
    assert_eq!(values(&exchange, "set-cookie"), ["b=2", "a=1"]);
    assert_eq!(values(&exchange, "x"), ["1"]);
}

#[test]
fn the_steps_have_kongs_order() {
    let config = json!({
        "append": {"headers": ["x:appended"]}, "add": {"headers": ["x:added"]}, "replace": {"headers": ["x:replaced"]},
        "rename": {"headers": ["y:x"]}, "remove": {"headers": ["x"]},
    });
    assert_eq!(values(&transformed(config.clone(), &[("x", "old"), ("y", "renamed")]), "x"), ["replaced", "appended"]);
    assert_eq!(values(&transformed(config, &[("x", "old")]), "x"), ["added", "appended"]);
}

#[test]
fn what_cannot_work_is_refused_by_name_and_all_at_once() {
    let config = json!({
        "remove": {"headers": ["content-length"], "json": ["a"]}, "rename": {"headers": ["x", "x:not ok"]},
        "replace": {"headers": ["x:"]}, "add": {"headers": [":1", "x:a\nb"], "json_types": ["number"]},
    });
    let expected = [
        "remove.headers[0]",
        "rename.headers[0]",
        "rename.headers[1]",
        "replace.headers[0]",
        "add.headers[0]",
        "add.headers[1]",
        "remove.json",
        "add.json_types",
    ];
    assert_eq!(mistakes(config), expected);
    assert_eq!(mistakes(json!({"add": {"header": ["x:1"]}})), ["add.header"]);
}

#[test]
fn the_schema_has_kongs_fields_and_empty_lists_as_defaults() {
    let schema = schema::<ResponseTransformer>();
    for verb in ["remove", "rename", "replace", "add", "append"] {
        let lists = schema["properties"][verb]["properties"].as_object().unwrap();
        let names: Vec<&str> = lists.keys().map(String::as_str).collect();
        let with_types = !matches!(verb, "remove" | "rename");
        assert_eq!(names, if with_types { vec!["headers", "json", "json_types"] } else { vec!["headers", "json"] }, "{verb}");
        assert!(lists.values().all(|list| list["default"] == json!([])), "{verb}");
    }
}
