//! What a configuration prepares: edits, look-ups, rules and steps.

use super::{People, field, header, killed, set, state, with};
use crate::bindings::weir::plugin::counters::{Announcement, Figure, Limit, Period, Rule, Scope, Subject, Verdict, Window};
use crate::bindings::weir::plugin::credentials::LookedUp;
use crate::bindings::weir::plugin::steps::Step;
use crate::bindings::weir::plugin::types::{HeaderEdit as WitEdit, HeaderFault};
use crate::bindings::weir::plugin::{counters, credentials, request, response, steps};
use crate::exchange::{Exchange, Kill, ResponseHead};
use crate::host_calls::steps::take;
use crate::limits::{HEADERS, PREPARED_EDITS, PREPARED_LOOKUPS, PREPARED_RULES, STEP_EDITS, STEPS};
use crate::shared::unix_seconds;
use crate::state::State;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::rc::Rc;
use std::sync::Arc;
use weir_model::Phase;

/// What was prepared is what the phases that come use.
fn serve(state: &mut State) {
    let prepared = state.prepared.end();
    state.prepared.serve(prepared);
}

/// Prepares for the request while this configuration is made.
fn prepare(state: &mut State, edits: Vec<WitEdit>) -> Result<u32, HeaderFault> {
    request::Host::prepare_edits(state, edits).unwrap()
}

#[test]
fn prepared_edits_are_judged_when_they_are_prepared() {
    let mut state = state();
    state.prepared.begin();
    for (name, fault) in [("a b", HeaderFault::BadName), ("te", HeaderFault::Reserved), ("X_Consumer_ID", HeaderFault::Reserved)]
    {
        for edit in [WitEdit::Set(field(name, "1")), WitEdit::Remove(name.into()), WitEdit::Rename(("x".into(), name.into()))] {
            assert_eq!(prepare(&mut state, vec![WitEdit::Remove("x".into()), edit.clone()]), Err(fault), "{name}");
            assert_eq!(response::Host::prepare_edits(&mut state, vec![edit]).unwrap(), Err(fault), "{name}");
        }
    }
    for edit in [WitEdit::Set(field("X-Forwarded-For", "1")), WitEdit::Rename(("x-real-ip".into(), "x".into()))] {
        assert_eq!(prepare(&mut state, vec![edit]), Err(HeaderFault::Reserved), "the proxy writes it after the plugins");
    }
    assert_eq!(set(&mut state, "x-known", "1"), Ok(()));
    let known = response::Host::set_header(&mut state, "x-real-ip".into(), b"1".to_vec()).unwrap();
    assert_eq!(
        (known, set(&mut state, "x-real-ip", "1")),
        (Ok(()), Err(HeaderFault::Reserved)),
        "remembered names are judged too"
    );
    assert_eq!(prepare(&mut state, vec![WitEdit::Add(field("x", "a\nb"))]), Err(HeaderFault::BadValue));
    assert_eq!(prepare(&mut state, vec![WitEdit::AddIfAbsent(field("Host", "a b"))]), Err(HeaderFault::BadValue));
    assert_eq!(prepare(&mut state, vec![WitEdit::Rename(("host".into(), "x".into()))]), Err(HeaderFault::Reserved));
    assert_eq!(prepare(&mut state, vec![WitEdit::Set(field("host", "a.test"))]), Ok(0), "what was refused took no number");
    let response_side = response::Host::prepare_edits(&mut state, vec![WitEdit::Set(field("host", "a b"))]).unwrap();
    assert_eq!(response_side, Ok(0), "a response may have any");
}

