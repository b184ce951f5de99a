//! Which entry runs, in which order, and which chains share what.

use super::{Node, delete, plugin, route, service, to};
use crate::route::Scheme;
use serde_json::{Value, json};
use std::sync::Arc;
use weir_model::{Kind, Op, Phase};

/// The scope of an entry on route 10, service 1, consumer 40: `"route+consumer"`.
fn scope(words: &str) -> Value {
    let set = |word: &str, number| if words.split('+').any(|part| part == word) { to(number) } else { Value::Null };
    json!({ "route": set("route", 10), "service": set("service", 1), "consumer": set("consumer", 40) })
}

fn base() -> Vec<Op> {
    vec![
        service(1, json!({})),
        service(2, json!({})),
        route(10, json!({ "paths": ["/a"], "service": to(1) })),
        route(11, json!({ "paths": ["/b"], "service": to(1) })),
        route(12, json!({ "paths": ["/c"], "service": to(2) })),
        route(13, json!({ "paths": ["/d"] })),
    ]
}

/// Most specific first, as Kong ranks them.
const RANKED: [&str; 8] =
    ["route+service+consumer", "route+consumer", "service+consumer", "route+service", "consumer", "route", "service", "global"];

#[test]
fn the_entry_with_the_most_specific_scope_runs() {
    let mut node = Node::new();
    let mut ops = base();
    ops.extend(RANKED.iter().enumerate().map(|(number, words)| plugin(100 + number as u128, "first", scope(words))));
    let mut snapshot = node.write(&ops);
    // Each time the winner is taken away, the next one runs.
    for number in 100..108 {
        assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, Some(40)), [number], "{}", RANKED[number as usize - 100]);
        snapshot = node.write(&[delete(Kind::Plugin, number)]);
    }
    assert!(snapshot.at("/a").unwrap().chain.links().is_empty());
}

#[test]
fn an_entry_runs_only_where_its_scope_says() {
    let mut node = Node::new();
    let mut ops = base();
    ops.extend(RANKED.iter().enumerate().map(|(number, words)| plugin(100 + number as u128, "first", scope(words))));
    let snapshot = node.write(&ops);
    let runs = |path, consumer| snapshot.at(path).unwrap().runs(Scheme::Http, consumer);
    // Route 11 is on the same service; 12 on another; 13 on none.
    for (path, consumer, number) in [
        ("/a", None, 103),
        ("/a", Some(41), 103),
        ("/b", Some(40), 102),
        ("/b", None, 106),
        ("/c", Some(40), 104),
        ("/c", None, 107),
        ("/d", Some(40), 104),
        ("/d", Some(41), 107),
    ] {
        assert_eq!(runs(path, consumer), [number], "{path} {consumer:?}");
    }
}

#[test]
fn an_entry_for_one_consumer_only_runs_for_nobody_else() {
    let mut node = Node::new();
    let mut ops = base();
    ops.push(plugin(100, "first", scope("consumer")));
    let snapshot = node.write(&ops);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [0_u128; 0]);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, Some(40)), [100]);
}

#[test]
fn plugins_run_by_priority_then_by_name_from_the_end() {
    let mut node = Node::new();
    node.host.install("zeta", 1, 200);
    node.host.install("alpha", 1, 200);
    let mut ops = base();
    ops.push(plugin(101, "third", json!({})));
    ops.push(plugin(102, "alpha", json!({})));
    ops.push(plugin(103, "second", scope("route")));
    ops.push(plugin(104, "zeta", scope("service")));
    ops.push(plugin(105, "first", json!({})));
    let snapshot = node.write(&ops);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [105, 104, 103, 102, 101]);
    assert_eq!(snapshot.at("/c").unwrap().runs(Scheme::Http, None), [105, 102, 101]);
}

#[test]
fn a_disabled_entry_does_not_hide_a_less_specific_one() {
    let mut node = Node::new();
    let mut ops = base();
    ops.push(plugin(100, "first", json!({})));
    ops.push(plugin(101, "first", json!({ "route": to(10), "enabled": false })));
    // Nor does it need a component.
    ops.push(plugin(102, "missing", json!({ "enabled": false })));
    let snapshot = node.write(&ops);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [100]);
    let snapshot = node.write(&[plugin(101, "first", json!({ "route": to(10) }))]);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [101]);
    let snapshot = node.write(&[plugin(101, "first", json!({ "route": to(10), "enabled": false }))]);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [100]);
}

#[test]
fn an_entry_for_another_protocol_neither_runs_nor_hides() {
    let mut node = Node::new();
    let mut ops = base();
    ops.push(plugin(100, "first", json!({})));
    ops.push(plugin(101, "first", json!({ "route": to(10), "protocols": ["https"] })));
    let snapshot = node.write(&ops);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [100]);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Https, None), [101]);
}

