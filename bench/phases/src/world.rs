//! What the calls happen in: a hundred callers with keys, and exchanges as the proxy makes them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;
use weir_model::{Consumer, Directory, Entity, Id, Kind, Page, Revision, Selection, View, ViewError};
use weir_plugin_host::exchange::{Exchange, RequestHead, ResponseHead};

/// Callers with a key, as in the comparison of proxies.
const CALLERS: usize = 100;

/// Headers of a request, besides its key; `Host` is not among the headers of an exchange.
const REQUEST_HEADERS: [(&str, &str); 9] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br"),
    ("referer", "https://shop.example.com/account/orders"),
    ("cookie", "session=6f1c0e5ab2d94c3f8e77; theme=dark"),
    ("cache-control", "no-cache"),
    ("sec-fetch-mode", "cors"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

/// Headers of a response.
const RESPONSE_HEADERS: [(&str, &str); 6] = [
    ("server", "origin"),
    ("date", "Mon, 02 Nov 2026 08:12:31 GMT"),
    ("content-type", "application/json"),
    ("cache-control", "private, max-age=0"),
    ("etag", "\"5d8c72a5edda8\""),
    ("content-length", "1024"),
];

/// A caller and his credential.
pub struct Caller {
    /// Who, by which credential.
    pub known: Arc<weir_model::directory::Caller>,
    /// The key.
    pub key: String,
}

/// The callers, and the directory that the host finds them in.
pub struct World {
    callers: Vec<Caller>,
    directory: Directory,
    request: HeaderMap,
    response: HeaderMap,
}

/// Caller number `number`: the same for both sides.
pub fn caller(number: usize) -> Caller {
    let id = |kind: u8| Id::parse(&format!("{kind:08x}-0000-4000-8000-{number:012x}")).unwrap_or_else(Id::random);
    let consumer = Consumer { id: id(1), username: Some(format!("caller-{number:03}")), custom_id: None };
    let known = weir_model::directory::Caller::new(Arc::new(consumer), Some(id(2)));
    Caller { known: Arc::new(known), key: format!("{:032x}", (number as u128 + 1) << 64) }
}

/// All of them.
pub fn callers() -> Vec<Caller> {
    (0..CALLERS).map(caller).collect()
}

impl World {
    /// The world.
    pub fn new() -> Self {
        let callers = callers();
        let directory = Directory::new(Arc::new(Store::of(&callers)));
        Self { callers, directory, request: headers(&REQUEST_HEADERS), response: headers(&RESPONSE_HEADERS) }
    }

    /// A request with a key, not authenticated yet.
    pub fn request(&self, number: usize) -> Box<Exchange> {
        let mut headers = self.request.clone();
        if let Some(caller) = self.caller(number)
            && let Ok(key) = HeaderValue::from_str(&caller.key)
        {
            headers.insert("apikey", key);
        }
        let head = RequestHead {
            method: Method::GET,
            scheme: "http",
            host: "api.example.com".to_owned(),
            path: "/orders/4711".to_owned(),
            query: Some("expand=lines".to_owned()),
            headers,
            sent: false,
            routed_path: None,
        };
        let id = "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned();
        let mut exchange = Exchange::new(id, head, IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7)));
        exchange.directory = Some(self.directory.clone());
        Box::new(exchange)
    }

    /// The same with the key in the query.
    pub fn request_with_query(&self, number: usize) -> Box<Exchange> {
        let mut exchange = self.request(number);
        exchange.request.headers.remove("apikey");
        exchange.request.query = self.caller(number).map(|caller| format!("expand=lines&apikey={}", caller.key));
        exchange
    }

    /// A request whose caller is known.
    pub fn authenticated(&self, number: usize) -> Box<Exchange> {
        let mut exchange = self.request(number);
        exchange.caller = self.caller(number).map(|caller| Arc::clone(&caller.known));
        exchange
    }

    /// The same with the upstream's response.
    pub fn answered(&self, number: usize) -> Box<Exchange> {
        let mut exchange = self.authenticated(number);
        exchange.request.sent = true;
        exchange.response = Some(ResponseHead { status: StatusCode::OK, headers: self.response.clone(), sent: false });
        exchange
    }

    fn caller(&self, number: usize) -> Option<&Caller> {
        self.callers.get(number % CALLERS)
    }
}

/// What a plugin can change of an exchange, in an order that does not depend on how it was done.
pub fn describe(mut exchange: Box<Exchange>) -> String {
    let edits = std::mem::take(&mut exchange.response_edits);
    let response =
        exchange.response.get_or_insert(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new(), sent: false });
    edits.iter().for_each(|edit| edit.apply(&mut response.headers));
    let sorted = |headers: &HeaderMap| {
        let mut lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        lines.sort();
        lines.join(" ")
    };
    let request = &exchange.request;
    let who = exchange.caller.as_ref().map(|caller| (caller.consumer.id, caller.credential, caller.headers()));
    let target = format!("{}?{}", request.path, request.query.as_deref().unwrap_or_default());
    format!("{target} {} / {} / {who:?}", sorted(&request.headers), sorted(&response.headers))
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// Consumers and credentials in memory; the directory remembers what it found, so this is asked once for each.
struct Store {
    entities: HashMap<(Kind, Id), Entity>,
    keys: HashMap<String, Id>,
}

impl Store {
    fn of(callers: &[Caller]) -> Self {
        let (mut entities, mut keys) = (HashMap::new(), HashMap::new());
        let mut put = |kind, id, body: serde_json::Value| {
            if let serde_json::Value::Object(body) = body {
                entities.insert((kind, id), Entity { kind, id, body });
            }
        };
        for caller in callers {
            let consumer = caller.known.consumer.id;
            let Some(credential) = caller.known.credential else { continue };
            let username = &caller.known.consumer.username;
            put(
                Kind::Consumer,
                consumer,
                json!({ "id": consumer, "username": username, "custom_id": null, "tags": null, "created_at": 1, "updated_at": 1 }),
            );
            put(
                Kind::KeyAuth,
                credential,
                json!({ "id": credential, "key": caller.key, "consumer": { "id": consumer }, "ttl": null, "tags": null, "created_at": 1 }),
            );
            keys.insert(caller.key.clone(), credential);
        }
        Self { entities, keys }
    }
}

impl View for Store {
    fn revision(&self) -> Revision {
        Revision(1)
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(self.entities.get(&(kind, id)).cloned())
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        Ok(self.keys.get(key).copied().filter(|_| kind == Kind::KeyAuth && index == "key"))
    }
    fn list(&self, _: Kind, _: &Selection, _: Option<Id>, _: usize) -> Result<Page, ViewError> {
        Err(ViewError("no phase lists entities".to_owned()))
    }
    fn tags(&self, _: Option<&str>, _: Option<(String, Kind, Id)>, _: usize) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        Err(ViewError("no phase asks for tags".to_owned()))
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        Ok(self.entities.keys().filter(|(of, _)| *of == kind).count() as u64)
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(self.get(kind, id)?.map(|_| self.revision()))
    }
}
