//! The index of places: long paths that share their beginnings, and hashes that collide.

use super::{Request, found, get, record, route, texts};
use crate::route::index::Index;
use crate::route::tests::properties::expected;
use crate::route::{HostHeader, Router};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use weir_model::Route;

/// Pieces that put the ends of paths at, before and behind every eighth byte.
const PIECES: [&str; 7] = ["/abcdefg", "/abcdef", "/abcdefgh", "/a", "b", "/abcdefg/abcdefg", "/x"];
const HOSTS: [&str; 6] =
    ["a.com", "b.a.com", "*.a.com", "a.*", "a.com:80", "a-name-that-is-longer-than-stands-in-the-record.example"];

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(&PIECES[..]), 0..5).prop_map(|pieces| format!("/{}", pieces.concat()).replace("//", "/"))
}

fn any_route() -> impl Strategy<Value = Route> {
    let hosts = proptest::collection::vec(select(&HOSTS[..]), 0..3);
    (1..40_u128, hosts, proptest::collection::vec(path(), 1..4), any::<bool>()).prop_map(|(number, hosts, paths, post)| {
        let mut route = route(number);
        route.hosts = texts(&hosts);
        route.paths = Some(paths);
        route.methods = post.then(|| vec!["POST".to_owned()]);
        route
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let host = select(&["a.com", "b.a.com", "a.org", "z.net", "a-name-that-is-longer-than-stands-in-the-record.example"][..]);
    (host, path(), any::<bool>()).prop_map(|(host, path, post)| {
        let mut request = get(host, &path);
        if post {
            request.method = "POST".to_owned();
        }
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// With hashes of few bits nearly all places collide; with all bits none do. What is found must not depend on it.
    #[test]
    fn every_route_is_found_however_many_places_have_its_hash(
        bits in select(&[0_u32, 1, 3, 5, 8, 64][..]),
        steps in proptest::collection::vec((0..3_u8, any_route()), 1..24),
        requests in proptest::collection::vec(any_request(), 6),
    ) {
        let mut routes = BTreeMap::new();
        let mut router = Router { index: Index::fixed(bits), ..Router::default() };
        let mut history = Vec::new();
        for (step, route) in steps {
            if let Some(old) = routes.remove(&route.id) {
                router.remove(&record(&old));
            }
            if step > 0 {
                router.insert(&record(&route));
                routes.insert(route.id, route);
            }
            history.push((router.clone(), routes.values().cloned().collect::<Vec<_>>()));
        }
        for (router, routes) in &history {
            for request in &requests {
                prop_assert_eq!(found(router, request), expected(routes, request), "{:?}", request);
            }
        }
        for route in routes.values() {
            router.remove(&record(route));
        }
        prop_assert!(router.is_empty(), "something of removed routes is left");
    }
}

fn with_path(number: u128, path: &str) -> Route {
    let mut route = route(number);
    route.paths = texts(&[path]);
    route
}

#[test]
fn weak_hashes_make_strays_and_hashes_as_they_are_make_none() {
    let strays = |bits| {
        let mut router = Router { index: Index::fixed(bits), ..Router::default() };
        (0..200).for_each(|number| router.insert(&record(&with_path(number + 1, &format!("/service/{number}")))));
        router.index.strays()
    };
    assert_eq!(strays(64), 0);
    assert!(strays(3) > 0 && strays(0) > 0);
}

#[test]
fn a_path_of_thousands_of_bytes_that_two_routes_share_is_no_trouble() {
    let long = "/abcdef".repeat(2_000);
    let mut router = Router::default();
    let (short, longer) = (with_path(1, &long), with_path(2, &format!("{long}/x")));
    router.insert(&record(&short));
    router.insert(&record(&longer));
    assert_eq!(found(&router, &get("a", &format!("{long}/x/y"))), Some(longer.id));
    assert_eq!(found(&router, &get("a", &long)), Some(short.id));
    assert_eq!(found(&router, &get("a", &long[..long.len() - 1])), None);
    router.remove(&record(&longer));
    assert_eq!(found(&router, &get("a", &format!("{long}/x/y"))), Some(short.id));
    router.remove(&record(&short));
    assert!(router.is_empty());
}

#[test]
fn a_host_behind_more_hosts_than_a_rule_can_count_is_found() {
    let mut many = with_path(1, "/");
    many.hosts = Some((0..70_000).map(|number| format!("h{number}.example")).collect());
    let mut router = Router::default();
    router.insert(&record(&many));
    for host in ["h0.example", "h65534.example", "h65535.example", "h65536.example", "h69999.example"] {
        assert!(HostHeader::parse(host.as_bytes()).is_ok());
        assert_eq!(found(&router, &get(host, "/x")), Some(many.id), "{host}");
    }
    assert_eq!(found(&router, &get("h70000.example", "/x")), None);
    router.remove(&record(&many));
    assert!(router.is_empty());
}
