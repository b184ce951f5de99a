//! How instances live: shared, isolated, retired, replaced; and what outlives them.

// A test that cannot go on has failed: that is what these two are for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use support::*;
use weir_model::entity::{ComponentSettings, Isolation, OnFailure};
use weir_model::{Phase, PluginCatalog};
use weir_plugin_host::exchange::{Ending, Exchange, Kill};
use weir_plugin_host::{Entry, Origin, WorkerPlugins};

/// Answers with a status of 200 + how often this instance was called.
fn counting(name: &str) -> Guest {
    guest(name).request(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (call $respond (i32.add (i32.const 200) (global.get $calls)) (i32.const 0) (i32.const 0))",
    )
}

fn with(isolation: Isolation) -> ComponentSettings {
    ComponentSettings { isolation, ..ComponentSettings::default() }
}

fn status(plugins: &mut WorkerPlugins, entry: &Entry) -> u16 {
    match plugins.call(Phase::Request, entry, &mut exchange()) {
        Ending::Respond(reply) => reply.status.as_u16(),
        other => panic!("{other:?}"),
    }
}

fn proceeds(plugins: &mut WorkerPlugins, entry: &Entry, exchange: &mut Box<Exchange>) {
    let ending = plugins.call(Phase::Request, entry, exchange);
    assert!(matches!(ending, Ending::Proceed), "{ending:?}");
}

#[test]
fn entries_of_a_component_share_its_instance_and_workers_do_not() {
    let world = world();
    world.install(&counting("shared"));
    let (one, other) = (world.entry("shared"), world.entry("shared"));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let mut second = WorkerPlugins::new(world.host.clone());
    assert_eq!([status(&mut plugins, &one), status(&mut plugins, &other), status(&mut second, &one)], [201, 202, 201]);
    assert_eq!(world.figures("shared").instances, 2);
    assert_eq!(world.figures("shared").configurations, 3);
    drop((plugins, second));
    assert_eq!((world.figures("shared").instances, world.figures("shared").configurations), (0, 0));
}

#[test]
fn an_instance_for_each_configuration_shares_nothing_between_them() {
    let world = world();
    world.install_with(&counting("own"), with(Isolation::PerConfiguration));
    let (one, other) = (world.entry("own"), world.entry("own"));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    assert_eq!([status(&mut plugins, &one), status(&mut plugins, &other), status(&mut plugins, &one)], [201, 201, 202]);
    assert_eq!(plugins.usage().instances, 2);
    drop(other);
    plugins.maintain();
    assert_eq!(plugins.usage().instances, 1);
}

#[test]
fn an_instance_for_each_request_remembers_nothing() {
    let world = world();
    world.install_with(&counting("fresh"), with(Isolation::PerRequest));
    let entry = world.entry("fresh");
    let mut plugins = WorkerPlugins::new(world.host.clone());
    assert_eq!([status(&mut plugins, &entry), status(&mut plugins, &entry)], [201, 201]);
    assert_eq!(plugins.usage().instances, 0);
    assert_eq!(world.figures("fresh").instances, 0);
}

#[test]
fn memory_of_a_fresh_instance_holds_nothing_of_the_one_before() {
    // Looks for a secret anywhere above the data, then leaves one there.
    let canary = "(loop $look
            (if (i32.load (i32.add (i32.const 100000) (local.get $i))) (then unreachable))
            (br_if $look (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 100000))))
        (memory.fill (i32.const 100000) (i32.const 42) (i32.const 100000)) (call $proceed)";
    let world = world();
    world.install_with(&guest("canary").request(canary), with(Isolation::PerRequest));
    let entry = world.entry("canary");
    let mut plugins = WorkerPlugins::new(world.host.clone());
    (0..200).for_each(|_| proceeds(&mut plugins, &entry, &mut exchange()));
}

#[test]
fn an_instance_is_replaced_before_its_memory_is_used_up() {
    let greedy = "(drop (memory.grow (i32.const 16))) (call $proceed)";
    let settings = ComponentSettings { memory_budget_bytes: 8 << 20, ..ComponentSettings::default() };
    let world = world();
    world.install_with(&guest("leak").request(greedy), settings);
    let entry = world.entry("leak");
    let mut plugins = WorkerPlugins::new(world.host.clone());
    (0..100).for_each(|_| proceeds(&mut plugins, &entry, &mut exchange()));
    assert_eq!(world.figures("leak").kills.len(), 0);
}

