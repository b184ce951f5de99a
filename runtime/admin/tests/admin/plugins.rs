//! Plugin entries: scopes, configurations, chains.

use crate::support::{Admin, id, to};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_configuration_is_completed_and_judged_by_schema_and_guest() {
    let admin = Admin::start().await;
    let plugin = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 5}})).await;
    assert_eq!(plugin["config"], json!({"minute": 5, "policy": "local", "redis": {"host": null, "port": 6379}}));
    assert_eq!(plugin["protocols"], json!(["grpc", "grpcs", "http", "https"]));
    assert_eq!((&plugin["route"], &plugin["instance_name"], &plugin["enabled"]), (&json!(null), &json!(null), &json!(true)));
    let path = format!("/plugins/{}", id(&plugin));
    let wrong = json!({"config": {"minute": 0, "policy": "redis", "foo": 1}});
    let body = admin.patch(&path, wrong).await.expect(400);
    assert_eq!(
        body["fields"],
        json!({"config": {"minute": "value must be greater than 0", "policy": "expected one of: local", "foo": "unknown field"}})
    );
    let body = admin.patch(&path, json!({"config": {"minute": 666}})).await.expect(400);
    assert_eq!(body["message"], json!("schema violation (config.minute: the guest refuses this number)"));
    // Records merge deeply, a null clears, the name may be left out.
    let patched = admin.patch(&path, json!({"config": {"redis": {"host": "r"}, "minute": null}})).await.expect(200);
    assert_eq!(patched["config"], json!({"minute": null, "policy": "local", "redis": {"host": "r", "port": 6379}}));
    let replaced = admin.put(&path, json!({"name": "rate-limiting"})).await.expect(200);
    assert_eq!(replaced["config"]["redis"]["host"], json!(null));
    assert_eq!(id(&replaced), id(&plugin));
}

#[tokio::test]
async fn what_the_guest_refuses_is_told_together_with_what_is_wrong_with_other_fields() {
    let admin = Admin::start().await;
    let refused = json!({"config": {"minute": "the guest refuses this number"}, "protocols": ["expected one of: grpc, grpcs, http, https"]});
    let body = |changes: Value| {
        let mut body = json!({"name": "rate-limiting", "config": {"minute": 666}, "protocols": ["ftp"]});
        body.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        body
    };
    assert_eq!(admin.post("/plugins", body(json!({}))).await.expect(400)["fields"], refused);
    assert_eq!(admin.post("/schemas/plugins/validate", body(json!({}))).await.expect(400)["fields"], refused);
    // Nor does an entry that stands in the same scope already hide it.
    let plugin = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 5}})).await;
    assert_eq!(admin.post("/plugins", body(json!({}))).await.expect(400)["fields"], refused);
    let path = format!("/plugins/{}", id(&plugin));
    assert_eq!(admin.put(&path, body(json!({}))).await.expect(400)["fields"], refused);
    let patch = json!({"config": {"minute": 666}, "protocols": ["ftp"]});
    assert_eq!(admin.patch(&path, patch).await.expect(400)["fields"], refused);
    // A configuration that does not fit its schema is not shown to the guest, nor is that of a disabled entry.
    let fields =
        admin.post("/plugins", body(json!({"config": {"minute": 666, "policy": "x"}}))).await.expect(400)["fields"].clone();
    assert_eq!(fields["config"], json!({"policy": "expected one of: local"}));
    let fields = admin.post("/plugins", body(json!({"enabled": false}))).await.expect(400)["fields"].clone();
    assert_eq!(fields.get("config"), None);
}

