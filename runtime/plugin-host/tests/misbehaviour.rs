//! Components that misbehave, each on a current-thread runtime beside a good neighbour: only the call itself ends, for a reason
//! that is named, and the neighbour goes on.

// A test that cannot go on has failed: that is what these two are for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::*;
use weir_model::Phase;
use weir_model::entity::ComponentSettings;
use weir_plugin_host::WorkerPlugins;
use weir_plugin_host::exchange::{Ending, Kill};

/// Calls the bad one and the neighbour in turn, and returns the first ending of the bad one.
fn beside_a_neighbour(bad: &Guest, settings: ComponentSettings, kind: Option<Kill>) -> (Ending, World) {
    let world = world();
    world.install_with(bad, settings);
    world.install(&guest("neighbour"));
    let (bad_entry, neighbour) = (world.entry(&bad.name), world.entry("neighbour"));
    let ending = in_runtime(|| {
        let mut plugins = WorkerPlugins::new(world.host.clone());
        let mut exchange = exchange();
        let first = plugins.call(Phase::Request, &bad_entry, &mut exchange);
        assert_eq!(exchange.id, "0123456789abcdef0123456789abcdef", "the exchange came back");
        for _ in 0..3 {
            assert!(matches!(plugins.call(Phase::Request, &neighbour, &mut exchange), Ending::Proceed));
            plugins.call(Phase::Request, &bad_entry, &mut exchange);
        }
        first
    });
    assert_eq!(world.figures("neighbour").kills.len(), 0);
    assert_eq!(world.figures("neighbour").calls, 3);
    if let Some(kind) = kind {
        let figures = world.figures(&bad.name);
        assert!(figures.kills.contains_key(kind.name()), "{figures:?}");
        let last = figures.last_failure.unwrap();
        assert_eq!((last.kind, last.entry, last.route.as_deref()), (kind.name(), bad_entry.id, Some("orders")));
        assert_eq!(last.version, "1.0.0");
    }
    (ending, world)
}

fn is_killed(bad: &Guest, kind: Kill) -> World {
    is_killed_with(bad, ComponentSettings::default(), kind)
}

fn is_killed_with(bad: &Guest, settings: ComponentSettings, kind: Kill) -> World {
    let (ending, world) = beside_a_neighbour(bad, settings, Some(kind));
    match ending {
        Ending::Killed(kill) => assert_eq!(kill, kind),
        other => panic!("{other:?}"),
    }
    world
}

#[test]
fn an_endless_loop_uses_up_its_cpu_time_and_opens_the_breaker_at_once() {
    let world = is_killed(&guest("loop").request("(loop $forever (br $forever)) unreachable"), Kill::CpuBudget);
    let figures = world.figures("loop");
    assert_eq!(figures.kills["cpu_budget"], 2, "two kills are enough");
    assert_eq!(figures.kills["circuit_open"], 2, "the rest was not called");
    assert_eq!(figures.breaker, "closed", "the entry is gone, and its breaker with it");
}

#[test]
fn an_endless_loop_in_configure_is_ended_too() {
    is_killed(&guest("loop-configure").configure("(loop $forever (br $forever)) unreachable"), Kill::CpuBudget);
}

#[test]
fn a_trap_ends_only_its_call_and_the_next_call_has_a_new_instance() {
    let trap = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (if (i32.eq (global.get $calls) (i32.const 2)) (then unreachable)) (call $proceed)";
    let world = world();
    world.install(&guest("trap").request(trap));
    let entry = world.entry("trap");
    in_runtime(|| {
        let mut plugins = WorkerPlugins::new(world.host.clone());
        let mut exchange = exchange();
        let endings: Vec<bool> =
            (0..6).map(|_| matches!(plugins.call(Phase::Request, &entry, &mut exchange), Ending::Killed(Kill::Trap))).collect();
        assert_eq!(endings, [false, true, false, true, false, true]);
    });
    let last = world.figures("trap").last_failure.unwrap();
    assert!(last.message.contains("unreachable"), "{}", last.message);
}

#[test]
fn a_memory_hoard_is_named_although_the_guest_dies_of_something_else() {
    let hoard =
        "(loop $more (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more)) unreachable";
    is_killed(&guest("hoard").request(hoard), Kill::MemoryBudget);
}

#[test]
fn a_guest_that_survives_a_refused_growth_is_not_killed() {
    let modest = "(drop (memory.grow (i32.const 60000))) (call $proceed)";
    assert!(matches!(
        beside_a_neighbour(&guest("modest").request(modest), ComponentSettings::default(), None).0,
        Ending::Proceed
    ));
}

