//! The upstream's response head: parsed by `httparse`, then judged.
//!
//! Upstreams are trusted less than ourselves: a response that two readers could delimit differently is not passed on.

use crate::error::ProxyError;
use crate::framing::{BodyFraming, parse_length};
use crate::headers::HEADERS_LIMIT;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::mem::MaybeUninit;

/// Interim responses before the final one. 103 comes once or twice; a flood is a fault.
pub const INTERIM_LIMIT: u32 = 8;

/// How the body of a response is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseFraming {
    /// By its length or by chunks.
    Delimited(BodyFraming),
    /// By the end of the connection.
    UntilClose,
}

/// A response head.
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, all of them.
    pub headers: HeaderMap,
    /// Its body's end.
    pub framing: ResponseFraming,
    /// Whether the upstream keeps the connection.
    pub keep_alive: bool,
    /// Bytes that it took.
    pub length: usize,
}

/// Parses a head at the begin of `bytes`; `None` while it is incomplete. `method` is the request's. The headers go into `map`,
/// which is empty and is taken for it; it gets room for `spare` more, so that it does not grow on the way.
pub fn parse(bytes: &Bytes, method: &Method, map: &mut HeaderMap, spare: usize) -> Result<Option<Head>, ProxyError> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_LIMIT];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut lines);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(ProxyError::UpstreamResponse("too many headers")),
        Err(_) => return Err(ProxyError::UpstreamResponse("malformed head")),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(ProxyError::UpstreamResponse("malformed status"))?;
    let mut headers = std::mem::take(map);
    headers.reserve(response.headers.len() + spare);
    let (mut length_seen, mut chunked, mut encodings) = (None, false, 0);
    let mut keep_alive = response.version == Some(1);
    for line in response.headers.iter() {
        let malformed = |_| ProxyError::UpstreamResponse("malformed header");
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| ProxyError::UpstreamResponse("malformed header"))?;
        let mut value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).map_err(malformed)?;
        if name == header::CONTENT_LENGTH {
            let given = content_length(line.value).ok_or(ProxyError::UpstreamResponse("malformed content length"))?;
            if length_seen.is_some_and(|seen| seen != given) {
                return Err(ProxyError::UpstreamResponse("two content lengths"));
            }
            if length_seen.replace(given).is_some() {
                continue;
            }
            if line.value.contains(&b',') {
                value = HeaderValue::from(given);
            }
        } else if name == header::TRANSFER_ENCODING {
            encodings += 1;
            chunked = line.value.eq_ignore_ascii_case(b"chunked");
        } else if name == header::CONNECTION {
            if has_token(line.value, b"close") {
                keep_alive = false;
            } else if response.version == Some(0) && has_token(line.value, b"keep-alive") {
                keep_alive = true;
            }
        }
        headers.append(name, value);
    }
    if encodings > 0 && (encodings > 1 || !chunked || response.version == Some(0)) {
        return Err(ProxyError::UpstreamResponse("transfer encoding that is not served"));
    }
    if chunked && length_seen.is_some() {
        return Err(ProxyError::UpstreamResponse("content length and transfer encoding"));
    }
    let bodyless = *method == Method::HEAD || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let framing = match (bodyless, chunked, length_seen) {
        (true, ..) => ResponseFraming::Delimited(BodyFraming::Length(0)),
        (false, true, _) => ResponseFraming::Delimited(BodyFraming::Chunked),
        (false, false, Some(length)) => ResponseFraming::Delimited(BodyFraming::Length(length)),
        (false, false, None) => ResponseFraming::UntilClose,
    };
    let keep_alive = keep_alive && framing != ResponseFraming::UntilClose;
    Ok(Some(Head { status, headers, framing, keep_alive, length }))
}

/// Equal lengths in one line (`5, 5`) come from lists that were joined on the way (RFC 9112, 6.3).
fn content_length(value: &[u8]) -> Option<u64> {
    // The usual one is a plain number.
    if let Some(length) = parse_length(value) {
        return Some(length);
    }
    let text = std::str::from_utf8(value).ok()?;
    let mut lengths = text.split(',').map(|part| {
        let part = part.trim_matches([' ', '\t']);
        let digits = !part.is_empty() && part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten()
    });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &'static str) -> Result<Option<Head>, ProxyError> {
        parse(&Bytes::from_static(text.as_bytes()), &Method::GET, &mut HeaderMap::new(), 0)
    }
    fn refused(text: &'static str) -> &'static str {
        match head(text) {
            Err(ProxyError::UpstreamResponse(reason)) => reason,
            _ => panic!("{text:?} was not refused"),
        }
    }

    #[test]
    fn a_response_is_delimited_by_its_length_its_chunks_or_its_end() {
        let framing = |text| head(text).unwrap().unwrap().framing;
        let length = |length| ResponseFraming::Delimited(BodyFraming::Length(length));
        assert_eq!(framing("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"), length(5));
        assert_eq!(framing("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5\r\n\r\n"), length(5));
        assert_eq!(framing("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"), length(0));
        assert_eq!(framing("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"), length(0));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"),
            ResponseFraming::Delimited(BodyFraming::Chunked)
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), ResponseFraming::UntilClose);
        assert!(head("HTTP/1.1 200 OK\r\ncontent-").unwrap().is_none());
    }

    #[test]
    fn a_response_that_could_be_delimited_in_two_ways_is_refused() {
        assert_eq!(
            refused("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"),
            "content length and transfer encoding"
        );
        assert_eq!(refused("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"), "two content lengths");
        assert_eq!(refused("HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n"), "malformed content length");
        assert_eq!(refused("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n"), "malformed content length");
        for value in ["gzip, chunked", "chunked, identity", "identity"] {
            let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {value}\r\n\r\n");
            assert!(parse(&Bytes::from(text), &Method::GET, &mut HeaderMap::new(), 0).is_err(), "{value}");
        }
        assert_eq!(refused("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), "transfer encoding that is not served");
        assert_eq!(refused("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"), "malformed head");
        assert_eq!(refused("HTTP/1.1 200 OK\r\na : b\r\n\r\n"), "malformed head");
        assert_eq!(refused("ICY 200 OK\r\n\r\n"), "malformed head");
    }

    #[test]
    fn the_connection_is_kept_only_when_both_sides_can() {
        let kept = |text| head(text).unwrap().unwrap().keep_alive;
        assert!(kept("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!kept("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!kept("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n"));
        assert!(!kept("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(kept("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n"));
    }
}
