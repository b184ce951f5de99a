//! What a snapshot holds after each kind of change, and after a change that fails.

use super::{FakeEntry, Node, component, delete, id, plugin, route, service, to};
use crate::route::Scheme;
use crate::route::tests::get;
use crate::snapshot::{Found, Snapshot, SnapshotError};
use serde_json::json;
use std::sync::Arc;
use weir_model::{Kind, Phase, Revision};

#[test]
fn a_build_that_fails_changes_nothing_and_the_next_one_catches_up() {
    let mut node = Node::new();
    node.write(&[service(1, json!({})), route(10, json!({ "paths": ["/a"], "service": to(1) }))]);
    let before = node.builder.load(Arc::new(node.view.clone())).unwrap();
    // The good part of a transaction with a bad part is not served either.
    let bad = service(2, json!({ "protocol": "tcp" }));
    let error = node.commit(&[route(11, json!({ "paths": ["/b"] })), bad]).err().unwrap();
    assert!(matches!(error, SnapshotError::Service { .. }), "{error}");
    assert!(before.at("/b").is_none() && before.at("/a").is_some());
    let error = node.commit(&[route(12, json!({ "paths": ["/c"] }))]).err().unwrap();
    assert!(matches!(error, SnapshotError::Service { .. }), "what is wrong stays wrong: {error}");
    let after = node.write(&[delete(Kind::Service, 2)]);
    assert_eq!(after.revision(), Revision(4));
    for path in ["/a", "/b", "/c"] {
        assert!(after.at(path).is_some(), "{path}");
    }
}

#[test]
fn an_error_names_the_entity_to_mend() {
    let message = |op| Node::new().commit(&[op]).err().unwrap().to_string();
    let one = id(1);
    assert!(message(route(1, json!({ "paths": ["~/("] }))).starts_with(&format!("route {one}: regex '/('")));
    assert!(message(service(1, json!({ "protocol": "tcp" }))).starts_with(&format!("service {one}: protocol 'tcp'")));
    assert!(message(route(1, json!({ "paths": 7 }))).starts_with(&format!("routes {one}: invalid type")));
}

#[test]
fn routes_follow_their_service_when_it_is_disabled_enabled_and_deleted() {
    let mut node = Node::new();
    let first = node.write(&[service(1, json!({})), route(10, json!({ "paths": ["/a"], "service": to(1) }))]);
    assert!(first.at("/a").unwrap().service.is_some());
    let off = node.write(&[service(1, json!({ "enabled": false }))]);
    assert!(off.at("/a").is_none(), "a disabled service's routes are not there");
    assert!(first.at("/a").is_some(), "an earlier snapshot does not change");
    // Changed and added while disabled: not there either.
    let off = node.write(&[
        route(10, json!({ "paths": ["/b"], "service": to(1) })),
        route(11, json!({ "paths": ["/c"], "service": to(1) })),
    ]);
    assert!(["/a", "/b", "/c"].iter().all(|path| off.at(path).is_none()));
    let on = node.write(&[service(1, json!({ "host": "other.example" }))]);
    assert!(on.at("/a").is_none());
    assert_eq!(&*on.at("/b").unwrap().service.unwrap().host, "other.example");
    let gone = node.write(&[delete(Kind::Service, 1), delete(Kind::Route, 10), delete(Kind::Route, 11)]);
    assert!(gone.at("/b").is_none() && gone.routes() == 0);
}

#[test]
fn a_route_without_service_is_found_and_says_so() {
    let snapshot = Node::new().write(&[route(10, json!({ "paths": ["/a"] }))]);
    assert!(snapshot.at("/a").unwrap().service.is_none());
}

#[test]
fn a_route_that_takes_https_only_says_what_plain_http_is_answered() {
    let snapshot =
        Node::new().write(&[route(10, json!({ "paths": ["/a"], "protocols": ["https"], "https_redirect_status_code": 308 }))]);
    let mut request = get("a.example", "/a");
    match snapshot.ask(&request) {
        Found::NeedsHttps { route, status } => assert_eq!((route.id(), status.as_u16()), (id(10), 308)),
        Found::Route(_) | Found::None => panic!("plain http is served"),
    }
    request.scheme = Scheme::Https;
    assert!(matches!(snapshot.ask(&request), Found::Route(_)));
}

#[test]
fn the_upstream_target_has_the_services_path_and_the_clients_query() {
    let snapshot = Node::new().write(&[
        service(1, json!({ "path": "/base" })),
        route(10, json!({ "paths": ["/a"], "service": to(1) })),
        route(11, json!({ "paths": ["~/r/(?<n>\\d+)"], "service": to(1), "strip_path": false })),
    ]);
    let plain = snapshot.at("/a/x").unwrap();
    assert_eq!(plain.upstream_target("/a/x", Some("q=1&r")).unwrap(), "/base/x?q=1&r");
    assert_eq!(plain.upstream_target("/a/x", None).unwrap(), "/base/x");
    assert_eq!(plain.stripped_prefix("/a/x"), Some("/a"));
    let regex = snapshot.at("/r/12/x").unwrap();
    assert_eq!(regex.upstream_target("/r/12/x", None).unwrap(), "/base/r/12/x");
    assert_eq!(regex.stripped_prefix("/r/12/x"), None);
    assert_eq!(regex.matched, Some(5));
    assert_eq!(regex.captures, [("n".to_owned(), "12".to_owned()), ("1".to_owned(), "12".to_owned())]);
}

