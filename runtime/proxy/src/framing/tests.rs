mod reference;

use super::*;
use proptest::prelude::*;
use reference::ReferenceScan;

const LIMITS: HeadLimits = HeadLimits { head: 32 << 10, target: 8 << 10, headers: 100 };

fn scan(head: &[u8]) -> Progress {
    HeadScan::default().advance(head, &LIMITS)
}
/// A head with these lines after `GET / HTTP/1.1` and `host: a`.
fn with(lines: &str) -> Progress {
    scan(format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n").as_bytes())
}
fn body(framing: BodyFraming, bytes: &[u8]) -> Result<(usize, bool), BodyFault> {
    let mut scan = BodyScan::new(framing);
    let taken = scan.advance(bytes)?;
    // The same bytes one by one must lead to the same end.
    let mut single = BodyScan::new(framing);
    let mut one_by_one = 0;
    for byte in bytes {
        one_by_one += single.advance(std::slice::from_ref(byte))?;
    }
    assert_eq!((taken, scan.ended()), (one_by_one, single.ended()));
    Ok((taken, scan.ended()))
}

#[test]
fn a_plain_head_is_complete_and_says_where_it_ends() {
    let head = b"GET /a?b=c HTTP/1.1\r\nHost: example.com:80\r\n\r\n";
    assert_eq!(scan(head), Progress::Complete(head.len(), BodyFraming::Length(0)));
    let mut longer = head.to_vec();
    longer.extend_from_slice(b"GET /next");
    assert_eq!(scan(&longer), Progress::Complete(head.len(), BodyFraming::Length(0)));
    assert_eq!(with("content-length: 007\r\n"), Progress::Complete(48, BodyFraming::Length(7)));
    assert_eq!(with("Transfer-Encoding:\tChunked \r\n"), Progress::Complete(56, BodyFraming::Chunked));
}

#[test]
fn a_head_that_comes_byte_by_byte_is_read_as_one_that_comes_at_once() {
    let head = b"\r\nPOST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\n";
    let mut scan = HeadScan::default();
    for end in 0..head.len() {
        assert_eq!(scan.advance(&head[..end], &LIMITS), Progress::Incomplete, "after {end} bytes");
    }
    assert_eq!(scan.advance(head, &LIMITS), Progress::Complete(head.len(), BodyFraming::Length(5)));
}

#[test]
fn request_lines_that_readers_could_disagree_on_are_refused() {
    for (line, fault) in [
        ("GET /", HeadFault::RequestLine),
        ("GET  / HTTP/1.1", HeadFault::Target),
        ("GET / HTTP/1.1 ", HeadFault::RequestLine),
        ("GET / http/1.1", HeadFault::RequestLine),
        ("GET / HTTP/1.2", HeadFault::Version),
        ("GET / HTTP/2.0", HeadFault::Version),
        ("GET / HTTP/0.9", HeadFault::Version),
        ("get / HTTP/1.1", HeadFault::Method),
        ("G\tT / HTTP/1.1", HeadFault::Method),
        (" GET / HTTP/1.1", HeadFault::Method),
        ("CONNECT a:1 HTTP/1.1", HeadFault::MethodNotServed),
        ("TRACE / HTTP/1.1", HeadFault::MethodNotServed),
        ("GET /#a HTTP/1.1", HeadFault::Target),
        ("GET /a\\b HTTP/1.1", HeadFault::Target),
        ("GET /\u{e9} HTTP/1.1", HeadFault::Target),
        ("GET /a\u{1}b HTTP/1.1", HeadFault::Target),
        ("GET /a b HTTP/1.1", HeadFault::Target),
        ("GET * HTTP/1.1", HeadFault::Target),
        ("GET a HTTP/1.1", HeadFault::Target),
        ("GET ftp://a/ HTTP/1.1", HeadFault::Target),
        ("GET http://b/ HTTP/1.1", HeadFault::Host),
        ("GET http://u@a/ HTTP/1.1", HeadFault::Host),
        ("GET http://a HTTP/1.1", HeadFault::Target),
    ] {
        assert_eq!(scan(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()), Progress::Refused(fault), "{line:?}");
    }
    assert!(matches!(scan(b"GET HTTP://A/x HTTP/1.1\r\nHost: a\r\n\r\n"), Progress::Complete(..)));
}

#[test]
fn framing_headers_are_taken_only_in_their_one_plain_form() {
    for (lines, fault) in [
        ("content-length: 5\r\ntransfer-encoding: chunked\r\n", HeadFault::TwoLengths),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", HeadFault::TwoLengths),
        ("content-length: 5\r\ncontent-length: 5\r\n", HeadFault::ContentLength),
        ("content-length: 5\r\ncontent-length: 6\r\n", HeadFault::ContentLength),
        ("content-length: 5, 5\r\n", HeadFault::ContentLength),
        ("content-length: +5\r\n", HeadFault::ContentLength),
        ("content-length: -1\r\n", HeadFault::ContentLength),
        ("content-length: 0x5\r\n", HeadFault::ContentLength),
        ("content-length: 5_0\r\n", HeadFault::ContentLength),
        ("content-length: 18446744073709551616\r\n", HeadFault::ContentLength),
        ("content-length:\r\n", HeadFault::ContentLength),
        ("transfer-encoding: xchunked\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: chunked, identity\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: identity, chunked\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: identity\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: \"chunked\"\r\n", HeadFault::TransferEncoding),
        ("transfer-encoding: \u{b}chunked\r\n", HeadFault::Line),
        ("transfer-encoding : chunked\r\n", HeadFault::Name),
        ("transfer-encoding\t: chunked\r\n", HeadFault::Name),
        ("transfer-encoding:\r\n chunked\r\n", HeadFault::TransferEncoding),
    ] {
        assert_eq!(with(lines), Progress::Refused(fault), "{lines:?}");
    }
    assert_eq!(
        scan(b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"),
        Progress::Refused(HeadFault::TransferEncoding)
    );
}

#[test]
fn header_lines_that_readers_could_disagree_on_are_refused() {
    for (lines, fault) in [
        ("a: b\n", HeadFault::Line),
        ("a: b\rc: d\r\n", HeadFault::Line),
        ("a: b\r\r\n", HeadFault::Line),
        ("a: b\0\r\n", HeadFault::Line),
        ("a: b\u{7f}\r\n", HeadFault::Line),
        ("a: b\r\n c\r\n", HeadFault::Folded),
        ("a b: c\r\n", HeadFault::Name),
        ("a : c\r\n", HeadFault::Name),
        (": c\r\n", HeadFault::Name),
        ("a\r\n", HeadFault::Name),
        ("\u{e9}: c\r\n", HeadFault::Name),
        ("host: b\r\n", HeadFault::Host),
    ] {
        assert_eq!(with(lines), Progress::Refused(fault), "{lines:?}");
    }
    assert_eq!(scan(b"GET / HTTP/1.1\r\n x: y\r\nhost: a\r\n\r\n"), Progress::Refused(HeadFault::Folded));
    assert_eq!(scan(b"GET / HTTP/1.1\nhost: a\n\n"), Progress::Refused(HeadFault::Line));
    assert_eq!(scan(b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"), Progress::Refused(HeadFault::RequestLine));
    assert!(matches!(with("a_b: \u{e9}\tc\r\n"), Progress::Complete(..)));
}

#[test]
fn a_host_is_one_plain_name_or_address_with_a_port() {
    for host in [
        "", " ", "u@a", "a:b", "a:", "a:123456", "a/b", "a b", "a,b", "[::1", "[]", "[::g]", "[::1]x", "\u{e9}", "a%41", "a#",
        "[:::]",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(scan(head.as_bytes()), Progress::Refused(HeadFault::Host), "{host:?}");
    }
    for host in ["a", "A.example-1.com:8080", "127.0.0.1", "[::1]", "[::1]:80", "a_b", "a."] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(matches!(scan(head.as_bytes()), Progress::Complete(..)), "{host:?}");
    }
    assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\n"), Progress::Refused(HeadFault::Host));
    assert!(matches!(scan(b"GET / HTTP/1.0\r\n\r\n"), Progress::Complete(..)));
}

#[test]
fn a_head_that_exceeds_a_limit_is_refused_before_it_is_complete() {
    let limits = HeadLimits { head: 100, target: 20, headers: 2 };
    let advance = |head: &str| HeadScan::default().advance(head.as_bytes(), &limits);
    assert_eq!(advance(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(20))), Progress::Refused(HeadFault::TargetTooLong));
    assert_eq!(advance(&format!("GET /{}", "a".repeat(80))), Progress::Refused(HeadFault::TargetTooLong));
    assert_eq!(advance(&format!("GET / HTTP/1.1\r\na: {}", "a".repeat(90))), Progress::Refused(HeadFault::TooLarge));
    assert_eq!(advance("GET / HTTP/1.1\r\na: b\r\na: b\r\na: b\r\n"), Progress::Refused(HeadFault::TooMany));
}

#[test]
fn bodies_end_where_their_framing_says() {
    assert_eq!(body(BodyFraming::Length(0), b"GET"), Ok((0, true)));
    assert_eq!(body(BodyFraming::Length(3), b"abcGET"), Ok((3, true)));
    assert_eq!(body(BodyFraming::Length(4), b"abc"), Ok((3, false)));
    assert_eq!(body(BodyFraming::Chunked, b"3\r\nabc\r\n0\r\n\r\nGET"), Ok((13, true)));
    assert_eq!(body(BodyFraming::Chunked, b"A;x=\"y\"\r\n0123456789\r\n00\r\nT: v\r\n\r\nGET"), Ok((33, true)));
    assert_eq!(body(BodyFraming::Chunked, b"3\r\nabc\r\n0\r\n"), Ok((11, false)));
}

#[test]
fn malformed_chunks_are_refused() {
    let zeros = format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(1000));
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(1000));
    let extensions = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(100));
    let trailers = format!("0\r\n{}\r\n", "t: v\r\n".repeat(3000));
    for bytes in [
        "0x1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "\r\n",
        ";x\r\n",
        "1\na\n0\n\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "1;\u{1}\r\na\r\n",
        "1;a\rb\r\na\r\n",
        "0\r\n \r\n",
        "0\r\nt: v\n\r\n",
        "0\r\n\rx",
        &zeros,
        &extension,
        &extensions,
        &trailers,
    ] {
        assert_eq!(body(BodyFraming::Chunked, bytes.as_bytes()), Err(BodyFault), "{:?}", &bytes[..bytes.len().min(30)]);
    }
}

