//! What the node says of itself, and that a write is served before it is answered.

use crate::support::{Admin, Setting};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn the_root_tells_clients_what_they_negotiate_on() {
    let admin = Admin::start().await;
    admin.create("/plugins", json!({"name": "key-auth"})).await;
    let root = admin.get("/").await.expect(200);
    assert_eq!(root["version"], json!("3.9.0"));
    assert_eq!(root["gateway"], json!({"name": "weir", "version": "0.1.0"}));
    assert_eq!(root["configuration"]["database"], json!("embedded"));
    assert_eq!(root["plugins"]["available_on_server"]["key-auth"], json!({"version": "0.1.0", "priority": 1250}));
    assert_eq!(root["plugins"]["enabled_in_cluster"], json!(["key-auth"]));
    assert_eq!(admin.get("/plugins/enabled").await.expect(200), json!({"enabled_plugins": ["key-auth", "rate-limiting"]}));
    admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 1}})).await;
    let root = admin.get("/").await.expect(200);
    assert_eq!(root["plugins"]["enabled_in_cluster"], json!(["key-auth", "rate-limiting"]));
}

#[tokio::test]
async fn the_status_shows_store_and_node() {
    let admin = Admin::start().await;
    admin.create("/consumers", json!({"username": "u"})).await;
    let status = admin.get("/status").await.expect(200);
    let database = &status["database"];
    assert_eq!((&database["reachable"], &database["kind"]), (&json!(true), &json!("embedded")));
    assert_eq!((&database["revision"], &database["holding"], &database["writes_waiting"]), (&json!(1), &json!(null), &json!(0)));
    assert_eq!((&status["serving"], &status["snapshot_error"]), (&json!(1), &json!(null)));
    assert_eq!(status["server"]["total_requests"], json!(0));
    assert_eq!(status["store"]["kind"], json!("embedded"));
    assert!(status["configuration_hash"].as_str().is_some_and(|hash| hash.len() == 64), "{status}");
}

#[tokio::test]
async fn endpoints_are_listed_with_placeholders() {
    let admin = Admin::start().await;
    let listed = admin.get("/endpoints").await.expect(200);
    let paths: Vec<&str> = listed["data"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for path in [
        "/",
        "/services/{services}/routes/{routes}",
        "/consumers/{consumers}/key-auth",
        "/routes/{routes}/service",
        "/routes/{routes}/chain",
        "/cluster/nodes",
        "/transactions",
        "/transactions/{id}",
    ] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    assert!(paths.is_sorted());
}

#[tokio::test]
async fn a_write_that_is_not_served_in_time_stands_and_says_so() {
    let setting = Setting { serving_wait: Some(Duration::from_millis(50)), ..Setting::default() };
    let admin = Admin::with(setting).await;
    assert!(admin.post("/consumers", json!({"username": "u"})).await.header("weir-served").is_none());
    admin.held.store(true, Ordering::Relaxed);
    let answer = admin.post("/consumers", json!({"username": "v"})).await;
    assert_eq!(answer.header("weir-served"), Some("pending"));
    assert_eq!(answer.header("weir-revision"), Some("2"));
    answer.expect(201);
    admin.get("/consumers/v").await.expect(200);
    let answer = admin.delete("/consumers/v").await;
    assert_eq!(answer.header("weir-served"), Some("pending"));
    answer.expect(204);
}
