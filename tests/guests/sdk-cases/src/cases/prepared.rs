//! What a configuration prepares: edits, look-ups, rules and steps.

use super::{Outcome, text, texts};
use plugin_sdk::steps::{self, Step};
use plugin_sdk::{
    Announcement, Counters, Credentials, Exchange, Figure, HeaderEdit, HeaderFault, Limit, LookedUp, Lookup, Period,
    PreparedRule, Request, RequestEdits, Response, ResponseEdits, Rule, Scope, Subject, Verdict, Window,
};

/// What every configuration prepares, for the cases that apply it.
#[derive(Default)]
pub struct Prepared {
    request: RequestEdits,
    response: ResponseEdits,
    many: RequestEdits,
    stepped: RequestEdits,
    lookups: Vec<Lookup>,
    rules: Vec<PreparedRule>,
}

/// What can be prepared, and what is refused.
pub fn prepare(case: Option<&str>) -> Result<Prepared, String> {
    let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let set = |name: &str, value: &str| HeaderEdit::Set(field(name, value).0, field(name, value).1);
    for (name, fault) in [("a b", HeaderFault::BadName), ("Content-Length", HeaderFault::Reserved)] {
        for edit in [set(name, "1"), HeaderEdit::Remove(name.to_owned()), HeaderEdit::Rename("x".to_owned(), name.to_owned())] {
            same!(Request::prepare(vec![set("x", "1"), edit.clone()]).err(), Some(fault));
            same!(Response::prepare(vec![edit]).err(), Some(fault));
        }
    }
    for edit in
        [set("X-Forwarded-For", "1"), HeaderEdit::Remove("x-real-ip".into()), HeaderEdit::Rename("x-real-ip".into(), "x".into())]
    {
        same!(Request::prepare(vec![edit.clone()]).err(), Some(HeaderFault::Reserved));
        same!(Response::prepare(vec![edit]).is_ok(), true);
    }
    same!(Response::prepare(vec![set("x", "a\nb")]).err(), Some(HeaderFault::BadValue));
    same!(Request::prepare(vec![set("host", "a b")]).err(), Some(HeaderFault::BadValue));
    same!(Request::prepare(vec![HeaderEdit::Rename("x".into(), "Host".into())]).err(), Some(HeaderFault::Reserved));
    same!(Request::prepare(vec![HeaderEdit::Remove("x".to_owned()); 1001]).err(), Some(HeaderFault::TooMany));
    same!(Request::prepare(vec![set("x", &"v".repeat(8192)); 32]).err(), Some(HeaderFault::TooMany));
    let edits = vec![
        set("X-Set", "1"),
        HeaderEdit::SetIfPresent("x-one".into(), "new".into()),
        HeaderEdit::SetIfPresent("x-none".into(), "new".into()),
        HeaderEdit::Add("x-set".into(), "2".into()),
        HeaderEdit::AddIfAbsent("x-set".into(), "3".into()),
        HeaderEdit::AddIfAbsent("x-absent".into(), "4".into()),
        HeaderEdit::Rename("X-Two".into(), "x-three".into()),
        HeaderEdit::Rename("x-none".into(), "x-one".into()),
        HeaderEdit::Rename("x-set".into(), "X-Set".into()),
        set("x-gone", "1"),
        HeaderEdit::Remove("X-Gone".into()),
    ];
    let response = Response::prepare(edits.clone()).map_err(|fault| fault.to_string())?;
    let hosts = [HeaderEdit::AddIfAbsent("host".into(), "no".into()), HeaderEdit::SetIfPresent("Host".into(), "set.test".into())];
    let request = Request::prepare(edits.into_iter().chain(hosts).collect()).map_err(|fault| fault.to_string())?;
    let many = (0..101).map(|number| set(&format!("x-many-{number}"), "1")).collect();
    let many = Request::prepare(many).map_err(|fault| fault.to_string())?;
    let stepped = Request::prepare(vec![HeaderEdit::Add("x-stepped".into(), "1".into())]).map_err(|fault| fault.to_string())?;
    let (lookups, rules) = (prepare_lookups()?, prepare_rules()?);
    match case {
        Some("steps-that-go-through") => steps::before_request(&[Step::EditRequest(&stepped)]),
        Some("steps-that-do-not-go-through") => {
            steps::before_request(&[Step::AuthenticateBy(&lookups[0]), Step::EditRequest(&stepped)]);
            steps::before_response(&[Step::EditRequest(&stepped)]);
        }
        _ => {}
    }
    Ok(Prepared { request, response, many, stepped, lookups, rules })
}

fn prepare_lookups() -> Result<Vec<Lookup>, String> {
    same!(Credentials::prepare_lookup("key-auth", "a b").err(), Some(HeaderFault::BadName));
    let headers = ["x-none", "X-One", "x-two", "x-empty"];
    let lookups = headers.map(|header| Credentials::prepare_lookup("key-auth", header).map_err(|fault| fault.to_string()));
    lookups.into_iter().collect()
}

