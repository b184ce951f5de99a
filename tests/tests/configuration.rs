//! Configuration arrives whole: under load, in one write of several entities, and after the process was killed.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its own functions as well")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use weir_tests::client::Connection;
use weir_tests::{Client, Gateway, OverAtEnd, Upstream};

/// Sends JSON on a kept connection.
fn ask(
    connection: &mut Connection,
    client: Client,
    method: &str,
    path: &str,
    body: &Value,
) -> std::io::Result<weir_tests::Reply> {
    let request = client.request(method, path);
    let request =
        if body.is_null() { request } else { request.header("content-type", "application/json").body(body.to_string()) };
    request.send_on(connection)
}

/// How many writes flow beside the requests.
const WRITES: usize = 10_000;

/// A configuration with two halves, which an upstream must always see together.
fn pair(number: usize) -> Value {
    json!({ "config": { "add": { "headers": [format!("x-a:{number}"), format!("x-b:{number}")] } } })
}

/// Consumers, routes and changes of the plugin, in turn, until all are written.
fn write_mixed(api: Client, plugin: &str, next: &AtomicUsize) {
    let mut connection = api.connect();
    loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        if number >= WRITES {
            return;
        }
        let name = number / 3;
        let (method, path, body) = match number % 3 {
            0 => ("PUT", format!("/consumers/c{name}"), json!({ "custom_id": format!("i{name}") })),
            1 => ("PUT", format!("/routes/r{name}"), json!({ "paths": [format!("/r/{name}")], "service": { "name": "steady" } })),
            _ => ("PATCH", plugin.to_owned(), pair(number)),
        };
        let reply = ask(&mut connection, api, method, &path, &body).unwrap();
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
    }
}

#[test]
fn ten_thousand_writes_fail_no_request_at_a_thousand_a_second() {
    const WRITERS: usize = 8;
    const READERS: u32 = 8;
    const A_SECOND: u32 = 1000;
    let upstream = Upstream::start();
    let gateway = Gateway::start();
    let admin = gateway.admin();
    admin.route_to("steady", upstream.address());
    let mut first = pair(0);
    first["name"] = json!("request-transformer");
    let plugin = admin.post("/routes/steady/plugins", first);
    let plugin = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    let api = Client::of(gateway.addresses("admin")[0].0);
    let (next, over, answered) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let _end = OverAtEnd(&over);
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| write_mixed(api, &plugin, &next))).collect();
        for reader in 0..READERS {
            let (over, answered, gateway) = (&over, &answered, &gateway);
            scope.spawn(move || {
                let mut connection = gateway.client().connect();
                let mut sent = 0;
                while !over.load(Ordering::SeqCst) {
                    let due = begin + Duration::from_secs(1) * (sent * READERS + reader) / A_SECOND;
                    std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
                    let reply = gateway.client().get("/steady").send_on(&mut connection).unwrap();
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let headers = &reply.json()["headers"];
                    assert_eq!(headers["x-a"], headers["x-b"], "two halves of one configuration");
                    assert!(headers["x-a"].is_string(), "{headers}");
                    answered.fetch_add(1, Ordering::SeqCst);
                    sent += 1;
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    let (took, answered) = (begin.elapsed(), answered.load(Ordering::SeqCst));
    println!(
        "{WRITES} writes in {took:?}; {answered} requests meanwhile, {:.0} a second, none failed",
        answered as f64 / took.as_secs_f64()
    );
    assert_eq!(gateway.admin().get("/routes/r3332")["paths"], json!(["/r/3332"]));
    gateway.client().get("/r/3332").send().expect(200);
}

#[test]
fn two_entities_of_one_write_are_seen_together() {
    const CYCLES: u64 = 100;
    let upstream = Upstream::start();
    let gateway = Gateway::start();
    let admin = gateway.admin();
    admin.route_to("steady", upstream.address()).plugin_on("steady", "key-auth", json!({}));
    // The cycle whose consumer, key and plugin are all there; 0: none.
    let complete = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _end = OverAtEnd(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = gateway.client().connect();
                while !over.load(Ordering::SeqCst) {
                    let cycle = complete.load(Ordering::SeqCst);
                    let request = gateway.client().get("/steady").header("apikey", &format!("key-{cycle}"));
                    let reply = request.send_on(&mut connection).unwrap();
                    match reply.status {
                        // The key is there, so consumer and plugin must be: the delete takes all three, or none.
                        200 => {
                            let headers = &reply.json()["headers"];
                            assert_eq!(headers["x-consumer-username"], format!("ada-{cycle}"), "{headers}");
                            assert_eq!(headers["x-cycle"], cycle.to_string(), "the plugin went before its consumer: {headers}");
                            seen.fetch_add(1, Ordering::SeqCst);
                        }
                        401 => {}
                        other => panic!("{other}: {}", reply.text()),
                    }
                }
            });
        }
        for cycle in 1..=CYCLES {
            let name = format!("ada-{cycle}");
            admin.consumer_with_key(&name, &format!("key-{cycle}"));
            let add = json!({ "add": { "headers": [format!("x-cycle:{cycle}")] } });
            admin.post(&format!("/consumers/{name}/plugins"), json!({ "name": "request-transformer", "config": add }));
            let before = seen.load(Ordering::SeqCst);
            complete.store(cycle, Ordering::SeqCst);
            let deadline = Instant::now() + Duration::from_secs(30);
            while seen.load(Ordering::SeqCst) == before {
                assert!(Instant::now() < deadline, "nobody was let in with the key of cycle {cycle}");
                std::thread::yield_now();
            }
            admin.delete(&format!("/consumers/{name}"));
        }
    });
    assert_eq!(admin.get("/plugins")["data"].as_array().map(Vec::len), Some(1), "the deletes have taken the plugins along");
}

