//! Create, read, replace, change, delete: codes, bodies, semantics.

use crate::support::{Admin, id, to};
use serde_json::{Value, json};

const ABSENT: &str = "0f4c8b26-0000-4000-8000-000000000001";

#[tokio::test]
async fn free_texts_have_a_bound_and_are_refused_with_their_field() {
    let admin = Admin::start().await;
    let consumer = admin.create("/consumers", json!({"username": "ada"})).await;
    let keys = format!("/consumers/{}/key-auth", id(&consumer));
    let service = |changes: (&str, Value)| {
        let mut body = json!({"host": "a.example"});
        body[changes.0] = changes.1;
        body
    };
    for (path, field, most) in [
        ("/consumers", "username", 2048),
        ("/consumers", "custom_id", 2048),
        (keys.as_str(), "key", 4096),
        ("/services", "name", 1024),
    ] {
        let body = |text: String| if path == "/services" { service((field, json!(text))) } else { json!({ field: text }) };
        admin.create(path, body("x".repeat(most))).await;
        // In bytes, not in characters.
        for text in ["y".repeat(most + 1), "é".repeat(most / 2 + 1), "z".repeat(100 << 10)] {
            let size = text.len();
            let refused = admin.post(path, body(text)).await.expect(400);
            assert_eq!((&refused["code"], &refused["name"]), (&json!(2), &json!("schema violation")), "{refused}");
            assert_eq!(refused["fields"], json!({ field: format!("must not have more than {most} bytes, has {size}") }));
        }
    }
    admin.create("/services", service(("tags", json!(["t".repeat(1024)])))).await;
    let refused = admin.post("/services", service(("tags", json!(["a", "t".repeat(1025)])))).await.expect(400);
    assert_eq!(refused["fields"], json!({"tags": [null, "must not have more than 1024 bytes, has 1025"]}));
    // In an answer of 100 KiB nobody would find the reason.
    let refused = admin.post("/services", service(("name", json!(" ".repeat(100 << 10))))).await;
    assert!(refused.bytes.len() < 1000);
}

#[tokio::test]
async fn a_created_entity_is_answered_whole_and_can_be_read_by_id_and_name() {
    let admin = Admin::start().await;
    let answer = admin.post("/services", json!({"name": "s", "url": "http://example.com:81/x"})).await;
    assert_eq!(answer.header("weir-revision"), Some("1"));
    assert_eq!(answer.header("server"), Some("weir/0.1.0"));
    let service = answer.expect(201);
    assert_eq!((&service["host"], &service["port"], &service["tags"]), (&json!("example.com"), &json!(81), &json!(null)));
    assert!(service["created_at"].is_u64());
    for path in ["/services/s".to_owned(), format!("/services/{}", id(&service)), "/services/s/".to_owned()] {
        let answer = admin.get(&path).await;
        assert_eq!(answer.header("weir-revision"), Some("1"));
        assert_eq!(answer.expect(200), service, "{path}");
    }
    assert_eq!(admin.get("/services/none").await.expect(404), json!({"message": "Not found"}));
    assert_eq!(admin.get(&format!("/services/{ABSENT}")).await.expect(404), json!({"message": "Not found"}));
}

#[tokio::test]
async fn put_creates_and_replaces_by_id_and_by_name() {
    let admin = Admin::start().await;
    let path = format!("/consumers/{ABSENT}");
    let made = admin.put(&path, json!({"username": "u", "custom_id": "c", "created_at": 17})).await.expect(200);
    assert_eq!((id(&made), &made["created_at"]), (ABSENT, &json!(17)));
    // What is left out goes back to null; id and age stay.
    let replaced = admin.put("/consumers/u", json!({"tags": ["t"]})).await.expect(200);
    assert_eq!((id(&replaced), &replaced["custom_id"], &replaced["created_at"]), (ABSENT, &json!(null), &json!(17)));
    let by_name = admin.put("/consumers/new%20one", json!({"custom_id": "d"})).await.expect(200);
    assert_eq!(by_name["username"], json!("new one"));
    assert_ne!(id(&by_name), ABSENT);
    // Path and body may not disagree.
    let body = admin.put("/consumers/u", json!({"username": "v"})).await.expect(400);
    assert_eq!(body["fields"], json!({"username": "is not the one in the path"}));
    let body = admin.put(&path, json!({"id": id(&by_name), "username": "v"})).await.expect(400);
    assert!(body["fields"]["id"].is_string() || body["fields"]["id"].is_array(), "{body}");
}

