//! What the fuzz targets do with their bytes: each function panics if a promise is broken.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_model::{Id, Route};
use weir_proxy::route::{HostHeader, PathHandling, RouteRecord, RouteRequest, Router, Scheme, normalise, upstream_path};

#[path = "../src/route/tests/oracle.rs"]
mod oracle;

/// The normal form of a path is a fixed point, and no cut of it makes an upstream path that is not one.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(normal) = normalise(text) else { return };
    assert_eq!(normalise(&normal).as_deref(), Ok(&*normal), "{text:?}");
    assert!(normal.is_ascii() && normal.starts_with('/') && !normal.contains("//"), "{text:?}");
    for matched in 0..=normal.len() {
        for (handling, base) in [(PathHandling::V0, "/s"), (PathHandling::V0, "/"), (PathHandling::V1, "/s/")] {
            let Ok(upstream) = upstream_path(handling, true, base, &normal, Some(matched)) else { continue };
            assert!(upstream.starts_with('/'), "{text:?} cut at {matched} gives {upstream:?}");
            assert!(upstream.split('/').all(|segment| segment != "." && segment != ".."), "{upstream:?}");
        }
    }
}

/// A host that is accepted is read the same when it is written again.
pub fn host(data: &[u8]) {
    let Ok(host) = HostHeader::parse(data) else { return };
    assert_eq!(host.name, host.name.to_ascii_lowercase());
    let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
    let again = format!("{}{port}", host.name);
    assert_eq!(HostHeader::parse(again.as_bytes()).as_ref(), Ok(&host), "{again:?}");
}

/// Any table of routes, changed in any order, decides as the naive reading of the rules does.
pub fn router(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut routes: BTreeMap<Id, (Route, Arc<RouteRecord>)> = BTreeMap::new();
    let mut router = Router::default();
    for _ in 0..bytes.below(24) {
        let route = bytes.route();
        if let Some((_, old)) = routes.remove(&route.id) {
            router.remove(&old);
        }
        let Ok(record) = RouteRecord::new(&route).map(Arc::new) else { continue };
        router.insert(&record);
        routes.insert(route.id, (route, record));
    }
    let all: Vec<Route> = routes.values().map(|(route, _)| route.clone()).collect();
    for _ in 0..8 {
        bytes.ask(&router, &all);
    }
    for (_, record) in routes.values() {
        router.remove(record);
    }
    assert!(router.is_empty());
}

/// Choices made of the fuzzer's bytes; when they run out, every choice is the first.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % limit
    }
    fn pieces(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
    fn list(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> String) -> Option<Vec<String>> {
        (0..self.below(most + 1)).map(|_| make(self)).map(Some).collect()
    }
    fn host(&mut self) -> String {
        let labels = [self.pieces(&["a", "b", "ab"], 2), self.pieces(&["a", "b"], 1), "com".to_owned()];
        let labels: Vec<_> = labels.into_iter().filter(|label| !label.is_empty()).collect();
        labels.join(".") + ["", ":80", ":8000"][self.below(3)]
    }
    fn pattern(&mut self) -> String {
        let host = self.host();
        match self.below(4) {
            0 => format!("*.{host}"),
            1 => format!("{}.*", host.split('.').next().unwrap_or_default()),
            _ => host,
        }
    }
    fn rule(&mut self) -> String {
        match self.below(3) {
            0 => format!(
                "~/{}",
                self.pieces(&["a", "b", "/", ".", "a*", "(a|b)", "\\d", "b?", "[^/]+", "|/", "$", "(?i)", "1"], 5)
            ),
            _ => self.path(),
        }
    }
    /// In normal form, since the naive reading compares text.
    fn path(&mut self) -> String {
        let path = format!("/{}", self.pieces(&["a", "b", "/", "1", ".", "ab/", "%2F"], 6));
        normalise(&path).map(|path| path.into_owned()).unwrap_or_else(|_| "/".to_owned())
    }
    fn route(&mut self) -> Route {
        let value = |bytes: &mut Self| ["one", "TWO", "~*^o", "~*w"][bytes.below(4)].to_owned();
        let headers = (0..self.below(3)).map(|number| (["x-one", "X-Two"][number].to_owned(), vec![value(self), value(self)]));
        let headers = headers.collect();
        Route {
            id: Id::from_bytes([self.below(24) as u8; 16]),
            name: None,
            protocols: vec!["http".to_owned()],
            methods: self.list(2, |bytes| ["GET", "POST", "BREW"][bytes.below(3)].to_owned()),
            hosts: self.list(2, Self::pattern),
            paths: self.list(3, Self::rule),
            headers: Some(headers),
            https_redirect_status_code: 426,
            regex_priority: self.below(3) as i64 - 1,
            strip_path: true,
            path_handling: "v0".to_owned(),
            preserve_host: false,
            service: None,
            created_at: self.below(3) as u64,
        }
    }
    fn ask(&mut self, router: &Router, routes: &[Route]) {
        let text = self.host();
        let host = HostHeader::parse(text.as_bytes()).expect("made of labels");
        let (path, port) = (self.path(), host.port.unwrap_or(80));
        let method = [Method::GET, Method::POST, Method::PUT][self.below(3)].clone();
        let value = |bytes: &mut Self| ["one", "two", "ONE", "no"][bytes.below(4)].to_owned();
        let sent: Vec<(String, String)> =
            (0..self.below(4)).map(|_| (["x-one", "x-two"][self.below(2)].to_owned(), value(self))).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in &sent {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("one of two");
            headers.append(name, HeaderValue::from_str(value).expect("one of four"));
        }
        let request =
            RouteRequest { scheme: Scheme::Http, method: &method, host: &host.name, port, path: &path, headers: &headers };
        let question = oracle::Question { method: method.as_str(), host: &host.name, port, path: &path, headers: &sent };
        let found = router.find(&request).map(|hit| hit.record().id());
        assert_eq!(found, oracle::decide(routes, &question), "{request:?} among {routes:#?}");
    }
}