#[test]
fn a_chunk_size_line_is_read_in_one_way_or_not_at_all() {
    let long = format!("2{}", " ".repeat(1000));
    // The line, and whether a client and an upstream may write it. What both may, both mean by two bytes.
    for (line, client, upstream) in [
        ("2", true, true),
        ("02", true, true),
        ("2;x", true, true),
        ("2;x=\"y z\"", true, true),
        ("2; x", true, true),
        // Blanks before the end or before an extension: refused where an attacker could write them.
        ("2 ;x", false, true),
        ("2\t;x", false, true),
        ("2 ", false, true),
        ("2\t", false, true),
        ("2 \t ", false, true),
        // Two sizes in one line.
        ("2 3", false, false),
        ("2\t3", false, false),
        ("2 x", false, false),
        ("2 \u{b}", false, false),
        (" 2", false, false),
        ("\t2", false, false),
        ("+2", false, false),
        ("-2", false, false),
        ("0x2", false, false),
        ("2h", false, false),
        ("2,", false, false),
        ("2_0", false, false),
        ("", false, false),
        (";x", false, false),
        (" ", false, false),
        ("ffffffffffffffff2", false, false),
        ("00000000000000002", false, false),
        (long.as_str(), false, false),
    ] {
        let body = format!("{line}\r\nab\r\n0\r\n\r\n");
        for (mut scan, taken, side) in [
            (BodyScan::new(BodyFraming::Chunked), client, "a client"),
            (BodyScan::of_response(BodyFraming::Chunked), upstream, "an upstream"),
        ] {
            let read = scan.advance(body.as_bytes()).map(|length| (length, scan.ended()));
            let expected = if taken { Ok((body.len(), true)) } else { Err(BodyFault) };
            assert_eq!(read, expected, "{line:?} of {side}");
        }
    }
}

