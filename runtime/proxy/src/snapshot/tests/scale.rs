//! A hundred thousand routes: memory, measured in a process of its own; times, printed for the reader and not judged.
//!
//! What must not grow with the number of routes is counted elsewhere (`route/tests/work.rs`); a clock on a busy machine proves
//! nothing. Memory is what the operating system says, so it includes what the allocator wastes.

use super::{Node, Snapshot, plugin, route, service, to};
use crate::route::tests::{Request, get};
use crate::route::{RouteRequest, Scheme};
use crate::snapshot::tests::FakeEntry;
use http::{HeaderMap, Method};
use serde_json::json;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use weir_model::Op;

const ROUTES: u128 = 100_000;
/// What the operator was promised.
const BYTES_A_ROUTE: u64 = 1_024;
/// Routes in a transaction: few enough that what is only needed while applying it does not show in the result.
const BATCH: u128 = 500;
/// Set in the process that measures.
const ALONE: &str = "WEIR_TEST_ALONE";

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this runs on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") * 1024
}

/// As a busy platform has them: a hundred services, a route for each version of each resource, half of them on hosts.
fn typical(number: u128) -> Op {
    let mut changes = json!({
        "name": format!("orders-route-{number}"),
        "paths": [format!("/api/v1/resource-{number:06}/items")],
        "methods": ["GET", "POST"],
        "service": to(1 + number % 100),
    });
    if number.is_multiple_of(2) {
        changes["hosts"] = json!([format!("tenant-{number}.example.com")]);
    }
    route(1_000 + number, changes)
}

/// Asks for that route; the turn makes each request a text of its own, however few routes there are.
fn request(number: u128, turn: u128) -> Request {
    get(&format!("tenant-{number}.example.com"), &format!("/api/v1/resource-{number:06}/items/{turn:05}"))
}

fn node(routes: u128) -> (Node, Arc<Snapshot<FakeEntry>>) {
    let mut node = Node::new();
    let mut first: Vec<Op> = (1..=100).map(|number| service(number, json!({}))).collect();
    first.push(plugin(10, "first", json!({})));
    let mut snapshot = node.write(&first);
    let numbers: Vec<u128> = (0..routes).collect();
    for batch in numbers.chunks(BATCH as usize) {
        let ops: Vec<Op> = batch.iter().map(|number| typical(*number)).collect();
        // The view is not the snapshot's memory: the store keeps it in its file.
        snapshot = node.builder.apply(&ops, Arc::new(node.view.clone())).expect("the routes are right");
    }
    (node, snapshot)
}

/// Nanoseconds a look-up takes when so many different requests are asked in turn, each for a route of its own as far as there are
/// as many. Reading the requests costs the same among few routes and among many.
fn look_up(snapshot: &Snapshot<FakeEntry>, routes: u128, different: u128) -> f64 {
    let (method, headers) = (Method::GET, HeaderMap::new());
    // Spread over all routes.
    let asked = (0..different).map(|turn| request(turn * 7_919 % routes, turn)).collect::<Vec<_>>();
    // The median of short rounds: other processes disturb some of them.
    let mut rounds = Vec::new();
    for chunk in asked.chunks(500).cycle().take(400) {
        let begin = Instant::now();
        for Request { host, path, .. } in chunk {
            let (scheme, port) = (Scheme::Http, 80);
            let request = RouteRequest { scheme, method: &method, host, port, path, headers: &headers };
            black_box(snapshot.find(black_box(&request)));
        }
        rounds.push(begin.elapsed().as_nanos() as f64 / chunk.len() as f64);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn measure() {
    let before = resident_bytes();
    let (mut many, snapshot) = node(ROUTES);
    let each = resident_bytes().saturating_sub(before) / ROUTES as u64;
    assert_eq!(snapshot.routes() as u128, ROUTES);
    let (_, few) = node(10);
    println!("memory a route: {each} bytes");
    for different in [10, 1_000, 20_000] {
        let [one, other] = [(10, &few), (ROUTES, &snapshot)].map(|(routes, snapshot)| look_up(snapshot, routes, different));
        let times = other / one;
        println!(
            "look-up, {different} requests in turn: {one:.0} ns among 10 routes, {other:.0} ns among {ROUTES}: {times:.1} times"
        );
    }
    let begin = Instant::now();
    for number in 0..100 {
        let changed = route(1_000 + number, json!({ "paths": [format!("/changed/{number}")], "service": to(1) }));
        many.builder.apply(&[changed], Arc::new(many.view.clone())).expect("the route is right");
    }
    println!("one route change: {:.1} us", begin.elapsed().as_secs_f64() * 1e6 / 100.0);
    let begin = Instant::now();
    let global = plugin(10, "first", json!({ "config": { "a": 1 } }));
    many.builder.apply(&[global], Arc::new(many.view.clone())).expect("the entry is right");
    println!("one change of a global plugin: {:.1} us", begin.elapsed().as_secs_f64() * 1e6);
    assert!(each < BYTES_A_ROUTE, "{each} bytes a route");
}

#[test]
fn a_hundred_thousand_routes_take_less_than_a_kibibyte_each() {
    if std::env::var_os(ALONE).is_some() {
        return measure();
    }
    // In this process other tests take and give memory at the same time.
    let program = std::env::current_exe().expect("tests know their program");
    let name = "snapshot::tests::scale::a_hundred_thousand_routes_take_less_than_a_kibibyte_each";
    let output =
        Command::new(program).args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("memory a route"), "{said}");
    println!("{said}");
}
