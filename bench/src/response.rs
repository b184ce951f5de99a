//! Reads one HTTP/1.1 response from a buffer, as cheaply as a load generator must.
//!
//! Only what the arms send: a status line, headers, a body with Content-Length. Anything else is refused, because a proxy
//! that re-frames the origin's response is doing other work than its neighbours.

use crate::error::{BenchError, Result};

/// Where the parts of a response are.
#[derive(Debug, PartialEq, Eq)]
pub struct Framed {
    /// The status.
    pub status: u16,
    /// Length of the head with its blank line.
    pub head: usize,
    /// Length of the body.
    pub body: usize,
    /// Whether the peer announced that it will close.
    pub closes: bool,
}

impl Framed {
    /// Head and body.
    pub fn len(&self) -> usize {
        self.head + self.body
    }
}

/// Looks for a whole head in `bytes`; `None` when it is not all there yet.
pub fn frame(bytes: &[u8]) -> Result<Option<Framed>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = bytes.get(..end + 2).unwrap_or(bytes);
    let status = status(head).ok_or_else(|| strange("no status line", head))?;
    let (mut length, mut closes) = (None, false);
    for line in lines(head).skip(1) {
        // The first letter decides nearly always, which keeps this loop at a byte a header.
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(line, b"content-length") {
                    length = std::str::from_utf8(value).ok().and_then(|v| v.trim().parse::<usize>().ok());
                } else if let Some(value) = value_of(line, b"connection") {
                    closes = value.to_ascii_lowercase().windows(5).any(|w| w == b"close");
                }
            }
            Some(b't' | b'T') if value_of(line, b"transfer-encoding").is_some() => {
                return Err(strange("a chunked body", head));
            }
            _ => {}
        }
    }
    let body = length.ok_or_else(|| strange("no Content-Length", head))?;
    Ok(Some(Framed { status, head: end + 4, body, closes }))
}

/// The value of the header `name` in a head, with surrounding blanks removed.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    lines(head).skip(1).find_map(|line| value_of(line, name.as_bytes())).and_then(|v| std::str::from_utf8(v).ok()).map(str::trim)
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', head).map(move |at| {
        let line = head.get(from..at).unwrap_or_default();
        from = at + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

/// `name` in lower case.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    field.eq_ignore_ascii_case(name).then(|| rest.strip_prefix(b":"))?
}

fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Position of `needle` in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(hay, needle)
}

fn strange(what: &str, head: &[u8]) -> BenchError {
    BenchError::Response(format!("{what} in {:?}", String::from_utf8_lossy(head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_is_not_complete_is_waited_for() {
        assert_eq!(frame(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n").expect("no fault"), None);
    }

    #[test]
    fn status_and_lengths_are_found_in_any_case() {
        let bytes = b"HTTP/1.1 429 Too Many\r\nserver: x\r\ncontent-LENGTH:  12 \r\nconnection: Close\r\n\r\nhello";
        let framed = frame(bytes).expect("no fault").expect("complete");
        assert_eq!((framed.status, framed.body, framed.closes), (429, 12, true));
        assert_eq!(framed.head, bytes.len() - 5);
        assert_eq!(header(bytes, "Server"), Some("x"));
        assert_eq!(header(bytes, "Serve"), None);
    }

    #[test]
    fn another_framing_is_refused() {
        assert!(frame(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(frame(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n").is_err());
        assert!(frame(b"SSH-2.0 hello\r\n\r\n").is_err());
    }
}
