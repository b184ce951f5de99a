//! Any sequence of changes ends where a build from nothing ends, and chains run what the scopes say.

use super::{MemoryView, Node, component, delete, id, plugin, route, service};
use crate::chain::SchemeSet;
use crate::route::Scheme;
use crate::route::tests::get;
use crate::snapshot::Found;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_model::chain::{Scope, order};
use weir_model::{Id, Kind, Op, Phase, Plugin};

const PATHS: [&str; 5] = ["/", "/a", "/a/b", "~/a/.$", "/c"];
const PLUGINS: [(&str, i64); 3] = [("first", 300), ("second", 200), ("third", 100)];
const CONSUMERS: [Option<u128>; 3] = [None, Some(40), Some(41)];

fn reference(number: Option<u128>) -> Value {
    number.map_or(Value::Null, |number| json!({ "id": id(number) }))
}

fn any_op() -> impl Strategy<Value = Op> {
    let services = (1..4_u128, any::<bool>(), select(&["one.example", "two.example"][..]));
    let services = services.prop_map(|(number, enabled, host)| service(number, json!({ "enabled": enabled, "host": host })));
    let some_service = || proptest::option::of(1..4_u128);
    let routes = (10..16_u128, select(&PATHS[..]), some_service(), any::<bool>());
    let routes = routes.prop_map(|(number, path, service, https)| {
        let protocols = if https { json!(["https"]) } else { json!(["http", "https"]) };
        route(number, json!({ "paths": [path], "service": reference(service), "protocols": protocols }))
    });
    let scope = (proptest::option::of(10..16_u128), some_service(), proptest::option::of(40..42_u128));
    let protocols = select(vec![json!(["http"]), json!(["https"]), json!(["http", "https"])]);
    let plugins = (100..108_u128, select(&PLUGINS[..]), scope, any::<bool>(), protocols);
    let plugins = plugins.prop_map(|(number, (name, _), (route, service, consumer), enabled, protocols)| {
        let scope = json!({ "route": reference(route), "service": reference(service), "consumer": reference(consumer),
            "enabled": enabled, "protocols": protocols });
        plugin(number, name, scope)
    });
    prop_oneof![
        2 => services,
        3 => routes,
        4 => plugins,
        1 => (1..4_u128).prop_map(|number| delete(Kind::Service, number)),
        1 => (10..16_u128).prop_map(|number| delete(Kind::Route, number)),
        2 => (100..108_u128).prop_map(|number| delete(Kind::Plugin, number)),
        1 => (30..33_u128, select(&PLUGINS[..])).prop_map(|(number, (name, _))| component(number, name)),
    ]
}

/// The store lets no two entries have the same plugin and scope; drops what would.
fn consistent(view: &MemoryView, ops: Vec<Op>) -> Vec<Op> {
    let mut kept: Vec<Op> = Vec::new();
    for op in ops {
        let after = view.after(&kept).after(std::slice::from_ref(&op));
        let mut scopes: Vec<_> =
            after.entities.values().flat_map(|entity| entity.unique_keys()).filter(|key| key.0 == "scope").collect();
        let count = scopes.len();
        scopes.sort();
        scopes.dedup();
        if scopes.len() == count {
            kept.push(op);
        }
    }
    kept
}

/// The entries that run, by a naive reading: of each plugin the most specific one that applies.
fn expected(view: &MemoryView, route: Id, service: Option<Id>, consumer: Option<Id>, scheme: Scheme) -> Vec<Id> {
    let plugins =
        view.entities.values().filter(|entity| entity.kind == Kind::Plugin).map(|entity| entity.parse::<Plugin>().unwrap());
    let mut best: BTreeMap<String, (u8, Id)> = BTreeMap::new();
    for plugin in plugins.filter(|plugin| plugin.enabled) {
        let id_of = |reference: Option<weir_model::entity::Reference>| reference.map(|reference| reference.id);
        let scope = Scope { route: id_of(plugin.route), service: id_of(plugin.service), consumer: id_of(plugin.consumer) };
        let schemes = SchemeSet::from_names(plugin.protocols.iter().map(String::as_str));
        if scope.applies(Some(route), service, consumer) && schemes.contains(scheme) {
            let entry = (scope.specificity(), plugin.id);
            let best = best.entry(plugin.name).or_insert(entry);
            *best = (*best).max(entry);
        }
    }
    let priority = |name: &str| PLUGINS.iter().find(|plugin| plugin.0 == name).unwrap().1;
    let mut chosen: Vec<(String, Id)> = best.into_iter().map(|(name, (_, id))| (name, id)).collect();
    chosen.sort_by(|a, b| order((priority(&a.0), &a.0), (priority(&b.0), &b.0)));
    chosen.into_iter().map(|(_, id)| id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_changed_snapshot_is_one_built_anew(transactions in proptest::collection::vec(proptest::collection::vec(any_op(), 1..5), 1..12)) {
        let mut node = Node::new();
        let mut history = Vec::new();
        for ops in transactions {
            let ops = consistent(&node.view, ops);
            let snapshot = node.write(&ops);
            history.push((node.view.clone(), snapshot));
        }
        for (view, snapshot) in &history {
            let anew = node.host.builder().load(Arc::new(view.clone())).unwrap();
            prop_assert_eq!(snapshot.revision(), anew.revision());
            prop_assert_eq!(snapshot.chains.count(), anew.chains.count());
            for (path, scheme) in [("/", Scheme::Http), ("/a", Scheme::Https), ("/a/b", Scheme::Http), ("/a/x", Scheme::Https), ("/c", Scheme::Http)] {
                let mut request = get("any.example", path);
                request.scheme = scheme;
                let (changed, anew) = match (snapshot.ask(&request), anew.ask(&request)) {
                    (Found::Route(changed), Found::Route(anew)) => (changed, anew),
                    (Found::NeedsHttps { route: a, .. }, Found::NeedsHttps { route: b, .. }) => {
                        prop_assert_eq!(a.id(), b.id());
                        continue;
                    }
                    (Found::None, Found::None) => continue,
                    _ => return Err(TestCaseError::fail(format!("{path} is answered in two ways"))),
                };
                prop_assert_eq!(changed.route.id(), anew.route.id());
                let host = |found: &crate::snapshot::RouteMatch<_>| found.service.as_ref().map(|service| (service.id(), service.host.clone()));
                prop_assert_eq!(host(&changed), host(&anew));
                for consumer in CONSUMERS {
                    let expected = expected(view, changed.route.id(), changed.route.service, consumer.map(id), scheme);
                    for found in [&changed, &anew] {
                        let picked = found.chain.walk(Phase::Request).filter_map(|(_, link)| link.pick(scheme, consumer.map(id)));
                        prop_assert_eq!(picked.map(|entry| entry.id).collect::<Vec<_>>(), expected.clone());
                    }
                }
            }
        }
    }
}
