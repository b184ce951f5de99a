//! Uploads: what is taken, what is refused and why, versions, settings.

use crate::support::{Admin, Answer, id};
use http::Method;
use serde_json::{Value, json};

const WASM: (&str, &str) = ("content-type", "application/wasm");

fn component(version: &str, config: Value) -> String {
    json!({"name": "mine", "version": version, "config": config}).to_string()
}
fn any() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "integer", "default": 1}}})
}
async fn upload(admin: &Admin, query: &str, bytes: String) -> Answer {
    admin.raw(Method::POST, &format!("/components{query}"), &[WASM], bytes).await
}

#[tokio::test]
async fn an_uploaded_component_can_be_used_at_once() {
    let admin = Admin::start().await;
    let made = upload(&admin, "", component("1.0.0", any())).await.expect(201);
    assert_eq!((&made["name"], &made["version"], &made["active"]), (&json!("mine"), &json!("1.0.0"), &json!(true)));
    assert_eq!((&made["phases"], &made["grants"]), (&json!(["request", "log"]), &json!([])));
    assert_eq!((&made["isolation"], &made["on_failure"]), (&json!("shared"), &json!("closed")));
    assert_eq!(admin.get("/components/mine@1.0.0").await.expect(200), made);
    assert_eq!(admin.get(&format!("/components/{}", id(&made))).await.expect(200), made);
    assert_eq!(admin.get("/components").await.expect(200)["data"], json!([made]));
    let plugin = admin.create("/plugins", json!({"name": "mine"})).await;
    assert_eq!(plugin["config"], json!({"a": 1}));
    // The bytes are there under their digest.
    let digest = made["digest"].as_str().expect("a digest").parse().expect("a digest");
    assert!(admin.store.blob(digest).await.expect("readable").is_some());
    // Once more the same is no change.
    let again = upload(&admin, "", component("1.0.0", any())).await;
    assert_eq!(again.header("weir-revision"), Some("2"));
    assert_eq!(again.expect(200), made);
}

#[tokio::test]
async fn a_refused_component_says_why() {
    let admin = Admin::start().await;
    upload(&admin, "", component("1.0.0", any())).await.expect(201);
    let other_bytes = json!({"name": "mine", "version": "1.0.0", "config": {"type": "object"}}).to_string();
    let digest = weir_model::Digest::from_bytes(*blake3::hash(other_bytes.as_bytes()).as_bytes());
    let message = upload(&admin, "", other_bytes).await.message(409);
    assert!(message.starts_with("mine@1.0.0 is stored already, with other bytes"), "{message}");
    assert!(admin.store.blob(digest).await.expect("readable").is_none(), "refused bytes take no room in the store");
    for (bytes, reason) in [
        (String::new(), "the body is empty"),
        ("\0asm".to_owned(), "not a component"),
        (json!({"name": "key-auth", "version": "9.0.0", "config": any()}).to_string(), "it is a stock plugin"),
        (
            component("2.0.0", json!({"type": "object", "minProperties": 1})),
            "minProperties: this keyword of JSON Schema is not understood",
        ),
        (
            json!({"name": "x", "version": "1", "config": any(), "needs": ["credentials", "counters"]}).to_string(),
            "send it to /components?grants=credentials,counters",
        ),
        (json!({"name": "a b", "version": "1", "config": any()}).to_string(), "the only accepted ascii characters"),
    ] {
        let message = upload(&admin, "", bytes).await.message(400);
        assert!(message.contains(reason), "{message}");
    }
    let message = admin.post("/components", json!({})).await.message(415);
    assert!(message.contains("Content-Type: application/wasm"), "{message}");
    let message = upload(&admin, "?grants=root", component("3.0.0", any())).await.message(400);
    assert!(message.contains("'root' cannot be granted; there are: counters, credentials"), "{message}");
    upload(&admin, "?active=maybe", component("3.0.0", any())).await.expect(400);
    let message = admin.raw(Method::POST, "/components", &[WASM], vec![0; (32 << 20) + 1]).await.message(413);
    assert!(message.contains("33554432"), "{message}");
    admin.put("/components/mine@1.0.0", json!({})).await.expect(405);
}

