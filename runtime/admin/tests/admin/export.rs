//! `GET /config`: all of one revision, through the same door as everything else, and nothing held open for who does not read.

use crate::support::{Admin, Setting, id, to};
use http::Method;
use serde_json::json;
use std::io::Cursor;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_admin::export::{End, Line, ORDER, Reader};
use weir_model::{Entity, Kind, Schema};

fn lines(text: &[u8]) -> Vec<Line> {
    let (mut reader, mut lines) = (Reader::new(Cursor::new(text)), Vec::new());
    while let Some(line) = reader.next_line().unwrap_or_else(|fault| panic!("{fault}")) {
        lines.push(line);
    }
    lines
}

fn entities(lines: &[Line]) -> Vec<&Entity> {
    lines.iter().filter_map(|line| if let Line::Entity(entity) = line { Some(entity) } else { None }).collect()
}

async fn one_of_each(admin: &Admin) {
    let service = admin.create("/services", json!({"name": "a", "url": "http://a.example", "tags": ["ü"]})).await;
    let route = admin.create("/routes", json!({"paths": ["/"], "service": to(&service)})).await;
    let consumer = admin.create("/consumers", json!({"username": "ada"})).await;
    admin.create(&format!("/consumers/{}/key-auth", id(&consumer)), json!({"key": "sesame", "ttl": 1000})).await;
    let bytes = json!({"name": "mine", "version": "1.0.0", "config": {"type": "object"}, "fill": "x".repeat(700_000)});
    admin.raw(Method::POST, "/components", &[("content-type", "application/wasm")], bytes.to_string()).await.expect(201);
    admin.create("/plugins", json!({"name": "mine", "route": to(&route), "consumer": to(&consumer)})).await;
    admin.create("/plugins", json!({"name": "rate-limiting", "config": {"minute": 5}})).await;
}

#[tokio::test]
async fn an_export_has_every_entity_and_the_bytes_of_components() {
    let admin = Admin::start().await;
    one_of_each(&admin).await;
    let answer = admin.get("/config").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.header("weir-revision"), Some("7"));
    let lines = lines(&answer.bytes);
    let Some(Line::Header(header)) = lines.first() else { panic!("no header") };
    assert_eq!((header.revision.0, header.cluster.as_str()), (7, admin.store.status().cluster.as_str()));
    assert_eq!(header.counts["plugins"], 2);
    let entities = entities(&lines);
    assert_eq!(entities.len(), 7);
    let view = admin.store.view().expect("readable");
    for entity in &entities {
        assert_eq!(view.get(entity.kind, entity.id).expect("readable").as_ref(), Some(*entity));
        assert!(header.counts.contains_key(Schema::of(entity.kind).path));
    }
    assert!(ORDER.iter().all(|kind| entities.iter().any(|entity| entity.kind == *kind)));
    // More than one line, and together what was uploaded.
    let bytes: Vec<&Vec<u8>> = lines.iter().filter_map(|line| if let Line::Bytes(b) = line { Some(b) } else { None }).collect();
    assert_eq!(bytes.len(), 2);
    let component = entities.iter().find(|entity| entity.kind == Kind::Component).expect("there");
    let digest = component.text("digest").expect("there").parse().expect("a digest");
    let stored = admin.store.blob(digest).await.expect("readable").expect("there");
    assert_eq!(bytes.into_iter().flatten().copied().collect::<Vec<u8>>(), stored);
    assert_eq!(lines.last(), Some(&Line::End(End { lines: 10, digest: end_of(&lines) })));
}

fn end_of(lines: &[Line]) -> weir_model::Digest {
    let Some(Line::End(end)) = lines.last() else { panic!("no end") };
    end.digest
}

