//! Headers on the way up and down: what is removed, what is added, who is believed.

use crate::support::{Setup, Upstream};
use serde_json::json;
use weir_proxy::UnderscoreHeaders;

#[test]
fn the_upstream_gets_the_route_s_path_the_service_s_host_and_the_words_on_the_way() {
    let upstream = Upstream::recording();
    let gateway = Setup::new().route(upstream.address, json!({"path": "/base"}), json!({"paths": ["/api"]})).start();
    let response = gateway.ask("GET /api/x%41/../y?a=b%20c HTTP/1.1\r\nHost: Gateway.Test:8000\r\nX-Custom: 1\r\n\r\n");
    let seen = upstream.next();
    assert_eq!(seen.line(), "GET /base/y?a=b%20c HTTP/1.1");
    assert_eq!(seen.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(seen.header("x-custom"), Some("1"));
    let port = gateway.address.port().to_string();
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "gateway.test"),
        ("x-forwarded-port", port.as_str()),
        ("x-forwarded-path", "/api/y"),
        ("x-forwarded-prefix", "/api"),
        ("via", "1.1 weir"),
    ] {
        assert_eq!(seen.headers(name), [value], "{name}");
    }
    assert_eq!(seen.header("x-kong-request-id"), response.header("x-kong-request-id"));
    assert_eq!(seen.header("x-kong-request-id").map(str::len), Some(32));
    assert_eq!(response.header("via"), Some("1.1 weir"));
    assert!(response.header("x-kong-proxy-latency").is_some_and(|value| value.parse::<u64>().is_ok()));
    assert!(response.header("x-kong-upstream-latency").is_some_and(|value| value.parse::<u64>().is_ok()));
    assert!(response.header("date").is_some());
}

#[test]
fn preserve_host_passes_the_client_s_host_on_and_strip_path_can_be_off() {
    let upstream = Upstream::recording();
    let gateway = Setup::new()
        .route(upstream.address, json!({}), json!({"paths": ["/api"], "preserve_host": true, "strip_path": false}))
        .start();
    gateway.ask("GET /api/x HTTP/1.1\r\nHost: Gateway.Test:8000\r\n\r\n");
    let seen = upstream.next();
    assert_eq!((seen.line(), seen.header("host")), ("GET /api/x HTTP/1.1", Some("Gateway.Test:8000")));
    assert_eq!(seen.header("x-forwarded-prefix"), None);
}

#[test]
fn a_stranger_s_words_on_the_way_are_not_passed_on() {
    let upstream = Upstream::recording();
    let mut gateway = Setup::to(upstream.address).start();
    gateway.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Port: 1\r\nX-Forwarded-Path: /evil\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-User: root\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Consumer-ID: 1\r\nX_Consumer_ID: 1\r\nX-Credential-Identifier: 1\r\n\
         X-Anonymous-Consumer: false\r\nX-Kong-Request-Id: mine\r\nX.Consumer.Username: evil\r\nX~Credential~Identifier: evil\r\n\
         X.Forwarded.For: 6.6.6.6\r\nX-Real.IP: 6.6.6.6\r\nTransfer.Encoding: evil\r\nX.Other: kept\r\n\r\n",
    );
    let seen = upstream.next();
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["a"]);
    assert_eq!(seen.headers("x-kong-request-id").len(), 1);
    for gone in [
        "x-forwarded-prefix",
        "x-forwarded-user",
        "forwarded",
        "x_forwarded_for",
        "x-consumer-id",
        "x_consumer_id",
        "x-credential-identifier",
        "x-anonymous-consumer",
    ] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("x.other"), Some("kept"));
    assert!(!seen.head.contains("6.6.6.6") && !seen.head.contains("evil") && !seen.head.contains("mine"), "{}", seen.head);
    assert_eq!(gateway.events.next()["client_ip"], "127.0.0.1");
}

