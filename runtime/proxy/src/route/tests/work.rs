//! How much a look-up and a change do, counted, with ten routes and with a hundred thousand.

use super::{Request, get, record, route, texts};
use crate::route::Router;
use crate::route::bucket::Work;
use weir_model::Route;

const MANY: u128 = 100_000;

fn build(count: u128, make: impl Fn(u128) -> Route) -> Router {
    let mut router = Router::default();
    (0..count).for_each(|number| router.insert(&record(&make(number))));
    router
}

fn work(router: &Router, request: &Request) -> Work {
    let mut work = Work::default();
    let found = request.ask(|request| router.find_counting(request, &mut work).is_some());
    assert!(found, "{request:?} is not routed");
    work
}

/// Ten routes and a hundred thousand must cost the same.
fn same_work(make: impl Fn(u128) -> Route + Copy, request: impl Fn(u128) -> Request) {
    let few = work(&build(10, make), &request(5));
    let router = build(MANY, make);
    for number in [0, 5, 4_711, MANY / 2, MANY - 1] {
        let many = work(&router, &request(number));
        assert!(many.rules <= few.rules && many.buckets <= few.buckets + 1, "{few:?} with ten routes, {many:?} with {MANY}");
    }
}

fn with_path(number: u128) -> Route {
    let mut route = route(number);
    route.paths = texts(&[&format!("/service/{number:06}")]);
    route
}

#[test]
fn many_paths_cost_a_look_up_nothing() {
    same_work(with_path, |number| get("any.example", &format!("/service/{number:06}/orders/1")));
}

#[test]
fn many_hosts_cost_a_look_up_nothing() {
    let make = |number| {
        let mut route = route(number);
        route.hosts = texts(&[&format!("tenant-{number}.example.com"), &format!("*.tenant-{number}.example.org")]);
        route.paths = texts(&["/"]);
        route
    };
    same_work(make, |number| get(&format!("tenant-{number}.example.com"), "/orders"));
    same_work(make, |number| get(&format!("api.tenant-{number}.example.org:8000"), "/orders"));
}

#[test]
fn many_values_of_a_header_cost_a_look_up_nothing() {
    let make = |number| {
        let mut route = route(number);
        route.paths = texts(&["/"]);
        route.headers = Some([("x-tenant".to_owned(), vec![format!("Tenant-{number}")])].into());
        route
    };
    same_work(make, |number| {
        let mut request = get("any.example", "/orders");
        request.headers = vec![("X-Tenant".to_owned(), format!("tenant-{number}"))];
        request
    });
}

#[test]
fn many_routes_for_another_method_cost_a_look_up_nothing() {
    same_work(
        |number| {
            let mut route = route(number);
            route.paths = texts(&["/"]);
            route.methods = texts(if number == 3 { &["GET"] } else { &["POST", "PUT"] });
            route
        },
        |_| get("any.example", "/orders"),
    );
}

#[test]
fn regexes_with_different_beginnings_are_not_tried() {
    let make = |number: u128| {
        let mut route = route(number);
        route.paths = texts(&[&format!("~/users/{number}/\\d+$")]);
        route
    };
    // Fewer than elsewhere: a compiled regex has kilobytes.
    let router = build(2_000, make);
    let work = work(&router, &get("any.example", "/users/1234/5"));
    assert!(work.rules <= 4, "{work:?}");
}

#[test]
fn a_change_copies_the_way_to_the_route_and_nothing_else() {
    let before = build(MANY, with_path);
    let mut after = before.clone();
    after.remove(&record(&with_path(4_711)));
    let mut changed = with_path(4_711);
    changed.methods = texts(&["GET"]);
    after.insert(&record(&changed));
    let (nodes, copied) = after.any_host.count_against(&before.any_host);
    assert!(nodes as u128 >= MANY && copied <= 10, "{copied} of {nodes} nodes copied");
}
