//! What happens to headers on the way: what is removed, what the gateway vouches for, and the head that goes upstream.
//!
//! Pure. The order matters and is `exchange`'s: hop-by-hop headers and everything a client could forge go first, before plugins
//! look; the gateway's own headers are written last, straight into the bytes for the upstream, so that nobody can touch them.

use crate::chain::Scheme;
use crate::error::ProxyError;
use crate::settings::{ProxySettings, UnderscoreHeaders};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use ipnet::IpNet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use weir_plugin_host::exchange::Exchange;
use weir_plugin_host::is_identity_header;

/// Header lines of one head, from either side. Plugins are promised no more, and no client needs more.
pub const HEADERS_LIMIT: usize = 100;

/// Request id, to the upstream and to the client.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");
/// Milliseconds that the gateway itself took.
pub const PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");
/// Milliseconds that the upstream took.
pub const UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
/// Milliseconds of a reply that came from the gateway.
pub const RESPONSE_LATENCY: HeaderName = HeaderName::from_static("x-kong-response-latency");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Meant for the next hop only (RFC 9110, 7.6.1), or answered by us (`expect`).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
    )
}
/// Said by authentication, never by a client.
fn is_identity(name: &str) -> bool {
    is_identity_header(name) || name.starts_with("x-authenticated-")
}
/// Said by proxies.
fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "x-real-ip" | "forwarded")
}
/// Written by `encode_head` and nobody else. `forwarded` is not: we pass it on from trusted peers, but do not write it.
fn is_ours(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => {
            matches!(
                name,
                "x-forwarded-for"
                    | "x-forwarded-proto"
                    | "x-forwarded-host"
                    | "x-forwarded-port"
                    | "x-forwarded-path"
                    | "x-forwarded-prefix"
                    | "x-real-ip"
                    | "x-kong-request-id"
            ) || is_identity_header(name)
        }
        Some(b'h') => name == "host" || is_hop_by_hop(name),
        Some(b'c') => name == "content-length" || is_hop_by_hop(name),
        Some(b'k' | b'p' | b't' | b'u' | b'e') => is_hop_by_hop(name),
        _ => false,
    }
}
/// What `Connection` may not name: taking it away would change who is asking, what for, or where the message ends.
fn is_protected(name: &str) -> bool {
    is_identity(name)
        || is_forwarding(name)
        || name.starts_with("x-kong-")
        || matches!(
            name,
            "host"
                | "content-length"
                | "content-type"
                | "content-encoding"
                | "authorization"
                | "proxy-authorization"
                | "cookie"
                | "via"
        )
}

/// Whether a header name has a byte that some servers cannot tell from `-`. Asked for every header: no branch in the loop.
fn has_odd_byte(name: &str) -> bool {
    name.bytes().fold(false, |odd, byte| odd | ODD.get(usize::from(byte)).copied().unwrap_or(true))
}

/// Bytes of a name that are neither letters, digits nor `-`.
static ODD: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = !(byte as u8).is_ascii_alphanumeric() && byte as u8 != b'-';
        byte += 1;
    }
    table
};

/// Takes out of a request head what is not for the upstream and what a client could forge. `trusted`: the peer may speak for
/// others.
pub fn clean_request(headers: &mut HeaderMap, trusted: bool, settings: &ProxySettings) -> Result<(), ProxyError> {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        let text = name.as_str();
        if has_odd_byte(text) {
            // Servers that put headers into variables (CGI and its heirs) turn each of these into `_`, as they do with `-`.
            let alias: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            let underscore = text.contains('_');
            let dropped = underscore && settings.underscore_headers == UnderscoreHeaders::Drop;
            if is_protected(&alias) || is_hop_by_hop(&alias) || dropped {
                doomed.push(name.clone());
            } else if underscore && settings.underscore_headers == UnderscoreHeaders::Refuse {
                return Err(ProxyError::UnderscoreHeader(text.to_owned()));
            }
            continue;
        }
        match text.as_bytes().first() {
            Some(b'c') if text == "connection" => {
                nominated(value, &mut doomed)?;
                doomed.push(name.clone());
            }
            Some(b'x') if is_identity(text) || (!trusted && is_forwarding(text)) || text == "x-kong-request-id" => {
                doomed.push(name.clone());
            }
            Some(b'f') if !trusted && is_forwarding(text) => doomed.push(name.clone()),
            Some(b'k' | b'p' | b't' | b'u' | b'h' | b'e') if is_hop_by_hop(text) => doomed.push(name.clone()),
            _ => {}
        }
    }
    for name in doomed {
        headers.remove(name);
    }
    Ok(())
}

/// The headers that a `Connection` line names.
fn nominated(value: &HeaderValue, doomed: &mut Vec<HeaderName>) -> Result<(), ProxyError> {
    for token in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if token.is_empty() || token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(token) else { continue };
        if is_protected(&name.as_str().replace('_', "-")) {
            return Err(ProxyError::ConnectionNamesProtected(name.as_str().to_owned()));
        }
        doomed.push(name);
    }
    Ok(())
}

