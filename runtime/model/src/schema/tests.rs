use super::*;
use crate::{Entity, Service};
use serde_json::json;

fn autos() -> Autos {
    Autos { now: 1_000, id: Id::from_name("test", "auto"), secret: "made-by-the-server".to_owned() }
}
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("not an object: {other}"),
    }
}
fn insert(kind: Kind, value: Value) -> Result<Entity, Findings> {
    Schema::of(kind).process_insert(object(value), &autos())
}
fn good(kind: Kind, value: Value) -> Entity {
    insert(kind, value).unwrap_or_else(|findings| panic!("{findings}"))
}
fn bad(kind: Kind, value: Value) -> Value {
    Value::Object(insert(kind, value).expect_err("must be refused").fields())
}

#[test]
fn a_service_is_completed_with_the_defaults_of_kong() {
    let service = good(Kind::Service, json!({"host": "example.com", "name": "a"}));
    let id = autos().id.to_string();
    assert_eq!(
        Value::Object(service.body.clone()),
        json!({
            "id": id, "created_at": 1000, "updated_at": 1000, "name": "a", "retries": 5, "protocol": "http",
            "host": "example.com", "port": 80, "path": null, "connect_timeout": 60000, "write_timeout": 60000,
            "read_timeout": 60000, "tags": null, "client_certificate": null, "tls_verify": null, "tls_verify_depth": null,
            "ca_certificates": null, "enabled": true
        })
    );
    assert!(service.parse::<Service>().is_ok());
}

