//! How much a look-up and a change do, counted, with ten routes and with a hundred thousand.

use super::{Request, get, record, route, texts};
use crate::route::Router;
use crate::route::bucket::Work;
use crate::route::index::Index;
use weir_model::Route;

const MANY: u128 = 100_000;

fn build(count: u128, make: impl Fn(u128) -> Route) -> Router {
    // What is counted must not depend on the numbers that a process draws.
    let mut router = Router { index: Index::fixed(64), ..Router::default() };
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
    let (nodes, copied) = after.index.count_against(&before.index);
    // Three cells: two forks and the place, each in a page below two or three fans, and the root above them all.
    assert!(nodes as u128 >= MANY / 64 && copied <= 3 * 4 + 1, "{copied} of {nodes} pages and fans copied");
}

/// As a busy platform has them: half of them on hosts of their own.
fn typical(number: u128) -> Route {
    let mut route = route(number);
    route.paths = texts(&[&format!("/api/v1/resource-{number:06}/items")]);
    route.methods = texts(&["GET", "POST"]);
    if number.is_multiple_of(2) {
        route.hosts = texts(&[&format!("tenant-{number}.example.com")]);
    }
    route
}

/// What a look-up may have to wait for when nothing that it needs was used lately: cells of the table, two of them to a cache
/// line, and records.
#[test]
fn a_look_up_among_typical_routes_reads_a_few_cells_and_one_record() {
    let router = build(MANY, typical);
    assert_eq!(Index::CELL_BYTES, 32, "two cells to a cache line");
    assert_eq!(router.index.strays(), 0);
    for (hosted, places) in [(true, 1), (false, 1 + PATH_FORKS + 1)] {
        let numbers = (0..MANY).filter(|number| number.is_multiple_of(2) == hosted).step_by(97);
        let mut total = Work::default();
        let mut count = 0;
        for number in numbers {
            let request = get(&format!("tenant-{number}.example.com"), &format!("/api/v1/resource-{number:06}/items/17"));
            let work = work(&router, &request);
            assert_eq!((work.buckets, work.rules), (1, 1), "{request:?}");
            total.cells += work.cells;
            count += 1;
        }
        // Where hashes put two cells in one place the second is in the next, which half of the time is on the same line.
        assert!(total.cells <= count * places * 2, "{} cells in {count} look-ups, hosted: {hosted}", total.cells);
    }
}

/// Beside the cell of the route, and that of the host where there is none: the forks on the way of a typical path, at none, 8 and 16 bytes: three for all routes together, so not cold.
const PATH_FORKS: usize = 3;

#[test]
fn lengths_that_other_routes_have_elsewhere_cost_a_look_up_nothing() {
    let mut router = build(1_000, |number| {
        let mut route = route(number + 1);
        route.paths = texts(&[&format!("/{number:03}-other/{}", "x".repeat(number as usize % 300))]);
        route
    });
    router.insert(&record(&{
        let mut route = route(5_000);
        route.paths = texts(&["/service/orders"]);
        route
    }));
    let work = work(&router, &get("any.example", &format!("/service/orders/{}", "y".repeat(1_000))));
    assert!(work.cells <= 8 && work.buckets == 1, "{work:?}");
}

#[test]
fn a_request_reads_at_most_a_fork_and_eight_places_for_eight_bytes_whatever_it_asks_for() {
    // Every length from 1 to 400, one within the other: as bad as an operator can make it.
    let long = "/abc".repeat(100);
    let router = build(400, |number| {
        let mut route = route(number);
        route.paths = texts(&[&long[..=number as usize]]);
        route
    });
    let mut work = Work::default();
    // The text goes on for far longer than any route.
    let path = long.repeat(20);
    assert!(get("any.example", &path).ask(|request| router.find_counting(request, &mut work).is_some()));
    let (forks, places) = (400 / 8 + 1, 400 + 1);
    assert!(work.buckets <= places && work.cells <= 2 * (forks + places), "{work:?}");
}
