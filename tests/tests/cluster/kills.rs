//! Gateways that are killed, stopped in their tracks or late, while others write and wait for them.

use super::{GatewaysOn, cassandra, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use weir_tests::client::Connection;
use weir_tests::{Client, Gateway, OverAtEnd, Upstream};

/// The configuration that a gateway has: its revision, and the hashes of the history and of the state.
fn configuration(gateway: &Gateway) -> Value {
    let status = Client::of(gateway.status_address()).get("/status").send().expect(200).json();
    let store = &status["database"]["store"];
    json!([store["cluster"], store["revision"], store["head"], store["state"]])
}

/// Whether they come to one configuration.
fn until_same(gateways: &[&Gateway]) {
    until("all have one configuration", || {
        let all: Vec<Value> = gateways.iter().map(|one| configuration(one)).collect();
        assert!(all[0][2].is_string() && all[0][3].is_string(), "{}", all[0]);
        all.iter().all(|one| *one == all[0])
    });
}

/// What became of each consumer that was asked for, by name: `None` where nobody answered.
type Asked = Mutex<BTreeMap<String, Option<u16>>>;

/// Asks a gateway for consumers until it is over or does not answer any more.
fn write(admin: std::net::SocketAddr, prefix: &str, over: &AtomicBool, asked: &Asked, answered: &AtomicUsize) {
    let Ok(mut connection) = Connection::open(admin) else { return };
    for number in 0.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let name = format!("{prefix}-{number}");
        asked.lock().unwrap().insert(name.clone(), None);
        let request = Client::of(admin).request("PUT", &format!("/consumers/{name}"));
        let Ok(reply) = request.header("content-type", "application/json").body("{}").send_on(&mut connection) else { return };
        answered.fetch_add(1, Ordering::SeqCst);
        asked.lock().unwrap().insert(name, Some(reply.status));
    }
}

#[test]
fn a_gateway_that_is_killed_while_it_writes_loses_nothing_and_a_new_one_has_the_same() {
    const KILLS: usize = 5;
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "killed", every_s: "0.1" };
    on.bootstrap();
    let (mut a, b) = (on.start(), on.start());
    let (asked, answered) = (Asked::default(), AtomicUsize::new(0));
    for kill in 0..KILLS {
        let over = AtomicBool::new(false);
        let addresses = [a.addresses("admin")[0].0, b.addresses("admin")[0].0];
        a = std::thread::scope(|scope| {
            let _over = OverAtEnd(&over);
            for writer in 0..8 {
                let (asked, answered, over) = (&asked, &answered, &over);
                scope.spawn(move || write(addresses[writer % 2], &format!("w{kill}-{writer}"), over, asked, answered));
            }
            let before = answered.load(Ordering::SeqCst);
            until("there are writes", || answered.load(Ordering::SeqCst) > before + 100 + 7 * kill);
            a.restarted_by("KILL")
        });
    }
    let c = on.start();
    until_same(&[&a, &b, &c]);
    let asked = asked.into_inner().unwrap();
    let (mut open, mut done_though_open) = (0, 0);
    for (name, status) in &asked {
        let there = |gateway: &Gateway| gateway.admin().ask("GET", &format!("/consumers/{name}"), &Value::Null).status == 200;
        match status {
            Some(200) => assert!([&a, &b, &c].into_iter().all(there), "{name} was answered, and is lost"),
            Some(503) => {}
            None => (open, done_though_open) = (open + 1, done_though_open + usize::from(there(&c))),
            Some(other) => panic!("{name}: {other}"),
        }
    }
    println!(
        "{} writes asked for, {KILLS} kills; {open} were never answered, of which {done_though_open} were done",
        asked.len()
    );
}