/// Takes out of a response head what was for us only.
pub fn clean_response(headers: &mut HeaderMap) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        let text = name.as_str();
        if text == "connection" {
            // An upstream that names a protected header means it for us; it is removed like any other.
            let named = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            let named = named.filter_map(|token| HeaderName::from_bytes(token).ok());
            doomed.extend(named.filter(|name| *name != header::CONTENT_LENGTH));
        }
        if is_hop_by_hop(text)
            || matches!(
                text,
                "x-kong-proxy-latency" | "x-kong-upstream-latency" | "x-kong-response-latency" | "x-kong-request-id"
            )
        {
            doomed.push(name.clone());
        }
    }
    for name in doomed {
        headers.remove(name);
    }
}

/// Who asks: the peer, or whom the nearest untrusted hop in `X-Forwarded-For` was, read from the right.
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let mut lines: Vec<&HeaderValue> = headers.get_all(FORWARDED_FOR).iter().collect();
    while let Some(line) = lines.pop() {
        for part in line.as_bytes().rsplit(|&byte| byte == b',') {
            // What cannot be read was not written by a proxy that is trusted: what stands left of it counts for nothing.
            let Some(address) = parse_address(part.trim_ascii()) else { return client };
            client = address;
            if !is_trusted(address, trusted) {
                return client;
            }
        }
    }
    client
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    }
    text.parse::<SocketAddr>().ok().map(|address| address.ip().to_canonical())
}

/// Whether a peer may say who the client is.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's protocol: the connection's, unless a trusted peer says otherwise.
pub fn client_scheme(headers: &HeaderMap, connection: Scheme) -> Scheme {
    match headers.get(FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
        Some(proto) if proto.eq_ignore_ascii_case(b"http") => Scheme::Http,
        _ => connection,
    }
}

/// What is known of the way here, for the headers that tell the upstream.
pub struct Way<'a> {
    /// Who is connected to us.
    pub peer: &'a str,
    /// Whether the peer may speak for others.
    pub trusted: bool,
    /// The port that the client used.
    pub local_port: &'a str,
    /// The path as routed, before plugins.
    pub path: &'a str,
    /// The part of it that the route cuts off.
    pub prefix: Option<&'a str>,
    /// The client's HTTP version.
    pub version: Version,
}

/// How the body of the request is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// So many bytes.
    Length(u64),
    /// Unknown.
    Chunked,
}

/// Writes the head that goes upstream. Whatever plugins have done: framing, host and the words on the client's way are ours.
pub fn encode_head(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    path: &str,
    host: &HeaderValue,
    body: Announced,
    way: &Way<'_>,
    settings: &ProxySettings,
) {
    let request = &exchange.request;
    let headers = &request.headers;
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    if let Some(query) = &request.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    own_line(out, b"host: ", headers.get(header::HOST).unwrap_or(host).as_bytes());
    for (name, value) in headers {
        let name = name.as_str();
        if !is_ours(name) {
            line(out, name, value.as_bytes());
        }
    }
    for (name, value) in exchange.caller.iter().flat_map(|caller| caller.headers()) {
        line(out, name.as_str(), value.as_bytes());
    }
    match body {
        Announced::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Announced::Length(0) if !matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => {}
        Announced::Length(length) => display(out, "content-length", length),
    }
    write_way(out, exchange, way);
    if settings.request_id_header {
        own_line(out, b"x-kong-request-id: ", exchange.id.as_bytes());
    }
    if settings.via_header {
        let via: &[u8] = if way.version == Version::HTTP_10 { b"1.0 weir" } else { b"1.1 weir" };
        own_line(out, b"via: ", via);
    }
    out.extend_from_slice(b"\r\n");
}