#[test]
fn an_instance_whose_phases_are_made_by_steps_is_replaced_as_well() {
    // Each configuration takes a mebibyte, prepares an empty list of edits and makes it the step of its request phase.
    let configure = "(drop (memory.grow (i32.const 16))) (call $prepare (i32.const 0) (i32.const 0) (i32.const 400))
        (i64.store (i32.const 304) (i64.const 0)) (call $before (i32.const 304) (i32.const 1)) (call $ok (i32.const 0))";
    let stepping = guest("stepping")
        .import("request", "prepare-edits", "(func $prepare (param i32 i32 i32))")
        .import("steps", "before-request", "(func $before (param i32 i32))")
        .configure(configure)
        .request("unreachable");
    let world = world();
    let settings = ComponentSettings { memory_budget_bytes: 8 << 20, ..ComponentSettings::default() };
    world.install_with(&stepping, settings);
    let entries: Vec<_> = (0..40).map(|_| world.entry("stepping")).collect();
    let mut plugins = WorkerPlugins::new(world.host.clone());
    for _ in 0..2 {
        entries.iter().for_each(|entry| proceeds(&mut plugins, entry, &mut exchange()));
    }
    assert_eq!(world.figures("stepping").kills.len(), 0, "the guest is never called, and never refused memory");
    assert!(plugins.usage().guest_bytes <= 8 << 20);
}

#[test]
fn phases_that_are_not_exported_are_not_called() {
    let world = world();
    world.install(&guest("one-phase").request("unreachable"));
    let entry = world.entry("one-phase");
    assert!(entry.handles(Phase::Request) && !entry.handles(Phase::Response) && !entry.handles(Phase::Log));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    assert!(matches!(plugins.call(Phase::Log, &entry, &mut exchange()), Ending::Proceed));
    assert_eq!(world.figures("one-phase").calls, 0);
}

#[test]
fn what_is_kept_in_one_phase_is_there_in_the_next_and_only_for_the_same_entry() {
    let keep = "(call $keep (i32.const 1024) (i32.const 3)) (call $proceed)";
    let kept = "(memory.fill (i32.const 400) (i32.const 0) (i32.const 12)) (call $kept (i32.const 400)) (call $respond (i32.add (i32.const 200) (i32.load8_u (i32.const 400))) (i32.load (i32.const 404)) (i32.load (i32.const 408)))";
    let keeper = guest("keeper")
        .import("exchange", "keep", "(func $keep (param i32 i32))")
        .import("exchange", "kept", "(func $kept (param i32))")
        .data("abc")
        .request(keep)
        .response(kept);
    let world = world();
    world.install(&keeper);
    let (one, other) = (world.entry("keeper"), world.entry("keeper"));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let mut exchange = exchange();
    proceeds(&mut plugins, &one, &mut exchange);
    let Ending::Respond(reply) = plugins.call(Phase::Response, &one, &mut exchange) else { panic!() };
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (201, &b"abc"[..]));
    let Ending::Respond(reply) = plugins.call(Phase::Response, &other, &mut exchange) else { panic!() };
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
}

#[test]
fn a_hot_swap_reaches_new_entries_and_leaves_old_ones_whole() {
    let world = world();
    world.install(&counting("swap"));
    let old = world.entry("swap");
    let mut plugins = WorkerPlugins::new(world.host.clone());
    assert_eq!(status(&mut plugins, &old), 201);
    let answer = |status: u32| format!("(call $respond (i32.const {status}) (i32.const 0) (i32.const 0))");
    world.install(&guest("swap").version("2.0.0").request(&answer(299)));
    let new = world.entry("swap");
    assert_eq!((&*old.version, &*new.version), ("1.0.0", "2.0.0"));
    assert_eq!([status(&mut plugins, &old), status(&mut plugins, &new)], [202, 299]);
    assert_eq!(world.figures("swap").instances, 2);
    assert_eq!(world.figures("swap").version.as_deref(), Some("2.0.0"));
    drop(old);
    plugins.maintain();
    assert_eq!(world.figures("swap").instances, 1, "nobody uses version 1 any more");
    assert_eq!(status(&mut plugins, &new), 299);
}

