//! The Admin API as decK and go-kong use it: ids made by the client, PUT for everything, many writers, lists by offset.

use crate::support::{Admin, id};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

fn uuid(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// What a sync writes, level by level: a parent before its children.
fn levels() -> Vec<Vec<(String, Value)>> {
    let mut levels: Vec<Vec<(String, Value)>> = vec![Vec::new(); 4];
    for n in 0..10 {
        let (consumer, service, key, route, plugin) = (uuid(n), uuid(100 + n), uuid(200 + n), uuid(300 + n), uuid(400 + n));
        levels[0]
            .push((format!("/consumers/{consumer}"), json!({"id": consumer, "username": format!("u{n}"), "tags": ["deck"]})));
        levels[1].push((format!("/services/{service}"), json!({"id": service, "name": format!("s{n}"), "host": "h", "tags": ["deck"],
            "port": 80, "protocol": "http", "retries": 5, "read_timeout": 60000, "write_timeout": 60000, "connect_timeout": 60000})));
        levels[1].push((
            format!("/consumers/{consumer}/key-auth/{key}"),
            json!({"id": key, "key": format!("k{n}"), "consumer": {"id": consumer}, "tags": ["deck"]}),
        ));
        levels[2].push((format!("/routes/{route}"), json!({"id": route, "name": format!("r{n}"), "paths": [format!("/{n}")],
            "service": {"id": service}, "tags": ["deck"], "protocols": ["http", "https"], "strip_path": true, "path_handling": "v0",
            "preserve_host": false, "regex_priority": 0, "https_redirect_status_code": 426, "request_buffering": true, "response_buffering": true})));
        levels[3].push((
            format!("/plugins/{plugin}"),
            json!({"id": plugin, "name": "rate-limiting", "route": {"id": route}, "enabled": true,
            "config": {"minute": n + 1, "policy": "local", "redis": {"host": null, "port": 6379}},
            "protocols": ["grpc", "grpcs", "http", "https"], "tags": ["deck"]}),
        ));
    }
    levels
}

#[tokio::test]
async fn a_sync_creates_level_by_level_with_its_own_ids_and_finds_nothing_to_do_afterwards() {
    let admin = Arc::new(Admin::start().await);
    assert!(admin.get("/").await.expect(200)["version"].as_str().is_some_and(|version| version.starts_with("3.")));
    let levels = levels();
    let mut made = BTreeMap::new();
    for level in &levels {
        // All of a level at once.
        let mut writers = JoinSet::new();
        for (path, body) in level.clone() {
            let admin = admin.clone();
            writers.spawn(async move { (path.clone(), body.clone(), admin.put(&path, body).await.expect(200)) });
        }
        while let Some(written) = writers.join_next().await {
            let (path, sent, answer) = written.expect("no panic");
            for (field, value) in sent.as_object().expect("an object") {
                assert_eq!(&answer[field], value, "{path}.{field}");
            }
            assert!(answer["created_at"].is_u64());
            made.insert(path, answer);
        }
    }
    // A dump: size 1000 and the select-tag, by offset.
    for (path, count) in [("/consumers", 10), ("/services", 10), ("/routes", 10), ("/plugins", 10), ("/key-auths", 10)] {
        let page = admin.get(&format!("{path}?size=1000&tags=deck")).await.expect(200);
        assert_eq!((page["data"].as_array().map(Vec::len), page.get("offset")), (Some(count), None), "{path}");
        for entity in page["data"].as_array().expect("data") {
            assert!(made.values().any(|other| other == entity), "{path}: {entity}");
        }
    }
    // Of kinds that Weir does not have there are none. decK takes 404 for "none", but not of these three.
    for path in ["/upstreams?size=1000", "/certificates?size=1000&tags=deck", "/snis"] {
        assert_eq!(admin.get(path).await.expect(200), json!({"data": [], "next": null}), "{path}");
        admin.post(path, json!({})).await.expect(405);
    }
    admin.put("/upstreams/u", json!({})).await.expect(404);
    for path in ["/vaults?size=1000", "/consumer_groups", "/basic-auths", "/jwts", "/acls"] {
        assert_eq!(admin.get(path).await.expect(404), json!({"message": "Not found"}), "{path}");
    }
    // The second sync changes nothing.
    let before = admin.store.view().expect("readable").revision();
    for (path, body) in levels.iter().flatten() {
        assert_eq!(&admin.put(path, body.clone()).await.expect(200), &made[path]);
    }
    assert_eq!(admin.store.view().expect("readable").revision(), before);
    // A reset: bottom-up, all of a level at once.
    for level in levels.into_iter().rev() {
        let mut writers = JoinSet::new();
        for (path, _) in level {
            let admin = admin.clone();
            writers.spawn(async move { admin.delete(&path).await.expect(204) });
        }
        while let Some(gone) = writers.join_next().await {
            gone.expect("no panic");
        }
    }
    assert_eq!(admin.get("/plugins").await.expect(200), json!({"data": [], "next": null}));
}

#[tokio::test]
async fn of_writers_of_one_unique_value_one_wins() {
    let admin = Arc::new(Admin::start().await);
    let mut writers = JoinSet::new();
    for _ in 0..20 {
        let admin = admin.clone();
        writers.spawn(async move { admin.post("/consumers", json!({"username": "same"})).await.status.as_u16() });
    }
    let mut codes = Vec::new();
    while let Some(code) = writers.join_next().await {
        codes.push(code.expect("no panic"));
    }
    codes.sort_unstable();
    assert_eq!(codes.first(), Some(&201));
    assert!(codes.iter().skip(1).all(|code| *code == 409), "{codes:?}");
}

#[tokio::test]
async fn a_parent_cannot_go_while_a_child_comes() {
    let admin = Arc::new(Admin::start().await);
    for round in 0..10 {
        let service = admin.create("/services", json!({"host": "h"})).await;
        let path = format!("/services/{}", id(&service));
        let child = json!({"paths": [format!("/{round}")], "service": {"id": id(&service)}});
        let (gone, came) = tokio::join!(admin.delete(&path), admin.post("/routes", child));
        let codes = (gone.status.as_u16(), came.status.as_u16());
        assert!(codes == (204, 400) || codes == (400, 201), "{codes:?}");
    }
}

#[tokio::test]
async fn concurrent_changes_of_one_plugin_entry_are_all_kept() {
    let admin = Arc::new(Admin::start().await);
    let plugin = admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 1}})).await;
    let path = format!("/plugins/{}", id(&plugin));
    let (host, minute) = tokio::join!(
        admin.patch(&path, json!({"config": {"redis": {"host": "r"}}})),
        admin.patch(&path, json!({"config": {"minute": 9}}))
    );
    host.expect(200);
    minute.expect(200);
    let config = admin.get(&path).await.expect(200)["config"].clone();
    assert_eq!((&config["minute"], &config["redis"]["host"]), (&json!(9), &json!("r")));
}

#[tokio::test]
async fn the_server_header_names_the_product_on_get_and_head() {
    let admin = Admin::start().await;
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(admin.send(method, "/", None).await.header("server"), Some("weir/0.1.0"));
    }
}
