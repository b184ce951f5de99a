//! The cases: what the interface promises to a plugin, asked through the SDK.
//!
//! Every exchange is `GET …/a%20b?x=1&x=%32` with the headers `X-One: 1`, `x-two: a`, `X-Two: b, c`, on a route with a service.

/// Says which line is not as promised, and what is there instead.
macro_rules! same {
    ($is:expr, $should:expr) => {
        match (&$is, &$should) {
            (is, should) if is != should => {
                return Err(format!("{}:{}: {} is {is:?}, not {should:?}", file!(), line!(), stringify!($is)));
            }
            _ => {}
        }
    };
}

mod prepared;

pub use prepared::{Prepared, prepare};

use plugin_sdk::{Exchange, HeaderFault, Limit, Period};

/// Ok, or what was not as promised.
pub type Outcome = Result<(), String>;

/// What is done in the request phase, and in the response phase of the same exchange.
pub struct Case {
    pub name: &'static str,
    pub on_request: fn(&mut Exchange, &Prepared) -> Outcome,
    pub on_response: fn(&mut Exchange, &Prepared) -> Outcome,
}

fn nothing(_: &mut Exchange, _: &Prepared) -> Outcome {
    Ok(())
}

const fn on_request(name: &'static str, on_request: fn(&mut Exchange, &Prepared) -> Outcome) -> Case {
    Case { name, on_request, on_response: nothing }
}

/// All of them.
pub const ALL: &[Case] = &[
    on_request("facts", facts),
    on_request("reading-headers", reading_headers),
    on_request("writing-headers", writing_headers),
    on_request("refused-headers", refused_headers),
    on_request("a-hundred-headers", a_hundred_headers),
    on_request("setting-several-headers", setting_several_headers),
    on_request("prepared-edits", prepared::prepared_edits),
    Case {
        name: "prepared-response-edits",
        on_request: prepared::prepared_edits_wait,
        on_response: prepared::prepared_edits_were_made,
    },
    on_request("host", host),
    on_request("method", method),
    on_request("target", target),
    Case { name: "response-before-it-exists", on_request: no_response_yet, on_response: waiting_writes_are_there },
    Case { name: "response", on_request: nothing, on_response: response },
    Case { name: "request-after-it-was-sent", on_request: nothing, on_response: request_is_sent },
    Case { name: "kept", on_request: keeping, on_response: kept },
    Case { name: "steps-that-go-through", on_request: prepared::stepped, on_response: prepared::was_stepped_once },
    Case { name: "steps-that-do-not-go-through", on_request: prepared::stepped, on_response: prepared::was_stepped_once },
    on_request("invented-credentials", invented_credentials),
    on_request("prepared-look-ups", prepared::prepared_look_ups),
    on_request("counters", counters),
    Case { name: "scoped-rules", on_request: prepared::scoped_rules, on_response: prepared::rules_were_told },
    Case { name: "prepared-rules", on_request: prepared::prepared_rules, on_response: prepared::rules_were_told },
    on_request("random", random),
    on_request("clock", clock),
];

fn text(value: Option<plugin_sdk::HeaderValue>) -> Option<String> {
    value.and_then(|value| value.into_string())
}

fn texts(values: Vec<plugin_sdk::HeaderValue>) -> Vec<String> {
    values.into_iter().filter_map(|value| value.into_string()).collect()
}

fn facts(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.id().len(), 32);
    same!(exchange.id().bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)), true);
    same!(exchange.request.method(), "GET");
    same!(exchange.request.scheme(), "http");
    same!(exchange.request.path().ends_with("/a%20b"), true);
    same!(exchange.request.query().as_deref(), Some("x=1&x=%32"));
    same!(exchange.request.host().contains(':'), false);
    same!(exchange.request.client_ip().parse::<std::net::IpAddr>().is_ok(), true);
    same!(exchange.route().id.len(), 36);
    same!(exchange.service().is_some_and(|service| service.id.len() == 36), true);
    same!(exchange.consumer(), None);
    same!(exchange.capture("none"), None);
    same!(exchange.outcome().status, 0);
    Ok(())
}

