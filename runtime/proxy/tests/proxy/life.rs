//! The life of connections and of the node: time limits, clients that leave, limits, draining, TLS, access events.

use crate::support::{DEADLINE, Setup, Upstream};
use serde_json::json;
use std::sync::mpsc::channel;
use std::time::Duration;

fn drain(proxy: &weir_proxy::Proxy, deadline: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(proxy.drain(deadline))
}

#[test]
fn a_head_that_does_not_come_in_time_is_answered_408() {
    let upstream = Upstream::recording();
    let mut gateway =
        Setup::to(upstream.address).with(|settings| settings.request_head_timeout = Duration::from_millis(50)).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a");
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    assert!(client.is_closed());
    assert_eq!(gateway.events.next()["error"], "request_head_timeout");
    // Nothing at all is not a request: closed without a word.
    let mut silent = gateway.client();
    assert!(silent.is_closed());
    assert!(gateway.stop().is_empty());
}

#[test]
fn an_idle_connection_is_closed_without_a_word_after_its_time() {
    let upstream = Upstream::recording();
    let mut gateway = Setup::to(upstream.address).with(|settings| settings.keepalive_timeout = Duration::from_millis(50)).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().header("connection"), None);
    assert!(client.is_closed());
    assert_eq!(gateway.events.next()["status"], 200);
    assert!(gateway.stop().is_empty());
}

#[test]
fn a_body_that_does_not_go_on_in_time_is_answered_408() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.head();
        wire.read_to_end();
    });
    let mut gateway =
        Setup::to(upstream.address).with(|settings| settings.request_body_timeout = Duration::from_millis(50)).start();
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (408, Some("close")));
    assert!(client.is_closed());
    let event = gateway.events.next();
    assert_eq!((&event["error"], &event["request_bytes"]), (&"request_body_timeout".into(), &5.into()));
}

#[test]
fn a_client_that_takes_no_bytes_is_cut_off() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.request();
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let chunk = vec![b'x'; 1 << 20];
        while wire.try_send(&chunk).is_ok() {}
    });
    let mut gateway = Setup::to(upstream.address).with(|settings| settings.send_timeout = Duration::from_millis(100)).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    // Not reading: the event comes while the client is still there.
    let event = gateway.events.next();
    assert_eq!((&event["error"], &event["fault"], &event["status"]), (&"client_gone".into(), &"client".into(), &200.into()));
}

/// The end of a reply may lie in our buffers long after the upstream has gone: closing must wait until the client has taken it.
#[test]
fn a_last_reply_is_complete_however_slowly_it_is_taken() {
    for kilobytes in (200..6000).step_by(290) {
        let upstream = Upstream::answering(move |_| {
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", kilobytes << 10).into_bytes();
            answer.resize(answer.len() + (kilobytes << 10), b'x');
            answer
        });
        let gateway = Setup::to(upstream.address).with(|settings| settings.keepalive_timeout = Duration::from_millis(1)).start();
        let mut client = gateway.client();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        upstream.next();
        // Small ones are handed over without being read, large ones are not; at some size between, a part waits in our buffer.
        let end = std::time::Instant::now() + Duration::from_millis(100);
        while gateway.proxy.figures().requests_in_flight > 0 && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(client.response().body.len(), kilobytes << 10);
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_that_leaves_lets_the_upstream_go_and_is_logged_once() {
    let (left, leaving) = channel();
    let upstream = Upstream::serving(move |mut wire, sender| {
        let seen = wire.request().unwrap();
        sender.send(seen).ok();
        assert!(wire.is_closed());
        left.send(()).ok();
    });
    let mut gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.next();
    drop(client);
    leaving.recv_timeout(DEADLINE).expect("the upstream is let go");
    let event = gateway.events.next();
    assert_eq!((&event["status"], &event["error"], &event["tries"]), (&499.into(), &"client_gone".into(), &1.into()));
    assert!(gateway.stop().is_empty());
}

/// What waits behind the request that is served: another one, one that is not complete, one that is refused, more than any buffer.
#[test]
fn a_client_that_leaves_is_noticed_whatever_it_has_sent_ahead() {
    let large = format!("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n{}", "x".repeat(300_000));
    for (first, ahead) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", "GET /2 HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET /2 HTTP/1.1\r\nho"),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nh"),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET /2 HTTP/1.1\r\nhost : a\r\n\r\n"),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", large.as_str()),
    ] {
        // The end of the stream stands behind what the kernel has no room for; a reset overtakes it.
        for reset in [true, false].into_iter().take(if ahead.len() > 100_000 { 1 } else { 2 }) {
            let (left, leaving) = channel();
            // Reads the request and never answers.
            let upstream = Upstream::serving(move |mut wire, sender| {
                let Some(seen) = wire.request() else { return };
                sender.send(seen).ok();
                left.send(wire.is_closed()).ok();
            });
            let mut gateway = Setup::to(upstream.address).start();
            let mut client = gateway.client();
            client.send(first.as_bytes());
            upstream.next();
            // All that the kernel takes: the last of these is more than the gateway reads.
            client.stream.set_nonblocking(true).unwrap();
            let _ = client.try_send(ahead.as_bytes());
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let name = &ahead[..ahead.len().min(60)];
            assert_eq!(leaving.recv_timeout(DEADLINE), Ok(true), "the upstream is let go: {name:?}, reset: {reset}");
            let event = gateway.events.next();
            assert_eq!((&event["status"], &event["error"]), (&499.into(), &"client_gone".into()), "{name:?}, reset: {reset}");
        }
    }
}