#[test]
fn a_chunk_size_beyond_what_a_length_can_hold_is_refused() {
    for mut scan in [BodyScan::new(BodyFraming::Chunked), BodyScan::of_response(BodyFraming::Chunked)] {
        assert_eq!(scan.clone().advance(b"ffffffffffffffff\r\n"), Ok(18), "the largest that there is");
        assert_eq!(scan.advance(b"10000000000000000\r\n"), Err(BodyFault));
    }
}

/// Heads as clients send them, with and without what is refused.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![8 => Just("GET"), 2 => Just("POST"), 1 => Just("TRACE"), 1 => Just("get"), 1 => Just("")];
    let target = prop_oneof![6 => "/[a-z]{0,40}(\\?[a-z=&]{0,20})?", 1 => "https?://[a-c](:80)?/x?", 1 => "[ -~]{0,20}"];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0"), 1 => Just("")];
    let name = prop_oneof![
        4 => "[A-Za-z-]{1,20}",
        2 => Just("Host".to_owned()),
        1 => Just("content-length".to_owned()),
        1 => Just("Transfer-Encoding".to_owned()),
        1 => "[a-z]{120,135}",
        1 => "[ -~]{0,20}",
    ];
    let value = prop_oneof![
        4 => "[ -~]{0,70}",
        2 => Just(" a".to_owned()),
        1 => Just(" chunked".to_owned()),
        1 => "[0-9]{0,20}",
        2 => "[ -~]{0,40}[\\t\\r\\n\\x00\\x1f\\x7f\u{80}-\u{ff}][ -~]{0,40}",
    ];
    let line_end = prop_oneof![40 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n")];
    let lines = prop::collection::vec((name, value, line_end), 0..8);
    ((prop::bool::weighted(0.1), method, target, version, lines), any::<u8>()).prop_map(
        |((empty, method, target, version, lines), end)| {
            let mut head = if empty { "\r\n".to_owned() } else { String::new() };
            head.push_str(&format!("{method} {target} {version}\r\nhost: a\r\n"));
            lines.iter().for_each(|(name, value, end)| head.push_str(&format!("{name}:{value}{end}")));
            head.push_str(if end < 200 { "\r\n" } else { "\r\nGET" });
            head.into_bytes()
        },
    )
}