#[test]
fn an_uninstalled_component_serves_the_entries_that_it_has() {
    let world = world();
    world.install(&counting("gone"));
    let entry = world.entry("gone");
    world.host.uninstall("gone");
    assert!(world.host.entry(&plugin("gone")).is_err());
    assert!(world.host.plugin("gone").is_none());
    let mut plugins = WorkerPlugins::new(world.host.clone());
    assert_eq!(status(&mut plugins, &entry), 201);
}

#[test]
fn configurations_of_dropped_entries_are_released_and_their_numbers_given_again() {
    let world = world();
    world.install(&guest("many"));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let mut exchange = exchange();
    let entries: Vec<Arc<Entry>> = (0..100).map(|_| world.entry("many")).collect();
    entries.iter().for_each(|entry| proceeds(&mut plugins, entry, &mut exchange));
    assert_eq!(world.figures("many").configurations, 100);
    drop(entries);
    plugins.maintain();
    assert_eq!((world.figures("many").configurations, plugins.usage().instances), (0, 1));
    let again = world.entry("many");
    assert!(again.slot < 100);
    proceeds(&mut plugins, &again, &mut exchange);
    assert_eq!(world.figures("many").configurations, 1);
}

#[test]
fn ten_thousand_configurations_take_one_instance_a_worker_and_little_memory() {
    const CONFIGURATIONS: usize = 10_000;
    const WORKERS: usize = 2;
    // Keeps each configuration's text in its memory, as a real plugin does.
    let keeping = "(global.set $heap (i32.add (local.get $json) (local.get $length)))
        (i32.store8 (i32.const 256) (i32.const 0)) (i32.store (i32.const 260) (local.get $json)) (i32.const 256)";
    let request = "(i32.store8 (i32.const 256) (i32.const 0)) (i32.store8 (i32.const 260) (i32.const 0)) (i32.const 256)";
    let world = world();
    world.install(&guest("tenants").configure(keeping).request(request));
    let entries: Vec<Arc<Entry>> = (0..CONFIGURATIONS).map(|_| world.entry("tenants")).collect();
    for _ in 0..WORKERS {
        let mut plugins = WorkerPlugins::new(world.host.clone());
        let mut exchange = exchange();
        proceeds(&mut plugins, &entries[0], &mut exchange);
        let before = plugins.usage();
        entries.iter().for_each(|entry| proceeds(&mut plugins, entry, &mut exchange));
        let after = plugins.usage();
        assert_eq!(after.instances, 1);
        let bytes = after.guest_bytes - before.guest_bytes + after.host_bytes - before.host_bytes;
        assert!(bytes / CONFIGURATIONS <= 1_024, "{} bytes a configuration", bytes / CONFIGURATIONS);
        assert_eq!(world.figures("tenants").configurations, CONFIGURATIONS);
    }
    assert_eq!(world.figures("tenants").instances, 0);
}

#[test]
fn settings_take_effect_for_entries_made_later() {
    let world = world();
    world.install(&counting("settings"));
    let old = world.entry("settings");
    world.host.set_settings("settings", ComponentSettings { on_failure: OnFailure::Open, ..with(Isolation::PerRequest) });
    let new = world.entry("settings");
    assert_eq!((old.on_failure, new.on_failure), (OnFailure::Closed, OnFailure::Open));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let statuses = [&old, &old, &new, &new].map(|entry| status(&mut plugins, entry));
    assert_eq!(statuses, [201, 202, 201, 201]);
}

#[test]
fn a_component_that_may_authenticate_is_closed_whatever_its_settings_say() {
    let auth = guest("auth")
        .import("credentials", "authenticate", "(func $authenticate (param i32) (result i32))")
        .request("(if (call $authenticate (i32.const 0)) (then unreachable)) (call $proceed)");
    let world = world();
    world.install_with(&auth, ComponentSettings { on_failure: OnFailure::Open, ..ComponentSettings::default() });
    let entry = world.entry("auth");
    assert_eq!(entry.on_failure, OnFailure::Closed);
    assert!(entry.authenticates() && world.host.plugin("auth").unwrap().authenticates);
    proceeds(&mut WorkerPlugins::new(world.host.clone()), &entry, &mut exchange());
}