/// What a writer knows of a consumer with its key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    created: bool,
    delete_sent: bool,
    deleted: bool,
}

#[test]
fn what_was_answered_survives_kill_9() {
    const ROUNDS: usize = 5;
    const WRITERS: usize = 4;
    let mut gateway = Gateway::start();
    let known: Mutex<BTreeMap<String, Known>> = Mutex::default();
    for round in 0..ROUNDS {
        let api = Client::of(gateway.addresses("admin")[0].0);
        let written = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (known, written) = (&known, &written);
                scope.spawn(move || write_until_it_dies(api, &format!("r{round}-w{writer}"), known, written));
            }
            // In the middle of writes, wherever that is; a few more each round.
            while written.load(Ordering::SeqCst) < 40 + round * 17 {
                std::thread::yield_now();
            }
            gateway.signal("KILL");
        });
        gateway = gateway.restarted_by("KILL");
        judge(&gateway, &known.lock().unwrap());
    }
}

/// Consumers with keys, every second one deleted again, noting each answer, until the connection breaks.
fn write_until_it_dies(api: Client, prefix: &str, known: &Mutex<BTreeMap<String, Known>>, written: &AtomicUsize) {
    let mut connection = api.connect();
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let note = |change: fn(&mut Known)| change(known.lock().unwrap().entry(name.clone()).or_default());
        let key = json!({ "key": format!("key-{name}") });
        let path = format!("/consumers/{name}");
        if ask(&mut connection, api, "PUT", &path, &json!({})).is_err()
            || ask(&mut connection, api, "POST", &format!("{path}/key-auth"), &key).is_err()
        {
            return;
        }
        note(|known| known.created = true);
        written.fetch_add(1, Ordering::SeqCst);
        if number % 2 == 1 {
            note(|known| known.delete_sent = true);
            match ask(&mut connection, api, "DELETE", &path, &Value::Null) {
                Ok(_) => note(|known| known.deleted = true),
                Err(_) => return,
            }
        }
    }
}

fn judge(gateway: &Gateway, known: &BTreeMap<String, Known>) {
    let api = Client::of(gateway.addresses("admin")[0].0);
    let mut connection = api.connect();
    for (name, known) in known {
        let mut is_there = |path: String| ask(&mut connection, api, "GET", &path, &Value::Null).unwrap().status == 200;
        let (consumer, key) = (is_there(format!("/consumers/{name}")), is_there(format!("/key-auths/key-{name}")));
        assert_eq!(consumer, key, "{name} is half there: consumer {consumer}, key {key}; {known:?}");
        if known.created && !known.delete_sent {
            assert!(consumer, "{name} was answered and is lost");
        }
        if known.deleted {
            assert!(!consumer, "{name} was deleted and is back");
        }
    }
}

#[test]
fn the_stores_file_does_not_grow_by_what_nobody_asks_for() {
    // No request comes in, so that no worker looks for a newer configuration.
    let gateway = Gateway::start();
    let admin = gateway.admin();
    for turn in 0..60 {
        let pair = |number: u32| {
            let consumer = format!("/consumers/c{turn}-{number}");
            let key = json!({ "method": "POST", "path": format!("{consumer}/key-auth"), "body": {} });
            [json!({ "method": "PUT", "path": consumer, "body": {} }), key]
        };
        let operations: Vec<Value> = (0..500).flat_map(pair).collect();
        admin.ask("POST", "/transactions", &json!({ "operations": operations })).expect(200);
    }
    let status = Client::of(gateway.status_address()).get("/status").send().expect(200).json();
    let bytes = status["database"]["store"]["file_bytes"].as_u64().unwrap();
    println!("the file has {} MiB", bytes >> 20);
    // A tenth of it is the state, and the rest the journal of the last changes.
    assert!(bytes < 100 << 20, "{} MiB", bytes >> 20);
}