#[tokio::test]
async fn patch_changes_what_it_names_and_nothing_else() {
    let admin = Admin::start().await;
    let service = admin.create("/services", json!({"name": "s", "host": "h", "tags": ["a"], "retries": 1})).await;
    let path = format!("/services/{}", id(&service));
    let patched = admin.patch(&path, json!({"tags": null, "port": 99})).await.expect(200);
    assert_eq!((&patched["tags"], &patched["port"], &patched["retries"]), (&json!(null), &json!(99), &json!(1)));
    assert_eq!(admin.patch("/services/none", json!({"port": 1})).await.expect(404), json!({"message": "Not found"}));
    let body = admin.patch("/services/s", json!({"port": "x", "id": ABSENT})).await.expect(400);
    assert_eq!(body["fields"], json!({"port": "expected an integer", "id": "immutable field cannot be updated"}));
    // Renaming through a patch is fine.
    admin.patch("/services/s", json!({"name": "t"})).await.expect(200);
    admin.get("/services/t").await.expect(200);
}

#[tokio::test]
async fn delete_is_idempotent_on_the_flat_path_only() {
    let admin = Admin::start().await;
    let consumer = admin.create("/consumers", json!({"username": "u"})).await;
    let other = admin.create("/consumers", json!({"username": "v"})).await;
    let key = admin.create("/consumers/u/key-auth", json!({})).await;
    assert_eq!(admin.delete(&format!("/consumers/v/key-auth/{}", id(&key))).await.expect(404), json!({"message": "Not found"}));
    assert_eq!(admin.delete(&format!("/consumers/u/key-auth/{ABSENT}")).await.expect(404), json!({"message": "Not found"}));
    let gone = admin.delete(&format!("/consumers/u/key-auth/{}", id(&key))).await;
    assert!(gone.bytes.is_empty());
    gone.expect(204);
    admin.delete(&format!("/consumers/{}", id(&consumer))).await.expect(204);
    admin.delete(&format!("/consumers/{}", id(&consumer))).await.expect(204);
    admin.delete("/consumers/nobody").await.expect(204);
    admin.get(&format!("/consumers/{}", id(&other))).await.expect(200);
}

#[tokio::test]
async fn every_mistake_is_in_the_error() {
    let admin = Admin::start().await;
    assert_eq!(
        admin.post("/routes", json!({})).await.expect(400),
        json!({
            "code": 2, "name": "schema violation",
            "message": "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https')",
            "fields": {"@entity": ["must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"]}
        })
    );
    assert_eq!(
        admin.post("/services", json!({"foo": 1, "port": -1})).await.expect(400),
        json!({
            "code": 2, "name": "schema violation",
            "message": "3 schema violations (foo: unknown field; host: required field missing; port: value should be between 0 and 65535)",
            "fields": {"foo": "unknown field", "host": "required field missing", "port": "value should be between 0 and 65535"}
        })
    );
    assert_eq!(admin.store.view().expect("readable").revision().0, 0, "nothing was written");
}

#[tokio::test]
async fn unique_values_collide_with_409() {
    let admin = Admin::start().await;
    let first = admin.create("/services", json!({"name": "x", "host": "h"})).await;
    assert_eq!(
        admin.post("/services", json!({"name": "x", "host": "h"})).await.expect(409),
        json!({
            "code": 5, "name": "unique constraint violation",
            "message": "UNIQUE violation detected on '{name=\"x\"}'", "fields": {"name": "x"}
        })
    );
    let body = admin.post("/services", json!({"id": id(&first), "host": "h"})).await.expect(400);
    assert_eq!((&body["code"], &body["name"]), (&json!(3), &json!("primary key violation")));
    admin.create("/services", json!({"name": "y", "host": "h"})).await;
    admin.patch("/services/y", json!({"name": "x"})).await.expect(409);
}

