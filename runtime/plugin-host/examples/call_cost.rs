//! What a call costs, with guests that do next to nothing: `cargo run --release -p weir-plugin-host --example call_cost`.
//!
//! The minimum of many short rounds, the cases in turn, so that a busy machine shows as little as possible.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};
use support::*;
use weir_model::Phase;
use weir_model::entity::{ComponentSettings, Isolation};
use weir_plugin_host::WorkerPlugins;

const ROUNDS: usize = 2_000;
const CALLS: u32 = 100;

fn main() {
    let world = world();
    let read = "(call $get (i32.const 1024) (i32.const 10) (i32.const 400))";
    let set = "(call $set (i32.const 1040) (i32.const 5) (i32.const 1050) (i32.const 4) (i32.const 420))";
    let get_type = "(func $get (param i32 i32 i32))";
    let set_type = "(func $set (param i32 i32 i32 i32 i32))";
    let take = "(i32.store (i32.const 304) (i32.const 1)) (i64.store (i32.const 312) (i64.const 9223372036854775807))
        (call $take (i32.const 1024) (i32.const 10) (i32.const 304) (i32.const 1) (i64.const 1) (i32.const 400)) (call $proceed)";
    let guests = [
        guest("empty"),
        guest("read").import("request", "header", get_type).data("user-agent").request(&format!("{read} (call $proceed)")),
        guest("read-set")
            .import("request", "header", get_type)
            .import("request", "set-header", set_type)
            .data("user-agent______x-env_____prod")
            .request(&format!("{read} {set} (call $proceed)")),
        guest("take").import("counters", "take", "(func $take (param i32 i32 i32 i32 i64 i32))").data("10.0.0.0.1").request(take),
        guest("respond").data("denied").request("(call $respond (i32.const 403) (i32.const 1024) (i32.const 6))"),
    ];
    guests.iter().for_each(|guest| world.install(guest));
    let fresh = Guest { name: "fresh".into(), ..guest("fresh") };
    world.install_with(&fresh, ComponentSettings { isolation: Isolation::PerRequest, ..ComponentSettings::default() });
    let names = ["empty", "read", "read-set", "take", "respond", "fresh"];
    let entries = names.map(|name| world.entry(name));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let mut exchange = exchange();
    for number in 0..11 {
        let name = http::HeaderName::try_from(format!("x-header-{number}")).expect("a header name");
        exchange.request.headers.insert(name, http::HeaderValue::from_static("value"));
    }
    exchange.request.headers.insert("user-agent", http::HeaderValue::from_static("curl/8.5.0"));
    let mut least = [Duration::MAX; 6];
    for round in 0..ROUNDS {
        for (entry, least) in entries.iter().zip(&mut least) {
            if &*entry.name == "fresh" && round % 20 != 0 {
                continue;
            }
            let began = Instant::now();
            for _ in 0..CALLS {
                std::hint::black_box(plugins.call(Phase::Request, entry, &mut exchange));
            }
            *least = (*least).min(began.elapsed());
        }
    }
    for (name, least) in names.iter().zip(least) {
        println!("{name:10} {:6} ns", least.as_nanos() / u128::from(CALLS));
    }
}
