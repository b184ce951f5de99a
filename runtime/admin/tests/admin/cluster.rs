//! What several nodes on one store have to do with each other, as far as one node alone can show it.

use crate::support::Admin;
use serde_json::json;

#[tokio::test]
async fn a_write_says_how_many_nodes_serve_it() {
    let admin = Admin::start().await;
    let sent = [("content-type", "application/json")];
    let body = json!({ "username": "u" }).to_string();
    let answer = admin.raw(http::Method::POST, "/consumers?wait=applied&timeout=5", &sent, body).await;
    // The test's node never tells what it serves, so the write waits in vain, and is done all the same.
    assert!(answer.header("weir-served").is_some_and(|said| said.starts_with("0/1; missing=") || said == "1/1"));
    answer.expect(201);
    admin.get("/consumers/u").await.expect(200);
    for bad in ["wait=all", "wait=applied&timeout=0", "wait=applied&timeout=61", "timeout=x"] {
        let body = json!({ "username": "v" }).to_string();
        let refused = admin.raw(http::Method::POST, &format!("/consumers?{bad}"), &sent, body).await;
        refused.expect(400);
    }
    admin.get("/consumers/v").await.expect(404);
}

#[tokio::test]
async fn a_reader_may_ask_for_a_revision() {
    let admin = Admin::start().await;
    let answer = admin.post("/consumers", json!({ "username": "u" })).await;
    let revision = answer.header("weir-revision").unwrap().to_owned();
    answer.expect(201);
    admin.get(&format!("/consumers/u?min_revision={revision}")).await.expect(200);
    admin.get("/consumers/u?min_revision=x").await.expect(400);
    let early = admin.get("/consumers/u?min_revision=999999").await;
    assert_eq!(early.header("retry-after"), Some("1"));
    assert!(early.message(503).contains("999999"));
}

#[tokio::test]
async fn nodes_and_transactions_are_there() {
    let admin = Admin::start().await;
    let nodes = admin.get("/cluster/nodes").await.expect(200);
    assert_eq!((nodes["data"][0]["own"].clone(), nodes["data"][0]["live"].clone()), (json!(true), json!(true)), "{nodes}");
    for wrong in ["x", "1", "1-x", "-00000000-0000-4000-8000-000000000000"] {
        admin.get(&format!("/transactions/{wrong}")).await.expect(404);
    }
    let id = "7-00000000-0000-4000-8000-000000000000";
    let found = admin.get(&format!("/transactions/{id}")).await.expect(200);
    assert_eq!(found, json!({ "id": id, "outcome": "forgotten" }));
    let endpoints = admin.get("/endpoints").await.expect(200).to_string();
    assert!(endpoints.contains("/cluster/nodes") && endpoints.contains("/transactions/{id}"));
}
