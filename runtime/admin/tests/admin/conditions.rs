//! ETags, `If-Match` and `If-None-Match`: a write that depends on what its writer has read.

use crate::support::{Admin, Answer, Setting, id};
use crate::wrapped::{Wrapped, node};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use weir_store::Store;

async fn when(admin: &Admin, method: Method, path: &str, condition: (&str, &str), body: Value) -> Answer {
    admin.raw(method, path, &[("content-type", "application/json"), condition], body.to_string()).await
}

#[tokio::test]
async fn a_condition_that_cannot_be_read_is_refused_before_anything_is_written() {
    let admin = Admin::start().await;
    admin.create("/consumers", json!({"username": "u"})).await;
    for (method, name, value) in [
        (Method::PUT, "if-match", "1"),
        (Method::PUT, "if-match", "W/\"1\""),
        (Method::PATCH, "if-match", "\"x\""),
        (Method::DELETE, "if-match", "\"1"),
        (Method::PUT, "if-none-match", "\"1\""),
        (Method::PATCH, "if-none-match", "*"),
        (Method::DELETE, "if-none-match", "*"),
    ] {
        let message = when(&admin, method.clone(), "/consumers/u", (name, value), json!({"custom_id": "c"})).await.message(400);
        let said = if name == "if-match" { "ETag" } else { "not supported" };
        assert!(message.contains(said), "{method} {name}: {value}: {message}");
    }
    when(&admin, Method::POST, "/consumers", ("if-match", "*"), json!({"username": "v"})).await.expect(400);
    when(&admin, Method::POST, "/consumers", ("if-none-match", "*"), json!({"username": "v"})).await.expect(400);
    assert_eq!(admin.store.view().expect("readable").revision().0, 1);
}

#[tokio::test]
async fn the_tag_is_the_revision_of_the_last_write_of_the_entity_itself() {
    let admin = Admin::start().await;
    let made = admin.post("/services", json!({"name": "s", "host": "h"})).await;
    assert_eq!(made.header("etag"), Some("\"1\""));
    let routes = admin.post("/services/s/routes", json!({"name": "r", "paths": ["/"]})).await;
    assert_eq!(routes.header("etag"), Some("\"2\""));
    for path in ["/services/s", "/routes/r/service"] {
        let answer = admin.get(path).await;
        assert_eq!((answer.header("etag"), answer.header("weir-revision")), (Some("\"1\""), Some("2")), "{path}");
    }
    assert_eq!(admin.get("/services/s/routes/r").await.header("etag"), Some("\"2\""));
    // What changes nothing leaves the tag.
    let same = admin.patch("/services/s", json!({"host": "h"})).await;
    assert_eq!((same.header("etag"), same.header("weir-revision")), (Some("\"1\""), Some("2")));
    assert_eq!(admin.patch("/services/s", json!({"host": "i"})).await.header("etag"), Some("\"3\""));
    assert_eq!(admin.put("/routes/r/service", json!({"host": "j"})).await.header("etag"), Some("\"4\""));
    let entry = admin.post("/plugins", json!({"name": "key-auth"})).await;
    assert_eq!(entry.header("etag"), Some("\"5\""));
    assert_eq!(admin.get("/services").await.header("etag"), None);
    assert_eq!(admin.delete("/routes/r").await.header("etag"), None);
}

