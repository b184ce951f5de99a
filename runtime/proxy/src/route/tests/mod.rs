//! Tests of the router as a whole: against a naive reading of the rules, against the examples in the documentation, at scale.

mod documented;
mod oracle;
mod paths;
mod places;
mod properties;
mod work;

use super::{HostHeader, RouteRecord, RouteRequest, Router, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_model::{Id, Route};

/// A route with every field unset or at Kong's default. The number makes the id, so that ties are told apart.
pub(crate) fn route(number: u128) -> Route {
    Route {
        id: Id::from_bytes(number.to_be_bytes()),
        name: None,
        protocols: vec!["http".to_owned(), "https".to_owned()],
        methods: None,
        hosts: None,
        paths: None,
        headers: None,
        https_redirect_status_code: 426,
        regex_priority: 0,
        strip_path: true,
        path_handling: "v0".to_owned(),
        preserve_host: false,
        service: None,
        created_at: 1,
    }
}

pub(crate) fn texts(list: &[&str]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.iter().map(|text| (*text).to_owned()).collect())
}

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) scheme: Scheme,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    /// Asks with this request as the data path would.
    pub(crate) fn ask<R>(&self, ask: impl FnOnce(&RouteRequest<'_>) -> R) -> R {
        let host = HostHeader::parse(self.host.as_bytes()).expect("tests use valid hosts");
        let path = super::normalise(&self.path).expect("tests use valid paths");
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("tests use valid names"),
                HeaderValue::from_str(value).expect("tests use valid values"),
            );
        }
        ask(&RouteRequest {
            scheme: self.scheme,
            method: &Method::from_bytes(self.method.as_bytes()).expect("tests use valid methods"),
            host: &host.name,
            port: host.port.unwrap_or(self.scheme.default_port()),
            path: &path,
            headers: &headers,
        })
    }
}

pub(crate) fn get(host: &str, path: &str) -> Request {
    let (method, host, path) = ("GET".to_owned(), host.to_owned(), path.to_owned());
    Request { scheme: Scheme::Http, method, host, path, headers: Vec::new() }
}

pub(crate) fn record(route: &Route) -> Arc<RouteRecord> {
    Arc::new(RouteRecord::new(route).expect("tests use valid routes"))
}

pub(crate) fn router<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Router {
    let mut router = Router::default();
    routes.into_iter().for_each(|route| router.insert(&record(route)));
    router
}

pub(crate) fn found(router: &Router, request: &Request) -> Option<Id> {
    request.ask(|request| router.find(request).map(|hit| hit.record().id()))
}

#[test]
fn a_route_that_cannot_be_served_is_refused_with_the_reason() {
    type Change = fn(&mut Route);
    let cases: [(Change, &str); 12] = [
        (|_| {}, "set at least one of methods, hosts, headers, paths"),
        (|r| r.methods = texts(&["GE T"]), "'GE T' is not a method"),
        (|r| r.hosts = texts(&["a.*.b"]), "host 'a.*.b': the host is not a name or an address"),
        (|r| r.hosts = texts(&["a:0"]), "host 'a:0': the port is not a number from 1 to 65535"),
        (|r| r.paths = texts(&["a"]), "path 'a': a path begins with '/'"),
        (|r| r.paths = texts(&["/%zz"]), "path '/%zz': '%' is not followed by two hexadecimal digits"),
        (|r| r.paths = texts(&["~/("]), "regex '/(': regex parse error:"),
        (|r| r.headers = Some(BTreeMap::from([("a b".to_owned(), vec!["x".to_owned()])])), "'a b' is not a header name"),
        (|r| r.headers = Some(BTreeMap::from([("a".to_owned(), Vec::new())])), "header 'a' has no values"),
        (|r| r.protocols = vec!["grpc".to_owned()], "protocol 'grpc' is not supported"),
        (|r| r.https_redirect_status_code = 200, "https_redirect_status_code 200 is none of"),
        (|r| r.path_handling = "v2".to_owned(), "path_handling 'v2' is neither v0 nor v1"),
    ];
    for (number, (change, message)) in cases.into_iter().enumerate() {
        let mut route = route(1);
        if number > 8 {
            route.paths = texts(&["/"]);
        }
        change(&mut route);
        let fault = RouteRecord::new(&route).expect_err(message).to_string();
        assert!(fault.starts_with(message), "{fault}");
    }
}

#[test]
fn of_equal_routes_the_older_goes_first_then_the_one_with_the_smaller_id() {
    let mut routes = [route(3), route(2), route(1)];
    for route in &mut routes {
        route.paths = texts(&["/same"]);
    }
    assert_eq!(found(&router(&routes), &get("a", "/same")), Some(routes[2].id));
    routes[0].created_at = 0;
    assert_eq!(found(&router(&routes), &get("a", "/same")), Some(routes[0].id));
}

#[test]
fn the_first_of_a_routes_regexes_that_matches_gives_the_captures() {
    let mut route = route(1);
    route.paths = texts(&["~/(?<second>b+)x", "~/(?<first>[ab]+)", "/plain"]);
    let router = router([&route]);
    let captures = |path: &str| {
        get("a", path).ask(|request| {
            let (length, captures) = router.find(request).expect("it matches").matched(request.path);
            (length, captures.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
        })
    };
    assert_eq!(captures("/bbx"), (Some(4), "second=bb 1=bb".to_owned()));
    assert_eq!(captures("/bba"), (Some(4), "first=bba 1=bba".to_owned()));
    assert_eq!(captures("/plain/x"), (Some(6), String::new()));
}

#[test]
fn a_host_longer_than_any_name_matches_only_routes_without_hosts() {
    let mut hosted = route(1);
    hosted.hosts = texts(&["*.example.com", "a.*"]);
    hosted.paths = texts(&["/"]);
    let mut open = route(2);
    open.paths = texts(&["/"]);
    let router = router([&hosted, &open]);
    let host = format!("{}.example.com", "a".repeat(300));
    let (method, headers) = (Method::GET, HeaderMap::new());
    let request = RouteRequest { scheme: Scheme::Http, method: &method, host: &host, port: 80, path: "/", headers: &headers };
    assert_eq!(router.find(&request).map(|hit| hit.record().id()), Some(open.id));
}
