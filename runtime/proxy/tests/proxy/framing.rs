//! What readers could disagree on never reaches an upstream as something else than one well-formed request.

use crate::support::{Setup, Upstream};
use std::time::Duration;

/// Refused: answered with this status, the connection closed, nothing at the upstream.
fn refused() -> Vec<(&'static str, u16, Vec<u8>)> {
    let get = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n").into_bytes();
    let post = |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}").into_bytes();
    let pipelined = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    vec![
        ("CL.TE", 400, post("content-length: 6\r\ntransfer-encoding: chunked", "0\r\n\r\nG")),
        ("TE.CL", 400, post("transfer-encoding: chunked\r\ncontent-length: 4", &format!("5c\r\n{pipelined}\r\n0\r\n\r\n"))),
        ("TE space", 400, post("transfer-encoding : chunked", "0\r\n\r\n")),
        ("TE tab", 400, post("transfer-encoding\t: chunked", "0\r\n\r\n")),
        ("TE xchunked", 400, post("transfer-encoding: xchunked", "0\r\n\r\n")),
        ("TE chunked, identity", 400, post("transfer-encoding: chunked, identity", "0\r\n\r\n")),
        ("TE identity, chunked", 400, post("transfer-encoding: identity, chunked", "0\r\n\r\n")),
        ("TE twice", 400, post("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "0\r\n\r\n")),
        ("TE twice, differing", 400, post("transfer-encoding: chunked\r\ntransfer-encoding: x", "0\r\n\r\n")),
        ("TE vertical tab", 400, post("transfer-encoding: \u{b}chunked", "0\r\n\r\n")),
        ("TE folded", 400, post("transfer-encoding:\r\n chunked", "0\r\n\r\n")),
        ("CL folded", 400, post("content-length:\r\n 5", "hello")),
        ("CL twice, equal", 400, post("content-length: 5\r\ncontent-length: 5", "hello")),
        ("CL twice, differing", 400, post("content-length: 5\r\ncontent-length: 0", "hello")),
        ("CL list", 400, post("content-length: 5, 5", "hello")),
        ("CL +5", 400, post("content-length: +5", "hello")),
        ("CL -1", 400, post("content-length: -1", "hello")),
        ("CL 0x5", 400, post("content-length: 0x5", "hello")),
        ("CL 5_0", 400, post("content-length: 5_0", "hello")),
        ("CL beyond u64", 400, post("content-length: 18446744073709551621", "hello")),
        ("CL empty", 400, post("content-length:", "hello")),
        ("bare LF lines", 400, b"GET / HTTP/1.1\nhost: a\n\n".to_vec()),
        ("bare LF in headers", 400, b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n".to_vec()),
        ("bare CR in a header", 400, get("GET / HTTP/1.1", "host: a\r\nx: y\rz: w\r\n")),
        ("space before colon", 400, get("GET / HTTP/1.1", "host: a\r\nx : y\r\n")),
        ("leading blank header", 400, get("GET / HTTP/1.1", " x: y\r\nhost: a\r\n")),
        ("NUL in a value", 400, get("GET / HTTP/1.1", "host: a\r\nx: \0\r\n")),
        ("NUL in a name", 400, get("GET / HTTP/1.1", "host: a\r\nx\0: y\r\n")),
        ("NUL in the target", 400, get("GET /\0 HTTP/1.1", "host: a\r\n")),
        ("no name", 400, get("GET / HTTP/1.1", "host: a\r\n: y\r\n")),
        ("HTTP/1.0 with TE", 400, b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()),
        ("HTTP/0.9", 400, b"GET /\r\n\r\n".to_vec()),
        ("HTTP/1.2", 505, get("GET / HTTP/1.2", "host: a\r\n")),
        ("HTTP/2 preface", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("lower-case method", 400, get("get / HTTP/1.1", "host: a\r\n")),
        ("CONNECT", 405, get("CONNECT a:443 HTTP/1.1", "host: a:443\r\n")),
        ("TRACE", 405, get("TRACE / HTTP/1.1", "host: a\r\n")),
        ("no host", 400, get("GET / HTTP/1.1", "")),
        ("two hosts", 400, get("GET / HTTP/1.1", "host: a\r\nhost: a\r\n")),
        ("two different hosts", 400, get("GET / HTTP/1.1", "host: a\r\nhost: b\r\n")),
        ("empty host", 400, get("GET / HTTP/1.1", "host:\r\n")),
        ("host with user", 400, get("GET / HTTP/1.1", "host: u:p@a\r\n")),
        ("host with junk port", 400, get("GET / HTTP/1.1", "host: a:80x\r\n")),
        ("host list", 400, get("GET / HTTP/1.1", "host: a, b\r\n")),
        ("absolute target, other host", 400, get("GET http://b/ HTTP/1.1", "host: a\r\n")),
        ("absolute target with user", 400, get("GET http://u@a/ HTTP/1.1", "host: a\r\n")),
        ("asterisk", 400, get("OPTIONS * HTTP/1.1", "host: a\r\n")),
        ("fragment", 400, get("GET /#x HTTP/1.1", "host: a\r\n")),
        ("space in the target", 400, get("GET /a b HTTP/1.1", "host: a\r\n")),
        ("non-ASCII target", 400, get("GET /\u{e9} HTTP/1.1", "host: a\r\n")),
        ("backslash", 400, get("GET /a\\..\\b HTTP/1.1", "host: a\r\n")),
        ("encoded NUL", 400, get("GET /%00 HTTP/1.1", "host: a\r\n")),
        ("broken escape", 400, get("GET /%zz HTTP/1.1", "host: a\r\n")),
        ("hidden dot segment", 400, get("GET /a/..%2fb HTTP/1.1", "host: a\r\n")),
        ("overlong slash", 400, get("GET /..%C0%AF HTTP/1.1", "host: a\r\n")),
        ("overlong dots", 400, get("GET /a/%C0%AE%C0%AE/b HTTP/1.1", "host: a\r\n")),
        ("Connection names Authorization", 400, get("GET / HTTP/1.1", "host: a\r\nconnection: close, Authorization\r\n")),
        ("Connection names X-Forwarded-For", 400, get("GET / HTTP/1.1", "host: a\r\nconnection: x-forwarded-for\r\n")),
        ("target too long", 414, get(&format!("GET /{} HTTP/1.1", "a".repeat(9000)), "host: a\r\n")),
        ("target without end", 414, format!("GET /{}", "a".repeat(40_000)).into_bytes()),
        ("header too long", 431, get("GET / HTTP/1.1", &format!("host: a\r\nx: {}\r\n", "a".repeat(33_000)))),
        ("too many headers", 431, get("GET / HTTP/1.1", &format!("host: a\r\n{}", "x: y\r\n".repeat(100)))),
        ("name too long", 400, get("GET / HTTP/1.1", &format!("host: a\r\n{}: y\r\n", "x".repeat(200)))),
    ]
}

#[test]
fn ambiguous_heads_are_answered_by_us_and_the_connection_is_closed() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).start();
    let mut expected = Vec::new();
    for (name, status, bytes) in refused() {
        let mut client = gateway.client();
        // A second request behind it must not be served either.
        let _ = client.try_send(&bytes);
        let _ = client.try_send(b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, status, "{name}: {response:?}");
        assert_eq!(response.header("connection"), Some("close"), "{name}");
        assert!(client.is_closed(), "{name}: the connection stays open");
        let id = response.json()["request_id"].as_str().unwrap().to_owned();
        assert_eq!(response.header("x-kong-request-id"), Some(id.as_str()), "{name}");
        assert!(upstream.saw_nothing(), "{name} reached the upstream");
        expected.push((name, id, status));
    }
    let events = gateway.stop();
    assert_eq!(events.len(), expected.len());
    for ((name, id, status), event) in expected.iter().zip(&events) {
        assert_eq!((&event["request_id"], &event["status"]), (&id.as_str().into(), &(*status).into()), "{name}");
        assert_eq!(event["fault"], "client", "{name}");
    }
}

/// The parser behind our own check answers without a body and without a proper event: it must never get to.
#[test]
fn whatever_byte_stands_in_a_target_it_is_served_or_refused_by_us() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).start();
    // What real clients send without escaping it.
    for target in ["/a|b", "/a^b", "/{a}", "/a\"b", "/?q={a}|^`b", "/a%7Cb"] {
        assert_eq!(gateway.get(target).status, 200, "{target}");
        upstream.next();
    }
    let mut refused = Vec::new();
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
        for (start, end) in [(&b"/a"[..], &b"z"[..]), (b"/a?b=", b"z")] {
            let mut client = gateway.client();
            let target = [start, &[byte], end].concat();
            client.send(&[b"GET ", &target[..], b" HTTP/1.1\r\nhost: a\r\n\r\n"].concat());
            let response = client.response();
            if response.status == 200 {
                // The path is normalised, the query goes as it came.
                let line = upstream.next().line().to_owned();
                assert!(start == b"/a" || line.as_bytes()[4..].starts_with(&target), "{line:?}");
                continue;
            }
            assert_eq!((response.status, response.json()["message"].as_str()), (400, Some("Bad request")), "{byte:#04x}");
            refused.push((byte, response.json()["request_id"].clone()));
        }
    }
    let events = gateway.stop();
    for (byte, id) in refused {
        let event = events.iter().find(|event| event["request_id"] == id).expect("the event of a refusal");
        assert!(event["error"] == "request_head" || event["error"] == "request_path", "{byte:#04x}: {event}");
    }
}