#[test]
fn a_configuration_prepares_a_thousand_edits_and_a_quarter_of_a_megabyte() {
    let mut state = state();
    state.prepared.begin();
    let removals = |count: usize| vec![WitEdit::Remove("x".into()); count];
    assert_eq!(prepare(&mut state, removals(PREPARED_EDITS + 1)), Err(HeaderFault::TooMany));
    assert_eq!(prepare(&mut state, removals(PREPARED_EDITS - 1)), Ok(0));
    assert_eq!(response::Host::prepare_edits(&mut state, removals(2)).unwrap(), Err(HeaderFault::TooMany), "both together");
    assert_eq!(prepare(&mut state, vec![]), Ok(1), "an empty list takes a place");
    assert_eq!(prepare(&mut state, vec![]), Err(HeaderFault::TooMany));
    assert!(state.prepared.end().is_some());
    state.prepared.begin();
    let large = |count: usize| vec![WitEdit::Add(field("x", &"v".repeat(8_191))); count];
    assert_eq!(prepare(&mut state, large(33)), Err(HeaderFault::TooMany));
    assert_eq!(prepare(&mut state, large(32)), Ok(0), "each configuration has its own limit");
    assert_eq!(prepare(&mut state, removals(1)), Err(HeaderFault::TooMany));
}

#[test]
fn prepared_edits_belong_to_their_configuration() {
    let mut state = state();
    let [four, nine] = ["four", "nine"].map(|value| {
        state.prepared.begin();
        assert_eq!(prepare(&mut state, vec![WitEdit::Set(field("x", value))]), Ok(0));
        state.prepared.end()
    });
    state.prepared.serve(four);
    assert_eq!(request::Host::apply_edits(&mut state, 0).unwrap(), Ok(()));
    assert_eq!(header(&state.exchange, "x"), Some("four"));
    state.prepared.serve(nine);
    assert_eq!(request::Host::apply_edits(&mut state, 0).unwrap(), Ok(()));
    assert_eq!(header(&state.exchange, "x"), Some("nine"));
    for number in [1, u32::MAX] {
        let outcome = request::Host::apply_edits(&mut state, number);
        assert_eq!(killed(&state, outcome), Kill::Limit);
    }
    let outcome = response::Host::apply_edits(&mut state, 0);
    assert_eq!(killed(&state, outcome), Kill::Limit, "a number of the other interface");
    state.prepared.begin();
    let nothing = state.prepared.end();
    assert!(nothing.is_none());
    state.prepared.serve(nothing);
    let outcome = request::Host::apply_edits(&mut state, 0);
    assert_eq!(killed(&state, outcome), Kill::Limit, "another configuration prepared nothing");
}

#[test]
fn edits_are_prepared_only_by_configure_and_made_only_in_phases() {
    let mut state = state();
    let outcome = request::Host::prepare_edits(&mut state, vec![]);
    assert_eq!(killed(&state, outcome), Kill::Limit);
    state.prepared.begin();
    state.phase = None;
    assert_eq!(prepare(&mut state, vec![]), Ok(0));
    let outcome = request::Host::apply_edits(&mut state, 0);
    assert_eq!(killed(&state, outcome), Kill::Limit);
    assert!(state.prepared.end().is_some());
    let outcome = response::Host::prepare_edits(&mut state, vec![]);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

#[test]
fn edits_are_made_all_or_none_and_until_the_head_is_sent() {
    let mut state = state();
    state.prepared.begin();
    let many = |count: usize| (0..count).map(|number| WitEdit::Set(field(&format!("h{number}"), "1"))).collect::<Vec<_>>();
    assert_eq!(prepare(&mut state, many(HEADERS)), Ok(0));
    assert_eq!(prepare(&mut state, vec![WitEdit::Remove("h0".into()), WitEdit::Set(field("x", "1"))]), Ok(1));
    assert_eq!(response::Host::prepare_edits(&mut state, many(HEADERS)).unwrap(), Ok(0));
    serve(&mut state);
    assert_eq!(set(&mut state, "x-mine", "1"), Ok(()));
    assert_eq!(request::Host::apply_edits(&mut state, 0).unwrap(), Err(HeaderFault::TooMany));
    assert_eq!(state.exchange.request.headers.len(), 1, "nothing was written");
    request::Host::remove_header(&mut state, "x-mine".into()).unwrap();
    assert_eq!(request::Host::apply_edits(&mut state, 0).unwrap(), Ok(()));
    assert_eq!(request::Host::apply_edits(&mut state, 0).unwrap(), Ok(()), "replacing adds none");
    assert_eq!(request::Host::apply_edits(&mut state, 1).unwrap(), Ok(()), "what is removed makes room");
    assert_eq!(state.exchange.request.headers.len(), HEADERS);
    let fields = vec![field("x-new", "1"), field("h1", "2")];
    assert_eq!(request::Host::set_headers(&mut state, fields).unwrap(), Err(HeaderFault::TooMany));
    assert_eq!(header(&state.exchange, "h1"), Some("1"));
    // Before there is a response, each edit is one of the writes that wait.
    assert_eq!(response::Host::set_headers(&mut state, vec![field("a", "1")]).unwrap(), Ok(()));
    assert_eq!(response::Host::apply_edits(&mut state, 0).unwrap(), Err(HeaderFault::TooMany));
    assert_eq!(state.exchange.response_edits.len(), 1);
    state.exchange.request.sent = true;
    assert_eq!(request::Host::apply_edits(&mut state, 1).unwrap(), Err(HeaderFault::HeadAlreadySent));
    assert_eq!(request::Host::set_headers(&mut state, vec![]).unwrap(), Err(HeaderFault::HeadAlreadySent));
    state.exchange.response = Some(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new(), sent: true });
    assert_eq!(response::Host::apply_edits(&mut state, 0).unwrap(), Err(HeaderFault::HeadAlreadySent));
}

