//! Upstreams that refuse, hang, reset, lie and flood: what the client gets, what is tried again, what is logged.

use crate::support::{Setup, Upstream, Wire};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An address that refuses connections.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_refused_connection_is_tried_as_often_as_the_service_says_and_answered_502() {
    let mut gateway = Setup::new().route(nobody(), json!({"retries": 2}), json!({})).start();
    let response = gateway.get("/");
    assert_eq!((response.status, response.header("connection")), (502, None));
    assert_eq!(response.json()["message"], "An invalid response was received from the upstream server");
    let event = gateway.events.next();
    assert_eq!((&event["tries"], &event["fault"], &event["error"]), (&3.into(), &"upstream".into(), &"upstream_connect".into()));
}

#[test]
fn a_name_without_address_is_answered_503() {
    let mut gateway = Setup::new().route(nobody(), json!({"host": "no-such-host.invalid"}), json!({})).start();
    assert_eq!(gateway.get("/").json()["message"], "name resolution failed");
    let event = gateway.events.next();
    assert_eq!((&event["status"], &event["tries"], &event["error"]), (&503.into(), &1.into(), &"upstream_name".into()));
}

#[test]
fn a_route_without_service_is_answered_503_and_no_route_404() {
    let gateway = Setup::new().route_without_service(json!({"paths": ["/here"]})).start();
    assert_eq!(gateway.get("/here").json()["message"], "no Service found with those values");
    let response = gateway.get("/there");
    assert_eq!((response.status, response.json()["message"].as_str().unwrap()), (404, "no Route matched with those values"));
    let events = gateway.stop();
    assert_eq!(events.iter().map(|event| event["error"].as_str().unwrap()).collect::<Vec<_>>(), ["no_service", "no_route"]);
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = Upstream::serving(move |mut wire, sender| {
        counted.fetch_add(1, Ordering::Relaxed);
        while let Some(seen) = wire.request() {
            sender.send(seen).ok();
            wire.send(OK);
        }
    });
    let gateway = Setup::to(upstream.address).start();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let mut client = gateway.client();
    for _ in 0..5 {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[test]
fn a_response_with_bytes_behind_it_ends_its_connection_and_never_answers_the_next_request() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"[..],
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
    ] {
        let upstream = Upstream::serving(move |mut wire, sender| {
            let first = wire.request().unwrap();
            sender.send(first).ok();
            wire.send(answer);
            assert!(wire.is_closed(), "the connection was used again");
        });
        let gateway = Setup::to(upstream.address).start();
        for _ in 0..3 {
            let response = gateway.get("/");
            assert!([200, 204, 304].contains(&response.status) && response.body != b"evil", "{response:?}");
        }
    }
}

#[test]
fn responses_that_could_be_read_in_two_ways_are_answered_502() {
    let flood = format!("{}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20));
    let headers = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(200));
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        "not http at all\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 200 OK\r\nincomp",
        &flood,
        &headers,
        &large,
    ] {
        let bytes = answer.as_bytes().to_vec();
        let upstream = Upstream::serving(move |mut wire, _| {
            wire.request();
            let _ = wire.try_send(&bytes);
        });
        let mut gateway = Setup::to(upstream.address).start();
        let response = gateway.get("/");
        assert_eq!(response.status, 502, "{:?}", &answer[..answer.len().min(80)]);
        let event = gateway.events.next();
        assert_eq!((&event["error"], &event["tries"]), (&"upstream_response".into(), &1.into()), "{event}");
    }
}

#[test]
fn interim_responses_are_passed_over() {
    let upstream =
        Upstream::answering(|_| [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK].concat());
    let gateway = Setup::to(upstream.address).start();
    let response = gateway.get("/");
    assert_eq!((response.status, response.header("link"), response.text()), (200, None, "ok"));
}

#[test]
fn a_body_that_breaks_off_cuts_the_clients_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    ] {
        let upstream = Upstream::serving(move |mut wire, _| {
            wire.request();
            wire.send(answer.as_bytes());
        });
        let mut gateway = Setup::to(upstream.address).start();
        let mut client = gateway.client();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = client.head().unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let rest = client.read_to_end();
        assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 20, "{answer:?}: {:?}", String::from_utf8_lossy(&rest));
        let event = gateway.events.next();
        assert_eq!((&event["status"], &event["error"]), (&200.into(), &"upstream_body_broken".into()), "{event}");
    }
}

/// In HTTP/1.0 the end of the connection is the end of the body, so a proper close would pass the part for the whole.
#[test]
fn a_body_that_breaks_off_resets_the_connection_of_an_http_1_0_client() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.request();
        wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel");
    });
    let mut gateway = Setup::to(upstream.address).start();
    let mut client = std::net::TcpStream::connect(gateway.address).unwrap();
    client.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").unwrap();
    let end = std::io::Read::read_to_end(&mut client, &mut Vec::new());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(gateway.events.next()["error"], "upstream_body_broken");
}