fn reading_headers(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    for name in ["x-one", "X-ONE"] {
        same!(text(exchange.request.header(name)).as_deref(), Some("1"));
    }
    same!(text(exchange.request.header("x-two")).as_deref(), Some("a, b, c"));
    same!(texts(exchange.request.header_values("X-two")), ["a", "b, c"]);
    same!(exchange.request.header("x-none"), None);
    same!(exchange.request.header("not a name"), None);
    same!(exchange.request.header_values("x-none").len(), 0);
    let ours: Vec<String> =
        exchange.request.headers().into_iter().map(|(name, _)| name).filter(|name| name.starts_with("x-t")).collect();
    same!(ours, ["x-two", "x-two"]);
    Ok(())
}

fn writing_headers(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let request = &mut exchange.request;
    same!(request.set_header("X-TWO", "new"), Ok(()));
    same!(texts(request.header_values("x-two")), ["new"]);
    same!(request.add_header("x-two", "more"), Ok(()));
    same!(texts(request.header_values("x-two")), ["new", "more"]);
    request.remove_header("X-Two");
    same!(request.header("x-two"), None);
    request.remove_header("x-two");
    same!(request.set_header("x-empty", ""), Ok(()));
    same!(text(request.header("x-empty")).as_deref(), Some(""));
    // Not every value is UTF-8.
    same!(request.set_header("x-bytes", [0xe4_u8, b'\t', 0xff]), Ok(()));
    same!(request.header("x-bytes").map(|value| value.into_bytes()), Some(vec![0xe4, b'\t', 0xff]));
    Ok(())
}

fn refused_headers(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let request = &mut exchange.request;
    for name in ["", "a b", "a:b", "ä", &"n".repeat(129)] {
        same!((name.to_owned(), request.set_header(name, "1")), (name.to_owned(), Err(HeaderFault::BadName)));
    }
    for value in ["a\nb", "a\rb", "a\0b", &"v".repeat(8193)] {
        same!((value.to_owned(), request.add_header("x", value)), (value.to_owned(), Err(HeaderFault::BadValue)));
    }
    same!(request.header("x"), None);
    same!(request.set_header(&"n".repeat(128), "v".repeat(8192)), Ok(()));
    for name in
        ["content-length", "Transfer-Encoding", "connection", "te", "X-Consumer-ID", "x_consumer_id", "x-anonymous-consumer"]
    {
        same!((name, request.set_header(name, "1")), (name, Err(HeaderFault::Reserved)));
        same!((name, request.add_header(name, "1")), (name, Err(HeaderFault::Reserved)));
        request.remove_header(name);
    }
    for name in ["x-forwarded-for", "X-Forwarded-Proto", "x-real-ip", "x-kong-request-id", "expect"] {
        same!((name, request.set_header(name, "1")), (name, Err(HeaderFault::Reserved)));
        same!((name, request.add_header(name, "1")), (name, Err(HeaderFault::Reserved)));
    }
    same!(exchange.response.set_header("content-length", "1"), Err(HeaderFault::Reserved));
    same!(exchange.response.add_header("a b", "1"), Err(HeaderFault::BadName));
    same!(exchange.response.set_header("x", "a\nb"), Err(HeaderFault::BadValue));
    Ok(())
}

fn a_hundred_headers(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let request = &mut exchange.request;
    let mut added = 0;
    while added < 100 && request.add_header("x-many", "1").is_ok() {
        added += 1;
    }
    // The client's own count too.
    same!((50..100).contains(&added), true);
    same!(request.add_header("x-many", "1"), Err(HeaderFault::TooMany));
    same!(request.set_header("x-new", "1"), Err(HeaderFault::TooMany));
    same!(request.set_header("x-one", "still"), Ok(()));
    request.remove_header("x-many");
    same!(request.set_header("x-new", "1"), Ok(()));
    Ok(())
}

