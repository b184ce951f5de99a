//! Several nodes on one store: who serves what, waiting for all of them, reading no less than was written, writes whose end is open.

use crate::support::{Admin, Setting};
use crate::wrapped::{Wrapped, node};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;
use weir_model::{Id, Revision, TransactionId};
use weir_store::{Outcome, Store, WriteError};

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

async fn on(store: &Arc<Wrapped>) -> Admin {
    let store: Arc<dyn Store> = Arc::<Wrapped>::clone(store);
    Admin::with(Setting { store: Some(store), serving_wait: Some(Duration::from_millis(100)), ..Setting::default() }).await
}

#[tokio::test]
async fn a_wait_that_cannot_be_is_refused_before_anything_is_written() {
    let admin = Admin::start().await;
    for (query, option) in [
        ("wait=all", "wait"),
        ("wait=", "wait"),
        ("timeout=1", "timeout"),
        ("wait=applied&timeout=0.05", "timeout"),
        ("wait=applied&timeout=61", "timeout"),
        ("wait=applied&timeout=NaN", "timeout"),
        ("wait=applied&timeout=soon", "timeout"),
    ] {
        let refused = admin.post(&format!("/consumers?{query}"), json!({"username": "u"})).await.expect(400);
        assert_eq!((&refused["code"], refused["options"][option].is_string()), (&json!(11), true), "{query}: {refused}");
    }
    admin.delete("/consumers/u?wait=x").await.expect(400);
    admin.post("/transactions?wait=x", json!({"operations": []})).await.expect(400);
    assert_eq!(admin.store.view().expect("readable").revision(), Revision(0));
}

#[tokio::test]
async fn who_does_not_serve_in_time_is_named_and_the_write_stands() {
    let mut silent = node("c", 0);
    silent.live = false;
    let store = Wrapped::new(vec![node("own", 0), node("b", 0), silent]);
    let admin = on(&store).await;
    let answer = admin.post("/consumers?wait=applied&timeout=0.1", json!({"username": "u"})).await;
    assert_eq!(answer.header("weir-served"), Some("1/2; missing=b; silent=c"));
    assert_eq!(answer.header("weir-revision"), Some("1"));
    answer.expect(201);
    admin.get("/consumers/u").await.expect(200);
    // The serving wait is the default, and without `wait` nobody else counts.
    let answer = admin.patch("/consumers/u?wait=applied", json!({"tags": ["a"]})).await;
    assert_eq!(answer.header("weir-served"), Some("1/2; missing=b; silent=c"));
    assert_eq!(admin.patch("/consumers/u", json!({"tags": ["b"]})).await.header("weir-served"), None);
    // This node itself may be the one.
    admin.held.store(true, Ordering::Relaxed);
    store.change_nodes(|nodes| nodes.truncate(1));
    let answer = admin.delete("/consumers/u?wait=applied&timeout=0.1").await;
    assert_eq!(answer.header("weir-served"), Some("0/1; missing=own"));
    answer.expect(204);
}

#[tokio::test]
async fn a_write_is_answered_when_all_serve_it_also_those_that_join_meanwhile() {
    let store = Wrapped::new(vec![node("own", 0), node("b", 0)]);
    let admin = Arc::new(on(&store).await);
    let mut listed = store.listed();
    let writing = {
        let admin = admin.clone();
        tokio::spawn(async move { admin.put("/consumers/u?wait=applied&timeout=30", json!({})).await })
    };
    // The wait has looked once, and found the nodes as they were.
    timeout(PATIENCE, listed.changed()).await.expect("in time").expect("open");
    store.change_nodes(|nodes| nodes.push(node("c", 0)));
    store.change_nodes(|nodes| nodes[1].serving = Revision(1));
    store.change_nodes(|nodes| nodes[2].serving = Revision(1));
    let answer = writing.await.expect("no panic");
    assert_eq!(answer.header("weir-served"), Some("3/3"));
    answer.expect(200);
    // A node that falls silent or leaves is not waited for any longer.
    listed.mark_unchanged();
    let writing = {
        let admin = admin.clone();
        let body = json!({"operations": [{"method": "DELETE", "path": "/consumers/u"}]});
        tokio::spawn(async move { admin.post("/transactions?wait=applied&timeout=30", body).await })
    };
    // The wait has looked once, and found the nodes as they were.
    timeout(PATIENCE, listed.changed()).await.expect("in time").expect("open");
    store.change_nodes(|nodes| nodes[1].live = false);
    store.change_nodes(|nodes| drop(nodes.remove(2)));
    let answer = writing.await.expect("no panic");
    assert_eq!(answer.header("weir-served"), Some("1/1; silent=b"));
    answer.expect(200);
}

#[tokio::test]
async fn an_upload_waits_as_other_writes_do() {
    let store = Wrapped::new(vec![node("own", 0), node("b", 5)]);
    let admin = on(&store).await;
    let bytes = json!({"name": "mine", "version": "1.0.0", "config": {"type": "object"}}).to_string();
    let wasm = [("content-type", "application/wasm")];
    let answer = admin.raw(http::Method::POST, "/components?wait=applied", &wasm, bytes).await;
    assert_eq!((answer.header("weir-served"), answer.header("etag")), (Some("2/2"), Some("\"1\"")));
    answer.expect(201);
}