#[test]
fn of_several_transactions_in_one_step_the_last_word_counts() {
    let mut node = Node::new();
    let ops = [
        route(10, json!({ "paths": ["/a"] })),
        plugin(20, "first", json!({ "route": to(10) })),
        plugin(21, "second", json!({})),
        route(10, json!({ "paths": ["/b"] })),
        plugin(20, "first", json!({})),
        delete(Kind::Plugin, 21),
    ];
    let snapshot = node.write(&ops);
    assert!(snapshot.at("/a").is_none());
    assert_eq!(snapshot.at("/b").unwrap().runs(Scheme::Http, None), [20]);
    assert!(Arc::ptr_eq(&snapshot.at("/b").unwrap().chain, snapshot.global_chain()), "the scope was given up");
}

#[test]
fn a_new_component_replaces_the_entries_of_its_plugin_and_no_others() {
    let mut node = Node::new();
    let ops = [
        route(10, json!({ "paths": ["/a"] })),
        plugin(20, "first", json!({})),
        plugin(21, "first", json!({ "route": to(10) })),
        plugin(22, "second", json!({})),
    ];
    let before = node.write(&ops);
    let made = *node.host.made.lock().unwrap();
    // The new version wants to run later than the others.
    node.host.install("first", 2, 10);
    let after = node.write(&[component(30, "first")]);
    assert_eq!(*node.host.made.lock().unwrap() - made, 2, "as many entries are made as the plugin has");
    assert_eq!(before.at("/a").unwrap().runs(Scheme::Http, None), [21, 22]);
    let found = after.at("/a").unwrap();
    assert_eq!(found.runs(Scheme::Http, None), [22, 21]);
    let versions = found.chain.links().iter().map(|link| link.pick(Scheme::Http, None).unwrap().version);
    assert_eq!(versions.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_component_that_goes_while_entries_use_it_closes_what_they_apply_to_until_it_is_back() {
    let mut node = Node::new();
    let before = node.write(&[
        component(30, "first"),
        route(10, json!({ "paths": ["/a"] })),
        route(11, json!({ "paths": ["/b"] })),
        plugin(20, "first", json!({ "route": to(10) })),
        plugin(21, "second", json!({})),
    ]);
    node.host.installed.lock().unwrap().remove("first");
    let gone = node.write(&[delete(Kind::Component, 30)]);
    let missing = |snapshot: &Snapshot<FakeEntry>, path| {
        let chain = snapshot.at(path).unwrap().chain;
        chain.missing(Scheme::Http, None).map(str::to_owned)
    };
    assert_eq!(missing(&gone, "/a").as_deref(), Some("first"));
    assert!(gone.at("/a").unwrap().chain.handles(Phase::Request));
    assert_eq!(missing(&gone, "/b"), None);
    assert_eq!(gone.at("/b").unwrap().runs(Scheme::Http, None), [21]);
    assert_eq!(gone.missing_plugins().collect::<Vec<_>>(), [("first", 1)]);
    assert_eq!((missing(&before, "/a"), before.missing_plugins().count()), (None, 0), "an earlier snapshot does not change");
    // Back, without a transaction.
    node.host.install("first", 2, 300);
    let back = node.builder.refresh(&["first"], Arc::new(node.view.clone())).unwrap();
    assert_eq!((missing(&back, "/a"), back.missing_plugins().count()), (None, 0));
    assert_eq!(back.at("/a").unwrap().runs(Scheme::Http, None), [20, 21]);
}

#[test]
fn what_a_missing_component_closes_follows_the_scope_of_its_entries() {
    let mut node = Node::new();
    let snapshot = node.write(&[
        service(1, json!({})),
        route(10, json!({ "paths": ["/a"], "service": to(1) })),
        route(11, json!({ "paths": ["/b"] })),
        plugin(20, "gone", json!({ "service": to(1) })),
        plugin(21, "gone-too", json!({ "consumer": to(40) })),
        plugin(22, "gone-for-https", json!({ "protocols": ["https"] })),
    ]);
    let missing = |path, scheme, consumer: Option<u128>| {
        let chain = snapshot.at(path).unwrap().chain;
        chain.missing(scheme, consumer.map(id)).map(str::to_owned)
    };
    assert_eq!(missing("/a", Scheme::Http, None).as_deref(), Some("gone"));
    assert_eq!(missing("/b", Scheme::Http, None), None);
    assert_eq!(missing("/b", Scheme::Http, Some(41)), None);
    assert_eq!(missing("/b", Scheme::Http, Some(40)).as_deref(), Some("gone-too"));
    assert_eq!(missing("/b", Scheme::Https, None).as_deref(), Some("gone-for-https"));
    let snapshot = node.write(&[delete(Kind::Plugin, 20), delete(Kind::Plugin, 21), delete(Kind::Plugin, 22)]);
    assert!(!snapshot.at("/a").unwrap().chain.handles(Phase::Request));
    assert_eq!(snapshot.missing_plugins().count(), 0);
}

#[test]
fn a_component_that_changed_without_a_transaction_is_taken_over_on_request() {
    let mut node = Node::new();
    node.write(&[route(10, json!({ "paths": ["/a"] })), plugin(20, "first", json!({}))]);
    node.host.install_with("first", 7, 300, &[Phase::Request, Phase::Log]);
    let after = node.builder.refresh(&["first"], Arc::new(node.view.clone())).unwrap();
    let chain = after.at("/a").unwrap().chain;
    assert_eq!(chain.links()[0].pick(Scheme::Http, None).unwrap().version, 7);
    assert!(chain.handles(Phase::Log) && !chain.handles(Phase::Response));
}