/// Bodies that break their framing after a proper head: the upstream may have got the head, but never a complete request.
#[test]
fn malformed_chunks_never_become_a_complete_request() {
    let upstream = Upstream::serving(|mut wire, sender| {
        let Some(head) = wire.head() else { return };
        // Whatever comes, it does not end in a last chunk.
        let rest = wire.read_to_end();
        sender.send(crate::support::Seen { head, body: rest }).ok();
    });
    let gateway = Setup::to(upstream.address).start();
    let zeros = format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(1000));
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(100_000));
    let trailers = format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    for body in [
        "0x1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "1\na\n0\n\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "1\rX\na\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\n x: y\r\n\r\n",
        "3\r\nabc\r\n0\r\nno-colon\n\r\n",
        &zeros,
        &extension,
        &trailers,
    ] {
        let mut client = gateway.client();
        let _ = client.try_send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        let _ = client.try_send(body.as_bytes());
        let response = client.response();
        let name = &body[..body.len().min(20)];
        assert_eq!(response.status, 400, "{name:?}");
        assert!(client.is_closed(), "{name:?}");
        while let Ok(seen) = upstream.seen.recv_timeout(Duration::from_millis(0)) {
            assert!(!seen.body.ends_with(b"0\r\n\r\n"), "{name:?} was completed: {seen:?}");
        }
    }
}