#[test]
fn nobody_waits_for_a_gateway_that_is_killed_or_hangs_and_who_comes_late_has_it() {
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "waits", every_s: "0.1" };
    on.bootstrap();
    let (a, b, c) = (on.start(), on.start(), on.start());
    until("all know each other", || a.admin().knows_nodes(3));
    let upstream = Upstream::start();
    a.admin().put("/services/all", json!({ "url": format!("http://{}", upstream.address()) }));
    let number = AtomicUsize::new(0);
    // Makes a route and waits for all; answers its path and what was said of who serves it.
    let wait = || {
        let path = format!("/late-{:03}", number.fetch_add(1, Ordering::SeqCst));
        let route = json!({ "paths": [&path], "service": { "name": "all" } });
        let begun = Instant::now();
        let written = a.admin().ask("PUT", &format!("/routes{path}?wait=applied&timeout=60"), &route).expect(200);
        let served = written.header("weir-served").unwrap().to_owned();
        println!("{path} after {:.1?}: {served}", begun.elapsed());
        (path, served)
    };
    assert_eq!(wait().1, "3/3");

    // One that hangs takes no part in the answer, and is named.
    c.signal("STOP");
    let (hung, served) = wait();
    assert!(served.starts_with("2/2; silent="), "{served}");
    b.client().get(&hung).send().expect(200);
    c.signal("CONT");
    until("it is heard of again", || wait().1 == "3/3");
    c.client().get(&hung).send().expect(200);

    // Nor does one that is killed. When it returns with what it had then, it serves what all the others serve, or it is not ready.
    let folder = c.end("KILL");
    let (dead, served) = wait();
    assert!(served.starts_with("2/2; silent="), "{served}");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = OverAtEnd(&over);
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                wait();
            }
        });
        let c = Gateway::builder().settings_of(folder).start();
        // Ready: what was answered before is served.
        c.client().get(&dead).send().expect(200);
        let before = number.load(Ordering::SeqCst);
        until("more is written", || number.load(Ordering::SeqCst) > before + 5);
        let last = number.load(Ordering::SeqCst);
        (0..last - 1).for_each(|number| drop(c.client().get(&format!("/late-{number:03}")).send().expect(200)));
    });
}

#[test]
#[ignore = "part of cargo xtask faults"]
fn a_gateway_that_is_killed_while_it_loads_much_and_others_write_has_the_same_in_the_end() {
    const MUCH: usize = 100_000;
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "loads", every_s: "0.1" };
    on.bootstrap();
    let (a, b) = (on.start(), on.start());
    for begin in (0..MUCH).step_by(1000) {
        let one = |number| json!({ "method": "PUT", "path": format!("/consumers/c{number}"), "body": {} });
        let operations: Vec<Value> = (begin..begin + 1000).map(one).collect();
        a.admin().ask("POST", "/transactions", &json!({ "operations": operations })).expect(200);
    }
    let (over, asked, answered) = (AtomicBool::new(false), Asked::default(), AtomicUsize::new(0));
    let addresses = [a.addresses("admin")[0].0, b.addresses("admin")[0].0];
    let mut folder = None;
    std::thread::scope(|scope| {
        let _over = OverAtEnd(&over);
        for (writer, address) in addresses.into_iter().enumerate() {
            let (asked, answered, over) = (&asked, &answered, &over);
            scope.spawn(move || write(address, &format!("w{writer}"), over, asked, answered));
        }
        scope.spawn(|| {
            for number in 0.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                a.admin().delete(&format!("/consumers/c{number}"));
            }
        });
        // Killed at several moments of its load, each time in the folder that it has left.
        for after_ms in [300, 900, 1500, 2500] {
            let mut builder = on.builder();
            if let Some(folder) = folder.take() {
                builder = builder.in_folder_of(folder);
            }
            folder = Some(builder.start_and_kill(Duration::from_millis(after_ms)));
        }
    });
    let c = on.builder().in_folder_of(folder.unwrap()).start();
    let d = on.start();
    until_same(&[&a, &b, &c, &d]);
    for (name, status) in asked.into_inner().unwrap() {
        if status == Some(200) {
            drop(c.admin().get(&format!("/consumers/{name}")));
        }
    }
    println!("{} writes meanwhile; all have {}", answered.into_inner(), configuration(&d));
}
