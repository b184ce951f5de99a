//! What a cluster costs: printed as the tables of `docs/benchmarks.md` by `cargo xtask figures`. Nothing here proves anything.

use super::{GatewaysOn, WAIT, cassandra, until};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use weir_tests::client::Connection;
use weir_tests::{Admin, Client, Gateway, OverAtEnd, Upstream};

/// For each figure of writes.
const MEASURED: Duration = Duration::from_secs(15);
/// Parallel clients of one gateway.
const CLIENTS: usize = 10;
/// Changes whose way to every node is timed.
const CHANGES: usize = 100;
/// Its multiples spread evenly between whole numbers.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// Entities of one transaction: the most that one takes.
const TOGETHER: usize = 1_000;

fn start(on: &GatewaysOn<'_>, count: usize) -> Vec<Gateway> {
    let gateways: Vec<Gateway> = (0..count).map(|_| on.start()).collect();
    until("all know each other", || {
        gateways.iter().all(|one| {
            let nodes = one.admin().get("/cluster/nodes");
            nodes["data"].as_array().is_some_and(|all| all.iter().filter(|node| node["live"] == true).count() == count)
        })
    });
    gateways
}

/// Writes a second, of single entities, each waiting for its answer.
fn writes_a_second(gateways: &[Gateway]) -> f64 {
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let _over = OverAtEnd(&over);
        for number in 0..CLIENTS * gateways.len() {
            let (over, done) = (&over, &done);
            scope.spawn(move || {
                let admin = gateways[number % gateways.len()].addresses("admin")[0].0;
                let mut connection = Connection::open(admin).unwrap();
                for turn in 0.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let name = format!("/consumers/w-{number}-{}-{turn}", gateways.len());
                    let request = Client::of(admin).request("PUT", &name).header("content-type", "application/json").body("{}");
                    request.send_on(&mut connection).unwrap().expect(200);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        std::thread::sleep(MEASURED);
    });
    Duration::from_secs(done.load(Ordering::SeqCst)).as_secs_f64() / begun.elapsed().as_secs_f64()
}

/// From a 2xx to the first request that every gateway serves by it: median and 99th percentile.
///
/// Writes come at all moments between two looks of `every`: one that followed the last answer would always come right after a look.
fn until_served(gateways: &[Gateway], upstream: &Upstream, every: Duration) -> (Duration, Duration) {
    gateways[0].admin().put("/services/all", json!({ "url": format!("http://{}", upstream.address()) }));
    let mut connections: Vec<_> = gateways.iter().map(|one| Connection::open(one.proxy()).unwrap()).collect();
    let mut times: Vec<Duration> = (0..CHANGES)
        .map(|number| {
            // Of one width, since a path matches whatever it begins.
            let path = format!("/served-{}-{number:03}", gateways.len());
            let route = json!({ "paths": [&path], "service": { "name": "all" } });
            for (gateway, connection) in gateways.iter().zip(&mut connections) {
                gateway.client().get(&path).send_on(connection).unwrap().expect(404);
            }
            std::thread::sleep(every.mul_f64((number as f64 * GOLDEN).fract()));
            gateways[number % gateways.len()].admin().put(&format!("/routes{}", path.replace("/served", "/s")), route);
            let answered = Instant::now();
            for (gateway, connection) in gateways.iter().zip(&mut connections) {
                while gateway.client().get(&path).send_on(connection).unwrap().status != 200 {
                    assert!(answered.elapsed() < WAIT);
                }
            }
            answered.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[test]
#[ignore = "measures; cargo xtask figures"]
fn writes_and_the_way_to_every_node() {
    let cluster = cassandra();
    let upstream = Upstream::start();
    println!(
        "| gateways | writes a second, {CLIENTS} clients each | served everywhere after, poll 1 s: p50, p99 | poll 0.1 s: p50, p99 |"
    );
    println!("|---|---|---|---|");
    for count in 1..=3 {
        let on = GatewaysOn { cluster: &cluster, keyspace: "figures", every_s: "0.1" };
        on.bootstrap();
        let often = start(&on, count);
        let writes = writes_a_second(&often);
        let fast = until_served(&often, &upstream, Duration::from_millis(100));
        drop(often);
        let usual = GatewaysOn { keyspace: "usual", every_s: "1", ..on };
        usual.bootstrap();
        let slow = until_served(&start(&usual, count), &upstream, Duration::from_secs(1));
        println!("| {count} | {writes:.0} | {:.0?}, {:.0?} | {:.0?}, {:.0?} |", slow.0, slow.1, fast.0, fast.1);
    }
}

/// Many entities, in transactions; `operations` makes those of one number.
fn fill(admin: &Admin, count: usize, operations: impl Fn(usize) -> Vec<Value>) {
    let each = operations(0).len();
    for begin in (0..count).step_by(TOGETHER / each) {
        let end = count.min(begin + TOGETHER / each);
        let operations: Vec<Value> = (begin..end).flat_map(&operations).collect();
        admin.ask("POST", "/transactions", &json!({ "operations": operations })).expect(200);
    }
}

/// Memory of a process in MiB: all, and the most that it had.
fn memory(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
        line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) >> 10
    };
    (figure("VmRSS:"), figure("VmHWM:"))
}

/// Restarts it and says what that took.
fn boot(what: &str, gateway: Gateway, serves: impl Fn(&Gateway)) -> Gateway {
    let folder = gateway.end("TERM");
    let begun = Instant::now();
    let gateway = Gateway::builder().settings_of(folder).start();
    let ready = begun.elapsed();
    serves(&gateway);
    let (now, most) = memory(gateway.pid());
    println!("| {what} | {ready:.2?} | {now} MiB | {most} MiB |");
    gateway
}

fn consumer(number: usize) -> Vec<Value> {
    vec![
        json!({ "method": "PUT", "path": format!("/consumers/c{number}"), "body": {} }),
        json!({ "method": "PUT", "path": format!("/consumers/c{number}/key-auth/{}", id(number)), "body": { "key": format!("key-{number}") } }),
    ]
}

fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn route(number: usize) -> Vec<Value> {
    vec![
        json!({ "method": "PUT", "path": format!("/services/all/routes/r{number}"), "body": { "paths": [format!("/r{number}")] } }),
    ]
}

#[test]
#[ignore = "measures; cargo xtask figures"]
fn boots_and_imports() {
    let cluster = cassandra();
    let upstream = Upstream::start();
    let count = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (routes, consumers) = (count("WEIR_FIGURES_ROUTES", 100_000), count("WEIR_FIGURES_CONSUMERS", 1_000_000));
    let on = |keyspace| GatewaysOn { cluster: &cluster, keyspace, every_s: "1" };
    println!("| restart of a gateway with | ready after | memory | at most |");
    println!("|---|---|---|---|");
    on("routes").bootstrap();
    let gateway = on("routes").start();
    let gateway = boot("nothing", gateway, |_| ());
    gateway.admin().put("/services/all", json!({ "url": format!("http://{}", upstream.address()) }));
    fill(&gateway.admin(), routes, route);
    let last = format!("/r{}", routes - 1);
    let gateway = boot(&format!("{routes} routes"), gateway, |gateway| drop(gateway.client().get(&last).send().expect(200)));

    let file = gateway.prefix().join("all.ndjson");
    let (code, said) = gateway.weir(&["config", "export", "--out", &file.to_string_lossy()]);
    assert_eq!(code, 0, "{said}");
    on("imported").bootstrap();
    let target = on("imported").start();
    let begun = Instant::now();
    let (code, said) = target.weir(&["config", "import", &file.to_string_lossy()]);
    assert_eq!(code, 0, "{said}");
    println!("import of {routes} entities: {:.1?}", begun.elapsed());
    drop((gateway, target));

    on("consumers").bootstrap();
    let gateway = on("consumers").start();
    gateway.admin().route_to("keys", upstream.address());
    gateway.admin().plugin_on("keys", "key-auth", json!({}));
    fill(&gateway.admin(), consumers, consumer);
    let key = format!("key-{}", consumers - 1);
    boot(&format!("{consumers} consumers with keys"), gateway, |gateway| {
        drop(gateway.client().get("/keys").header("apikey", &key).send().expect(200));
    });
}

#[test]
#[ignore = "measures; cargo xtask figures"]
fn boots_with_ten_million_consumers() {
    // The file is the same whoever decides what comes next, and without Cassandra it is filled in half the time.
    let count = std::env::var("WEIR_FIGURES_MOST").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let upstream = Upstream::start();
    let gateway = Gateway::start();
    gateway.admin().route_to("keys", upstream.address());
    gateway.admin().plugin_on("keys", "key-auth", json!({}));
    let begun = Instant::now();
    fill(&gateway.admin(), count, consumer);
    println!("filled in {:.0?}", begun.elapsed());
    let key = format!("key-{}", count - 1);
    boot(&format!("{count} consumers with keys, embedded"), gateway, |gateway| {
        drop(gateway.client().get("/keys").header("apikey", &key).send().expect(200));
    });
}