#[test]
fn a_body_until_the_end_of_the_connection_is_complete_when_it_ends() {
    let upstream = Upstream::serving(move |mut wire, _| {
        wire.request();
        wire.send(b"HTTP/1.0 200 OK\r\n\r\nhello");
    });
    let gateway = Setup::to(upstream.address).start();
    let response = gateway.get("/");
    assert_eq!((response.header("transfer-encoding"), response.text()), (Some("chunked"), "hello"));
}

/// The first connection answers once and is closed in the moment when its second request arrives.
fn closes_on_second_request() -> Upstream {
    let connections = AtomicUsize::new(0);
    Upstream::serving(move |mut wire, sender| {
        let first = connections.fetch_add(1, Ordering::Relaxed) == 0;
        while let Some(seen) = wire.request() {
            let second = first && seen.line().contains("/second");
            sender.send(seen).ok();
            if second {
                return wire.reset();
            }
            wire.send(OK);
        }
    })
}

#[test]
fn an_idempotent_request_that_meets_a_dying_idle_connection_is_sent_again() {
    for retries in [0, 5] {
        let upstream = closes_on_second_request();
        let mut gateway = Setup::new().route(upstream.address, json!({"retries": retries}), json!({})).start();
        assert_eq!(gateway.get("/first").status, 200);
        assert_eq!(gateway.get("/second").status, 200);
        gateway.events.next();
        assert_eq!(gateway.events.next()["tries"], 2);
    }
}

#[test]
fn a_post_that_meets_a_dying_idle_connection_is_not_sent_again() {
    for request in [
        "POST /second HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        "POST /second HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
        "PUT /second HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
    ] {
        let upstream = closes_on_second_request();
        let mut gateway = Setup::to(upstream.address).start();
        assert_eq!(gateway.get("/first").status, 200);
        assert_eq!(gateway.ask(request).status, 502, "{request:?}");
        gateway.events.next();
        let event = gateway.events.next();
        assert_eq!((&event["tries"], &event["error"]), (&1.into(), &"upstream_closed".into()), "{request:?}");
        upstream.next();
        upstream.next();
        assert!(upstream.saw_nothing(), "{request:?} was sent twice");
    }
}

#[test]
fn an_idle_connection_that_the_upstream_closed_is_not_used() {
    let upstream = Upstream::serving(|mut wire, sender| {
        if let Some(seen) = wire.request() {
            wire.send(OK);
            drop(wire);
            sender.send(seen).ok();
        }
    });
    let mut gateway = Setup::to(upstream.address).start();
    for _ in 0..3 {
        assert_eq!(gateway.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").status, 200);
        upstream.next();
        assert_eq!(gateway.events.next()["tries"], 1);
    }
}

#[test]
fn a_fresh_connection_that_is_closed_without_an_answer_is_answered_502_and_not_tried_again() {
    let upstream = Upstream::serving(|mut wire, sender| {
        let seen = wire.request().unwrap();
        sender.send(seen).ok();
    });
    let mut gateway = Setup::to(upstream.address).start();
    assert_eq!(gateway.get("/").status, 502);
    let event = gateway.events.next();
    assert_eq!((&event["tries"], &event["error"]), (&1.into(), &"upstream_closed".into()));
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_answered_504() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.request();
        // Says nothing, until the gateway lets go.
        assert!(wire.is_closed());
    });
    let mut gateway = Setup::new().route(upstream.address, json!({"read_timeout": 50}), json!({})).start();
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.json()["message"].as_str()), (504, Some("The upstream server is timing out")));
        let event = gateway.events.next();
        assert_eq!((&event["error"], &event["tries"]), (&"upstream_read_timeout".into(), &1.into()));
        assert!(event["elapsed_ms"].as_f64().unwrap() >= 50.0);
    }
}

#[test]
fn an_upstream_that_stops_in_the_middle_of_a_body_cuts_the_client() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.request();
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        assert!(wire.is_closed());
    });
    let mut gateway = Setup::new().route(upstream.address, json!({"read_timeout": 50}), json!({})).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.head();
    assert_eq!(client.read_to_end(), b"hello");
    assert_eq!(gateway.events.next()["error"], "upstream_read_timeout");
}

#[test]
fn an_upstream_that_does_not_take_the_request_in_time_is_answered_504() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.head();
        // Reads no further until the gateway has given up.
        std::thread::park_timeout(Duration::from_secs(5));
    });
    let mut gateway = Setup::new().route(upstream.address, json!({"write_timeout": 100}), json!({})).start();
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n");
    let mut sender = Wire::new(client.stream.try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        let chunk = vec![b'x'; 1 << 20];
        while sender.try_send(&chunk).is_ok() {}
    });
    let response = client.response();
    assert_eq!((response.status, response.header("connection")), (504, Some("close")));
    assert_eq!(gateway.events.next()["error"], "upstream_write_timeout");
    drop(gateway);
    sending.join().unwrap();
}

