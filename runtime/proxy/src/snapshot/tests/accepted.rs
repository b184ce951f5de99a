//! What the schemas accept can be served: else one write would keep every node from all later ones.

use crate::route::RouteRecord;
use crate::snapshot::ServiceRecord;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use weir_model::schema::{Autos, Schema};
use weir_model::{Entity, Id, Kind, Route, Service};

fn accepted(kind: Kind, input: Map<String, Value>) -> Option<Entity> {
    let autos = Autos { now: 1, id: Id::random(), secret: String::new() };
    Schema::of(kind).process_insert(input, &autos).ok()
}

/// Texts made of pieces that are right alone, wrong together, or the other way round.
fn text(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(select(pieces), 0..=most).prop_map(|pieces| pieces.concat())
}

fn host() -> impl Strategy<Value = String> {
    text(
        &["*", ".", "a", "B-c", "_x", "com", ":", "80", "0", "99999", "+", "[", "]", "::1", "1.2.3.4", "[::A]", "~", "%", " "],
        5,
    )
}

fn path() -> impl Strategy<Value = String> {
    let prefix = text(&["/", "/", "a", ".", "..", "%2F", "%2f", "%00", "%41", ";", "~", "[", "!", "{", "?", "//", "%"], 6);
    let regex = text(
        &["/", "a", "(", ")", "|", "[a-z]", "\\d+", "(?i)", "(?x)", "#", "\\p{Greek}", "é", "*", "{50}", "(?<n>.)", "$", "^"],
        6,
    );
    prop_oneof![prefix.prop_map(|path| format!("/{path}")), regex.prop_map(|regex| format!("~/{regex}")), any::<String>()]
}

fn header() -> impl Strategy<Value = (String, Value)> {
    let value = text(&["~*", "v", "[0-9]", "(", ")", "é", "|", "\\b", "\\p{L}", "{90}", " "], 4);
    (text(&["x", "-", "Y", " ", "é", "host"], 3), proptest::collection::vec(value, 0..3).prop_map(|values| json!(values)))
}

fn list(item: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    proptest::option::of(proptest::collection::vec(item, 0..2)).prop_map(|list| json!(list))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_route_that_is_accepted_can_be_served(
        hosts in list(host()), paths in list(path()), methods in list(text(&["GET", "X", "get", " "], 2)),
        headers in proptest::option::of(proptest::collection::btree_map("x", Just(Value::Null), 0..1)), header in proptest::option::of(header()),
        priority in any::<i64>(), status in select(&[426, 308, 200][..]), protocols in select(vec![json!(["http"]), json!(["https"]), json!(["grpc"])]),
    ) {
        let headers = header.map_or(json!(headers), |(name, values)| json!({ name: values }));
        let body = json!({ "hosts": hosts, "paths": paths, "methods": methods, "headers": headers,
            "regex_priority": priority >> 32, "https_redirect_status_code": status, "protocols": protocols });
        let Value::Object(body) = body else { return Ok(()) };
        let Some(entity) = accepted(Kind::Route, body) else { return Ok(()) };
        let route: Route = entity.parse().expect("an accepted body has its kind's shape");
        if let Err(fault) = RouteRecord::new(&route) {
            return Err(TestCaseError::fail(format!("{fault}: {route:?}")));
        }
    }

    #[test]
    fn a_service_that_is_accepted_can_be_served(
        host in host(), path in proptest::option::of(path()), port in 0..=65_535_u16, protocol in select(&["http", "https", "tcp"][..]),
    ) {
        let Value::Object(body) = json!({ "host": host, "path": path, "port": port, "protocol": protocol }) else { return Ok(()) };
        let Some(entity) = accepted(Kind::Service, body) else { return Ok(()) };
        let service: Service = entity.parse().expect("an accepted body has its kind's shape");
        if let Err(fault) = ServiceRecord::new(&service) {
            return Err(TestCaseError::fail(format!("{fault}: {service:?}")));
        }
    }
}

#[test]
fn the_largest_regex_that_is_accepted_can_be_served_in_any_case_too() {
    let accepts = |field: &str, value: Value| {
        let Value::Object(body) = json!({ field: value, "methods": ["GET"] }) else { return None };
        accepted(Kind::Route, body).map(|entity| entity.parse::<Route>().expect("an accepted body has its kind's shape"))
    };
    for body in ["k", "[a-z]", "[^/]", "\\w", "\\p{L}", "(ks|sk)"] {
        let largest = |make: &dyn Fn(usize) -> Option<Route>| {
            let count = (0..20).map(|power| 1 << power).take_while(|count| make(*count).is_some()).last().unwrap_or(1);
            (count..count * 2).step_by(count.div_ceil(64)).filter_map(make).last()
        };
        let path = largest(&|count| accepts("paths", json!([format!("~/{body}{{{count}}}")])));
        let header = largest(&|count| accepts("headers", json!({ "x": [format!("~*{body}{{{count}}}")] })));
        for route in path.into_iter().chain(header) {
            let fault = RouteRecord::new(&route).err();
            assert!(fault.is_none(), "{body}: {fault:?}");
        }
    }
}