fn setting_several_headers(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let request = &mut exchange.request;
    same!(request.set_headers(&[("X-TWO", "new"), ("x-empty", ""), ("x-twice", "1"), ("x-twice", "2")]), Ok(()));
    same!(texts(request.header_values("x-two")), ["new"]);
    same!(texts(request.header_values("x-twice")), ["2"]);
    // All or nothing.
    same!(request.set_headers(&[("x-one", "2"), ("a b", "")]), Err(HeaderFault::BadName));
    same!(request.set_headers(&[("x-one", "2"), ("x", "a\nb")]), Err(HeaderFault::BadValue));
    same!(request.set_headers(&[("x-one", "2"), ("te", "")]), Err(HeaderFault::Reserved));
    same!(request.set_headers(&[("x-one", "2"), ("host", "a b")]), Err(HeaderFault::BadValue));
    same!(request.set_headers(&[("x-one", "2"), ("X-Forwarded-For", "1")]), Err(HeaderFault::Reserved));
    let many: Vec<(String, &str)> = (0..101).map(|number| (format!("x-many-{number}"), "1")).collect();
    same!(request.set_headers(&many), Err(HeaderFault::TooMany));
    same!(text(request.header("x-one")).as_deref(), Some("1"));
    same!(request.header("x-many-0"), None);
    same!(request.set_headers::<&str, &str>(&[]), Ok(()));
    same!(exchange.response.set_headers(&[("x-fine", "1"), ("te", "")]), Err(HeaderFault::Reserved));
    same!(exchange.response.set_headers(&many), Err(HeaderFault::TooMany));
    Ok(())
}

fn host(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let request = &mut exchange.request;
    same!(text(request.header("Host")), Some(request.host()));
    same!(texts(request.header_values("host")).len(), 1);
    same!(request.headers().iter().filter(|(name, _)| name == "host").count(), 1);
    for bad in ["", "a b", "a/b"] {
        same!(request.set_header("host", bad), Err(HeaderFault::BadValue));
    }
    same!(request.set_header("host", "first.test"), Ok(()));
    // There is never a second one.
    same!(request.add_header("host", "second.test:81"), Ok(()));
    same!(texts(request.header_values("host")), ["second.test:81"]);
    Ok(())
}

fn method(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.request.set_method("PURGE"), Ok(()));
    same!(exchange.request.method(), "PURGE");
    for bad in ["", "A B", "CONNECT", &"M".repeat(33)] {
        same!(exchange.request.set_method(bad), Err(HeaderFault::BadValue));
    }
    same!(exchange.request.method(), "PURGE");
    same!(exchange.request.set_method("GET"), Ok(()));
    Ok(())
}

fn target(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let path = exchange.request.path();
    same!(exchange.request.set_target(&path, Some("y=%20")), Ok(()));
    same!(exchange.request.query().as_deref(), Some("y=%20"));
    same!(exchange.request.set_target(&path, None), Ok(()));
    same!(exchange.request.query(), None);
    for bad in ["", "relative", "/a b", "/a?b", "/a#b", "/a\nb", "/ä", &format!("/{}", "p".repeat(8192))] {
        same!((bad.to_owned(), exchange.request.set_target(bad, None)), (bad.to_owned(), Err(HeaderFault::BadValue)));
    }
    same!(exchange.request.set_target("/a", Some("b c")), Err(HeaderFault::BadValue));
    same!(exchange.request.set_target("/a", Some("b#c")), Err(HeaderFault::BadValue));
    same!(exchange.request.path(), path);
    Ok(())
}

fn no_response_yet(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let response = &mut exchange.response;
    same!(response.status(), None);
    response.set_status(404);
    same!(response.set_header("x-later", "old"), Ok(()));
    same!(response.set_header("X-Later", "1"), Ok(()));
    same!(response.add_header("x-later", "2"), Ok(()));
    same!(response.set_header("x-gone", "1"), Ok(()));
    response.remove_header("x-gone");
    same!(response.header("x-later"), None);
    same!(response.headers().len(), 0);
    Ok(())
}