#[test]
fn a_body_that_ends_early_is_never_completed() {
    let upstream = Upstream::serving(|mut wire, sender| {
        let Some(head) = wire.head() else { return };
        let body = wire.read_to_end();
        sender.send(crate::support::Seen { head, body }).ok();
    });
    let mut gateway = Setup::to(upstream.address).start();
    for (head, body) in [("transfer-encoding: chunked", "5\r\nhello\r\n"), ("content-length: 9", "hello")] {
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n{body}").as_bytes());
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        client.read_to_end();
        let seen = upstream.next();
        assert!(!seen.body.ends_with(b"0\r\n\r\n") && seen.body.len() <= 10, "{seen:?}");
        assert_eq!(gateway.events.next()["fault"], "client");
    }
}

#[test]
fn what_is_allowed_reaches_the_upstream_as_one_well_formed_request() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).start();
    for (name, request, line, body) in [
        ("empty line before", "\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a HTTP/1.1", ""),
        ("absolute target", "GET http://A/a?b HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a?b HTTP/1.1", ""),
        (
            "TE capitals",
            "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1",
            "abc",
        ),
        (
            "trailers",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nContent-Length: 5\r\nAuthorization: x\r\nHost: evil\r\n\r\n",
            "POST / HTTP/1.1",
            "abc",
        ),
        (
            "body on GET",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: evil\r\n\r\n",
            "GET / HTTP/1.1",
            "GET /smuggled HTTP/1.1\r\nhost: evil\r\n\r\n",
        ),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", "GET / HTTP/1.1", ""),
        ("HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1", ""),
        ("upgrade", "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", "GET / HTTP/1.1", ""),
        (
            "h2c",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            "GET / HTTP/1.1",
            "",
        ),
        (
            "upgrade with body",
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\ncontent-length: 3\r\n\r\nabc",
            "POST / HTTP/1.1",
            "abc",
        ),
    ] {
        let mut client = gateway.client();
        client.send(request.as_bytes());
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, "ok"), "{name}");
        let seen = upstream.next();
        assert_eq!((seen.line(), std::str::from_utf8(&seen.body).unwrap()), (line, body), "{name}");
        for hop in ["upgrade", "http2-settings", "connection", "authorization", "te", "trailer"] {
            assert_eq!(seen.header(hop), None, "{name}: {hop} reached the upstream");
        }
        assert!(upstream.saw_nothing(), "{name}: a second request reached the upstream");
    }
}

#[test]
fn a_refused_upgrade_with_a_pipelined_request_is_two_requests() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((client.response().status, client.response().status), (200, 200));
    assert_eq!((upstream.next().line(), upstream.next().line()), ("GET /1 HTTP/1.1", "GET /2 HTTP/1.1"));
}

#[test]
fn a_hundred_pipelined_requests_get_a_hundred_responses_in_order() {
    let upstream = Upstream::answering(|seen| {
        let path = seen.line().split(' ').nth(1).unwrap();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()).into_bytes()
    });
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    let requests: String =
        (0..100).map(|number| format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc")).collect();
    client.send(requests.as_bytes());
    for number in 0..100 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn requests_before_a_refused_one_are_answered_first() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost : a\r\n\r\nGET /4 HTTP/1.1\r\n");
    let statuses: Vec<u16> = std::iter::from_fn(|| client.try_response()).map(|response| response.status).collect();
    assert_eq!(statuses, [200, 200, 400]);
    assert_eq!((upstream.next().line(), upstream.next().line()), ("GET /1 HTTP/1.1", "GET /2 HTTP/1.1"));
    assert!(upstream.saw_nothing());
}

#[test]
fn a_head_that_comes_in_single_bytes_is_served() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    for byte in b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" {
        client.send(std::slice::from_ref(byte));
    }
    assert_eq!(client.response().status, 200);
    assert_eq!(upstream.next().body, b"abc");
}

#[test]
fn expect_is_answered_by_us_when_the_body_is_wanted_and_not_when_it_is_refused() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).with(|settings| settings.request_body_limit_bytes = 10).start();
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"hello");
    assert_eq!(client.response().status, 200);
    let seen = upstream.next();
    assert_eq!((seen.header("expect"), seen.body.as_slice()), (None, &b"hello"[..]));

    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (413, Some("close")));
    assert!(client.is_closed());
    assert!(upstream.saw_nothing());
}
