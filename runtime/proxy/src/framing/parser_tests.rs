//! What passes here must pass the parser behind: it answers what it refuses without a body, and the access event has no request.

use super::*;
use http::Response;
use http::uri::PathAndQuery;
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::select;
use std::convert::Infallible;
use tokio::io::AsyncWriteExt;

const LIMITS: HeadLimits = HeadLimits { head: 32 << 10, target: 8 << 10, headers: 100 };

/// Gives one head to the parser that the gateway uses, over a stream in memory; an error is its refusal.
fn parse(head: &[u8]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let served = std::cell::Cell::new(false);
        let service = service_fn(|_| {
            served.set(true);
            async { Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new())) }
        });
        let connection = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(server), service);
        client.write_all(head).await.unwrap();
        client.shutdown().await.unwrap();
        match connection.await {
            // The body that a head announces does not come: that is no refusal of the head.
            _ if served.get() => Ok(()),
            Ok(()) => Err("not served".to_owned()),
            Err(error) => Err(format!("{error:?}")),
        }
    })
}

fn accepts(head: &[u8]) -> bool {
    match HeadScan::default().advance(head, &LIMITS) {
        Progress::Complete(length, _) => {
            assert_eq!(length, head.len());
            true
        }
        Progress::Incomplete => panic!("a head that ends is incomplete: {:?}", String::from_utf8_lossy(head)),
        Progress::Refused(_) => false,
    }
}

fn head(target: &[u8], host: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat()
}

/// Clients do send `|`, `^`, `{`, `}` and, in a path, `"` as they are: what the parser can take is not refused before it.
#[test]
fn a_target_may_hold_just_what_the_parser_takes() {
    for byte in (0..=u8::MAX).filter(|byte| !matches!(byte, b'\n')) {
        for (before, after) in [(&b"/a"[..], &b"b"[..]), (b"/a?b=", b"c"), (b"/", b""), (b"/?", b"")] {
            let target = [before, &[byte], after].concat();
            // Refused beyond that: `#` belongs to the client, `\` is `/` to some, and what is not ASCII has to be escaped.
            let ours = matches!(byte, b'#' | b'\\') && !before.contains(&b'?') || byte == b'#' || byte >= 0x80;
            let theirs = PathAndQuery::try_from(&target[..]).is_ok();
            assert_eq!(accepts(&head(&target, b"a")), theirs && !ours, "{:?}", String::from_utf8_lossy(&target));
            for target in [target.clone(), [b"http://a", &target[..]].concat()] {
                let head = head(&target, b"a");
                assert!(!accepts(&head) || parse(&head) == Ok(()), "{:?}: {:?}", String::from_utf8_lossy(&target), parse(&head));
            }
        }
    }
}

/// A host as `is_host` may let it pass: pieces of names and addresses, ports of all sizes.
fn host() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[a-zA-Z0-9._-]{1,8}",
        proptest::collection::vec(select(&["0", "f", ":", ".", "::", "1"][..]), 1..8)
            .prop_map(|pieces| format!("[{}]", pieces.concat())),
    ];
    (name, prop_oneof![Just(String::new()), "[0-9]{0,6}".prop_map(|port| format!(":{port}"))])
        .prop_map(|(name, port)| name + &port)
}

fn target() -> impl Strategy<Value = String> {
    let path = || prop_oneof!["/[a-z/.%;]{0,8}", "/[!-~]{0,6}"];
    let query = || prop_oneof![Just(String::new()), "\\?[!-~]{0,6}"];
    (path(), query()).prop_map(|(path, query)| path + &query)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        "[!-~]{1,8}",
        select(&["content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "x"][..])
            .prop_map(str::to_owned),
    ];
    let words =
        select(&["0", "5", "000000000000000007", "chunked", " Chunked\t", "close", "keep-alive", "100-continue", "h2c"][..]);
    let value = prop_oneof![words.prop_map(|word| word.as_bytes().to_vec()), proptest::collection::vec(9..=255_u8, 0..8)];
    (name, value).prop_map(|(name, value)| [name.as_bytes(), b":", &value, b"\r\n"].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn whatever_passes_here_passes_the_parser(
        empty_line in any::<bool>(), method in prop_oneof!["[A-Z]{1,8}", "[A-Z-]{1,33}"], target in target(), host in host(),
        form in select(&["", "http://", "HTTPS://"][..]), old in any::<bool>(), lines in proptest::collection::vec(line(), 0..4),
    ) {
        let authority = if form.is_empty() { "" } else { host.as_str() };
        let version = if old { "0" } else { "1" };
        let start = if empty_line { "\r\n" } else { "" };
        let mut head = format!("{start}{method} {form}{authority}{target} HTTP/1.{version}\r\nhost: {host}\r\n").into_bytes();
        head.extend(lines.concat());
        head.extend_from_slice(b"\r\n");
        // A line of the generator may end the head early: only what was one head is asked about.
        if let Progress::Complete(length, _) = HeadScan::default().advance(&head, &LIMITS) {
            let parsed = parse(&head[..length]);
            prop_assert_eq!(&parsed, &Ok(()), "{:?}", String::from_utf8_lossy(&head[..length]));
        }
    }
}