#[tokio::test]
async fn a_write_is_done_only_in_the_state_that_it_asks_for() {
    let admin = Admin::start().await;
    admin.create("/consumers", json!({"username": "u"})).await;
    admin.patch("/consumers/u", json!({"custom_id": "c"})).await.expect(200);
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let refused = when(&admin, method.clone(), "/consumers/u", ("if-match", "\"1\""), json!({"tags": ["a"]})).await;
        assert!(refused.message(412).contains("it is at revision 2 now"), "{method}");
        for condition in ["*", "\"1\""] {
            let refused = when(&admin, method.clone(), "/consumers/none", ("if-match", condition), json!({"tags": ["a"]})).await;
            assert!(refused.message(412).contains("is not"), "{method}");
        }
    }
    let done = when(&admin, Method::PATCH, "/consumers/u", ("if-match", "\"2\""), json!({"tags": ["a"]})).await;
    assert_eq!(done.header("etag"), Some("\"3\""));
    done.expect(200);
    when(&admin, Method::PUT, "/consumers/u", ("if-match", "*"), json!({"tags": ["b"]})).await.expect(200);
    when(&admin, Method::DELETE, "/consumers/u", ("if-match", "\"9\", \"4\""), json!(null)).await.expect(204);
    when(&admin, Method::PUT, "/consumers/u", ("if-none-match", "*"), json!({})).await.expect(200);
    let refused = when(&admin, Method::PUT, "/consumers/u", ("if-none-match", "*"), json!({})).await;
    assert!(refused.message(412).contains("exists already, at revision 6"));
    // Entries of plugins and settings of components too.
    let entry = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 1}})).await;
    let path = format!("/plugins/{}", id(&entry));
    let change = json!({"config": {"minute": 2}});
    when(&admin, Method::PATCH, &path, ("if-match", "\"1\""), change.clone()).await.expect(412);
    when(&admin, Method::PATCH, &path, ("if-match", "\"7\""), change).await.expect(200);
    let bytes = json!({"name": "mine", "version": "1.0.0", "config": {"type": "object"}}).to_string();
    let made = admin.raw(Method::POST, "/components", &[("content-type", "application/wasm")], bytes).await;
    assert_eq!(made.header("etag"), Some("\"9\""));
    let change = json!({"cpu_budget_ms": 20});
    when(&admin, Method::PATCH, "/components/mine@1.0.0", ("if-match", "\"8\""), change.clone()).await.expect(412);
    let done = when(&admin, Method::PATCH, "/components/mine@1.0.0", ("if-match", "\"9\""), change).await;
    assert_eq!(done.header("etag"), Some("\"10\""));
    done.expect(200);
}

#[tokio::test]
async fn of_writers_with_one_tag_exactly_one_wins() {
    let admin = Arc::new(Admin::start().await);
    admin.create("/consumers", json!({"username": "u"})).await;
    let entry = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 1}})).await;
    let entry = format!("/plugins/{}", id(&entry));
    for (path, tag) in [("/consumers/u".to_owned(), "\"1\""), (entry, "\"2\"")] {
        let writers: Vec<_> = (0..16)
            .map(|number| {
                let (admin, path) = (admin.clone(), path.clone());
                tokio::spawn(async move {
                    let body = if path.starts_with("/plugins") {
                        json!({"config": {"minute": number + 2}})
                    } else {
                        json!({"custom_id": number.to_string()})
                    };
                    when(&admin, Method::PATCH, &path, ("if-match", tag), body).await.status.as_u16()
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for writer in writers {
            statuses.push(writer.await.expect("no panic"));
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![200], vec![412; 15]].concat(), "{path}");
    }
}

/// A node behind the tip judges plugin entries on an old view first; what that refuses is not refused.
#[tokio::test]
async fn only_the_tip_refuses() {
    let store = Wrapped::new(vec![node("own", 0)]);
    let shared: Arc<dyn Store> = Arc::<Wrapped>::clone(&store);
    let admin = Admin::with(Setting { store: Some(shared), ..Setting::default() }).await;
    let old = store.view().expect("readable");
    let entry = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 1}})).await;
    *store.stale.lock().expect("not poisoned") = Some(old.clone());
    let path = format!("/plugins/{}", id(&entry));
    let done = when(&admin, Method::PATCH, &path, ("if-match", "\"1\""), json!({"config": {"minute": 2}})).await;
    assert_eq!(done.expect(200)["config"]["minute"], json!(2));
    *store.stale.lock().expect("not poisoned") = Some(old.clone());
    let transaction = json!({"operations": [
        {"method": "PATCH", "path": path, "if_match": "2", "body": {"config": {"minute": 3}}},
    ]});
    admin.post("/transactions", transaction).await.expect(200);
    *store.stale.lock().expect("not poisoned") = Some(old);
    when(&admin, Method::PATCH, &path, ("if-match", "\"2\""), json!({"config": {"minute": 9}})).await.expect(412);
}