fn waiting_writes_are_there(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.response.status(), Some(200));
    same!(texts(exchange.response.header_values("x-later")), ["1", "2"]);
    same!(exchange.response.header("x-gone"), None);
    Ok(())
}

fn response(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    let response = &mut exchange.response;
    same!(response.status(), Some(200));
    response.set_status(203);
    same!(response.status(), Some(203));
    same!(response.add_header("x-new", "1"), Ok(()));
    same!(response.add_header("x-new", "2"), Ok(()));
    same!(text(response.header("X-New")).as_deref(), Some("1, 2"));
    response.remove_header("x-new");
    same!(response.header("x-new"), None);
    response.set_status(200);
    Ok(())
}

fn request_is_sent(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(text(exchange.request.header("x-one")).as_deref(), Some("1"));
    same!(exchange.request.set_header("x-one", "2"), Err(HeaderFault::HeadAlreadySent));
    same!(exchange.request.set_method("PUT"), Err(HeaderFault::HeadAlreadySent));
    same!(exchange.request.set_target("/", None), Err(HeaderFault::HeadAlreadySent));
    exchange.request.remove_header("x-one");
    same!(text(exchange.request.header("x-one")).as_deref(), Some("1"));
    Ok(())
}

fn keeping(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.kept(), None);
    exchange.keep(b"first");
    exchange.keep(&[7; 16 << 10]);
    same!(exchange.kept().map(|kept| kept.len()), Some(16 << 10));
    exchange.keep(b"last");
    Ok(())
}

fn kept(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.kept().as_deref(), Some(b"last".as_slice()));
    Ok(())
}

fn invented_credentials(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.credentials.find("key-auth", "nobody has this key"), None);
    same!(exchange.credentials.find("key-auth", [0xff_u8]), None);
    same!(exchange.credentials.authenticate_anonymous("nobody"), false);
    same!(exchange.consumer(), None);
    Ok(())
}

fn counters(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    // A key of this exchange alone: the counts of a gateway outlive it. A month does not end while this runs, or only once.
    let key = exchange.id();
    let limits = [Limit { period: Period::Month, max: 3 }, Limit { period: Period::Year, max: 10 }];
    let used = |usages: &[plugin_sdk::Usage]| usages.iter().map(|usage| usage.used).collect::<Vec<_>>();
    let looked = exchange.counters.take(&key, &limits, 0);
    same!((looked.taken, used(&looked.usages)), (true, vec![0, 0]));
    let some = exchange.counters.take(&key, &limits, 2);
    same!((some.taken, used(&some.usages)), (true, vec![2, 2]));
    let too_many = exchange.counters.take(&key, &limits, 2);
    same!((too_many.taken, used(&too_many.usages)), (false, vec![2, 2]));
    let rest = exchange.counters.take(&key, &limits, 1);
    same!((rest.taken, used(&rest.usages)), (true, vec![3, 3]));
    same!(rest.usages.iter().all(|usage| usage.resets_in_s >= 1), true);
    same!(exchange.counters.take("another", &limits, 0).taken, true);
    same!(exchange.counters.take(&key, &[], 1).taken, true);
    Ok(())
}

fn random(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    same!(exchange.random.bytes(0).len(), 0);
    let (one, other) = (exchange.random.bytes(1024), exchange.random.bytes(1024));
    same!((one.len(), one == other), (1024, false));
    Ok(())
}

fn clock(exchange: &mut Exchange, _: &Prepared) -> Outcome {
    // 2025-01-01: no gateway that runs this has an older clock.
    same!(exchange.clock.now_ms() > 1_735_689_600_000, true);
    let before = exchange.clock.monotonic_ns();
    same!(exchange.clock.monotonic_ns() >= before, true);
    Ok(())
}