/// The nearest doubles to decimal fractions, neighbours, extremes: each must come back as the same bits.
#[tokio::test]
async fn a_number_of_a_configuration_comes_back_as_it_was_written() {
    let admin = Admin::start().await;
    let plugin = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 5}})).await;
    let path = format!("/plugins/{}", id(&plugin));
    let mut numbers =
        vec![0.1 + 0.2, 0.1, 1.0 / 3.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e23, 9_007_199_254_740_993.0, 2.5, 1e-7];
    // A walk over the doubles by their bits, the same on every run.
    let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
    while numbers.len() < 300 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        numbers.extend(Some(f64::from_bits(bits & !(1 << 63))).filter(|number| number.is_finite() && *number > 0.0));
    }
    for number in numbers {
        // As text, so that only the server's own reading and writing is asked.
        let body = format!(r#"{{"config":{{"minute":{number:?}}}}}"#);
        let written = admin.raw(Method::PATCH, &path, &[("content-type", "application/json")], body).await;
        assert_eq!(written.status, 200, "{number:?}: {}", written.body);
        for bytes in [written.bytes, admin.get(&path).await.bytes] {
            let text = String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8");
            let shown = text.split_once(r#""minute":"#).expect("the field").1.split([',', '}']).next().expect("a number");
            let shown: f64 = shown.parse().expect("a number");
            assert_eq!(shown.to_bits(), number.to_bits(), "{number:?} came back as {shown:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_plugin_is_named_together_with_other_mistakes() {
    let admin = Admin::start().await;
    let body = admin.post("/plugins", json!({"name": "nope", "config": {"a": 1}, "enabled": 1})).await.expect(400);
    assert!(body["fields"]["name"].as_str().is_some_and(|text| text.starts_with("plugin 'nope' not enabled; ")), "{body}");
    assert_eq!(body["fields"]["enabled"], json!("expected a boolean"));
    assert!(body["fields"].get("config").is_none());
    let body = admin.post("/plugins", json!({"config": {}})).await.expect(400);
    assert_eq!(body["fields"], json!({"name": "required field missing"}));
    admin.post("/plugins", json!({"name": 5})).await.expect(400);
}

#[tokio::test]
async fn a_plugin_is_there_once_in_each_scope() {
    let admin = Admin::start().await;
    let route = admin.create("/routes", json!({"name": "r", "paths": ["/"]})).await;
    let body = json!({"name": "rate-limiting", "config": {"minute": 1}});
    admin.create("/plugins", body.clone()).await;
    admin.create("/routes/r/plugins", body.clone()).await;
    let refused = admin.post("/routes/r/plugins", body.clone()).await.expect(409);
    assert_eq!(
        refused["message"],
        json!(format!(
            "UNIQUE violation detected on '{{consumer=null,name=\"rate-limiting\",route={{id=\"{}\"}},service=null}}'",
            id(&route)
        ))
    );
    assert_eq!(refused["fields"], json!({"consumer": null, "name": "rate-limiting", "route": to(&route), "service": null}));
    let named = json!({"name": "key-auth", "instance_name": "mine"});
    admin.create("/plugins", named.clone()).await;
    assert_eq!(admin.get("/plugins/mine").await.expect(200)["name"], json!("key-auth"));
    admin.post("/routes/r/plugins", named).await.expect(409);
    let lists = [("/plugins", 3), ("/routes/r/plugins", 1)];
    for (path, count) in lists {
        assert_eq!(admin.get(path).await.expect(200)["data"].as_array().map(Vec::len), Some(count), "{path}");
    }
}

#[tokio::test]
async fn what_authenticates_cannot_be_scoped_to_a_consumer() {
    let admin = Admin::start().await;
    let consumer = admin.create("/consumers", json!({"username": "u"})).await;
    let body = admin.post("/plugins", json!({"name": "key-auth", "consumer": to(&consumer)})).await.expect(400);
    assert_eq!(body["fields"], json!({"consumer": "value must be null"}));
    admin.post("/consumers/u/plugins", json!({"name": "key-auth"})).await.expect(400);
    // Nor by the way of making the consumer at the entry.
    let auth = admin.create("/plugins", json!({"name": "key-auth"})).await;
    let at = format!("/plugins/{}", id(&auth));
    let body = admin.put(&format!("{at}/consumer"), json!({"username": "new"})).await.expect(400);
    assert_eq!(body["fields"], json!({"consumer": "value must be null"}));
    admin.get("/consumers/new").await.expect(404);
    assert_eq!(admin.get(&at).await.expect(200), auth);
    // What may be there is linked: another plugin, another parent.
    admin.put(&format!("{at}/service"), json!({"name": "made", "host": "h"})).await.expect(200);
    admin.delete(&at).await.expect(204);
}

#[tokio::test]
async fn a_disabled_entry_is_not_given_to_the_guest() {
    let admin = Admin::start().await;
    let body = json!({"name": "rate-limiting", "enabled": false, "config": {"minute": 666}});
    let plugin = admin.create("/plugins", body).await;
    let path = format!("/plugins/{}", id(&plugin));
    admin.patch(&path, json!({"enabled": true})).await.expect(400);
    admin.patch(&path, json!({"tags": ["a"]})).await.expect(200);
}

#[tokio::test]
async fn a_panic_ends_its_request_with_500_and_no_other() {
    let admin = Admin::start().await;
    let answer = admin.post("/plugins", json!({"name": "panic"})).await;
    assert_eq!(answer.expect(500), json!({"message": "An unexpected error occurred"}));
    admin.get("/schemas/plugins/panic").await.expect(500);
    admin.get("/").await.expect(200);
}

#[tokio::test]
async fn the_chain_of_a_route_shows_order_origin_and_what_is_hidden() {
    let admin = Admin::start().await;
    let service = admin.create("/services", json!({"name": "s", "host": "h"})).await;
    let route = admin.create("/services/s/routes", json!({"name": "r", "paths": ["/"]})).await;
    let consumer = admin.create("/consumers", json!({"username": "u"})).await;
    let limit = |extra: Value| {
        let mut body = json!({"name": "rate-limiting", "config": {"minute": 1}});
        body.as_object_mut().expect("an object").extend(extra.as_object().cloned().expect("an object"));
        body
    };
    let global = admin.create("/plugins", limit(json!({}))).await;
    let on_route = admin.create("/plugins", limit(json!({"route": to(&route)}))).await;
    let on_consumer = admin.create("/plugins", limit(json!({"consumer": to(&consumer), "route": to(&route)}))).await;
    let auth = admin.create("/plugins", json!({"name": "key-auth", "service": to(&service)})).await;

    let chain = admin.get("/routes/r/chain").await.expect(200);
    assert_eq!(
        (&chain["route"], &chain["service"]),
        (&json!({"id": id(&route), "name": "r"}), &json!({"id": id(&service), "name": "s"}))
    );
    assert_eq!(chain["consumer"], json!(null));
    let seen = |chain: &Value| -> Vec<(String, String, String)> {
        let own = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let links = chain["chain"].as_array().expect("a chain").iter();
        links.map(|link| (own(&link["plugin"]), own(&link["entry"]["id"]), own(&link["entry"]["scope"]))).collect()
    };
    let link = |plugin: &str, entry: &Value, scope: &str| (plugin.to_owned(), id(entry).to_owned(), scope.to_owned());
    assert_eq!(seen(&chain), [link("key-auth", &auth, "service"), link("rate-limiting", &on_route, "route")]);
    assert_eq!(
        chain["chain"][1]["shadowed"],
        json!([{"id": id(&global), "instance_name": null, "scope": "global", "reason": "less specific"}])
    );
    assert_eq!((&chain["chain"][0]["priority"], &chain["chain"][0]["origin"]), (&json!(1250), &json!("stock")));

    let chain = admin.get("/routes/r/chain?consumer=u").await.expect(200);
    assert_eq!(chain["consumer"], json!({"id": id(&consumer), "username": "u"}));
    assert_eq!(seen(&chain)[1], link("rate-limiting", &on_consumer, "route+consumer"));
    assert_eq!(admin.get("/routes/r/chain?consumer=none").await.message(404), "No consumer 'none'");
    admin.get("/routes/none/chain").await.expect(404);
}

#[tokio::test]
async fn schemas_are_shown_and_bodies_are_validated() {
    let admin = Admin::start().await;
    let shown = admin.get("/schemas/plugins/rate-limiting").await.expect(200);
    let fields = shown["fields"].as_array().expect("a list");
    let config = fields.iter().find_map(|field| field.get("config")).expect("config");
    assert_eq!((&config["type"], &config["required"]), (&json!("record"), &json!(true)));
    assert!(config["fields"].as_array().is_some_and(|all| all.iter().any(|field| field["policy"]["default"] == "local")));
    let old = admin.get("/plugins/schema/rate-limiting").await.expect(200);
    assert_eq!(old["fields"], config["fields"]);
    assert_eq!(admin.get("/schemas/plugins/none").await.expect(404), json!({"message": "No plugin named 'none'"}));
    for name in ["services", "routes", "consumers", "plugins", "keyauth_credentials", "components"] {
        assert!(admin.get(&format!("/schemas/{name}")).await.expect(200)["fields"].is_array(), "{name}");
    }
    assert_eq!(admin.get("/schemas/upstreams").await.expect(404), json!({"message": "No entity named 'upstreams'"}));

    let fine = json!({"message": "schema validation successful"});
    assert_eq!(admin.post("/schemas/services/validate", json!({"host": "h"})).await.expect(200), fine);
    assert_eq!(
        admin.post("/schemas/services/validate", json!({})).await.message(400),
        "schema violation (host: required field missing)"
    );
    let body = json!({"name": "rate-limiting", "config": {"minute": 1}});
    assert_eq!(admin.post("/schemas/plugins/validate", body).await.expect(200), fine);
    let body = json!({"name": "rate-limiting", "config": {"minute": 666}});
    let message = admin.post("/schemas/plugins/validate", body).await.message(400);
    assert_eq!(message, "schema violation (config.minute: the guest refuses this number)");
    let message = admin.post("/schemas/plugins/validate", json!({"name": "none"})).await.message(400);
    assert!(message.contains("plugin 'none' not enabled"), "{message}");
    admin.post("/schemas/upstreams/validate", json!({})).await.expect(404);
    admin.send(Method::GET, "/schemas/services/validate", None).await.expect(405);
    assert_eq!(admin.get("/plugins").await.expect(200)["data"], json!([]), "nothing was written");
}
