//! The host functions against the interface's own words, without a guest.

use crate::bindings::weir::plugin::types::{Field, HeaderFault};
use crate::bindings::weir::plugin::{counters, credentials, exchange, random, request, response};
use crate::exchange::{Exchange, HeaderEdit, Kill, ResponseHead};
use crate::figures::Stats;
use crate::limits::{Budget, FOUND_CREDENTIALS, HEADERS, KNOWN_NAMES};
use crate::shared::{Shared, unix_seconds};
use crate::state::{Origin, State};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use std::sync::Arc;
use weir_model::entity::ComponentSettings;
use weir_model::{Directory, Entity, Id, Kind, Page, Phase, Revision, Selection, View, ViewError};

mod preparations;

/// Consumers and keys in two lists.
#[derive(Default)]
struct People(Vec<Entity>, bool);

impl View for People {
    fn revision(&self) -> Revision {
        Revision(1)
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(self.0.iter().find(|entity| (entity.kind, entity.id) == (kind, id)).cloned())
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(self.get(kind, id)?.map(|_| self.revision()))
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        if self.1 {
            return Err(ViewError("the disk is gone".into()));
        }
        Ok(self.0.iter().find(|entity| entity.kind == kind && entity.text(index) == Some(key)).map(|entity| entity.id))
    }
    fn list(&self, _: Kind, _: &Selection, _: Option<Id>, _: usize) -> Result<Page, ViewError> {
        Ok(Page::default())
    }
    fn tags(&self, _: Option<&str>, _: Option<(String, Kind, Id)>, _: usize) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        Ok(Vec::new())
    }
    fn count(&self, _: Kind) -> Result<u64, ViewError> {
        Ok(0)
    }
}

impl People {
    fn add(&mut self, kind: Kind, mut body: serde_json::Value) -> Id {
        let id = Id::random();
        body["id"] = json!(id);
        let serde_json::Value::Object(body) = body else { unreachable!() };
        self.0.push(Entity { kind, id, body });
        id
    }
    fn consumer(&mut self, username: &str) -> Id {
        self.add(Kind::Consumer, json!({"username": username, "custom_id": "c-1"}))
    }
    fn key(&mut self, consumer: Id, key: &str, created: i64, ttl: Option<u64>) -> Id {
        self.add(Kind::KeyAuth, json!({"key": key, "consumer": {"id": consumer}, "created_at": created, "ttl": ttl}))
    }
}

/// A state in the request phase of entry 3.
fn state() -> State {
    let origin = Origin {
        name: "p".into(),
        version: "1.0.0".into(),
        credentials: vec!["key-auth".into()],
        stats: Arc::new(Stats::new(1)),
        shared: Arc::new(Shared::new()),
    };
    let mut state = State::new(Arc::new(origin), Budget::of(&ComponentSettings::default()));
    state.phase = Some(Phase::Request);
    state.entry_slot = 3;
    state.exchange.request.sent = false;
    state.exchange.request.host = "example.com".into();
    state
}

fn with(people: People) -> State {
    let mut state = state();
    state.exchange.directory = Some(Directory::new(Arc::new(people)));
    state
}

fn header<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    exchange.request.headers.get(name).map(|value| value.to_str().unwrap())
}

fn killed<T>(state: &State, outcome: wasmtime::Result<T>) -> Kill {
    state.judge(&outcome.err().expect("the call ended"))
}

fn set(state: &mut State, name: &str, value: &str) -> Result<(), HeaderFault> {
    request::Host::set_header(state, name.into(), value.into()).unwrap()
}

#[test]
fn request_headers_are_written_until_the_head_is_sent() {
    let mut state = state();
    assert_eq!(set(&mut state, "X-Env", "prod"), Ok(()));
    assert_eq!(set(&mut state, "x-consumer-id", "me"), Err(HeaderFault::Reserved));
    assert_eq!(set(&mut state, "content-length", "1"), Err(HeaderFault::Reserved));
    assert_eq!(set(&mut state, "x env", "1"), Err(HeaderFault::BadName));
    assert_eq!(set(&mut state, "x-env", "a\r\nb: c"), Err(HeaderFault::BadValue));
    assert_eq!(set(&mut state, "x-env", &"v".repeat(8_193)), Err(HeaderFault::BadValue));
    assert_eq!(header(&state.exchange, "x-env"), Some("prod"));
    request::Host::remove_header(&mut state, "X-ENV".into()).unwrap();
    assert_eq!(header(&state.exchange, "x-env"), None);
    state.exchange.request.sent = true;
    assert_eq!(set(&mut state, "x-env", "1"), Err(HeaderFault::HeadAlreadySent));
    assert_eq!(request::Host::set_method(&mut state, "PUT".into()).unwrap(), Err(HeaderFault::HeadAlreadySent));
    assert_eq!(request::Host::set_target(&mut state, "/".into(), None).unwrap(), Err(HeaderFault::HeadAlreadySent));
}

