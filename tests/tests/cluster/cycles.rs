//! What was written through one node and answered is served by every other: at once, however many write.

use super::{GatewaysOn, cassandra, until};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use weir_tests::client::Connection;
use weir_tests::{Gateway, Upstream};

const CYCLES: usize = 10_000;
const GATEWAYS: usize = 3;
/// At once. A group of writes is one row of the journal, so more of them cost Cassandra little more.
const WRITERS: usize = 48;

#[test]
fn ten_thousand_routes_are_served_everywhere_when_their_creation_is_answered() {
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "cycles", every_s: "0.05" };
    on.bootstrap();
    let gateways: Vec<Gateway> = (0..GATEWAYS).map(|_| on.start()).collect();
    until("all know each other", || gateways.iter().all(|one| one.admin().knows_nodes(GATEWAYS)));
    let upstream = Upstream::start();
    let service = json!({ "name": "all", "url": format!("http://{}", upstream.address()) });
    gateways[0].admin().ask("POST", "/services?wait=applied&timeout=60", &service).expect(201);

    let (next, slow, begun) = (AtomicUsize::new(0), AtomicUsize::new(0), std::time::Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut connections: Vec<_> = gateways.iter().map(|one| Connection::open(one.proxy()).unwrap()).collect();
                loop {
                    let cycle = next.fetch_add(1, Ordering::Relaxed);
                    if cycle >= CYCLES {
                        return;
                    }
                    // Of one width, since a path matches whatever it begins.
                    let path = format!("/cycle-{cycle:05}");
                    let route = json!({ "paths": [&path], "service": { "name": "all" } });
                    let admin = gateways[cycle % GATEWAYS].admin();
                    // Through the others; the one that takes it is no witness.
                    let mut others_answer = |status| {
                        for other in [cycle + 1, cycle + 2].map(|number| number % GATEWAYS) {
                            let answer = gateways[other].client().get(&path).send_on(&mut connections[other]);
                            answer.unwrap_or_else(|error| panic!("{path} on {other}: {error}")).expect(status);
                        }
                    };
                    others_answer(404);
                    // A Cassandra on a busy machine may be too slow for a write, which is told and may be sent again.
                    let mut written = None;
                    until("the write is taken", || {
                        let answer = admin.ask("PUT", &format!("/routes{path}?wait=applied&timeout=60"), &route);
                        slow.fetch_add(usize::from(answer.status == 503), Ordering::Relaxed);
                        written = Some(answer).filter(|answer| answer.status != 503);
                        written.is_some()
                    });
                    let written = written.unwrap().expect(200);
                    assert_eq!(written.header("weir-served"), Some("3/3"), "{}", written.text());
                    others_answer(200);
                }
            });
        }
    });
    assert_eq!(upstream.served(), 2 * CYCLES as u64);
    let slow = slow.into_inner();
    println!("{CYCLES} cycles, {WRITERS} at once, in {:.0?}; {slow} writes were answered 503 and sent again", begun.elapsed());
}