#[test]
fn unbounded_recursion_overflows_the_guests_stack_and_not_the_hosts() {
    // It calls itself through its own export's table-free twin: configure is reused as a plain function.
    let mut bad = guest("recursion").request("(call $deep (i32.const 0)) (call $proceed)");
    bad.imports = String::new();
    bad.start = ") (func $deep (param i32) (call $deep (i32.add (local.get 0) (i32.const 1)))".into();
    is_killed(&bad, Kill::Trap);
}

const SET_HEADER: &str = "(func $set (param i32 i32 i32 i32 i32))";

#[test]
fn a_header_flood_is_refused_header_by_header_and_then_ended() {
    // Sets "aa", "ba", "ca", …: the number in base 26.
    let digit = |place: i32, divisor: i32| {
        format!(
            "(i32.store8 (i32.const {}) (i32.add (i32.const 97) (i32.rem_u (i32.div_u (local.get $i) (i32.const {divisor})) (i32.const 26))))",
            1024 + place
        )
    };
    let flood = format!(
        "(loop $more {} {}
        (call $set (i32.const 1024) (i32.const 2) (i32.const 1024) (i32.const 1) (i32.const 400))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $more)) unreachable",
        digit(0, 1),
        digit(1, 26)
    );
    let bad = guest("header-flood").import("request", "set-header", SET_HEADER).request(&flood);
    let world = world();
    world.install(&bad);
    let entry = world.entry("header-flood");
    let mut plugins = WorkerPlugins::new(world.host.clone());
    let mut exchange = exchange();
    assert!(matches!(plugins.call(Phase::Request, &entry, &mut exchange), Ending::Killed(Kill::HostCalls)));
    assert_eq!(exchange.request.headers.len(), 100);
    is_killed(&bad, Kill::HostCalls);
}

#[test]
fn a_host_call_flood_is_ended_by_its_budget() {
    let flood = "(loop $more (drop (call $now)) (br $more)) unreachable";
    is_killed(&guest("call-flood").import("clock", "now-ms", "(func $now (result i64))").request(flood), Kill::HostCalls);
}

#[test]
fn moving_too_many_bytes_is_ended_by_its_budget() {
    let flood = "(loop $more (call $random (i32.const 1024) (i32.const 400)) (global.set $heap (i32.const 65536)) (br $more)) unreachable";
    let bad = guest("byte-flood").import("random", "bytes", "(func $random (param i32 i32))").request(flood);
    is_killed(&bad, Kill::HostBytes);
}

#[test]
fn one_huge_crossing_is_ended_before_it_is_copied() {
    let mut bad = guest("huge")
        .import("exchange", "keep", "(func $keep (param i32 i32))")
        .request("(call $keep (i32.const 0) (i32.const 4000000)) (call $proceed)");
    bad.pages = 64;
    is_killed(&bad, Kill::HostBytes);
}

#[test]
fn a_log_flood_is_dropped_and_counted_and_does_no_harm() {
    let flood = "(loop $more
        (call $write (i32.const 1) (i32.const 1024) (i32.const 5))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))) (call $proceed)";
    let bad = guest("log-flood").import("log", "write", "(func $write (param i32 i32 i32))").data("hello").request(flood);
    let (ending, world) = beside_a_neighbour(&bad, ComponentSettings::default(), None);
    assert!(matches!(ending, Ending::Proceed));
    assert_eq!(world.figures("log-flood").log_lines_dropped, 4 * (1_000 - 16));
}

#[test]
fn printing_and_a_panic_message_go_to_the_log_and_never_start_a_runtime() {
    let print = "(call $print (call $stderr) (i32.const 1024) (i32.const 14) (i32.const 400)) unreachable";
    let bad = guest("panic")
        .import("wasi:cli/stderr@0.2.6", "get-stderr", "(func $stderr (result i32))")
        .import(
            "wasi:io/streams@0.2.6",
            "[method]output-stream.blocking-write-and-flush",
            "(func $print (param i32 i32 i32 i32))",
        )
        .data("panicked at x\\0a")
        .request(print);
    is_killed(&bad, Kill::Trap);
    let fine = Guest { name: "print".into(), ..bad }.request(&print.replace("unreachable", "(call $proceed)"));
    assert!(matches!(beside_a_neighbour(&fine, ComponentSettings::default(), None).0, Ending::Proceed));
}

#[test]
fn sleeping_ends_the_call_at_once() {
    let sleep = "(call $block (call $timer (i64.const 300000000000))) (call $proceed)";
    let bad = guest("sleep")
        .import("wasi:clocks/monotonic-clock@0.2.6", "subscribe-duration", "(func $timer (param i64) (result i32))")
        .import("wasi:io/poll@0.2.6", "[method]pollable.block", "(func $block (param i32))")
        .request(sleep);
    let began = std::time::Instant::now();
    is_killed(&bad, Kill::Wait);
    assert!(began.elapsed() < std::time::Duration::from_secs(100), "nobody slept for 300 s");
}

