//! Limits of the cluster: what every gateway lets through counts on all, and none waits for the store.

use super::{GatewaysOn, cassandra, until};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use weir_tests::client::{Connection, Reply};
use weir_tests::{Client, Gateway, OverAtEnd, Upstream};

/// `counts_shared` of a gateway's status.
fn shared(gateway: &Gateway) -> serde_json::Value {
    Client::of(gateway.status_address()).get("/status").send().expect(200).json()["counts_shared"].clone()
}

fn figure(gateway: &Gateway, name: &str) -> u64 {
    shared(gateway)[name].as_u64().unwrap_or_else(|| panic!("{name}: {}", shared(gateway)))
}

/// Waits until a gateway has told what it took and knows what the others have told before: a round that began after now, and the one
/// after it.
fn until_told(gateway: &Gateway) {
    let rounds = figure(gateway, "rounds");
    until("counts are exchanged", || figure(gateway, "rounds") >= rounds + 3 && figure(gateway, "waiting") == 0);
}

fn ask(gateway: &Gateway, path: &str) -> Reply {
    gateway.client().get(path).send()
}

fn limited(gateway: &Gateway, route: &str, upstream: &Upstream, hour: u64, fault_tolerant: bool) {
    gateway.admin().route_to(route, upstream.address());
    let config = json!({ "hour": hour, "policy": "cluster", "fault_tolerant": fault_tolerant });
    gateway.admin().plugin_on(route, "rate-limiting", config);
    gateway.admin().ask("PUT", "/consumers/last?wait=applied&timeout=60", &json!({})).expect(200);
}

#[test]
fn what_every_gateway_lets_through_counts_on_all_and_after_its_end() {
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "limits", every_s: "0.1" };
    on.bootstrap();
    let (a, b) = (on.start(), on.start());
    until("both know each other", || a.admin().knows_nodes(2));
    let upstream = Upstream::start();
    limited(&a, "orders", &upstream, 60, true);
    (0..40).for_each(|_| drop(ask(&a, "/orders").expect(200)));
    until_told(&a);
    // The first that it lets through makes it ask for what the others took.
    ask(&b, "/orders").expect(200);
    until_told(&b);
    let reply = ask(&b, "/orders").expect(200);
    assert_eq!(reply.header("x-ratelimit-remaining-hour"), Some("18"));
    (0..18).for_each(|_| drop(ask(&b, "/orders").expect(200)));
    ask(&b, "/orders").expect(429);
    until_told(&b);
    // It asks again once it has something to tell.
    let more = (0..60).take_while(|_| ask(&a, "/orders").status == 200).count();
    until_told(&a);
    ask(&a, "/orders").expect(429);
    println!("40 and 20 of 60; then the first let {more} more through before it knew of the 20");

    // Killed, so that it tells nothing at its end; what it told before counts on.
    let a = a.restarted_by("KILL");
    until("it has joined in", || figure(&a, "rounds") > 0);
    ask(&a, "/orders").expect(200);
    until_told(&a);
    ask(&a, "/orders").expect(429);
    // Ended in peace, it tells all that it took up to its end.
    limited(&b, "peace", &upstream, 10, true);
    (0..7).for_each(|_| drop(ask(&a, "/peace").expect(200)));
    drop(a.end("TERM"));
    ask(&b, "/peace").expect(200);
    until_told(&b);
    assert_eq!(ask(&b, "/peace").expect(200).header("x-ratelimit-remaining-hour"), Some("1"));
}

/// A client's requests a second, and how many clients each gateway has.
const RATE: u32 = 25;
const CLIENTS: u32 = 2;