#[tokio::test]
async fn references_are_checked_on_both_sides() {
    let admin = Admin::start().await;
    let body = admin.post("/routes", json!({"paths": ["/"], "service": {"id": ABSENT}})).await.expect(400);
    assert_eq!(
        body,
        json!({
            "code": 4, "name": "foreign key violation",
            "message": format!("the foreign key '{{id=\"{ABSENT}\"}}' does not reference an existing 'services' entity."),
            "fields": {"service": {"id": ABSENT}}
        })
    );
    let body = admin.post("/routes", json!({"paths": ["/"], "service": {"name": "none"}})).await.expect(400);
    assert_eq!((&body["code"], &body["name"]), (&json!(13), &json!("foreign keys unresolved")));
    let service = admin.create("/services", json!({"name": "s", "host": "h"})).await;
    let route = admin.create("/routes", json!({"paths": ["/"], "service": {"name": "s"}})).await;
    assert_eq!(route["service"], to(&service));
    assert_eq!(
        admin.delete("/services/s").await.expect(400),
        json!({
            "code": 4, "name": "foreign key violation",
            "message": "an existing 'routes' entity references this 'services' entity", "fields": {"@referenced_by": "routes"}
        })
    );
    admin.delete(&format!("/routes/{}", id(&route))).await.expect(204);
    admin.delete("/services/s").await.expect(204);
}

#[tokio::test]
async fn what_hangs_on_a_deleted_parent_goes_with_it() {
    let admin = Admin::start().await;
    let consumer = admin.create("/consumers", json!({"username": "u"})).await;
    let key = admin.create("/consumers/u/key-auth", json!({"key": "k"})).await;
    let plugin = admin.create("/consumers/u/plugins", json!({"name": "rate-limiting", "config": {"minute": 1}})).await;
    assert_eq!((&key["consumer"], &plugin["consumer"]), (&to(&consumer), &to(&consumer)));
    admin.delete("/consumers/u").await.expect(204);
    admin.get(&format!("/key-auths/{}", id(&key))).await.expect(404);
    admin.get(&format!("/plugins/{}", id(&plugin))).await.expect(404);
    assert_eq!(admin.store.view().expect("readable").revision().0, 4, "one transaction");
}

#[tokio::test]
async fn children_are_reached_through_their_parent_only_when_they_are_its() {
    let admin = Admin::start().await;
    let service = admin.create("/services", json!({"name": "s", "host": "h"})).await;
    admin.create("/services", json!({"name": "t", "host": "h"})).await;
    let route = admin.create("/services/s/routes", json!({"name": "r", "paths": ["/"]})).await;
    assert_eq!(route["service"], to(&service));
    assert_eq!(admin.get("/services/s/routes/r").await.expect(200), route);
    admin.get("/services/t/routes/r").await.expect(404);
    admin.patch("/services/t/routes/r", json!({"paths": ["/x"]})).await.expect(404);
    admin.put("/services/t/routes/r", json!({"paths": ["/x"]})).await.expect(404);
    admin.post("/services/none/routes", json!({"paths": ["/x"]})).await.expect(404);
    admin.get("/services/none/routes").await.expect(404);
    let patched = admin.patch("/services/s/routes/r", json!({"paths": ["/x"]})).await.expect(200);
    assert_eq!(patched["paths"], json!(["/x"]));
    admin.put("/services/s/routes/new", json!({"paths": ["/y"]})).await.expect(200);
    let body = admin.post("/services/s/routes", json!({"paths": ["/"], "service": {"id": ABSENT}})).await.expect(400);
    assert_eq!(body["fields"], json!({"service": {"id": "is not the one in the path"}}));
}