#[tokio::test]
async fn an_empty_store_has_an_export_too() {
    let lines = lines(&Admin::start().await.get("/config").await.bytes);
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn what_has_expired_is_left_out() {
    let admin = Admin::start().await;
    let consumer = admin.create("/consumers", json!({"username": "ada"})).await;
    let key = json!({"consumer": to(&consumer), "key": "old", "ttl": 1});
    let made = admin.create("/key-auths", key).await;
    // It is over when a read says so: waited for, not slept for.
    let path = format!("/key-auths/{}", id(&made));
    let over = async { while admin.get(&path).await.status == 200 {} };
    tokio::time::timeout(Duration::from_secs(30), over).await.expect("its time ends");
    let lines = lines(&admin.get("/config").await.bytes);
    assert!(entities(&lines).iter().all(|entity| entity.kind == Kind::Consumer));
}

#[tokio::test]
async fn the_door_is_the_same() {
    let admin = Admin::with(Setting { token: Some("sesame"), ..Setting::default() }).await;
    assert_eq!(lines(&admin.get("/config").await.bytes).len(), 2);
    let mut socket = TcpStream::connect(admin.address).await.expect("a connection");
    socket.write_all(b"GET /config HTTP/1.0\r\nhost: localhost\r\n\r\n").await.expect("taken");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("readable");
    assert!(answer.starts_with("HTTP/1.0 401") && !answer.contains("header\":"), "{answer}");
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(admin.raw(Method::GET, "/config", &foreign, "").await.status, 403);
    let posted = admin.post("/config", json!({})).await;
    assert_eq!((posted.status.as_u16(), posted.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let head = admin.raw(Method::HEAD, "/config", &[], "").await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0));
}

#[tokio::test]
async fn a_client_that_does_not_read_on_is_left() {
    let admin = Admin::with(Setting { export_idle: Some(Duration::from_millis(50)), ..Setting::default() }).await;
    // Much more than sockets and the pieces ahead hold.
    for number in 0..20 {
        let config = json!({"minute": 5, "redis": {"host": "x".repeat(900_000)}});
        let plugin = json!({"name": "rate-limiting", "config": config, "instance_name": format!("n{number}")});
        let service = admin.create("/services", json!({"host": "a.example"})).await;
        let mut plugin = plugin;
        plugin["service"] = to(&service);
        admin.create("/plugins", plugin).await;
    }
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(admin.address).await.expect("a connection");
        socket.write_all(b"GET /config HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("taken");
        let mut byte = [0];
        socket.read_exact(&mut byte).await.expect("it has begun");
        stuck.push(socket);
    }
    // While they hold both places a third is refused; then they are left, and it is not.
    let third = async {
        loop {
            let answer = admin.get("/config").await;
            if answer.status == 200 {
                return answer;
            }
            assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")));
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), third).await.expect("they are left");
    assert_eq!(entities(&lines(&answer.bytes)).len(), 40);
    // Whoever was left can tell that what came is not all.
    for mut socket in stuck {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        let text = String::from_utf8_lossy(&rest);
        assert!(!text.contains("{\"end\"") && !text.ends_with("0\r\n\r\n"));
    }
}

#[tokio::test]
async fn writes_during_an_export_are_not_in_it() {
    let admin = Admin::start().await;
    for number in 0..250 {
        admin.create("/consumers", json!({"username": format!("c{number}"), "tags": (0..5).map(|n| format!("{n}{}", "x".repeat(1000))).collect::<Vec<_>>()})).await;
    }
    let mut socket = TcpStream::connect(admin.address).await.expect("a connection");
    socket.write_all(b"GET /config HTTP/1.0\r\nhost: localhost\r\n\r\n").await.expect("taken");
    let mut begun = [0; 200];
    socket.read_exact(&mut begun).await.expect("it has begun");
    admin.delete("/consumers/c7").await.expect(204);
    admin.put("/consumers/c8", json!({"tags": ["new"]})).await.expect(200);
    let mut text = begun.to_vec();
    socket.read_to_end(&mut text).await.expect("readable");
    let head = text.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let lines = lines(&text[head..]);
    let found = entities(&lines);
    assert_eq!(found.len(), 250);
    assert!(found.iter().all(|entity| entity.body["tags"] != json!(["new"])));
    let Some(Line::Header(header)) = lines.first() else { panic!("no header") };
    assert_eq!((header.revision.0, header.counts["consumers"]), (250, 250));
}