/// Takes one from an hourly limit of 50 under the key "k", and answers 429 when it is used up. The trap of every 7th call retires
/// the instance after it took: what was taken stays taken.
fn limiter() -> Guest {
    // tuple<bool, list<usage>>: the bool is the byte at 400.
    let take = "(i32.store (i32.const 304) (i32.const 2)) (i64.store (i32.const 312) (i64.const 50))
        (call $take (i32.const 1024) (i32.const 1) (i32.const 304) (i32.const 1) (i64.const 1) (i32.const 400))
        (local.set $i (i32.load8_u (i32.const 400)))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (if (i32.eqz (local.get $i)) (then (return (call $respond (i32.const 429) (i32.const 0) (i32.const 0)))))
        (if (i32.eq (i32.rem_u (global.get $calls) (i32.const 7)) (i32.const 0)) (then unreachable))
        (call $proceed)";
    guest("limiter").import("counters", "take", "(func $take (param i32 i32 i32 i32 i64 i32))").data("k").request(take)
}

#[test]
fn a_limit_holds_over_workers_retired_instances_and_snapshots() {
    let world = world();
    world.install(&limiter());
    let plugin = plugin("limiter");
    let outcomes: Vec<Ending> = std::thread::scope(|scope| {
        let worker = || {
            let mut plugins = WorkerPlugins::new(world.host.clone());
            let mut endings = Vec::new();
            for call in 0..40 {
                // A snapshot swap: the same plugin entity becomes a new entry.
                if call == 20 {
                    world.install(&limiter().version("1.0.1"));
                }
                let entry = world.host.entry(&plugin).unwrap();
                endings.push(plugins.call(Phase::Request, &entry, &mut exchange()));
            }
            endings
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    // An hour may end while the test runs; then at most two limits pass.
    let passed = outcomes.iter().filter(|ending| matches!(ending, Ending::Proceed | Ending::Killed(Kill::Trap))).count();
    assert!(passed == 50 || passed == 100, "{passed}");
    assert!(outcomes.iter().any(|ending| matches!(ending, Ending::Killed(Kill::Trap))), "instances were retired on the way");
    assert_eq!(world.host.counter_keys(), 1);
}

#[test]
fn an_open_breaker_belongs_to_its_entry_alone() {
    // Traps only under the first configuration: its number is how many there were before it.
    let bad = guest("entries")
        .configure("(call $ok (i32.sub (global.get $configured) (i32.const 1)))")
        .request("(if (i32.eqz (local.get $config)) (then (loop $forever (br $forever)))) (call $proceed)");
    let world = world();
    world.install_with(&bad, ComponentSettings { cpu_budget_ms: 1, ..with(Isolation::Shared) });
    let (looping, fine) = (world.entry("entries"), world.entry("entries"));
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let mut exchange = exchange();
    let kills: Vec<Kill> = (0..4)
        .map(|_| match plugins.call(Phase::Request, &looping, &mut exchange) {
            Ending::Killed(kill) => kill,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kills, [Kill::CpuBudget, Kill::CpuBudget, Kill::CircuitOpen, Kill::CircuitOpen]);
    assert_eq!(world.figures("entries").open_entries, [looping.id]);
    // In the next instance the number 0 is another entry's: configure one to take it.
    let first = world.entry("entries");
    plugins.call(Phase::Request, &first, &mut exchange);
    let fine_twice =
        [(); 2].map(|()| matches!(plugins.call(Phase::Request, &fine, &mut exchange), Ending::Killed(Kill::CircuitOpen)));
    assert_eq!(fine_twice, [false, false], "the other entry is still called");
}

#[test]
fn a_configuration_is_judged_by_the_guest_when_it_is_written() {
    let picky = "(if (result i32) (i32.eq (i32.load8_u (i32.add (local.get $json) (i32.const 9))) (i32.const 0x78))
        (then (call $err (i32.const 1024) (i32.const 22))) (else (call $ok (i32.const 0))))";
    let world = world();
    world.install(&guest("picky").configure(picky).data("text: must not begin x"));
    let config = |text: &str| serde_json::json!({"text": text}).as_object().cloned().unwrap();
    assert_eq!(world.host.check_config("picky", &config("abc")), Ok(()));
    let findings = world.host.check_config("picky", &config("xyz")).unwrap_err();
    assert_eq!((findings.0[0].path.clone(), findings.0[0].message.as_str()), (vec!["text".to_owned()], "must not begin x"));
    let findings = world.host.check_config("absent", &config("abc")).unwrap_err();
    assert!(findings.to_string().contains("'absent' is not installed"));
    world.install(&guest("traps").configure("unreachable"));
    let findings = world.host.check_config("traps", &config("abc")).unwrap_err();
    assert!(findings.to_string().contains("killed while it read the configuration (trap)"), "{findings}");
    assert_eq!(world.figures("picky").instances, 0, "they were looked at in instances of their own");
}

#[test]
fn a_large_component_goes_into_the_large_pool() {
    let mut large = counting("interpreter");
    large.imports = "(table 9000 funcref)".into();
    let world = world();
    world.install(&large);
    assert_eq!(status(&mut WorkerPlugins::new(world.host.clone()), &world.entry("interpreter")), 201);
    large.imports = "(table 90000 funcref)".into();
    let refusal = world.refusal(&large, &[]);
    assert!(refusal.contains("needs more than an instance may have"), "{refusal}");
}

#[test]
fn the_catalogue_knows_what_is_installed() {
    let world = world();
    world.host.install(&guest("b").build(), Origin::Stock, &[], ComponentSettings::default()).unwrap();
    world.install(&guest("a").log("(drop (call $proceed))"));
    let plugins = world.host.plugins();
    assert_eq!(
        plugins.iter().map(|info| (info.name.as_str(), info.origin)).collect::<Vec<_>>(),
        [("a", "uploaded"), ("b", "stock")]
    );
    assert_eq!(plugins[0].phases, [Phase::Request, Phase::Log]);
    let manifest = world.host.inspect(&guest("c").build(), &[]).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str(), manifest.priority), ("c", "1.0.0", 1));
    assert!(world.host.plugin("c").is_none(), "looking at it installs nothing");
}

/// Prepares `x-env: prod` when it is configured and applies it in each call; every third call of an instance traps after it.
fn preparing() -> Guest {
    let prepare = "(i32.store (i32.const 304) (i32.const 0)) (i32.store (i32.const 308) (i32.const 1024))
        (i32.store (i32.const 312) (i32.const 5)) (i32.store (i32.const 316) (i32.const 1029)) (i32.store (i32.const 320) (i32.const 4))
        (call $prepare (i32.const 304) (i32.const 1) (i32.const 400)) (call $ok (i32.const 0))";
    let apply = "(call $apply (i32.const 0) (i32.const 400))
        (i32.store (i32.const 336) (i32.add (i32.load (i32.const 336)) (i32.const 1)))
        (if (i32.eq (i32.load (i32.const 336)) (i32.const 3)) (then unreachable))
        (call $proceed)";
    guest("preparing")
        .import("request", "prepare-edits", "(func $prepare (param i32 i32 i32))")
        .import("request", "apply-edits", "(func $apply (param i32 i32))")
        .data("x-envprod")
        .configure(prepare)
        .request(apply)
}

#[test]
fn a_new_instance_prepares_its_edits_again() {
    let world = world();
    world.install(&preparing());
    let entry = world.entry("preparing");
    let mut plugins = WorkerPlugins::new(world.host.clone());
    for number in 1..=7 {
        let mut exchange = exchange();
        let ending = plugins.call(Phase::Request, &entry, &mut exchange);
        let trapped = matches!(ending, Ending::Killed(Kill::Trap));
        assert_eq!(trapped, number % 3 == 0, "call {number}: {ending:?}");
        assert_eq!(exchange.request.headers.get("x-env").map(|value| value.as_bytes()), Some(&b"prod"[..]), "call {number}");
    }
}