#[test]
fn a_client_s_host_counts_as_there_for_prepared_edits() {
    let mut state = state();
    state.prepared.begin();
    let absent = WitEdit::AddIfAbsent(field("host", "absent.test"));
    assert_eq!(prepare(&mut state, vec![absent, WitEdit::Set(field("x", "1"))]), Ok(0));
    assert_eq!(prepare(&mut state, vec![WitEdit::SetIfPresent(field("Host", "present.test"))]), Ok(1));
    serve(&mut state);
    assert_eq!(request::Host::apply_edits(&mut state, 0).unwrap(), Ok(()));
    assert_eq!((header(&state.exchange, "host"), header(&state.exchange, "x")), (None, Some("1")));
    assert_eq!(request::Host::apply_edits(&mut state, 1).unwrap(), Ok(()));
    assert_eq!(header(&state.exchange, "host"), Some("present.test"));
}

fn lookup(state: &mut State, kind: &str, header: &str) -> Result<u32, HeaderFault> {
    credentials::Host::prepare_lookup(state, kind.into(), header.into()).unwrap()
}

/// Two consumers with keys, one of them expired; look-ups 0 by `apikey` and 1 of a kind that the manifest does not name.
fn keys() -> State {
    let mut people = People::default();
    let ada = people.consumer("ada");
    people.key(ada, "secret", 1, None);
    people.key(ada, "old", unix_seconds() - 100, Some(50));
    let mut state = with(people);
    state.prepared.begin();
    assert_eq!(lookup(&mut state, "key-auth", "ApiKey"), Ok(0));
    assert_eq!(lookup(&mut state, "basic-auth", "apikey"), Ok(1));
    state
}

fn send(exchange: &mut Exchange, name: &'static str, values: &[&str]) {
    exchange.request.headers.remove(name);
    for value in values {
        exchange.request.headers.append(name, HeaderValue::from_str(value).unwrap());
    }
}