#[test]
fn polling_only_timers_is_waiting_and_polling_a_stream_is_not() {
    let poll = |pollable: &str| {
        guest("poll")
            .import("wasi:clocks/monotonic-clock@0.2.6", "subscribe-duration", "(func $timer (param i64) (result i32))")
            .import("wasi:cli/stdout@0.2.6", "get-stdout", "(func $stdout (result i32))")
            .import("wasi:io/streams@0.2.6", "[method]output-stream.subscribe", "(func $subscribe (param i32) (result i32))")
            .import("wasi:io/poll@0.2.6", "poll", "(func $poll (param i32 i32 i32))")
            .request(&format!("(i32.store (i32.const 300) {pollable}) (call $poll (i32.const 300) (i32.const 1) (i32.const 400)) (call $proceed)"))
    };
    is_killed(&poll("(call $timer (i64.const 1))"), Kill::Wait);
    let stream = poll("(call $subscribe (call $stdout))");
    assert!(matches!(beside_a_neighbour(&stream, ComponentSettings::default(), None).0, Ending::Proceed));
}

#[test]
fn opening_a_socket_ends_the_call_and_says_what_was_asked_for() {
    let bad = guest("socket")
        .import("wasi:sockets/instance-network@0.2.6", "instance-network", "(func $network (result i32))")
        .request("(drop (call $network)) (call $proceed)");
    let world = is_killed(&bad, Kill::Trap);
    let message = world.figures("socket").last_failure.unwrap().message;
    assert!(message.contains("wasi:sockets/instance-network") && message.contains("no files, sockets"), "{message}");
}

#[test]
fn the_environment_is_there_and_empty() {
    let asks = "(call $environment (i32.const 400)) (if (i32.load (i32.const 404)) (then unreachable)) (call $proceed)";
    let good = guest("environment")
        .import("wasi:cli/environment@0.2.6", "get-environment", "(func $environment (param i32))")
        .request(asks);
    assert!(matches!(beside_a_neighbour(&good, ComponentSettings::default(), None).0, Ending::Proceed));
}

#[test]
fn a_configuration_that_is_refused_at_first_use_ends_only_its_exchange() {
    // It accepts the configuration in a fresh instance and refuses every further one.
    let fickle = "(if (result i32) (i32.gt_u (global.get $configured) (i32.const 1))
        (then (call $err (i32.const 1024) (i32.const 9))) (else (call $ok (i32.const 0))))";
    let world = world();
    world.install(&guest("fickle").configure(fickle).data("not today"));
    let (first, second) = (world.entry("fickle"), world.entry("fickle"));
    in_runtime(|| {
        let mut plugins = WorkerPlugins::new(world.host.clone());
        let mut exchange = exchange();
        assert!(matches!(plugins.call(Phase::Request, &first, &mut exchange), Ending::Proceed));
        assert!(matches!(plugins.call(Phase::Request, &second, &mut exchange), Ending::Killed(Kill::Configure)));
        assert!(matches!(plugins.call(Phase::Request, &first, &mut exchange), Ending::Proceed), "the first one's is still there");
        assert_eq!(plugins.usage().instances, 1);
    });
    let last = world.figures("fickle").last_failure.unwrap();
    assert_eq!((last.kind, last.message.as_str()), ("configure", "not today"));
}

#[test]
fn a_configuration_that_is_accepted_and_then_trapped_on_ends_only_its_calls() {
    is_killed(&guest("accepts-then-traps").request("unreachable"), Kill::Trap);
}

#[test]
fn there_is_no_exchange_while_a_plugin_is_configured() {
    let nosy = "(call $id (i32.const 400)) (call $ok (i32.const 0))";
    let bad = guest("nosy").import("exchange", "id", "(func $id (param i32))").configure(nosy);
    is_killed(&bad, Kill::Limit);
}

#[test]
fn replies_beyond_the_limits_of_the_interface_are_not_sent() {
    is_killed(&guest("status").request("(call $respond (i32.const 101) (i32.const 0) (i32.const 0))"), Kill::Limit);
    is_killed(&guest("body").request("(call $respond (i32.const 200) (i32.const 0) (i32.const 65537))"), Kill::Limit);
    let (ending, _world) = beside_a_neighbour(
        &guest("reply").data("denied").request("(call $respond (i32.const 403) (i32.const 1024) (i32.const 6))"),
        ComponentSettings::default(),
        None,
    );
    let Ending::Respond(reply) = ending else { panic!("{ending:?}") };
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (403, &b"denied"[..]));
}