#[test]
fn a_connection_that_is_not_made_in_time_is_answered_504() {
    // A listener whose queue is full and never emptied: the kernel drops further attempts.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    let mut gateway = Setup::new().route(address, json!({"connect_timeout": 50, "retries": 1}), json!({})).start();
    assert_eq!(gateway.get("/").status, 504);
    let event = gateway.events.next();
    assert_eq!((&event["error"], &event["tries"]), (&"upstream_connect_timeout".into(), &2.into()));
}

#[test]
fn an_answer_that_comes_before_the_request_is_complete_is_passed_on_and_the_connection_closed() {
    let upstream = Upstream::serving(|mut wire, _| {
        wire.head();
        wire.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
        drop(wire);
    });
    let mut gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nfirst");
    let response = client.response();
    assert_eq!((response.status, response.text(), response.header("connection")), (413, "big", Some("close")));
    // What follows is not read as a request.
    let _ = client.try_send(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.is_closed());
    assert_eq!(gateway.events.next()["status"], 413);
    assert!(gateway.stop().is_empty());
}

#[test]
fn bodies_stream_both_ways_at_once() {
    // Answers each chunk before the next one was sent: without streaming this would hang.
    let upstream = Upstream::serving(|mut wire, _| {
        wire.head();
        wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            let chunk = wire.exactly(8);
            wire.send(&chunk);
        }
        assert_eq!(wire.exactly(5), b"0\r\n\r\n");
        wire.send(b"0\r\n\r\n");
    });
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"));
    for text in ["abc", "def", "ghi"] {
        client.send(format!("3\r\n{text}\r\n").as_bytes());
        assert_eq!(client.exactly(8), format!("3\r\n{text}\r\n").as_bytes());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.exactly(5), b"0\r\n\r\n");
}

#[test]
fn large_bodies_arrive_whole() {
    let body: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let upstream = Upstream::answering(|seen| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seen.body.len()).into_bytes();
        answer.extend_from_slice(&seen.body);
        answer
    });
    let mut gateway = Setup::to(upstream.address).start();
    for framing in ["content-length", "chunked"] {
        let mut client = gateway.client();
        let mut sender = Wire::new(client.stream.try_clone().unwrap());
        let (bytes, chunked) = (body.clone(), framing == "chunked");
        let sending = std::thread::spawn(move || {
            if chunked {
                sender.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
                for chunk in bytes.chunks(100_001) {
                    sender.send(format!("{:x}\r\n", chunk.len()).as_bytes());
                    sender.send(chunk);
                    sender.send(b"\r\n");
                }
                sender.send(b"0\r\n\r\n");
            } else {
                sender.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes());
                sender.send(&bytes);
            }
        });
        let response = client.response();
        sending.join().unwrap();
        assert!(response.body == body, "{framing}: the body was changed");
        let event = gateway.events.next();
        assert_eq!((&event["request_bytes"], &event["response_bytes"]), (&body.len().into(), &body.len().into()));
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream_from_sending() {
    const TOTAL: usize = 512 << 20;
    let upstream = Upstream::serving(move |mut wire, sender| {
        let seen = wire.request().unwrap();
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes());
        let chunk = vec![b'x'; 1 << 20];
        wire.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut written = 0;
        while wire.try_send(&chunk).is_ok() {
            written += chunk.len();
        }
        // Nothing was taken for a while: the back-pressure has arrived.
        sender.send(crate::support::Seen { body: written.to_string().into_bytes(), ..seen }).ok();
    });
    let mut gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let written: usize = String::from_utf8(upstream.next().body).unwrap().parse().unwrap();
    // Sockets hold some megabytes; the gateway less than one.
    assert!(written < 64 << 20, "{written} bytes were taken from the upstream");
    drop(client);
    assert_eq!(gateway.events.next()["status"], 200);
}

/// A TLS server with a certificate for 127.0.0.1, and that certificate.
fn https_upstream() -> (Upstream, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let upstream = Upstream::serving(move |mut wire, sender| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut wire.stream);
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            request.extend_from_slice(&buffer[..count]);
            if request.ends_with(b"\r\n\r\n") {
                sender
                    .send(crate::support::Seen {
                        head: String::from_utf8(std::mem::take(&mut request)).unwrap(),
                        body: Vec::new(),
                    })
                    .ok();
                stream.write_all(OK).unwrap();
            }
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (upstream, roots)
}

#[test]
fn an_https_upstream_is_verified_unless_the_service_says_otherwise() {
    let (upstream, roots) = https_upstream();
    let https = |verify: serde_json::Value| json!({"protocol": "https", "tls_verify": verify});
    for (trusted, verify, status) in [
        (true, json!(null), 200),
        (true, json!(true), 200),
        (false, json!(null), 502),
        (false, json!(true), 502),
        (false, json!(false), 200),
    ] {
        let mut setup = Setup::new().route(upstream.address, https(verify.clone()), json!({}));
        setup.roots = trusted.then(|| roots.clone());
        let mut gateway = setup.start();
        for _ in 0..2 {
            assert_eq!(gateway.get("/").status, status, "trusted {trusted}, tls_verify {verify}");
            let event = gateway.events.next();
            if status == 502 {
                assert_eq!(event["error"], "upstream_tls", "{event}");
            }
        }
    }
}