/// Both scanners get `bytes` in the same pieces and must say the same after each.
fn compare(bytes: &[u8], cuts: &[prop::sample::Index], limits: &HeadLimits) -> Result<(), TestCaseError> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut scan, mut reference) = (HeadScan::default(), ReferenceScan::default());
    for end in ends {
        let (ours, theirs) = (scan.advance(&bytes[..end], limits), reference.advance(&bytes[..end], limits));
        prop_assert_eq!(ours, theirs, "after {} bytes of {:?}", end, String::from_utf8_lossy(bytes));
        if ours != Progress::Incomplete {
            break;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn heads_are_judged_as_one_byte_after_the_other(
        mut bytes in head(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        small in any::<bool>(),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let limits = if small { HeadLimits { head: 200, target: 20, headers: 3 } } else { LIMITS };
        compare(&bytes, &cuts, &limits)?;
    }

    #[test]
    fn any_bytes_are_judged_as_one_byte_after_the_other(
        bytes in prop::collection::vec(prop_oneof![1 => any::<u8>(), 1 => prop::sample::select(b"\r\n: /ab\t\0\x7f".to_vec())], 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        compare(&bytes, &cuts, &LIMITS)?;
        compare(&[b"GET / HTTP/1.1\r\nhost: a\r\nx: ", &*bytes, b"\r\n\r\n"].concat(), &cuts, &LIMITS)?;
        compare(&[b"GET / HTTP/1.1\r\nhost: a\r\n", &*bytes, b": b\r\n\r\n"].concat(), &cuts, &LIMITS)?;
    }

    #[test]
    fn a_plain_line_ends_where_its_first_control_byte_stands(
        mut line in prop::collection::vec(prop_oneof![20 => 0x20_u8..0x7f, 1 => 0x80_u8.., 1 => any::<u8>()], 0..80),
        ends in any::<bool>(),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        if ends {
            line.extend_from_slice(b"\r\n");
        }
        line.extend_from_slice(&rest);
        let control = line.iter().position(|&byte| byte < 0x20 || byte == 0x7f);
        let length = control.filter(|&at| line[at..].starts_with(b"\r\n"));
        let found = plain_line(&line);
        // Less than a block is not looked at.
        if found.is_some() || line.len() >= 16 {
            prop_assert_eq!(found, length);
        }
    }
}