/// As nginx does: who has closed its sending side is taken for gone. (Whoever wants the answer keeps the connection open.)
#[test]
fn a_client_that_closes_its_sending_side_before_the_answer_is_taken_for_gone() {
    let (left, leaving) = channel();
    let upstream = Upstream::serving(move |mut wire, sender| {
        let Some(seen) = wire.request() else { return };
        sender.send(seen).ok();
        left.send(wire.is_closed()).ok();
    });
    let mut gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.next();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(leaving.recv_timeout(DEADLINE).expect("the upstream is let go"));
    assert!(client.is_closed());
    assert_eq!(gateway.events.next()["error"], "client_gone");
}

#[test]
fn a_body_beyond_the_limit_is_answered_413() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.head();
        wire.read_to_end();
    });
    let mut gateway = Setup::to(upstream.address).with(|settings| settings.request_body_limit_bytes = 10).start();
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(request.as_bytes());
        let response = client.response();
        assert_eq!((response.status, response.json()["message"].as_str()), (413, Some("Payload too large")), "{request}");
        assert_eq!(gateway.events.next()["error"], "request_body_too_large");
    }
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).with(|settings| settings.connections_limit = 2).start();
    let mut clients = [gateway.client(), gateway.client()];
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert!(gateway.client().is_closed());
    let figures = gateway.proxy.figures();
    assert_eq!((figures.connections_refused, figures.connections_accepted, figures.requests), (1, 2, 2));
    drop(clients);
    gateway.wait_for("both to be gone", |figures| figures.connections_active == 0);
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn requests_beyond_the_limit_in_flight_are_answered_503() {
    let (go, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let upstream = Upstream::serving(move |mut wire, sender| {
        while let Some(seen) = wire.request() {
            sender.send(seen).ok();
            going.lock().unwrap().recv_timeout(DEADLINE).ok();
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let gateway = Setup::to(upstream.address).with(|settings| settings.requests_in_flight_limit = 1).start();
    let mut first = gateway.client();
    first.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.next();
    let response = gateway.get("/");
    assert_eq!((response.status, response.json()["message"].as_str()), (503, Some("The gateway is at its limit")));
    go.send(()).unwrap();
    assert_eq!(first.response().status, 200);
    go.send(()).unwrap();
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_connection_serves_so_many_requests_and_says_which_is_the_last() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).with(|settings| settings.keepalive_requests = 2).start();
    let mut client = gateway.client();
    client.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().header("connection"), None);
    assert_eq!(client.response().header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn draining_finishes_what_has_begun_and_closes_what_is_idle() {
    let (go, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let upstream = Upstream::serving(move |mut wire, sender| {
        while let Some(seen) = wire.request() {
            let slow = seen.line().contains("/slow");
            sender.send(seen).ok();
            if slow {
                going.lock().unwrap().recv_timeout(DEADLINE).ok();
            }
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let gateway = Setup::to(upstream.address).with(|settings| settings.workers = 2).start();
    let mut idle = gateway.client();
    idle.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(idle.response().status, 200);
    upstream.next();
    let mut busy = gateway.client();
    busy.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.next();
    let proxy = &gateway.proxy;
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| drain(proxy, DEADLINE));
        assert!(idle.is_closed());
        go.send(()).unwrap();
        let response = busy.response();
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        assert!(busy.is_closed());
        drop((idle, busy));
        assert!(draining.join().unwrap(), "not drained in time");
    });
    assert!(std::net::TcpStream::connect(gateway.address).is_err());
    assert_eq!(gateway.stop().len(), 2);
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_logged() {
    let upstream = Upstream::serving(|mut wire, sender| {
        let seen = wire.request().unwrap();
        sender.send(seen).ok();
        wire.read_to_end();
    });
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.next();
    assert!(!drain(&gateway.proxy, Duration::from_millis(50)));
    assert!(client.is_closed());
    let events = gateway.stop();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["error"], "stopped");
}

#[test]
fn every_request_is_logged_exactly_once_whatever_becomes_of_it() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address).with(|settings| settings.workers = 2).start();
    let mut expected = Vec::new();
    for number in 0..200 {
        let mut client = gateway.client();
        match number % 4 {
            0 => client.send(b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
            1 => client.send(b"GET /a HTTP/1.1\nhost: a\n\n"),
            2 => client.send(b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n"),
            _ => client.send(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"),
        }
        let response = client.response();
        expected.push((response.header("x-kong-request-id").unwrap().to_owned(), response.status));
    }
    let mut logged: Vec<_> = gateway
        .stop()
        .iter()
        .map(|event| (event["request_id"].as_str().unwrap().to_owned(), event["status"].as_u64().unwrap() as u16))
        .collect();
    expected.sort();
    logged.sort();
    assert_eq!(logged, expected);
}

#[test]
fn an_https_listener_serves_and_an_http_request_to_an_https_route_is_told_so() {
    let made = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let upstream = Upstream::recording();
    let mut setup = Setup::new().route(upstream.address, json!({}), json!({"protocols": ["https"]}));
    setup
        .listeners
        .push(weir_proxy::ListenerSpec { address: ([127, 0, 0, 1], 0).into(), tls: Some(std::sync::Arc::new(config)) });
    let mut gateway = setup.start();

    let response = gateway.get("/");
    assert_eq!((response.status, response.json()["message"].as_str()), (426, Some("Please use HTTPS protocol")));
    assert_eq!((response.header("upgrade"), response.header("connection")), (Some("TLS/1.2, HTTP/1.1"), Some("Upgrade")));
    gateway.events.next();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("gateway.test").unwrap();
    let mut session = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut socket = std::net::TcpStream::connect(gateway.proxy.local_addrs()[1]).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    let seen = upstream.next();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(gateway.events.next()["scheme"], "https");
}