#[test]
fn no_more_than_two_rounds_pass_beyond_a_limit() {
    const LIMIT: u64 = 200;
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "bound", every_s: "0.1" };
    on.bootstrap();
    let gateways = [on.start(), on.start()];
    until("both know each other", || gateways[0].admin().knows_nodes(2));
    let upstream = Upstream::start();
    limited(&gateways[0], "orders", &upstream, LIMIT, true);
    until("both share", || gateways.iter().all(|one| figure(one, "rounds") > 0));
    let (over, passed, oldest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _over = OverAtEnd(&over);
        for gateway in &gateways {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut connection = Connection::open(gateway.proxy()).unwrap();
                    let mut turn = Instant::now();
                    while !over.load(Ordering::SeqCst) {
                        std::thread::sleep(turn.saturating_duration_since(Instant::now()));
                        // Never faster, also after a pause of the machine.
                        turn = Instant::now() + Duration::from_secs(1) / RATE;
                        let reply = gateway.client().get("/orders").send_on(&mut connection).unwrap();
                        assert!([200, 429].contains(&reply.status), "{}", reply.text());
                        passed.fetch_add(u64::from(reply.status == 200), Ordering::SeqCst);
                    }
                });
            }
            // How long rounds take on this machine: the bound is one of rounds.
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    oldest.fetch_max(figure(gateway, "age_ms"), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        until("the limit is reached", || passed.load(Ordering::SeqCst) >= LIMIT);
        let rounds: Vec<u64> = gateways.iter().map(|one| figure(one, "rounds")).collect();
        until("all know it", || gateways.iter().zip(&rounds).all(|(one, rounds)| figure(one, "rounds") >= rounds + 4));
        let known = passed.load(Ordering::SeqCst);
        until("more is asked", || gateways.iter().zip(&rounds).all(|(one, rounds)| figure(one, "rounds") >= rounds + 6));
        assert_eq!(passed.load(Ordering::SeqCst), known, "nothing passes any more");
    });
    let (passed, round) = (passed.into_inner(), Duration::from_millis(oldest.into_inner()));
    let rate = f64::from(RATE * CLIENTS) * gateways.len() as f64;
    let bound = LIMIT as f64 + rate * 2.0 * round.as_secs_f64();
    println!(
        "{passed} passed a limit of {LIMIT} at {rate} requests a second; rounds took up to {round:.1?}, so at most {bound:.0}"
    );
    assert!(passed >= LIMIT && (passed as f64) <= bound, "{passed}");
    assert_eq!(upstream.served(), passed);
}

#[test]
fn without_the_store_a_gateway_counts_on_alone_or_refuses_as_it_is_told() {
    let cluster = cassandra();
    let on = GatewaysOn { cluster: &cluster, keyspace: "alone", every_s: "0.1" };
    on.bootstrap();
    let (a, b) = (on.start(), on.start());
    until("both know each other", || a.admin().knows_nodes(2));
    let upstream = Upstream::start();
    limited(&a, "tolerant", &upstream, 30, true);
    limited(&a, "strict", &upstream, 1_000_000, false);
    (0..10).for_each(|_| drop(ask(&a, "/tolerant").expect(200)));
    until_told(&a);
    ask(&b, "/tolerant").expect(200);
    until_told(&b);
    ask(&b, "/strict").expect(200);
    cluster.nodes().iter().for_each(|node| node.pause().unwrap());
    until("it does not know the others any more", || ask(&b, "/strict").status == 500);
    // What it knew of the other counts on: 10 of 30, and its own.
    let passed = (0..40).take_while(|_| ask(&b, "/tolerant").status == 200).count();
    assert_eq!(passed, 19);
    // The other does not know of these: that is what a store that is away costs.
    (0..20).for_each(|_| drop(ask(&a, "/tolerant").expect(200)));
    ask(&a, "/tolerant").expect(429);
    cluster.nodes().iter().for_each(|node| node.resume().unwrap());
    until("it knows them again", || ask(&b, "/strict").status == 200);
    until_told(&a);
    until_told(&b);
    ask(&a, "/tolerant").expect(429);
    ask(&b, "/tolerant").expect(429);
}