#[test]
fn a_phase_that_no_plugin_handles_has_no_steps() {
    let mut node = Node::new();
    node.host.install_with("logger", 1, 1, &[Phase::Log]);
    let mut ops = base();
    ops.push(plugin(100, "first", json!({})));
    ops.push(plugin(101, "logger", scope("route")));
    let snapshot = node.write(&ops);
    let names = |path, phase| {
        let chain = snapshot.at(path).unwrap().chain;
        assert_eq!(chain.handles(phase), chain.walk(phase).next().is_some());
        chain.walk(phase).map(|(_, link)| link.plugin().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("/a", Phase::Request), ["first"]);
    assert_eq!(names("/a", Phase::Response), [""; 0]);
    assert_eq!(names("/a", Phase::Log), ["logger"]);
    assert_eq!(names("/c", Phase::Log), [""; 0]);
}

#[test]
fn a_chain_follows_its_route_to_another_service() {
    let mut node = Node::new();
    let mut ops = base();
    ops.push(plugin(100, "first", json!({ "service": to(1) })));
    ops.push(plugin(101, "first", json!({ "service": to(2) })));
    ops.push(plugin(102, "second", json!({ "route": to(10) })));
    ops.push(plugin(103, "third", json!({ "route": to(10), "service": to(2) })));
    let snapshot = node.write(&ops);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [100, 102]);
    let snapshot = node.write(&[route(10, json!({ "paths": ["/a"], "service": to(2) }))]);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [101, 102, 103]);
    let snapshot = node.write(&[route(10, json!({ "paths": ["/a"] }))]);
    assert_eq!(snapshot.at("/a").unwrap().runs(Scheme::Http, None), [102]);
}

#[test]
fn routes_without_entries_of_their_own_share_a_chain_and_all_share_the_global_steps() {
    let mut node = Node::new();
    let mut ops = base();
    ops.push(plugin(100, "first", json!({})));
    ops.push(plugin(101, "second", json!({ "service": to(1) })));
    ops.push(plugin(102, "third", json!({ "route": to(12) })));
    let snapshot = node.write(&ops);
    let chain = |path| snapshot.at(path).unwrap().chain;
    assert!(Arc::ptr_eq(&chain("/a"), &chain("/b")));
    assert!(Arc::ptr_eq(&chain("/d"), snapshot.global_chain()));
    assert!(Arc::ptr_eq(&chain("/a").links()[0], &chain("/d").links()[0]));
    assert!(Arc::ptr_eq(&chain("/c").links()[0], &chain("/d").links()[0]));
    assert_eq!(snapshot.chains.count(), 3);
    let snapshot = node.write(&[delete(Kind::Plugin, 101), delete(Kind::Route, 12), delete(Kind::Plugin, 102)]);
    assert_eq!(snapshot.chains.count(), 1, "chains go with what needed them");
}

#[test]
fn a_change_makes_only_the_chains_again_that_it_is_about() {
    let mut node = Node::new();
    let mut ops = base();
    ops.extend((200..1_200).map(|number| route(number, json!({ "paths": [format!("/many/{number}")], "service": to(2) }))));
    ops.push(plugin(100, "first", json!({})));
    ops.push(plugin(101, "second", json!({ "service": to(1) })));
    ops.push(plugin(102, "third", json!({ "route": to(10) })));
    ops.push(plugin(103, "third", json!({ "route": to(12) })));
    let mut last = node.write(&ops);
    let third_on_route = json!({ "route": to(12), "config": { "a": 1 } });
    for (op, expected) in [
        (plugin(103, "third", third_on_route), "/c"),
        // Route 10 has a chain of its own that holds the service's step too.
        (plugin(101, "second", json!({ "service": to(1), "config": { "a": 1 } })), "/a /b"),
        (plugin(100, "first", json!({ "config": { "a": 1 } })), "/a /b /c /d /many/200 /many/1199"),
        (plugin(104, "first", json!({ "consumer": to(40) })), "/a /b /c /d /many/200 /many/1199"),
        (route(11, json!({ "paths": ["/b"], "service": to(1), "strip_path": false })), ""),
    ] {
        let next = node.write(std::slice::from_ref(&op));
        let changed = |path: &&str| !Arc::ptr_eq(&last.at(path).unwrap().chain, &next.at(path).unwrap().chain);
        let paths: Vec<&str> = ["/a", "/b", "/c", "/d", "/many/200", "/many/1199"].into_iter().filter(changed).collect();
        assert_eq!(paths.join(" "), expected, "{op:?}");
        // Global, service 1, routes 10 and 12: what a global change makes again, for a thousand routes.
        assert_eq!(next.chains.count(), 4);
        last = next;
    }
}
