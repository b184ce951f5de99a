//! The router against the naive reading of its rules, and changed against rebuilt.

use super::oracle::{Question, decide};
use super::{Request, found, record, route, router};
use crate::route::{HostHeader, Scheme};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;
use weir_model::{Id, Route};

// Few values each, so that routes overlap and tie all the time.
const HOSTS: [&str; 11] =
    ["a.com", "b.a.com", "x.b.a.com", "*.a.com", "*.com", "a.*", "b.*", "b.a.*", "A.com:8000", "*.com:8443", "b.*:443"];
const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/ab",
    "/a/",
    "/a/b",
    "/b",
    "/a/b/c",
    "/abc",
    "~/a",
    "~/a/\\d+",
    "~/(a|b)/(?<x>.)",
    "~/a.*c$",
    "~.*",
    "~/ab?",
    "~/a/b|/b",
    "~(?i)/A",
];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "BREW"];
const VALUES: [&str; 5] = ["one", "TWO", "three", "~*^t", "~*o"];

fn some<T: Clone + std::fmt::Debug + 'static>(values: &'static [T], most: usize) -> impl Strategy<Value = Vec<T>> {
    subsequence(values, 0..=most).prop_shuffle()
}

fn any_route() -> impl Strategy<Value = Route> {
    let headers = proptest::collection::btree_map(select(&["x-one", "X-Two"][..]), some(&VALUES, 2), 0..=2);
    let sets = (some(&HOSTS, 2), some(&PATHS, 3), some(&METHODS, 2), headers);
    (1..40_u128, sets, -1..=1_i64, 0..3_u64).prop_map(|(number, (hosts, paths, methods, headers), regex_priority, created_at)| {
        let headers = headers.into_iter().filter(|(_, values)| !values.is_empty());
        let own = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let mut route = route(number);
        route.headers = Some(headers.map(|(name, values)| (name.to_owned(), own(values))).collect::<BTreeMap<_, _>>());
        // What is left unset by chance is sometimes empty and sometimes null: the same.
        route.hosts = Some(own(hosts)).filter(|list| number % 2 == 0 || !list.is_empty());
        route.paths = Some(own(paths)).filter(|list| !list.is_empty());
        route.methods = Some(own(methods));
        if route.headers.iter().flatten().count() == 0 && route.hosts.iter().chain(&route.methods).flatten().count() == 0 {
            route.paths.get_or_insert_with(|| vec!["/".to_owned()]);
        }
        (route.regex_priority, route.created_at) = (regex_priority, created_at);
        route
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let host = select(
        &["a.com", "b.a.com", "X.b.a.com", "a.org", "b.net", "com", "a.com:8000", "a.com:8443", "z.com:8443", "b.x:443"][..],
    );
    let path = select(
        &["/", "/a", "/ab", "/abc", "/A", "/a/", "/a/b", "/a/b/c", "/a/12", "/b", "/b/x", "/c", "/%61%62", "/a//b", "/abbbc"][..],
    );
    let value = select(&["one", "ONE", "two", "three", "none", ""][..]);
    let headers = proptest::collection::vec((select(&["x-one", "x-two", "x-three"][..]), value), 0..4);
    (any::<bool>(), select(&METHODS[..]), host, path, headers).prop_map(|(tls, method, host, path, headers)| Request {
        scheme: if tls { Scheme::Https } else { Scheme::Http },
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
}

pub(super) fn expected(routes: &[Route], request: &Request) -> Option<Id> {
    let host = HostHeader::parse(request.host.as_bytes()).unwrap();
    let path = crate::route::normalise(&request.path).unwrap();
    let port = host.port.unwrap_or(request.scheme.default_port());
    decide(routes, &Question { method: &request.method, host: &host.name, port, path: &path, headers: &request.headers })
}

/// One of each id; a later one replaces an earlier one.
fn distinct(routes: Vec<Route>) -> Vec<Route> {
    routes.into_iter().map(|route| (route.id, route)).collect::<BTreeMap<_, _>>().into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_router_decides_as_the_rules_say(
        routes in proptest::collection::vec(any_route(), 0..12),
        requests in proptest::collection::vec(any_request(), 8),
    ) {
        let routes = distinct(routes);
        let router = router(&routes);
        for request in &requests {
            prop_assert_eq!(found(&router, request), expected(&routes, request), "{:?}", request);
        }
    }

    #[test]
    fn a_changed_router_decides_as_one_built_anew_and_earlier_ones_do_not_change(
        steps in proptest::collection::vec((any::<bool>(), any_route()), 1..20),
        requests in proptest::collection::vec(any_request(), 4),
    ) {
        let mut routes = BTreeMap::new();
        let mut changed = router([]);
        let mut history = Vec::new();
        for (keep, route) in steps {
            if let Some(old) = routes.remove(&route.id) {
                changed.remove(&record(&old));
            }
            if keep {
                changed.insert(&record(&route));
                routes.insert(route.id, route);
            }
            history.push((changed.clone(), routes.values().cloned().collect::<Vec<_>>()));
        }
        for (changed, routes) in &history {
            for request in &requests {
                prop_assert_eq!(found(changed, request), expected(routes, request), "{:?}", request);
            }
        }
        for route in routes.values() {
            changed.remove(&record(route));
        }
        prop_assert!(changed.is_empty(), "something of removed routes is left");
    }
}
