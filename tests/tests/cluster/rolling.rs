//! Every gateway and every node of Cassandra is restarted under load, and no client notices.

use super::machine::{Balancer, Machine};
use super::{address, cassandra, page, until};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use weir_tests::client::Connection;
use weir_tests::{Admin, Client, OverAtEnd, Upstream};

/// Together, requests a second.
const RATE: u32 = 500;
/// Each sends its share, one after the other.
const CLIENTS: u32 = 20;

#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// One client: a request each time its turn comes, on a connection that is kept. Every other has a body, which no load balancer may
/// send twice.
fn load(to: SocketAddr, over: &AtomicBool, seen: &Seen) {
    let client = Client::of(to);
    let mut connection = Connection::open(to).unwrap();
    let mut turn = Instant::now();
    for number in 0_u64.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        std::thread::sleep(turn.saturating_duration_since(Instant::now()));
        turn += Duration::from_secs(1) * CLIENTS / RATE;
        let request = match number % 2 {
            0 => client.get("/orders"),
            _ => client.request("POST", "/orders").body(format!("order {number}")),
        };
        match request.header("apikey", "sesame").send_on(&mut connection) {
            Ok(reply) if reply.status == 200 && reply.header("ratelimit-limit").is_some() => {
                seen.answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(reply) => seen.failed.lock().unwrap().push(format!("{} {}", reply.status, reply.text())),
            Err(error) => {
                seen.failed.lock().unwrap().push(error.to_string());
                connection = Connection::open(to).unwrap();
            }
        }
    }
}

#[test]
fn nobody_notices_that_everything_is_restarted() {
    let cluster = cassandra();
    let computer = tempfile::tempdir().unwrap();
    let machine = |name: &str, number| Machine::new(name, address(&cluster, number), computer.path());
    let (mut a, mut b, lb) = (machine("a", 21), machine("b", 22), machine("lb", 30));
    page::settings_of_the_page(&[&a, &b, &lb], "rolling");
    let bootstrap =
        weir_tests::binary::run(&["migrations", "bootstrap", "-c", &a.here("/etc/weir/weir.toml")], &a.root.join("var/lib/weir"));
    assert!(bootstrap.status.success(), "{}", weir_tests::binary::printed(&bootstrap));
    let upstream = Upstream::start();
    a.systemctl_weir("start");
    b.systemctl_weir("start");
    let admin = Admin::of((a.address, 8001).into());
    until("they know each other", || admin.knows_nodes(2));
    admin.route_to("orders", upstream.address());
    admin.plugin_on("orders", "key-auth", json!({}));
    admin.plugin_on("orders", "rate-limiting", json!({ "hour": 100_000_000, "policy": "local" }));
    admin.consumer_with_key("ada", "sesame");
    admin.ask("PUT", "/consumers/last?wait=applied&timeout=60", &json!({})).expect(200);
    let _balancer = Balancer::start(&lb.root.join("etc/haproxy/haproxy.cfg"));
    let front: SocketAddr = (lb.address, 8000).into();
    let through = || Client::of(front).get("/orders").header("apikey", "sesame").try_send();
    until("the load balancer serves", || through().is_ok_and(|reply| reply.status == 200));

    let (over, seen, begun) = (AtomicBool::new(false), Seen::default(), Instant::now());
    std::thread::scope(|scope| {
        let _over = OverAtEnd(&over);
        for _ in 0..CLIENTS {
            scope.spawn(|| load(front, &over, &seen));
        }
        for (number, gateway) in [&mut a, &mut b].into_iter().enumerate() {
            gateway.systemctl_weir("restart");
            let own = Client::of((gateway.address, 8000).into());
            own.get("/orders").header("apikey", "sesame").send().expect(200);
            // The next one only when the load balancer sends this one requests again.
            let before = upstream.served();
            until("the load goes on", || upstream.served() > before + u64::from(RATE));
            until("and is spread", || gateway.served() > 100);
            println!("gateway {number} was restarted: {} answered", seen.answered.load(Ordering::SeqCst));
        }
        for (number, node) in cluster.nodes().iter().enumerate() {
            node.nodetool(&["drain"]).unwrap();
            node.stop().unwrap();
            node.start_again().unwrap();
            cluster.until_all_up().unwrap();
            println!("node {number} of Cassandra was restarted: {} answered", seen.answered.load(Ordering::SeqCst));
        }
    });
    let (answered, failed) = (seen.answered.load(Ordering::SeqCst), seen.failed.into_inner().unwrap());
    let each_s = Duration::from_secs(answered).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("{answered} requests in {:.0?} ({each_s:.0} a second), {} failed", begun.elapsed(), failed.len());
    assert!(failed.is_empty(), "{} of {answered} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    // And changes are taken and served as ever.
    let admin = Admin::of((b.address, 8001).into());
    until("a change is taken", || admin.ask("PUT", "/consumers/eve?wait=applied&timeout=60", &json!({})).status == 200);
}