#[tokio::test]
async fn the_nodes_are_listed_as_the_store_knows_them() {
    let store = Wrapped::new(vec![node("own", 0), node("b", 7)]);
    let admin = on(&store).await;
    admin.create("/consumers", json!({"username": "u"})).await;
    let answer = admin.get("/cluster/nodes").await;
    assert_eq!(answer.header("weir-revision"), Some("1"));
    let body = answer.expect(200);
    assert_eq!(body["revision"], json!(1));
    assert_eq!(body["data"], serde_json::to_value(store.nodes()).expect("JSON"));
    assert_eq!((&body["data"][1]["name"], &body["data"][1]["serving"]), (&json!("b"), &json!(7)));
    admin.post("/cluster/nodes", json!({})).await.expect(405);
}

#[tokio::test]
async fn a_read_waits_for_the_revision_that_it_asks_for() {
    let admin = Arc::new(Admin::start().await);
    let reading = {
        let admin = admin.clone();
        tokio::spawn(async move { admin.get("/consumers/u?min_revision=2").await })
    };
    admin.create("/consumers", json!({"username": "v"})).await;
    assert!(!reading.is_finished());
    admin.create("/consumers", json!({"username": "u"})).await;
    let answer = reading.await.expect("no panic");
    assert_eq!(answer.header("weir-revision"), Some("2"));
    answer.expect(200);
    for path in ["/", "/status", "/consumers", "/tags", "/endpoints", "/cluster/nodes", "/schemas/routes"] {
        admin.get(&format!("{path}?min_revision=2")).await.expect(200);
    }
}

#[tokio::test]
async fn a_read_that_asks_for_too_much_says_what_there_is() {
    let setting = Setting { serving_wait: Some(Duration::from_millis(50)), ..Setting::default() };
    let admin = Admin::with(setting).await;
    admin.create("/consumers", json!({"username": "u"})).await;
    for path in ["/", "/status", "/consumers/u", "/consumers", "/transactions/1-0f4c8b26-0000-4000-8000-000000000001"] {
        let answer = admin.get(&format!("{path}?min_revision=9")).await;
        assert_eq!(answer.header("retry-after"), Some("1"));
        let message = answer.message(503);
        assert!(message.contains("revision 1, and 9 was asked for; try again"), "{message}");
    }
    for wrong in ["", "x", "-1", "1.5", "%2B1", "99999999999999999999"] {
        let refused = admin.get(&format!("/consumers?min_revision={wrong}")).await.expect(400);
        assert_eq!((&refused["code"], refused["options"]["min_revision"].is_string()), (&json!(11), true), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn the_outcome_of_a_write_can_be_asked_for() {
    const ID: &str = "42-0f4c8b26-0000-4000-8000-000000000001";
    fn unknown(transaction: Option<TransactionId>) -> WriteError {
        WriteError::Unknown { transaction, cause: "nobody answered".to_owned() }
    }
    let store = Wrapped::new(vec![node("own", 0)]);
    let admin = on(&store).await;
    for wrong in ["x", "42", "42-", "42-x", "-0f4c8b26-0000-4000-8000-000000000001"] {
        assert!(admin.get(&format!("/transactions/{wrong}")).await.message(404).contains("is no id of a transaction"));
    }
    for (outcome, text) in [(Outcome::NotDone, "not_done"), (Outcome::Open, "open"), (Outcome::Forgotten, "forgotten")] {
        *store.outcome.lock().expect("not poisoned") = outcome;
        assert_eq!(admin.get(&format!("/transactions/{ID}")).await.expect(200), json!({"id": ID, "outcome": text}));
    }
    *store.outcome.lock().expect("not poisoned") = Outcome::Done;
    let done = json!({"id": ID, "outcome": "done", "revision": 42});
    assert_eq!(admin.get(&format!("/transactions/{ID}")).await.expect(200), done);
    // The answer to such a write leads there.
    for path in ["/consumers", "/plugins", "/transactions"] {
        *store.failure.lock().expect("not poisoned") = Some(|| unknown(TransactionId::parse(ID)));
        let body = match path {
            "/consumers" => json!({"username": "u"}),
            "/plugins" => json!({"name": "key-auth"}),
            _ => json!({"operations": [{"method": "PUT", "path": "/consumers/v"}]}),
        };
        let answer = admin.post(path, body).await;
        assert_eq!(answer.header("location"), Some(format!("/transactions/{ID}").as_str()));
        let body = answer.expect(503);
        assert_eq!(body["transaction"], json!(ID));
        assert!(body["message"].as_str().is_some_and(|text| text.contains("nobody answered")), "{body}");
    }
    *store.failure.lock().expect("not poisoned") = Some(|| unknown(None));
    let answer = admin.post("/consumers", json!({"username": "w"})).await;
    assert_eq!(answer.header("location"), None);
    assert_eq!(answer.expect(503).get("transaction"), None);
    // The embedded store keeps no such ids.
    let admin = Admin::start().await;
    let id = TransactionId { first: Revision(3), random: Id::random() };
    assert_eq!(admin.get(&format!("/transactions/{id}")).await.expect(200)["outcome"], json!("forgotten"));
}