#[test]
fn nothing_can_be_written_in_the_log_phase() {
    let mut state = state();
    state.phase = Some(Phase::Log);
    state.exchange.response = Some(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new(), sent: false });
    assert_eq!(set(&mut state, "x-env", "1"), Err(HeaderFault::HeadAlreadySent));
    assert_eq!(response::Host::set_header(&mut state, "x".into(), vec![]).unwrap(), Err(HeaderFault::HeadAlreadySent));
    response::Host::set_status(&mut state, 500).unwrap();
    assert_eq!(response::Host::status(&mut state).unwrap(), Some(200));
}

#[test]
fn a_request_has_one_host_and_it_is_one() {
    let mut state = state();
    let read = |state: &mut State| request::Host::header(state, "Host".into()).unwrap();
    assert_eq!(read(&mut state).as_deref(), Some(&b"example.com"[..]));
    assert_eq!(request::Host::add_header(&mut state, "Host".into(), b"a.test:80".to_vec()).unwrap(), Ok(()));
    assert_eq!(request::Host::add_header(&mut state, "host".into(), b"b.test".to_vec()).unwrap(), Ok(()));
    assert_eq!(request::Host::header_values(&mut state, "host".into()).unwrap(), [b"b.test"]);
    for wrong in ["", "a b", "a/b", "user@host"] {
        assert_eq!(set(&mut state, "host", wrong), Err(HeaderFault::BadValue), "{wrong}");
    }
}

#[test]
fn targets_and_methods_are_checked() {
    let mut state = state();
    let mut target =
        |path: &str, query: Option<&str>| request::Host::set_target(&mut state, path.into(), query.map(str::to_owned)).unwrap();
    for (path, query) in [
        ("", None),
        ("x", None),
        ("/a b", None),
        ("/a?b", None),
        ("/a#b", None),
        ("/é", None),
        ("/", Some("a#b")),
        ("/", Some("\n")),
    ] {
        assert_eq!(target(path, query), Err(HeaderFault::BadValue), "{path} {query:?}");
    }
    assert_eq!(target(&format!("/{}", "a".repeat(8_192)), None), Err(HeaderFault::BadValue));
    assert_eq!(target("/b%20c", Some("d=?")), Ok(()));
    assert_eq!(state.exchange.request.routed_path.as_deref(), Some(""), "the path that was routed is still known");
    assert_eq!((state.exchange.request.path.as_str(), state.exchange.request.query.as_deref()), ("/b%20c", Some("d=?")));
    let mut method = |method: &str| request::Host::set_method(&mut state, method.into()).unwrap();
    assert_eq!(method("PATCH"), Ok(()));
    for wrong in ["", "GE T", "CONNECT", &"M".repeat(33)] {
        assert_eq!(method(wrong), Err(HeaderFault::BadValue), "{wrong}");
    }
}

#[test]
fn response_writes_before_there_is_a_response_wait_in_order() {
    let mut state = state();
    assert_eq!(response::Host::set_header(&mut state, "A".into(), b"1".to_vec()).unwrap(), Ok(()));
    assert_eq!(response::Host::add_header(&mut state, "a".into(), b"2".to_vec()).unwrap(), Ok(()));
    response::Host::remove_header(&mut state, "server".into()).unwrap();
    response::Host::set_status(&mut state, 404).unwrap();
    assert_eq!(response::Host::status(&mut state).unwrap(), None);
    assert_eq!(response::Host::header(&mut state, "a".into()).unwrap(), None, "there is no response to read");
    let mut headers = HeaderMap::from_iter([(http::header::SERVER, HeaderValue::from_static("nginx"))]);
    state.exchange.response_edits.iter().for_each(|edit| edit.apply(&mut headers));
    assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(headers.len(), 2);
    state.exchange.response_edits = (0..HEADERS).map(|_| HeaderEdit::Remove(http::header::SERVER).into()).collect();
    assert_eq!(response::Host::set_header(&mut state, "a".into(), vec![]).unwrap(), Err(HeaderFault::TooMany));
}

#[test]
fn a_response_is_written_until_it_is_sent() {
    let mut state = state();
    state.phase = Some(Phase::Response);
    state.exchange.response = Some(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new(), sent: false });
    response::Host::set_status(&mut state, 404).unwrap();
    assert_eq!(response::Host::add_header(&mut state, "a".into(), b"1".to_vec()).unwrap(), Ok(()));
    assert_eq!(response::Host::headers(&mut state).unwrap().len(), 1);
    assert_eq!(response::Host::set_header(&mut state, "Transfer-Encoding".into(), vec![]).unwrap(), Err(HeaderFault::Reserved));
    state.exchange.response.as_mut().unwrap().sent = true;
    response::Host::set_status(&mut state, 500).unwrap();
    assert_eq!(response::Host::status(&mut state).unwrap(), Some(404));
    assert_eq!(response::Host::set_header(&mut state, "a".into(), vec![]).unwrap(), Err(HeaderFault::HeadAlreadySent));
    let outcome = response::Host::set_status(&mut state, 199);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