#[tokio::test]
async fn what_a_route_points_to_is_reached_through_it() {
    let admin = Admin::start().await;
    admin.create("/routes", json!({"name": "r", "paths": ["/"]})).await;
    admin.get("/routes/r/service").await.expect(404);
    admin.patch("/routes/r/service", json!({"host": "h"})).await.expect(404);
    // PUT makes the service and links it, both or neither.
    admin.put("/routes/r/service", json!({"host": "bad host"})).await.expect(400);
    let service = admin.put("/routes/r/service", json!({"host": "h", "name": "s"})).await.expect(200);
    assert_eq!(admin.get("/routes/r").await.expect(200)["service"], to(&service));
    assert_eq!(admin.get("/routes/r/service").await.expect(200), service);
    let patched = admin.patch("/routes/r/service", json!({"port": 99})).await.expect(200);
    assert_eq!((id(&patched), &patched["port"]), (id(&service), &json!(99)));
    let replaced = admin.put("/routes/r/service", json!({"host": "i"})).await.expect(200);
    assert_eq!((id(&replaced), &replaced["port"], &replaced["name"]), (id(&service), &json!(80), &json!(null)));
    let answer = admin.delete("/routes/r/service").await;
    assert_eq!(answer.header("allow"), Some("GET, PUT, PATCH, HEAD, OPTIONS"));
    assert_eq!(answer.expect(405), json!({"message": "Method not allowed"}));
}

#[tokio::test]
async fn key_auths_make_their_key_and_show_what_remains_of_their_time() {
    let admin = Admin::start().await;
    admin.create("/consumers", json!({"username": "u"})).await;
    let made = admin.create("/consumers/u/key-auth", json!({})).await;
    assert_eq!(made["key"].as_str().map(str::len), Some(32));
    assert_eq!(made["ttl"], json!(null));
    let key = made["key"].as_str().expect("a key");
    assert_eq!(admin.get(&format!("/key-auths/{key}")).await.expect(200), made);
    assert_eq!(admin.get(&format!("/key-auths/{key}/consumer")).await.expect(200)["username"], json!("u"));
    // Another one with the same key, whoever's it is.
    admin.create("/consumers", json!({"username": "v"})).await;
    admin.post("/consumers/v/key-auth", json!({"key": key})).await.expect(409);
    let timed = admin.put(&format!("/consumers/u/key-auth/{ABSENT}"), json!({"key": "k", "ttl": 100})).await.expect(200);
    assert!(timed["ttl"].as_u64().is_some_and(|ttl| (99..=100).contains(&ttl)), "{timed}");
    // One that expired long ago is not there, and its key is free.
    let old = json!({"key": "old", "created_at": 1000, "ttl": 1});
    let expired = admin.create("/consumers/u/key-auth", old).await;
    assert!(expired["ttl"].as_u64().is_some_and(|ttl| ttl <= 1), "a ttl counts from the write: {expired}");
    let gone = async { while admin.get("/key-auths/old").await.status == 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("it must expire");
    admin.get("/key-auths/old/consumer").await.expect(404);
    admin.patch("/key-auths/old", json!({"ttl": 100})).await.expect(404);
    let there = [("content-type", "application/json"), ("if-match", "*")];
    admin.raw(http::Method::PUT, "/key-auths/old", &there, "{}").await.expect(412);
    admin.create("/consumers/v/key-auth", json!({"key": "old"})).await;
}

#[tokio::test]
async fn repeating_a_write_makes_no_new_revision() {
    let admin = Admin::start().await;
    let path = format!("/services/{ABSENT}");
    let first = admin.put(&path, json!({"host": "h"})).await.expect(200);
    let again = admin.put(&path, json!({"host": "h"})).await;
    assert_eq!(again.header("weir-revision"), Some("1"));
    assert_eq!(again.expect(200), first);
    assert_eq!(admin.delete("/services/none").await.header("weir-revision"), Some("1"));
}