fn prepare_rules() -> Result<Vec<PreparedRule>, String> {
    let window = |period, max| Window { limit: Limit { period, max }, text: None };
    let tell = |header: &str, figure, of| Announcement { header: header.to_owned(), figure, of };
    let rule = |by: Subject, header: &str| Rule {
        by,
        windows: vec![Window { text: Some("2.5".to_owned()), ..window(Period::Month, 3) }, window(Period::Year, 4)],
        announcements: vec![
            tell(header, Figure::Limit, Some(Period::Month)),
            tell("x-left-year", Figure::Remaining, Some(Period::Year)),
            tell("x-limit", Figure::Limit, None),
            tell("x-left", Figure::Remaining, None),
            tell("x-reset", Figure::Reset, None),
        ],
    };
    same!(Counters::prepare_rule(rule(Subject::Consumer, "a b")).err(), Some(HeaderFault::BadName));
    same!(Counters::prepare_rule(rule(Subject::Consumer, "te")).err(), Some(HeaderFault::Reserved));
    same!(Counters::prepare_rule(rule(Subject::Header("a b".to_owned()), "x")).err(), Some(HeaderFault::BadName));
    same!(Counters::prepare_scoped_rule(rule(Subject::Consumer, "a b"), Scope::Cluster).err(), Some(HeaderFault::BadName));
    let key = || Subject::Header("X-Case-Key".to_owned());
    let rules = [key(), Subject::ClientIp].map(|by| Counters::prepare_rule(rule(by, "x-limit-month")));
    let scopes = [Scope::Node, Scope::Cluster, Scope::ClusterStrict];
    let scoped = scopes.map(|scope| Counters::prepare_scoped_rule(rule(key(), "x-limit-month"), scope));
    rules.into_iter().chain(scoped).map(|rule| rule.map_err(|fault| fault.to_string())).collect()
}

pub fn prepared_edits(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    let request = &mut exchange.request;
    same!(request.apply(&prepared.request), Ok(()));
    same!(texts(request.header_values("x-set")), ["1", "2"]);
    same!(texts(request.header_values("x-one")), ["new"]);
    same!(text(request.header("x-absent")).as_deref(), Some("4"));
    same!(texts(request.header_values("x-three")), ["a", "b, c"]);
    same!(texts(request.header_values("host")), ["set.test"]);
    for gone in ["x-two", "x-none", "x-gone"] {
        same!((gone, request.header(gone)), (gone, None));
    }
    same!(request.apply(&prepared.many), Err(HeaderFault::TooMany));
    same!(request.header("x-many-0"), None);
    same!(request.apply(&RequestEdits::default()), Ok(()));
    Ok(())
}

pub fn prepared_edits_wait(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    same!(exchange.response.set_headers(&[("x-one", "old"), ("x-two", "a")]), Ok(()));
    same!(exchange.response.add_header("x-two", "b, c"), Ok(()));
    same!(exchange.response.apply(&prepared.response), Ok(()));
    same!(exchange.response.header("x-set"), None);
    Ok(())
}

pub fn prepared_edits_were_made(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    let made = |response: &Response| {
        same!(texts(response.header_values("x-set")), ["1", "2"]);
        same!(texts(response.header_values("x-one")), ["new"]);
        same!(text(response.header("x-absent")).as_deref(), Some("4"));
        same!(texts(response.header_values("x-three")), ["a", "b, c"]);
        same!(response.header("x-none"), None);
        same!(response.header("x-gone"), None);
        Ok(())
    };
    made(&exchange.response)?;
    // Again, now that there is a response: `x-two` is gone, and so nothing is renamed.
    same!(exchange.response.apply(&prepared.response), Ok(()));
    same!(exchange.request.apply(&prepared.request), Err(HeaderFault::HeadAlreadySent));
    made(&exchange.response)
}

pub fn stepped(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    same!(exchange.request.apply(&prepared.stepped), Ok(()));
    Ok(())
}

pub fn was_stepped_once(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(texts(exchange.request.header_values("x-stepped")), ["1"]);
    Ok(())
}

pub fn prepared_look_ups(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    same!(exchange.request.set_header("x-empty", ""), Ok(()));
    let expected = [LookedUp::Absent, LookedUp::Unknown, LookedUp::Repeated, LookedUp::Empty];
    for (lookup, expected) in prepared.lookups.iter().zip(expected) {
        same!(exchange.credentials.authenticate_by(lookup), expected);
    }
    same!(exchange.consumer(), None);
    Ok(())
}

pub fn prepared_rules(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    // A value of this exchange alone, as below.
    let key = exchange.id();
    same!(exchange.request.set_header("x-case-key", &key), Ok(()));
    let rule = &prepared.rules[0];
    same!(exchange.counters.take_by(rule, 0), None);
    same!(exchange.counters.take_by(rule, 2), None);
    same!(exchange.counters.take_by(rule, 2).is_some_and(|seconds| seconds >= 1), true);
    same!(exchange.counters.take_by(rule, 1), None);
    same!(exchange.counters.take_by(rule, 1).is_some(), true);
    Ok(())
}

pub fn scoped_rules(exchange: &mut Exchange, prepared: &Prepared) -> Outcome {
    let key = exchange.id();
    same!(exchange.request.set_header("x-case-key", &key), Ok(()));
    let [_, _, node, cluster, strict] = prepared.rules.as_slice() else { return Err("five rules".to_owned()) };
    // `prepare_rule` is the scope of the node; the two of the cluster count together, and apart from it.
    same!(exchange.counters.try_take_by(node, 3), Verdict::Taken);
    same!(exchange.counters.take_by(&prepared.rules[0], 1).is_some(), true);
    same!(exchange.counters.try_take_by(cluster, 2), Verdict::Taken);
    same!(matches!(exchange.counters.try_take_by(strict, 2), Verdict::NoRoom(seconds) if seconds >= 1), true);
    same!(exchange.counters.try_take_by(strict, 1), Verdict::Taken);
    same!(exchange.counters.take_by(cluster, 1).is_some(), true);
    Ok(())
}

pub fn rules_were_told(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let response = &exchange.response;
    for (name, expected) in [("x-limit-month", "2.5"), ("x-left-year", "1"), ("x-limit", "2.5"), ("x-left", "0")] {
        same!((name, text(response.header(name)).as_deref()), (name, Some(expected)));
    }
    let reset = text(response.header("x-reset")).and_then(|reset| reset.parse::<u32>().ok());
    same!(reset.is_some_and(|seconds| seconds >= 1), true);
    Ok(())
}