#[test]
fn authenticating_sets_the_consumer_and_removes_what_was_forged() {
    let mut people = People::default();
    let alice = people.consumer("alice");
    let key = people.key(alice, "secret", 0, None);
    let mut state = with(people);
    for name in [
        "x-consumer-id",
        "x-consumer-username",
        "x_consumer_custom_id",
        "x-credential-identifier",
        "x-anonymous-consumer",
        "x-other",
    ] {
        state.exchange.request.headers.append(name, HeaderValue::from_static("forged"));
    }
    let found = credentials::Host::find(&mut state, "key-auth".into(), b"secret".to_vec()).unwrap().unwrap();
    assert!(state.exchange.caller.is_none(), "finding is not authenticating");
    assert!(!String::from_utf8(found.data).unwrap().contains("secret"));
    assert!(credentials::Host::authenticate(&mut state, found.handle).unwrap());
    let caller = state.exchange.caller.clone().unwrap();
    assert_eq!((caller.consumer.id, caller.credential), (alice, Some(key)));
    for (name, value) in [
        ("X-Consumer-Id", alice.to_string()),
        ("x-consumer-username", "alice".to_owned()),
        ("x-consumer-custom-id", "c-1".to_owned()),
        ("x-credential-identifier", key.to_string()),
    ] {
        assert_eq!(request::Host::header(&mut state, name.into()).unwrap(), Some(value.clone().into_bytes()), "{name}");
        assert_eq!(request::Host::header_values(&mut state, name.into()).unwrap(), [value.into_bytes()], "{name}");
    }
    for name in ["x_consumer_custom_id", "x-anonymous-consumer"] {
        assert_eq!(request::Host::header(&mut state, name.into()).unwrap(), None, "{name}");
        assert!(request::Host::header_values(&mut state, name.into()).unwrap().is_empty(), "{name}");
    }
    let fields = request::Host::headers(&mut state).unwrap();
    assert_eq!(fields.iter().filter(|field| field.value == b"forged").count(), 1, "only x-other");
    assert_eq!(fields.len(), 6, "that, four about the caller, and host: {fields:?}");
    let who = exchange::Host::consumer(&mut state).unwrap().unwrap();
    assert_eq!((who.username.as_deref(), who.custom_id.as_deref()), (Some("alice"), Some("c-1")));
}

#[test]
fn an_anonymous_consumer_is_marked_as_one() {
    let mut people = People::default();
    let guest = people.consumer("guest");
    let mut state = with(people);
    state.exchange.request.headers.insert("x-credential-identifier", HeaderValue::from_static("forged"));
    assert!(!credentials::Host::authenticate_anonymous(&mut state, "nobody".into()).unwrap());
    assert!(credentials::Host::authenticate_anonymous(&mut state, "guest".into()).unwrap());
    assert_eq!(request::Host::header(&mut state, "x-anonymous-consumer".into()).unwrap().as_deref(), Some(&b"true"[..]));
    assert_eq!(request::Host::header(&mut state, "x-credential-identifier".into()).unwrap(), None);
    assert_eq!(state.exchange.caller.take().unwrap().credential, None);
    assert!(credentials::Host::authenticate_anonymous(&mut state, guest.to_string()).unwrap());
    assert_eq!(state.exchange.caller.as_ref().unwrap().consumer.id, guest);
}

#[test]
fn what_is_expired_unknown_or_not_the_plugins_is_not_found() {
    let mut people = People::default();
    let alice = people.consumer("alice");
    people.key(alice, "old", unix_seconds() - 100, Some(100));
    people.key(alice, "young", unix_seconds(), Some(100));
    let mut state = with(people);
    let mut find = |kind: &str, key: &[u8]| credentials::Host::find(&mut state, kind.into(), key.to_vec()).unwrap().is_some();
    assert!(find("key-auth", b"young"));
    assert!(!find("key-auth", b"old"), "its time is over");
    assert!(!find("key-auth", b"other"));
    assert!(!find("key-auth", b"\xff\xfe"));
    assert!(!find("jwt", b"young"), "the manifest does not name it");
}

#[test]
fn handles_that_were_not_given_authenticate_nobody() {
    let mut people = People::default();
    let alice = people.consumer("alice");
    people.key(alice, "secret", 0, None);
    let mut state = with(people);
    let handle = credentials::Host::find(&mut state, "key-auth".into(), b"secret".to_vec()).unwrap().unwrap().handle;
    assert!(!credentials::Host::authenticate(&mut state, handle + 1).unwrap());
    state.entry_slot = 4;
    assert!(!credentials::Host::authenticate(&mut state, handle).unwrap(), "another entry found it");
    state.entry_slot = 3;
    state.exchange.request.sent = true;
    assert!(!credentials::Host::authenticate(&mut state, handle).unwrap(), "the upstream could not be told");
    assert!(state.exchange.caller.is_none());
}