#[test]
fn a_trusted_peer_says_who_the_client_is() {
    let upstream = Upstream::recording();
    let mut gateway = Setup::to(upstream.address)
        .with(|settings| settings.trusted_ips = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()])
        .start();
    gateway.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-For: 10.0.0.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: public.test\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /outer\r\n\r\n",
    );
    let seen = upstream.next();
    assert_eq!(seen.headers("x-forwarded-for"), ["6.6.6.6, 1.2.3.4, 10.0.0.7, 127.0.0.1"]);
    assert_eq!(seen.headers("x-real-ip"), ["1.2.3.4"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["public.test"]);
    assert_eq!(seen.headers("x-forwarded-port"), ["443"]);
    assert_eq!(seen.headers("x-forwarded-prefix"), ["/outer"]);
    let event = gateway.events.next();
    assert_eq!((&event["client_ip"], &event["scheme"]), (&"1.2.3.4".into(), &"https".into()));
}

#[test]
fn hop_by_hop_headers_are_removed_both_ways() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\nupgrade: h2c\r\n\
          x-kong-proxy-latency: 99999\r\nx-stays: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok"
            .to_vec()
    });
    let gateway = Setup::to(upstream.address).start();
    let response = gateway.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-mine, keep-alive\r\nx-mine: 1\r\nkeep-alive: 5\r\nte: trailers\r\ntrailer: x\r\n\
         proxy-connection: x\r\nx-stays: 1\r\n\r\n",
    );
    let seen = upstream.next();
    for gone in ["connection", "x-mine", "keep-alive", "te", "trailer", "proxy-connection"] {
        assert_eq!(seen.header(gone), None, "{gone} reached the upstream");
    }
    assert_eq!(seen.header("x-stays"), Some("1"));
    for gone in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(response.header(gone), None, "{gone} reached the client");
    }
    assert_eq!(response.header("x-stays"), Some("1"));
    assert_eq!(crate::support::headers(&response.head, "set-cookie"), ["a=1", "b=2"]);
    assert_ne!(response.header("x-kong-proxy-latency"), Some("99999"));
}

#[test]
fn names_with_underscores_follow_the_setting() {
    let upstream = Upstream::recording();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nmy_key: 1\r\nx_consumer_id: 1\r\n\r\n";
    for (policy, status, passed) in
        [(UnderscoreHeaders::Drop, 200, None), (UnderscoreHeaders::Pass, 200, Some("1")), (UnderscoreHeaders::Refuse, 400, None)]
    {
        let gateway = Setup::to(upstream.address).with(|settings| settings.underscore_headers = policy).start();
        assert_eq!(gateway.ask(request).status, status, "{policy:?}");
        if status == 200 {
            let seen = upstream.next();
            assert_eq!((seen.header("my_key"), seen.header("x_consumer_id")), (passed, None), "{policy:?}");
        }
    }
}

#[test]
fn what_names_the_gateway_can_be_switched_off() {
    let upstream = Upstream::recording();
    let gateway = Setup::to(upstream.address)
        .with(|settings| {
            settings.via_header = false;
            settings.latency_headers = false;
            settings.request_id_header = false;
        })
        .start();
    let response = gateway.get("/");
    let seen = upstream.next();
    assert_eq!((seen.header("via"), seen.header("x-kong-request-id")), (None, None));
    for gone in ["via", "server", "x-kong-request-id", "x-kong-proxy-latency", "x-kong-upstream-latency"] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
}

#[test]
fn a_head_response_keeps_its_length_and_has_no_body() {
    let upstream = Upstream::serving(|mut wire, sender| {
        while let Some(head) = wire.head() {
            let answer: &[u8] = if head.starts_with("HEAD") {
                b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            };
            sender.send(crate::support::Seen { head, body: Vec::new() }).ok();
            wire.send(answer);
        }
    });
    let mut gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(crate::support::header(&head, "content-length"), Some("1234"));
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    client.send(b"HEAD /%00 HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 400"));
    assert!(client.is_closed());
    let faults: Vec<_> = (0..3).map(|_| gateway.events.next()["fault"].as_str().unwrap().to_owned()).collect();
    assert_eq!(faults, ["none", "none", "client"]);
}

#[test]
fn http_1_0_clients_are_answered_in_their_version() {
    let upstream = Upstream::answering(|_| b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec());
    let gateway = Setup::to(upstream.address).start();
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(client.read_to_end(), b"ok");
    assert_eq!(upstream.next().header("via"), Some("1.0 weir"));
}