#[tokio::test]
async fn one_version_serves_and_stays_while_it_is_used() {
    let admin = Admin::start().await;
    upload(&admin, "", component("1.0.0", any())).await.expect(201);
    admin.create("/plugins", json!({"name": "mine", "config": {"a": 7}})).await;
    let message = admin.delete("/components/mine@1.0.0").await.message(409);
    assert!(message.contains("serves 1 plugin entries"), "{message}");
    admin.patch("/components/mine@1.0.0", json!({"active": false})).await.expect(409);
    // A later version changes nothing until it is activated, which is refused when entries do not fit, saying which.
    let strict = json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]});
    let second = upload(&admin, "", component("2.0.0", strict.clone())).await.expect(201);
    assert_eq!(second["active"], json!(false));
    let message = admin.patch("/components/mine@2.0.0", json!({"active": true})).await.message(409);
    assert!(message.contains("1 entries of plugin 'mine' do not fit version 2.0.0"), "{message}");
    upload(&admin, "?active=true", component("2.0.0", strict)).await.expect(409);
    // The guest of the new version is asked about every enabled entry, as it will be.
    let picky =
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "minute": {"type": "integer", "default": 666}}});
    upload(&admin, "", component("2.5.0", picky)).await.expect(201);
    let message = admin.patch("/components/mine@2.5.0", json!({"active": true})).await.message(409);
    assert!(
        message.contains("refuses the configuration of 1 entries") && message.contains("minute: the guest refuses"),
        "{message}"
    );
    // One that they fit takes over, in one transaction.
    let wider = json!({"type": "object", "properties": {"a": {"type": "integer"}, "c": {"type": "boolean", "default": true}}});
    upload(&admin, "", component("3.0.0", wider)).await.expect(201);
    admin.patch("/components/mine@3.0.0", json!({"active": true})).await.expect(200);
    assert_eq!(admin.get("/components/mine@1.0.0").await.expect(200)["active"], json!(false));
    let plugins = admin.get("/plugins").await.expect(200);
    assert_eq!(plugins["data"][0]["config"], json!({"a": 7, "c": true}));
    admin.delete("/components/mine@1.0.0").await.expect(204);
    admin.get("/components/mine@1.0.0").await.expect(404);
}

#[tokio::test]
async fn only_settings_can_be_changed_and_what_authenticates_stays_closed() {
    let admin = Admin::start().await;
    let bytes = json!({"name": "auth", "version": "1.0.0", "config": any(), "needs": ["credentials"]}).to_string();
    let made = upload(&admin, "?grants=credentials,counters", bytes).await.expect(201);
    assert_eq!(made["grants"], json!(["credentials"]));
    let path = "/components/auth@1.0.0";
    let patched = admin.patch(path, json!({"isolation": "per_request", "cpu_budget_ms": 20})).await.expect(200);
    assert_eq!((&patched["isolation"], &patched["cpu_budget_ms"]), (&json!("per_request"), &json!(20)));
    let body = admin.patch(path, json!({"on_failure": "open"})).await.expect(400);
    assert!(body["fields"]["on_failure"].as_str().is_some_and(|text| text.starts_with("must be 'closed'")), "{body}");
    // What the plugin host would not keep to is refused here.
    let body = admin.patch(path, json!({"memory_budget_bytes": 1, "cpu_budget_ms": 10_001})).await.expect(400);
    assert_eq!(
        body["fields"],
        json!({
            "memory_budget_bytes": "value should be between 1048576 and 1073741824",
            "cpu_budget_ms": "value should be between 1 and 10000"
        })
    );
    let body = admin.patch(path, json!({"digest": "00", "priority": 1, "isolation": "x"})).await.expect(400);
    assert_eq!(
        body["fields"],
        json!({
            "digest": "immutable field cannot be updated", "priority": "immutable field cannot be updated",
            "isolation": "expected one of: shared, per_configuration, per_request"
        })
    );
}
