//! A limit counts for the node, whatever its workers, snapshots and instances do.

use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use weir_tests::client::Connection;
use weir_tests::{Gateway, OverAtEnd, Upstream};

/// On a kept connection; opened anew when the gateway closed it.
fn status(gateway: &Gateway, connection: &mut Connection) -> u16 {
    gateway.client().get("/limited").send_on(connection).expect("the gateway answers").status
}

#[test]
fn exactly_n_requests_pass_with_several_workers_through_snapshot_swaps() {
    const LIMIT: usize = 400;
    const CLIENTS: usize = 8;
    const EACH: usize = 150;
    let upstream = Upstream::start();
    let gateway = Gateway::builder().with("worker_threads", "4").start();
    let admin = gateway.admin();
    // A year: no window ends within the test, but for one second of one night.
    admin.route_to("limited", upstream.address()).plugin_on(
        "limited",
        "rate-limiting",
        json!({ "year": LIMIT, "policy": "local" }),
    );
    let (passed, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _end = OverAtEnd(&over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = gateway.client().connect();
                    for _ in 0..EACH {
                        match status(&gateway, &mut connection) {
                            200 => drop(passed.fetch_add(1, Ordering::SeqCst)),
                            429 => {}
                            other => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            // Every write is a new snapshot; every third makes the limited route's own entries anew.
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                match number % 3 {
                    0 => admin.patch("/routes/limited", json!({ "tags": [format!("t{number}")] })),
                    _ => admin.put(&format!("/consumers/c{number}"), json!({})),
                };
                number += 1;
            }
        });
        for client in clients {
            client.join().unwrap();
        }
    });
    assert_eq!(passed.load(Ordering::SeqCst), LIMIT);
    assert_eq!(upstream.served(), LIMIT as u64);
}