#[test]
fn a_plugins_own_error_is_not_a_kill() {
    let (ending, world) = beside_a_neighbour(
        &guest("fails").data("no\\0amore").request("(call $err (i32.const 1024) (i32.const 7))"),
        ComponentSettings::default(),
        None,
    );
    assert!(matches!(ending, Ending::Failed(message) if message == "no more"), "the line end is gone");
    let figures = world.figures("fails");
    assert_eq!((figures.failures, figures.kills.len(), figures.breaker), (4, 0, "closed"));
}

#[test]
fn a_guest_that_breaks_the_abi_is_ended() {
    is_killed(&guest("abi").request("(i32.const 4294967)"), Kill::Trap);
    is_killed(&guest("utf8").data("\\ff\\fe").request("(call $err (i32.const 1024) (i32.const 2))"), Kill::Trap);
}

#[test]
fn the_memory_budget_of_the_settings_holds() {
    let settings = ComponentSettings { memory_budget_bytes: 1 << 20, ..ComponentSettings::default() };
    let mut bad = guest("big");
    bad.pages = 17;
    bad.request = Some("(call $proceed)".into());
    is_killed_with(&bad, settings, Kill::MemoryBudget);
}

#[test]
fn the_host_call_budget_of_the_settings_holds() {
    let settings = ComponentSettings { host_calls_budget: 2, ..ComponentSettings::default() };
    let thrice = "(drop (call $now)) (drop (call $now)) (drop (call $now)) (call $proceed)";
    let bad = guest("thrice").import("clock", "now-ms", "(func $now (result i64))").request(thrice);
    is_killed_with(&bad, settings, Kill::HostCalls);
}

/// A store that fails in the worst way.
struct Panics;

impl weir_model::View for Panics {
    fn revision(&self) -> weir_model::Revision {
        weir_model::Revision(1)
    }
    fn get(&self, _: weir_model::Kind, _: weir_model::Id) -> Result<Option<weir_model::Entity>, weir_model::ViewError> {
        panic!("the store panics")
    }
    fn revision_of(&self, _: weir_model::Kind, _: weir_model::Id) -> Result<Option<weir_model::Revision>, weir_model::ViewError> {
        panic!("the store panics")
    }
    fn find(&self, _: weir_model::Kind, _: &str, _: &str) -> Result<Option<weir_model::Id>, weir_model::ViewError> {
        panic!("the store panics")
    }
    fn list(
        &self,
        _: weir_model::Kind,
        _: &weir_model::Selection,
        _: Option<weir_model::Id>,
        _: usize,
    ) -> Result<weir_model::Page, weir_model::ViewError> {
        Ok(weir_model::Page::default())
    }
    fn tags(
        &self,
        _: Option<&str>,
        _: Option<(String, weir_model::Kind, weir_model::Id)>,
        _: usize,
    ) -> Result<Vec<(String, weir_model::Kind, weir_model::Id)>, weir_model::ViewError> {
        Ok(Vec::new())
    }
    fn count(&self, _: weir_model::Kind) -> Result<u64, weir_model::ViewError> {
        Ok(0)
    }
}

#[test]
fn a_panic_of_the_host_itself_ends_only_the_call_and_gives_the_exchange_back() {
    let manifest = r#"{"name":"finder","version":"1.0.0","priority":1,"config":{"type":"object","properties":{}},"credentials":["key-auth"]}"#;
    let finder = guest("finder")
        .import("credentials", "find", "(func $find (param i32 i32 i32 i32 i32))")
        .manifest(manifest)
        .data("key-auth")
        .request("(call $find (i32.const 1024) (i32.const 8) (i32.const 1024) (i32.const 1) (i32.const 400)) (call $proceed)");
    let world = world();
    world.install(&finder);
    world.install(&guest("neighbour"));
    let (entry, neighbour) = (world.entry("finder"), world.entry("neighbour"));
    in_runtime(|| {
        let mut plugins = WorkerPlugins::new(world.host.clone());
        let mut exchange = exchange();
        exchange.directory = Some(weir_model::Directory::new(std::sync::Arc::new(Panics)));
        for _ in 0..3 {
            assert!(matches!(plugins.call(Phase::Request, &entry, &mut exchange), Ending::Killed(Kill::Host)));
            assert_eq!(exchange.id, "0123456789abcdef0123456789abcdef");
            assert!(matches!(plugins.call(Phase::Request, &neighbour, &mut exchange), Ending::Proceed));
        }
    });
    let last = world.figures("finder").last_failure.unwrap();
    assert_eq!((last.kind, last.message.as_str()), ("host", "the host failed: the store panics"));
    assert_eq!(world.figures("finder").instances, 0);
}
