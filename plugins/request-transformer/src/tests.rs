use super::RequestTransformer;
use plugin_sdk::testing::{configure, get, schema};
use plugin_sdk::{Exchange, Flow};
use serde_json::{Value, json};

fn transformed(config: Value, mut exchange: Exchange) -> Exchange {
    let plugin = configure::<RequestTransformer>(&config.to_string()).unwrap();
    assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
    exchange
}

fn values(exchange: &Exchange, name: &str) -> Vec<String> {
    exchange.request.header_values(name).into_iter().filter_map(|value| value.into_string()).collect()
}

fn query(config: Value, target: &str) -> Option<String> {
    transformed(config, get(target)).request.query()
}

fn mistakes(config: Value) -> Vec<String> {
    let findings = configure::<RequestTransformer>(&config.to_string()).unwrap_err();
    findings.iter().map(|(field, _)| field.to_owned()).collect()
}

#[test]
fn headers_are_changed_in_kongs_order() {
    let config = json!({
        "append": {"headers": ["x:appended"]}, "add": {"headers": ["x:added"]}, "replace": {"headers": ["x:replaced"]},
        "rename": {"headers": ["y:x"]}, "remove": {"headers": ["x"]},
    });
    let exchange = transformed(config.clone(), get("/").with_header("X", "old").with_header("y", "renamed"));
    assert_eq!(values(&exchange, "x"), ["replaced", "appended"]);
    let exchange = transformed(config, get("/").with_header("x", "old"));
    assert_eq!(values(&exchange, "x"), ["added", "appended"]);
}

#[test]
fn a_renamed_header_keeps_all_its_values() {
    let exchange = transformed(
        json!({"rename": {"headers": ["X-Old:x-new", "x-none:x-other"]}}),
        get("/").with_header("x-old", "1").with_header("x-old", "2").with_header("x-new", "0").with_header("x-other", "kept"),
    );
    assert_eq!(values(&exchange, "x-new"), ["1", "2"]);
    assert_eq!(values(&exchange, "x-old"), [""; 0]);
    assert_eq!(values(&exchange, "x-other"), ["kept"]);
}

#[test]
fn a_header_that_is_not_there_is_not_replaced_and_one_that_is_there_is_not_added() {
    let config = json!({"replace": {"headers": ["a:1"]}, "add": {"headers": ["b:1"]}});
    let exchange = transformed(config, get("/").with_header("b", "0"));
    assert_eq!(values(&exchange, "a"), [""; 0]);
    assert_eq!(values(&exchange, "b"), ["0"]);
}

#[test]
fn the_host_can_be_replaced() {
    let exchange = transformed(json!({"replace": {"headers": ["Host:internal"]}}), get("/"));
    assert_eq!(values(&exchange, "host"), ["internal"]);
}

#[test]
fn query_arguments_are_changed_and_the_others_stay_as_they_came() {
    let config = json!({
        "remove": {"querystring": ["gone"]}, "rename": {"querystring": ["old:new"]}, "replace": {"querystring": ["r:2", "none:1"]},
        "add": {"querystring": ["a:x y", "new:not this"]}, "append": {"querystring": ["r:3"]},
    });
    assert_eq!(query(config, "/?keep=%7e&gone=1&old=%20&r=1&r=0&gone").as_deref(), Some("keep=%7e&new=%20&r=2&a=x%20y&r=3"));
}

#[test]
fn a_query_that_becomes_empty_is_none_and_one_that_does_not_change_is_left_alone() {
    assert_eq!(query(json!({"remove": {"querystring": ["a"]}}), "/?a=1"), None);
    assert_eq!(query(json!({"remove": {"querystring": ["b"]}}), "/?a=1").as_deref(), Some("a=1"));
    assert_eq!(query(json!({"add": {"querystring": ["a:1"]}}), "/").as_deref(), Some("a=1"));
}

#[test]
fn templates_see_the_request_as_it_came() {
    let config = json!({
        "remove": {"headers": ["x-user"], "querystring": ["q"]},
        "add": {"headers": ["x-who:user $(headers[\"x-user\"])", "x-q:$(query_params.q)"], "querystring": ["u:$(headers['x-user'])"]},
    });
    let exchange = transformed(config, get("/?q=a%26b").with_header("x-user", "al&ice"));
    assert_eq!(values(&exchange, "x-who"), ["user al&ice"]);
    assert_eq!(values(&exchange, "x-q"), ["a&b"]);
    assert_eq!(exchange.request.query().as_deref(), Some("u=al%26ice"));
    assert_eq!(values(&exchange, "x-user"), [""; 0]);
}

#[test]
fn a_template_cannot_smuggle_a_line_into_the_head() {
    let config = json!({"add": {"headers": ["x:$(query_params.q)"]}, "append": {"headers": ["y:$(query_params.q)"]}});
    let exchange = transformed(config, get("/?q=a%0d%0ab:1%00%09c"));
    assert_eq!(values(&exchange, "x"), ["a%0D%0Ab:1%00\tc"]);
    assert_eq!(values(&exchange, "y"), ["a%0D%0Ab:1%00\tc"]);
}

#[test]
fn the_method_is_changed_in_any_case() {
    assert_eq!(transformed(json!({"http_method": "post"}), get("/")).request.method(), "POST");
    assert_eq!(transformed(json!({}), get("/")).request.method(), "GET");
}

#[test]
fn what_cannot_work_is_refused_by_name_and_all_at_once() {
    let config = json!({
        "http_method": "CONNECT", "remove": {"body": ["a"], "headers": ["host", ""]},
        "rename": {"headers": ["x", "x:not ok"], "querystring": ["a:"]},
        "replace": {"uri": "/x", "headers": ["content-length:0"]},
        "add": {"headers": ["x-consumer-id:1", "x:$(shared.x)", "x:a\nb", "X-Forwarded-Proto:https"]},
    });
    let expected = [
        "remove.body",
        "replace.uri",
        "http_method",
        "remove.headers[0]",
        "remove.headers[1]",
        "rename.headers[0]",
        "rename.headers[1]",
        "replace.headers[0]",
        "add.headers[0]",
        "add.headers[1]",
        "add.headers[2]",
        "add.headers[3]",
        "rename.querystring[0]",
    ];
    assert_eq!(mistakes(config), expected);
}

#[test]
fn the_schema_has_kongs_fields_and_defaults() {
    let schema = schema::<RequestTransformer>();
    let fields = schema["properties"].as_object().unwrap();
    assert_eq!(fields.len(), 6);
    assert_eq!(fields["http_method"]["default"], json!(null));
    for verb in ["remove", "rename", "replace", "add", "append"] {
        let lists = fields[verb]["properties"].as_object().unwrap();
        for list in ["body", "headers", "querystring"] {
            assert_eq!(lists[list]["default"], json!([]), "{verb}.{list}");
        }
        assert_eq!(lists.get("uri").map(|uri| uri["default"].clone()), (verb == "replace").then_some(json!(null)));
    }
}