/// The headers about the way here. A trusted peer's words stand where it has said something; nobody else's are left by now.
fn write_way(out: &mut Vec<u8>, exchange: &Exchange, way: &Way<'_>) {
    let request = &exchange.request;
    let prefix = way.prefix.filter(|prefix| *prefix != "/");
    if !way.trusted {
        own_line(out, b"x-forwarded-for: ", way.peer.as_bytes());
        own_line(out, b"x-real-ip: ", way.peer.as_bytes());
        own_line(out, b"x-forwarded-proto: ", request.scheme.as_bytes());
        own_line(out, b"x-forwarded-host: ", request.host.as_bytes());
        own_line(out, b"x-forwarded-port: ", way.local_port.as_bytes());
        own_line(out, b"x-forwarded-path: ", way.path.as_bytes());
        prefix.iter().for_each(|prefix| own_line(out, b"x-forwarded-prefix: ", prefix.as_bytes()));
        return;
    }
    let headers = &request.headers;
    out.extend_from_slice(b"x-forwarded-for: ");
    for value in headers.get_all(FORWARDED_FOR) {
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(way.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
    display(out, "x-real-ip", exchange.client_ip);
    let mut told = |name: &HeaderName, ours: Option<&str>| {
        let theirs = headers.get(name).map(HeaderValue::as_bytes);
        theirs.or(ours.map(str::as_bytes)).iter().for_each(|value| line(out, name.as_str(), value));
    };
    told(&FORWARDED_PROTO, Some(request.scheme));
    told(&FORWARDED_HOST, Some(&request.host));
    told(&FORWARDED_PORT, Some(way.local_port));
    told(&FORWARDED_PATH, Some(way.path));
    told(&FORWARDED_PREFIX, prefix);
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
/// A line of ours. Its beginning has a known length, so that it is copied without a call.
fn own_line<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
fn display(out: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    let _ = write!(out, "{name}: {value}\r\n");
}

/// Milliseconds as a header value.
pub fn milliseconds(duration: Duration) -> HeaderValue {
    // Most are small, and these need no memory.
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let small = usize::try_from(milliseconds).ok().and_then(|at| SMALL.get(at));
    small.map_or_else(|| HeaderValue::from(milliseconds), |text| HeaderValue::from_static(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }
    fn left(lines: &[(&'static str, &'static str)], trusted: bool, settings: &ProxySettings) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        clean_request(&mut headers, trusted, settings).unwrap();
        let mut names: Vec<_> = headers.keys().map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn hop_by_hop_headers_and_those_named_by_connection_are_removed() {
        let lines = [
            ("connection", "close, X-Secret-Hop"),
            ("connection", "keep-alive,te"),
            ("x-secret-hop", "1"),
            ("keep-alive", "1"),
            ("proxy-connection", "1"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ];
        assert_eq!(left(&lines, false, &ProxySettings::default()), ["accept"]);
    }

    #[test]
    fn connection_cannot_take_away_a_protected_header() {
        for name in
            ["Authorization", "host", "X-Forwarded-For", "x-consumer-id", "Content-Length", "cookie", "x_forwarded_for", "via"]
        {
            let mut headers = HeaderMap::new();
            headers.append("connection", HeaderValue::from_str(&format!("close, {name}")).unwrap());
            let refused = clean_request(&mut headers, true, &ProxySettings::default());
            assert!(matches!(refused, Err(ProxyError::ConnectionNamesProtected(_))), "{name}");
        }
    }

    #[test]
    fn nobody_outside_can_say_who_the_consumer_is() {
        let lines = [
            ("x-consumer-id", "1"),
            ("x-consumer-username", "root"),
            ("x-consumer-groups", "admin"),
            ("x-credential-identifier", "1"),
            ("x-anonymous-consumer", "false"),
            ("x_consumer_id", "1"),
            ("x-consumer_id", "1"),
            ("x_anonymous_consumer", "false"),
            ("x-authenticated-groups", "admin"),
        ];
        let pass = ProxySettings { underscore_headers: UnderscoreHeaders::Pass, ..ProxySettings::default() };
        assert!(left(&lines, true, &pass).is_empty());
    }

    #[test]
    fn the_forwarded_headers_of_a_stranger_are_removed_all_of_them() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-prefix", "/admin"),
            ("x-forwarded-anything", "1"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
        ];
        assert!(left(&lines, false, &ProxySettings::default()).is_empty());
        assert_eq!(left(&lines, true, &ProxySettings::default()).len(), 5);
    }

    #[test]
    fn names_with_underscores_are_dropped_refused_or_passed() {
        let with = |underscore_headers| ProxySettings { underscore_headers, ..ProxySettings::default() };
        assert!(left(&[("a_b", "1")], false, &with(UnderscoreHeaders::Drop)).is_empty());
        assert_eq!(left(&[("a_b", "1")], false, &with(UnderscoreHeaders::Pass)), ["a_b"]);
        let refused = clean_request(&mut map(&[("a_b", "1")]), false, &with(UnderscoreHeaders::Refuse));
        assert!(matches!(refused, Err(ProxyError::UnderscoreHeader(_))));
        assert!(left(&[("content_length", "1")], true, &with(UnderscoreHeaders::Pass)).is_empty());
    }

    #[test]
    fn the_client_is_the_nearest_hop_that_is_not_trusted() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        for (value, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("6.6.6.6, evil, 10.0.0.2", "10.0.0.2"),
            ("", "10.0.0.1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            let headers = map(&[("x-forwarded-for", value)]);
            assert_eq!(client_ip(&headers, peer, &trusted).to_string(), expected, "{value:?}");
        }
        let mut two = HeaderMap::new();
        two.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        two.append("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
        assert_eq!(client_ip(&two, peer, &trusted).to_string(), "1.2.3.4");
    }

    #[test]
    fn a_response_loses_what_was_meant_for_the_gateway() {
        let mut headers = map(&[
            ("connection", "x-internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-kong-upstream-latency", "1"),
            ("content-length", "5"),
            ("set-cookie", "a=b"),
        ]);
        clean_response(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort();
        assert_eq!(names, ["content-length", "set-cookie"]);
    }
}