#[test]
fn finding_is_bounded_and_an_unreadable_store_ends_the_call() {
    let mut people = People::default();
    let alice = people.consumer("alice");
    (0..=FOUND_CREDENTIALS).for_each(|number| {
        people.key(alice, &number.to_string(), 0, None);
    });
    let mut state = with(people);
    let mut find = |key: usize| credentials::Host::find(&mut state, "key-auth".into(), key.to_string().into_bytes());
    (0..FOUND_CREDENTIALS).for_each(|number| assert_eq!(find(number).unwrap().unwrap().handle as usize, number));
    assert_eq!(find(0).unwrap().unwrap().handle, 0, "the same one has the same handle");
    let outcome = find(FOUND_CREDENTIALS);
    assert_eq!(killed(&state, outcome), Kill::Limit);
    let mut state = with(People(Vec::new(), true));
    let outcome = credentials::Host::find(&mut state, "key-auth".into(), b"k".to_vec());
    assert_eq!(killed(&state, outcome), Kill::Host);
}

#[test]
fn counters_refuse_what_the_interface_does_not_allow() {
    let limit = |period, max| counters::Limit { period, max };
    let hour = counters::Period::Hour;
    let mut state = state();
    let (took, usages) = counters::Host::take(&mut state, "k".into(), vec![limit(hour, 2)], 2).unwrap();
    assert!(took && usages[0].used == 2 && (1..=3_600).contains(&usages[0].resets_in_s));
    assert!(!counters::Host::take(&mut state, "k".into(), vec![limit(hour, 2)], 1).unwrap().0);
    for (key, limits) in
        [("k".repeat(1_025), vec![]), ("k".into(), vec![limit(hour, 1); 2]), ("k".into(), vec![limit(hour, 1); 7])]
    {
        let mut state = self::state();
        let outcome = counters::Host::take(&mut state, key, limits, 1);
        assert_eq!(killed(&state, outcome), Kill::Limit);
    }
}

#[test]
fn random_bytes_are_given_by_the_kilobyte() {
    let mut state = state();
    let (one, other) = (random::Host::bytes(&mut state, 1_024).unwrap(), random::Host::bytes(&mut state, 1_024).unwrap());
    assert_ne!(one, other);
    let outcome = random::Host::bytes(&mut state, 1_025);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

#[test]
fn without_an_exchange_there_is_nothing_to_read_or_write() {
    let mut state = state();
    state.phase = None;
    let outcome = request::Host::path(&mut state);
    assert_eq!(killed(&state, outcome), Kill::Limit);
    let outcome = request::Host::set_header(&mut state, "a".into(), vec![]);
    assert_eq!(killed(&state, outcome), Kill::Limit);
    let outcome = counters::Host::take(&mut state, "k".into(), vec![], 1);
    assert_eq!(killed(&state, outcome), Kill::Limit);
    assert!(random::Host::bytes(&mut state, 1).is_ok());
}

#[test]
fn facts_of_the_exchange_are_given_as_they_are() {
    let mut state = state();
    state.exchange.captures = vec![("1".into(), "7".into()), ("id".into(), "7".into())];
    state.exchange.outcome.upstream = Some(std::time::Duration::from_millis(3));
    assert_eq!(exchange::Host::capture(&mut state, "id".into()).unwrap().as_deref(), Some("7"));
    assert_eq!(exchange::Host::capture(&mut state, "2".into()).unwrap(), None);
    assert_eq!(exchange::Host::outcome(&mut state).unwrap().upstream_us, Some(3_000));
    assert_eq!(exchange::Host::route(&mut state).unwrap().id, "", "in the log phase of a request without a route");
    assert!(exchange::Host::service(&mut state).unwrap().is_none());
    let outcome = exchange::Host::keep(&mut state, vec![0; 16_385]);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.into(), value: value.into() }
}

#[test]
fn names_that_come_again_are_the_same_ones_and_reserved_ones_are_not_remembered() {
    let mut names = super::headers::KnownNames::default();
    for round in 0..3 {
        for number in 0..KNOWN_NAMES + 3 {
            let name = format!("x-{number}");
            assert_eq!(names.writable(&name).unwrap(), name.as_str(), "{round}");
        }
        assert_eq!(names.writable("X-1").unwrap(), "x-1");
        assert_eq!(names.writable("te"), Err(HeaderFault::Reserved));
        assert_eq!(names.writable("a b"), Err(HeaderFault::BadName));
    }
}