#[test]
fn a_prepared_look_up_authenticates_who_sent_the_key_in_its_header() {
    let mut state = keys();
    serve(&mut state);
    for (values, expected) in [
        (&[][..], LookedUp::Absent),
        (&[""], LookedUp::Empty),
        (&["secret", "secret"], LookedUp::Repeated),
        (&["secret, secret"], LookedUp::Unknown),
        (&["guess"], LookedUp::Unknown),
        (&["old"], LookedUp::Unknown),
        (&["secret"], LookedUp::Authenticated),
    ] {
        send(&mut state.exchange, "apikey", values);
        assert_eq!(credentials::Host::authenticate_by(&mut state, 0).unwrap(), expected, "{values:?}");
        let known = expected == LookedUp::Authenticated;
        assert_eq!(state.exchange.caller.is_some(), known, "{values:?}");
    }
    let caller = state.exchange.caller.clone().unwrap();
    let (consumer, credential) = (caller.consumer.id.to_string(), caller.credential.unwrap().to_string());
    let told: Vec<(&str, &str)> = caller.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected = [
        ("x-consumer-id", &*consumer),
        ("x-consumer-username", "ada"),
        ("x-consumer-custom-id", "c-1"),
        ("x-credential-identifier", &*credential),
    ];
    assert_eq!(told, expected);
    assert_eq!(credentials::Host::authenticate_by(&mut state, 1).unwrap(), LookedUp::Unknown, "not the manifest's kind");
    state.exchange.request.sent = true;
    assert_eq!(credentials::Host::authenticate_by(&mut state, 0).unwrap(), LookedUp::Unknown, "the upstream could not be told");
    let outcome = credentials::Host::authenticate_by(&mut state, 2);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

#[test]
fn look_ups_and_rules_are_judged_counted_and_prepared_only_by_configure() {
    let mut state = state();
    let outcome = credentials::Host::prepare_lookup(&mut state, "key-auth".into(), "apikey".into());
    assert_eq!(killed(&state, outcome), Kill::Limit);
    let outcome = counters::Host::prepare_rule(&mut state, rule(Subject::Consumer, &[], &[]));
    assert_eq!(killed(&state, outcome), Kill::Limit);
    state.prepared.begin();
    assert_eq!(lookup(&mut state, "key-auth", "a b"), Err(HeaderFault::BadName));
    for elsewhere in ["Host", "x-consumer-id", "X_Consumer_ID"] {
        assert_eq!(lookup(&mut state, "key-auth", elsewhere), Err(HeaderFault::Reserved), "{elsewhere}");
    }
    for number in 0..PREPARED_LOOKUPS {
        assert_eq!(lookup(&mut state, "key-auth", "apikey"), Ok(number as u32));
    }
    assert_eq!(lookup(&mut state, "key-auth", "apikey"), Err(HeaderFault::TooMany));
    let prepare = |state: &mut State, rule| counters::Host::prepare_rule(state, rule).unwrap();
    let told = |header: &str| rule(Subject::Consumer, &[(Period::Hour, 1)], &[(header, Figure::Limit, None)]);
    assert_eq!(prepare(&mut state, told("a b")), Err(HeaderFault::BadName));
    assert_eq!(prepare(&mut state, told("Content-Length")), Err(HeaderFault::Reserved));
    assert_eq!(prepare(&mut state, rule(Subject::Header("a b".into()), &[], &[])), Err(HeaderFault::BadName));
    let mut unspeakable = told("x");
    unspeakable.windows[0].text = Some("a\nb".into());
    assert_eq!(prepare(&mut state, unspeakable), Err(HeaderFault::BadValue));
    for number in 0..PREPARED_RULES {
        assert_eq!(prepare(&mut state, told("x")), Ok(number as u32));
    }
    assert_eq!(prepare(&mut state, told("x")), Err(HeaderFault::TooMany));
    for wrong in [
        rule(Subject::Consumer, &[(Period::Hour, 1), (Period::Hour, 2)], &[]),
        rule(Subject::Consumer, &[(Period::Hour, 1); 7], &[]),
        rule(Subject::Consumer, &[(Period::Hour, 1)], &[("x", Figure::Reset, Some(Period::Day))]),
        rule(Subject::Consumer, &[(Period::Hour, 1)], &[("x", Figure::Reset, None); 21]),
    ] {
        let mut state = super::state();
        state.prepared.begin();
        let outcome = counters::Host::prepare_rule(&mut state, wrong);
        assert_eq!(killed(&state, outcome), Kill::Limit);
    }
}

fn rule(by: Subject, limits: &[(Period, u64)], told: &[(&str, Figure, Option<Period>)]) -> Rule {
    let window = |(period, max): &(Period, u64)| Window { limit: Limit { period: *period, max: *max }, text: None };
    let announcement = |(header, figure, of): &(&str, Figure, Option<Period>)| Announcement {
        header: (*header).into(),
        figure: *figure,
        of: *of,
    };
    Rule { by, windows: limits.iter().map(window).collect(), announcements: told.iter().map(announcement).collect() }
}

/// What the client will be told.
fn told(exchange: &Exchange, name: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    exchange.response_edits.iter().for_each(|edit| edit.apply(&mut headers));
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn a_rule_takes_from_all_windows_or_none_and_tells_how_they_stand() {
    let mut state = state();
    state.prepared.begin();
    let announced = [
        ("limit-year", Figure::Limit, Some(Period::Year)),
        ("left-year", Figure::Remaining, Some(Period::Year)),
        ("limit", Figure::Limit, None),
        ("left", Figure::Remaining, None),
        ("reset", Figure::Reset, None),
    ];
    let mut yearly = rule(Subject::ClientIp, &[(Period::Year, 3), (Period::Month, 2)], &announced);
    yearly.windows[0].text = Some("2.5".into());
    assert_eq!(counters::Host::prepare_rule(&mut state, yearly).unwrap(), Ok(0));
    serve(&mut state);
    let told_now = |state: &State| ["limit-year", "left-year", "limit", "left"].map(|name| told(&state.exchange, name).unwrap());
    assert_eq!(counters::Host::take_by(&mut state, 0, 1).unwrap(), 0);
    assert_eq!(told_now(&state), ["2.5", "2", "2", "1"]);
    assert_eq!(counters::Host::take_by(&mut state, 0, 1).unwrap(), 0);
    assert_eq!(told_now(&state), ["2.5", "1", "2", "0"]);
    let wait = counters::Host::take_by(&mut state, 0, 1).unwrap();
    assert!(wait > 0, "the month has no room");
    assert_eq!(told(&state.exchange, "reset"), Some(wait.to_string()));
    assert_eq!(told_now(&state), ["2.5", "1", "2", "0"], "nothing was taken from the year either");
    let outcome = counters::Host::take_by(&mut state, 1, 1);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

#[test]
fn a_rule_counts_by_its_subject_and_by_address_where_there_is_none() {
    let mut state = state();
    state.prepared.begin();
    let header = || Subject::Header("X-Tenant".into());
    let subjects =
        [Subject::Consumer, Subject::Credential, Subject::Service, header(), Subject::Path("/a".into()), Subject::ClientIp];
    for (number, by) in (0..).zip(subjects) {
        assert_eq!(counters::Host::prepare_rule(&mut state, rule(by, &[(Period::Year, 1)], &[])).unwrap(), Ok(number));
    }
    serve(&mut state);
    let took = |state: &mut State, number| counters::Host::take_by(state, number, 1).unwrap() == 0;
    // Nobody and nothing: all fall back to the same address.
    state.exchange.request.path = "/b".into();
    assert!(took(&mut state, 0));
    (1..6).for_each(|number| assert!(!took(&mut state, number), "{number}"));
    // A header that says what another kind's key would be is none of them.
    send(&mut state.exchange, "x-tenant", &["unspecified"]);
    assert!(took(&mut state, 3) && !took(&mut state, 3));
    send(&mut state.exchange, "x-tenant", &["0.0.0.0"]);
    assert!(took(&mut state, 3), "a value is not an address");
    state.exchange.request.path = "/a".into();
    assert!(took(&mut state, 4) && !took(&mut state, 4));
    state.exchange.client_ip = "::ffff:10.0.0.1".parse().unwrap();
    assert!(took(&mut state, 5));
    state.exchange.client_ip = "10.0.0.1".parse().unwrap();
    assert!(!took(&mut state, 5), "the same address in another form");
}

#[test]
fn a_rule_of_the_cluster_counts_what_the_others_took_and_a_strict_one_needs_to_know() {
    let mut state = state();
    state.prepared.begin();
    for scope in [Scope::Node, Scope::Cluster, Scope::ClusterStrict] {
        let rule = rule(Subject::ClientIp, &[(Period::Year, 4)], &[("left", Figure::Remaining, None)]);
        assert!(counters::Host::prepare_scoped_rule(&mut state, rule, scope).unwrap().is_ok());
    }
    steps::Host::before_request(&mut state, vec![Step::TakeBy(2)]).unwrap();
    let prepared = state.prepared.end().unwrap();
    state.prepared.serve(Some(Rc::clone(&prepared)));
    let shared = Arc::clone(&state.origin.shared);
    shared.cluster.begin(std::time::Duration::ZERO, shared.now());
    let mut try_take = |number| counters::Host::try_take_by(&mut state, number, 1).unwrap();
    for rule in 0..3 {
        assert!(matches!(try_take(rule), Verdict::Taken));
    }
    let round = shared.cluster.begin_round(10, unix_seconds(), shared.now());
    assert_eq!(round.own.iter().map(|own| own.count).collect::<Vec<_>>(), [2], "the node's own count is not shared");
    shared.cluster.end_round(round, true, &[Some(1)]);
    assert!(matches!(try_take(1), Verdict::Taken));
    assert!(matches!(try_take(1), Verdict::NoRoom(seconds) if seconds >= 1));
    // A moment later the round is older than it may be.
    while shared.tick() == 0 {
        std::hint::spin_loop();
    }
    assert!(matches!(try_take(2), Verdict::Unknown));
    assert!(matches!(try_take(1), Verdict::NoRoom(_)), "the other rule goes on with what it knows");
    assert_eq!(counters::Host::take_by(&mut state, 2, 1).unwrap(), 1);
    state.exchange.response_edits.clear();
    assert!(!take(&prepared, Phase::Request, state.entry, &shared, &mut state.exchange), "the guest is called to say so");
    assert_eq!(told(&state.exchange, "left"), None);
}

#[test]
fn steps_that_go_through_make_the_phase_and_others_leave_it_to_the_guest() {
    let mut state = keys();
    let by_consumer = rule(Subject::Consumer, &[(Period::Year, 1)], &[("left", Figure::Remaining, None)]);
    assert_eq!(counters::Host::prepare_rule(&mut state, by_consumer).unwrap(), Ok(0));
    assert_eq!(prepare(&mut state, vec![WitEdit::Set(field("x-env", "prod"))]), Ok(0));
    assert_eq!(response::Host::prepare_edits(&mut state, vec![WitEdit::Set(field("x-late", "1"))]).unwrap(), Ok(0));
    let before = vec![Step::AuthenticateBy(0), Step::EditRequest(0), Step::EditResponse(0), Step::TakeBy(0)];
    steps::Host::before_request(&mut state, before).unwrap();
    steps::Host::before_response(&mut state, vec![Step::EditResponse(0)]).unwrap();
    let prepared = state.prepared.end().unwrap();
    let shared = Rc::new(crate::shared::Shared::new());
    let go = |state: &mut State, phase| take(&prepared, phase, state.entry, &shared, &mut state.exchange);
    assert!(!go(&mut state, Phase::Request), "no key");
    assert!(state.exchange.caller.is_none() && header(&state.exchange, "x-env").is_none());
    send(&mut state.exchange, "apikey", &["secret"]);
    assert!(go(&mut state, Phase::Request));
    assert_eq!(state.exchange.caller.as_ref().unwrap().consumer.username.as_deref(), Some("ada"));
    assert_eq!(header(&state.exchange, "x-env"), Some("prod"));
    assert_eq!((told(&state.exchange, "left"), told(&state.exchange, "x-late")), (Some("0".into()), Some("1".into())));
    assert!(!go(&mut state, Phase::Request), "no room");
    state.exchange.response = Some(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new(), sent: false });
    assert!(go(&mut state, Phase::Response));
    assert!(state.exchange.response.as_ref().unwrap().headers.contains_key("x-late"));
    assert!(!go(&mut state, Phase::Log), "the log phase has no steps");
    let full = (0..HEADERS).map(|number| (HeaderName::try_from(format!("h{number}")).unwrap(), HeaderValue::from_static("1")));
    state.exchange.response = Some(ResponseHead { status: StatusCode::OK, headers: full.collect(), sent: false });
    assert!(!go(&mut state, Phase::Response), "what is refused does not go through");
}

#[test]
fn steps_name_what_was_prepared_and_are_few() {
    for step in [Step::EditRequest(1), Step::EditResponse(0), Step::AuthenticateBy(0), Step::TakeBy(u32::MAX)] {
        let mut state = state();
        state.prepared.begin();
        assert_eq!(prepare(&mut state, vec![]), Ok(0));
        let outcome = steps::Host::before_request(&mut state, vec![Step::EditRequest(0), step]);
        assert_eq!(killed(&state, outcome), Kill::Limit, "{step:?}");
    }
    let mut state = state();
    let outcome = steps::Host::before_response(&mut state, vec![]);
    assert_eq!(killed(&state, outcome), Kill::Limit, "not while `configure` runs");
    state.prepared.begin();
    assert_eq!(prepare(&mut state, vec![]), Ok(0));
    steps::Host::before_request(&mut state, vec![Step::EditRequest(0); STEPS]).unwrap();
    let outcome = steps::Host::before_request(&mut state, vec![Step::EditRequest(0); STEPS + 1]);
    assert_eq!(killed(&state, outcome), Kill::Limit);
}

#[test]
fn steps_that_nobodys_budget_could_bound_are_left_to_the_guest() {
    let mut state = state();
    state.prepared.begin();
    let removals = |count: usize| vec![WitEdit::Remove("x".into()); count];
    assert_eq!(prepare(&mut state, removals(STEP_EDITS / 2)), Ok(0));
    let went = |state: &mut State, steps: Vec<Step>| {
        steps::Host::before_request(state, steps).unwrap();
        let prepared = state.prepared.end().unwrap();
        let through = take(&prepared, Phase::Request, state.entry, &crate::shared::Shared::new(), &mut state.exchange);
        state.prepared.begin();
        assert_eq!(prepare(state, removals(STEP_EDITS / 2)), Ok(0));
        through
    };
    assert!(went(&mut state, vec![Step::EditRequest(0); 2]));
    assert!(!went(&mut state, vec![Step::EditRequest(0); 3]), "the same list counts as often as it is named");
    assert_eq!(counters::Host::prepare_rule(&mut state, rule(Subject::ClientIp, &[(Period::Year, 1)], &[])).unwrap(), Ok(0));
    let outcome = steps::Host::before_request(&mut state, vec![Step::TakeBy(0), Step::EditRequest(0)]);
    assert_eq!(killed(&state, outcome), Kill::Limit, "the guest would take once more");
}

#[test]
fn what_waits_for_the_response_is_bounded_and_announcements_fill_the_rest() {
    let mut state = state();
    state.prepared.begin();
    let announced: Vec<_> = ["a", "b", "c"].into_iter().map(|header| (header, Figure::Remaining, None)).collect();
    assert_eq!(
        counters::Host::prepare_rule(&mut state, rule(Subject::ClientIp, &[(Period::Year, 9)], &announced)).unwrap(),
        Ok(0)
    );
    serve(&mut state);
    for _ in 0..1_000 {
        assert_eq!(response::Host::set_headers(&mut state, vec![]).unwrap(), Ok(()));
    }
    assert!(state.exchange.response_edits.is_empty(), "nothing to write waits for nothing");
    for number in 0..HEADERS - 2 {
        assert_eq!(response::Host::set_header(&mut state, format!("h{number}"), vec![]).unwrap(), Ok(()));
    }
    for _ in 0..2 {
        assert_eq!(counters::Host::take_by(&mut state, 0, 1).unwrap(), 0);
        assert_eq!(["a", "b", "c"].map(|name| told(&state.exchange, name).is_some()), [true, true, false]);
    }
    assert_eq!(response::Host::set_header(&mut state, "x".into(), vec![]).unwrap(), Err(HeaderFault::TooMany));
}