#[test]
fn a_url_stands_for_its_parts_and_cannot_hide_anything() {
    let service = good(Kind::Service, json!({"url": "https://example.com/base"}));
    assert_eq!((service.body["protocol"].as_str(), service.body["port"].as_u64()), (Some("https"), Some(443)));
    assert_eq!((service.body["host"].as_str(), service.body["path"].as_str()), (Some("example.com"), Some("/base")));
    assert!(service.body.get("url").is_none());
    assert_eq!(good(Kind::Service, json!({"url": "http://[::1]:81"})).body["host"], json!("[::1]"));
    for wrong in ["example.com", "http://", "http://u:p@h/", "http://h/?q", "http://h:x/", "ftp://h/"] {
        assert!(insert(Kind::Service, json!({"url": wrong})).is_err(), "{wrong}");
    }
    // What it leaves open may stand beside it, what it says may be repeated, and nothing is ignored.
    let beside = json!({"url": "http://h:81", "path": "/p", "port": 81, "protocol": null});
    assert_eq!(good(Kind::Service, beside).body["path"], json!("/p"));
    let found = insert(Kind::Service, json!({"url": "http://h/p", "host": "other", "port": 81})).expect_err("two wishes");
    let said = "2 schema violations (host: is not the one in 'url'; port: is not the one in 'url')";
    assert_eq!(found.message(), said);
    assert_eq!(good(Kind::Service, json!({"host": "h", "url": null})).body["host"], json!("h"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = bad(
        Kind::Service,
        json!({"port": 70000, "retries": "x", "protocol": "tcp", "foo": 1, "tags": ["a,b", "ok"], "client_certificate": {"id": "x"},
               "enabled": "yes", "read_timeout": 1.5, "name": ""}),
    );
    assert_eq!(
        found,
        json!({
            "host": "required field missing",
            "port": "value should be between 0 and 65535",
            "retries": "expected an integer",
            "protocol": "'tcp' is not served by this version, which serves only: http, https",
            "foo": "unknown field",
            "tags": ["invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf8 sequences"],
            "client_certificate": "not served by this version: leave it unset",
            "enabled": "expected a boolean",
            "read_timeout": "expected an integer",
            "name": "length must be at least 1",
        })
    );
}

#[test]
fn null_is_no_value_for_a_field_with_a_default() {
    assert_eq!(bad(Kind::Service, json!({"host": "h", "port": null})), json!({"port": "required field missing"}));
}

#[test]
fn tls_settings_need_a_tls_protocol() {
    assert_eq!(
        bad(Kind::Service, json!({"host": "h", "tls_verify": true})),
        json!({"@entity": ["failed conditional validation given value of field 'protocol'"], "tls_verify": "value must be null"})
    );
    good(Kind::Service, json!({"host": "h", "protocol": "https", "tls_verify": false}));
}

#[test]
fn a_route_needs_something_to_match() {
    assert_eq!(
        bad(Kind::Route, json!({})),
        json!({"@entity": ["must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"]})
    );
    assert_eq!(
        bad(Kind::Route, json!({"protocols": ["http"], "paths": []})),
        json!({"@entity": ["must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'"]})
    );
    // A rule over a field that is broken itself says nothing more.
    assert_eq!(
        bad(Kind::Route, json!({"paths": ["x"]})),
        json!({"paths": ["should start with: / (fixed path) or ~/ (regex path)"]})
    );
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    let found = bad(
        Kind::Route,
        json!({"paths": ["/"], "protocols": ["http", "grpc"], "snis": ["a"], "sources": [{"ip": "1.1.1.1"}], "request_buffering": false}),
    );
    assert_eq!(
        found,
        json!({
            "protocols": [null, "'grpc' is not served by this version, which serves only: http, https"],
            "snis": "not served by this version: leave it unset",
            "sources": "not served by this version: leave it unset",
            "request_buffering": "'false' is not served by this version, which serves only: true",
        })
    );
    good(Kind::Route, json!({"paths": ["/"], "snis": [], "request_buffering": true}));
}

#[test]
fn header_matchers_are_checked_to_the_regex() {
    assert_eq!(
        bad(Kind::Route, json!({"headers": {"Host": ["a"]}})),
        json!({"headers": {"Host": "cannot contain 'host' header, which must be specified in the 'hosts' attribute"}})
    );
    assert!(insert(Kind::Route, json!({"headers": {"x-a": ["~*("]}})).is_err());
    assert!(insert(Kind::Route, json!({"headers": {"x-a": "a"}})).is_err());
    good(Kind::Route, json!({"headers": {"x-a": ["~*^v[0-9]+$"]}}));
}

#[test]
fn sets_keep_their_order_and_lose_duplicates() {
    let route = good(Kind::Route, json!({"methods": ["PUT", "GET", "PUT"]}));
    assert_eq!(route.body["methods"], json!(["PUT", "GET"]));
    assert_eq!(bad(Kind::Route, json!({"methods": ["get"]})), json!({"methods": ["invalid value: get"]}));
    assert_eq!(bad(Kind::Route, json!({"methods": ["GET", null]})), json!({"methods": [null, "required field missing"]}));
}

#[test]
fn references_are_by_id_or_by_name() {
    let id = "0F4C8B26-0000-4000-8000-000000000001";
    let route = good(Kind::Route, json!({"paths": ["/"], "service": {"id": id}}));
    assert_eq!(route.body["service"], json!({"id": id.to_lowercase()}));
    let route = good(Kind::Route, json!({"paths": ["/"], "service": {"name": "x"}}));
    assert_eq!(route.body["service"], json!({"name": "x"}));
    let wrong = |service: Value| bad(Kind::Route, json!({"paths": ["/"], "service": service}))["service"].clone();
    assert_eq!(wrong(json!({"id": "x"})), json!({"id": "expected a valid UUID"}));
    assert_eq!(wrong(json!({})), json!({"id": "required field missing"}));
    assert_eq!(wrong(json!({"id": id, "x": 1})), json!({"x": "unknown field"}));
    assert_eq!(wrong(json!("x")), json!("expected a record such as {\"id\": \"…\"}"));
}

#[test]
fn an_update_merges_and_null_clears() {
    let schema = Schema::of(Kind::Service);
    let before = good(Kind::Service, json!({"host": "h", "name": "a", "port": 81, "tags": ["x"]}));
    let later = Autos { now: 2_000, ..autos() };
    let after = schema.process_update(&before, object(json!({"name": null, "host": "i"})), &later).expect("fine");
    assert_eq!((&after.body["name"], &after.body["host"], &after.body["port"]), (&json!(null), &json!("i"), &json!(81)));
    assert_eq!((&after.body["created_at"], &after.body["updated_at"]), (&json!(1000), &json!(2000)));
    let other = json!({"id": Id::random().to_string()});
    assert!(schema.process_update(&before, object(other), &later).is_err());
}

#[test]
fn a_replacement_keeps_identity_and_nothing_else() {
    let schema = Schema::of(Kind::Consumer);
    let before = good(Kind::Consumer, json!({"username": "u", "custom_id": "c", "tags": ["x"]}));
    let later = Autos { now: 2_000, id: Id::random(), secret: String::new() };
    let after = schema.process_upsert(Some(&before), object(json!({"username": "u"})), &later).expect("fine");
    assert_eq!((after.id, &after.body["created_at"], &after.body["updated_at"]), (before.id, &json!(1000), &json!(2000)));
    assert_eq!((&after.body["custom_id"], &after.body["tags"]), (&json!(null), &json!(null)));
}

#[test]
fn a_consumer_needs_a_name() {
    assert_eq!(
        bad(Kind::Consumer, json!({"tags": ["a"]})),
        json!({"@entity": ["at least one of these fields must be non-empty: 'custom_id', 'username'"]})
    );
    assert!(insert(Kind::Consumer, json!({"username": "a\r\nx: y"})).is_err());
}

#[test]
fn a_ttl_counts_from_the_write_that_says_it() {
    let consumer = json!({"id": Id::random().to_string()});
    let before = good(Kind::KeyAuth, json!({"consumer": consumer, "ttl": 60}));
    assert_eq!(before.body["key"], json!("made-by-the-server"));
    assert!(!expired(&before, 1_059) && expired(&before, 1_060));
    let later = Autos { now: 5_000, ..autos() };
    let after = Schema::of(Kind::KeyAuth).process_update(&before, object(json!({"ttl": 60})), &later).expect("fine");
    assert_eq!(present(&after, 5_010)["ttl"], json!(50));
    assert!(!expired(&after, 5_059) && expired(&after, 5_060));
}

#[test]
fn components_change_only_in_their_settings() {
    let body = json!({"name": "p", "version": "1.0.0", "digest": "00", "size": 1, "priority": 5, "phases": ["request"],
        "grants": ["credentials"], "config_schema": {"type": "object"}});
    let before = good(Kind::Component, body);
    let schema = Schema::of(Kind::Component);
    let update = |patch: Value| schema.process_update(&before, object(patch), &autos());
    assert_eq!(update(json!({"isolation": "per_request"})).expect("fine").body["isolation"], json!("per_request"));
    assert_eq!(
        Value::Object(update(json!({"version": "2", "priority": 5})).expect_err("fixed").fields()),
        json!({"version": "immutable field cannot be updated"})
    );
    assert!(update(json!({"on_failure": "open"})).expect_err("may authenticate").to_string().contains("must be 'closed'"));
}

#[test]
fn form_values_get_their_types() {
    let form = object(json!({"host": "h", "port": "81", "enabled": "false", "tags": "a", "path": "", "retries": "x"}));
    let typed = Schema::of(Kind::Service).coerce(form);
    assert_eq!(
        Value::Object(typed),
        json!({"host": "h", "port": 81, "enabled": false, "tags": ["a"], "path": null, "retries": "x"})
    );
}

#[test]
fn processing_its_own_output_changes_nothing() {
    let inputs = [
        (Kind::Service, json!({"url": "https://h:1/p", "tags": ["b", "a"]})),
        (Kind::Route, json!({"paths": ["/a", "~/b$"], "headers": {"x": ["1", "2"]}, "methods": ["GET"]})),
        (Kind::Consumer, json!({"username": "é"})),
        (Kind::KeyAuth, json!({"consumer": {"id": Id::random().to_string()}})),
    ];
    for (kind, input) in inputs {
        let once = good(kind, input);
        assert_eq!(good(kind, Value::Object(once.body.clone())), once);
    }
}

#[test]
fn schemas_are_shown_as_one_key_maps_with_defaults() {
    for kind in Kind::ALL {
        let shown = Schema::of(kind).render();
        let fields = shown["fields"].as_array().expect("a list");
        assert!(fields.iter().all(|field| field.as_object().is_some_and(|map| map.len() == 1)), "{kind:?}");
    }
    let routes = Schema::of(Kind::Route).render();
    let field = |name: &str| {
        let all = routes["fields"].as_array().expect("a list");
        all.iter().find_map(|field| field.get(name)).cloned().expect("a field")
    };
    assert_eq!(field("strip_path")["default"], json!(true));
    assert_eq!(field("strip_path")["type"], json!("boolean"));
    assert_eq!(field("service")["reference"], json!("services"));
    assert_eq!(field("methods")["elements"]["match"], json!("^[A-Z]+$"));
    assert_eq!(field("protocols")["default"], json!(["http", "https"]));
    let services = Schema::of(Kind::Service).render();
    let port = services["fields"].as_array().and_then(|all| all.iter().find_map(|field| field.get("port"))).expect("a field");
    assert_eq!(port["between"], json!([0, 65535]));
}

#[test]
fn kinds_and_schemas_agree_on_references_and_unique_fields() {
    for kind in Kind::ALL {
        let schema = Schema::of(kind);
        let mut of_schema: Vec<_> = schema.foreign_fields().map(|(field, kind, _)| (field.to_owned(), kind)).collect();
        let mut of_kind: Vec<_> = kind.foreign_fields().iter().map(|&(field, kind)| (field.to_owned(), kind)).collect();
        of_schema.sort();
        of_kind.sort();
        assert_eq!(of_schema, of_kind, "{kind:?}");
    }
}
