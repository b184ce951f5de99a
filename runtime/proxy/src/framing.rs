//! Judges what a client puts on the wire, byte for byte, before the HTTP parser sees it.
//!
//! The parser behind it follows RFC 9112 where that allows kindness: it accepts bare LF, drops `Content-Length` beside
//! `Transfer-Encoding`, merges equal lengths, and keeps no trace of it. Kindness is how two servers come to disagree on where a
//! request ends, so this room refuses what a second reader could read otherwise, and tracks bodies itself: both readers have to
//! agree. Pure: no sockets, no clock, no allocation; it knows nothing of routes or plugins. Called by `client_io`.

mod body;

pub use body::{BodyFault, BodyScan};

use std::net::Ipv6Addr;
use std::ops::Range;

/// Digits of a Content-Length: below the largest u64, so that adding up cannot overflow.
const CONTENT_LENGTH_DIGITS: usize = 18;
/// Longest method. The longest registered one (`UPDATEREDIRECTREF`) has 17.
const METHOD_LIMIT: usize = 32;
/// Longest header name. Plugins see names of at most 128 bytes; more is noise.
const NAME_LIMIT: usize = 128;

/// What a request head may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Header lines.
    pub headers: usize,
}

/// What is wrong with a request head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadFault {
    /// The request line is not `METHOD target HTTP/1.x`.
    #[error("the request line is malformed")]
    RequestLine,
    /// The method is not made of capital letters.
    #[error("the method is malformed")]
    Method,
    /// CONNECT or TRACE.
    #[error("the method is not served")]
    MethodNotServed,
    /// A byte that does not belong into a target, or a form that is not served.
    #[error("the request target is malformed")]
    Target,
    /// The target is too long.
    #[error("the request target is too long")]
    TargetTooLong,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("the HTTP version is not served")]
    Version,
    /// A line that does not end in CRLF, or holds a control byte.
    #[error("a line is malformed")]
    Line,
    /// A header line without a proper name.
    #[error("a header name is malformed")]
    Name,
    /// A header line that continues the one before it.
    #[error("a header line is folded")]
    Folded,
    /// The head is too large.
    #[error("the header section is too large")]
    TooLarge,
    /// Too many header lines.
    #[error("there are too many headers")]
    TooMany,
    /// Missing, repeated, empty, malformed, or another one than in the target.
    #[error("the host is missing, repeated or malformed")]
    Host,
    /// Repeated or not a plain number.
    #[error("the content length is repeated or malformed")]
    ContentLength,
    /// Not exactly one `chunked`, or on HTTP/1.0.
    #[error("the transfer encoding is not served")]
    TransferEncoding,
    /// Both lengths at once (RFC 9112, 6.3).
    #[error("content length and transfer encoding are both given")]
    TwoLengths,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFraming {
    /// That many bytes; 0 is no body.
    Length(u64),
    /// Chunked.
    Chunked,
}

/// How far a head is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// The head ends after that many bytes of the buffer; the body follows.
    Complete(usize, BodyFraming),
    /// It will not become a request that is served.
    Refused(HeadFault),
}

/// Reads one head. Works line by line and remembers where it is, so a head that comes byte by byte costs no more than one that
/// comes at once.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// Where the line that is being waited for begins.
    line: usize,
    /// Up to where there is no line end.
    searched: usize,
    request_line: bool,
    skipped_empty_line: bool,
    headers: usize,
    http_10: bool,
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
    /// The authority of an absolute target, as a place in the buffer.
    authority: Option<Range<usize>>,
    host: Range<usize>,
}

impl HeadScan {
    /// Goes on with `bytes`, the head from its first byte as far as it has come.
    pub fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Progress {
        match self.lines(bytes, limits) {
            Ok(Some((end, framing))) => Progress::Complete(end, framing),
            Ok(None) => Progress::Incomplete,
            Err(fault) => Progress::Refused(fault),
        }
    }

    fn lines(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<(usize, BodyFraming)>, HeadFault> {
        loop {
            let rest = bytes.get(self.searched..).unwrap_or_default();
            // One look for all control bytes finds the end of most lines, and then there are none before it.
            let plain = if self.searched == self.line { plain_line(rest) } else { None };
            let Some(found) = plain.map(|length| length + 1).or_else(|| memchr::memchr(b'\n', rest)) else {
                self.searched = bytes.len();
                return self.still_short(bytes, limits);
            };
            let (start, newline) = (self.line, self.searched + found);
            if newline >= limits.head {
                return Err(self.too_large());
            }
            (self.line, self.searched) = (newline + 1, newline + 1);
            let line = bytes.get(start..newline).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else { return Err(HeadFault::Line) };
            if !self.request_line {
                // One empty line before a request is left over from old clients' bodies (RFC 9112, 2.2).
                if line.is_empty() && !self.skipped_empty_line {
                    self.skipped_empty_line = true;
                    continue;
                }
                self.request_line(line, start, limits)?;
            } else if line.is_empty() {
                return self.finish(bytes).map(|framing| Some((newline + 1, framing)));
            } else {
                self.header(line, plain.is_some(), start, limits)?;
            }
        }
    }

    /// Refuses what can only get worse while the line end is not there yet.
    fn still_short(&self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<(usize, BodyFraming)>, HeadFault> {
        let waiting = bytes.len().saturating_sub(self.line);
        if !self.request_line && waiting > limits.target + METHOD_LIMIT + " HTTP/1.1\r".len() + 1 {
            return Err(HeadFault::TargetTooLong);
        }
        if bytes.len() > limits.head { Err(self.too_large()) } else { Ok(None) }
    }

    fn too_large(&self) -> HeadFault {
        if self.request_line { HeadFault::TooLarge } else { HeadFault::TargetTooLong }
    }

    fn request_line(&mut self, line: &[u8], start: usize, limits: &HeadLimits) -> Result<(), HeadFault> {
        self.request_line = true;
        let first = memchr::memchr(b' ', line).ok_or(HeadFault::RequestLine)?;
        let last = memchr::memrchr(b' ', line).ok_or(HeadFault::RequestLine)?;
        let method = line.get(..first).unwrap_or_default();
        let target = line.get(first + 1..last).ok_or(HeadFault::RequestLine)?;
        match line.get(last + 1..).unwrap_or_default() {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.http_10 = true,
            version if version.starts_with(b"HTTP/") => return Err(HeadFault::Version),
            _ => return Err(HeadFault::RequestLine),
        }
        let proper = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
        if method.is_empty() || method.len() > METHOD_LIMIT || !method.iter().all(proper) {
            return Err(HeadFault::Method);
        }
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(HeadFault::MethodNotServed);
        }
        if target.len() > limits.target {
            return Err(HeadFault::TargetTooLong);
        }
        let path = match target.first() {
            Some(b'/') => target,
            _ => self.absolute_form(target, start + first + 1)?,
        };
        check_path_and_query(path)
    }

    /// `http://authority/path`: notes the authority, returns the path.
    fn absolute_form<'a>(&mut self, target: &'a [u8], at: usize) -> Result<&'a [u8], HeadFault> {
        let scheme = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
            .ok_or(HeadFault::Target)?;
        let rest = target.get(scheme.len()..).unwrap_or_default();
        // Without a path there is nothing to route by; `http://host` and `http://host?q` are not worth a special case.
        let slash = memchr::memchr(b'/', rest).ok_or(HeadFault::Target)?;
        if !is_host(rest.get(..slash).unwrap_or_default()) {
            return Err(HeadFault::Host);
        }
        self.authority = Some(at + scheme.len()..at + scheme.len() + slash);
        Ok(rest.get(slash..).unwrap_or_default())
    }

    /// `plain`: it is known to have no control byte.
    fn header(&mut self, line: &[u8], plain: bool, start: usize, limits: &HeadLimits) -> Result<(), HeadFault> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadFault::Folded);
        }
        self.headers += 1;
        if self.headers > limits.headers {
            return Err(HeadFault::TooMany);
        }
        // The name ends where the first byte stands that no name has: that has to be the colon.
        let colon = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(colon).unwrap_or((line, b""));
        let [b':', value @ ..] = rest else { return Err(HeadFault::Name) };
        if name.is_empty() || name.len() > NAME_LIMIT {
            return Err(HeadFault::Name);
        }
        // A bare CR ends a line for some readers, NUL ends a text for others.
        if !plain && value.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
            return Err(HeadFault::Line);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                let at = start + colon + 1 + value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                let value = trim(value);
                self.host = at..at + value.len();
                if self.hosts > 1 || !is_host(value) {
                    return Err(HeadFault::Host);
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(HeadFault::ContentLength);
                }
                self.length = Some(parse_length(trim(value)).ok_or(HeadFault::ContentLength)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || self.http_10 || !trim(value).eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadFault::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, bytes: &[u8]) -> Result<BodyFraming, HeadFault> {
        // HTTP/1.0 knows requests without a host; they match the routes that name none.
        if self.hosts == 0 && !(self.http_10 && self.authority.is_none()) {
            return Err(HeadFault::Host);
        }
        if let Some(authority) = self.authority.clone() {
            let (authority, host) = (bytes.get(authority).unwrap_or_default(), bytes.get(self.host.clone()).unwrap_or_default());
            if !authority.eq_ignore_ascii_case(host) {
                return Err(HeadFault::Host);
            }
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadFault::TwoLengths),
            (true, None) => Ok(BodyFraming::Chunked),
            (false, length) => Ok(BodyFraming::Length(length.unwrap_or(0))),
        }
    }
}

/// Visible ASCII that the parser behind accepts too. `#` never goes over the wire (RFC 9110, 7.1), and `\` is a slash to some.
fn check_path_and_query(target: &[u8]) -> Result<(), HeadFault> {
    let mark = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(mark).unwrap_or((target, b""));
    let in_path = |byte: &u8| matches!(byte, 0x21 | b'"' | 0x24..=0x3b | b'=' | 0x40..=0x5b | b']'..=b'_' | 0x61..=0x7e);
    let in_query = |byte: &u8| matches!(byte, 0x21 | 0x24..=0x3b | b'=' | 0x3f..=0x7e);
    if path.iter().all(in_path) && query.iter().all(in_query) { Ok(()) } else { Err(HeadFault::Target) }
}

/// A host name or address with an optional port. Stricter than the grammar: no user information, no percent-encoding, nothing
/// that a log, a regex or a URL built from it could misread.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text.first() {
        Some(b'[') => match memchr::memchr(b']', text) {
            Some(end) => {
                // Not only its characters: the parser behind refuses some of what is no address.
                let address = std::str::from_utf8(text.get(1..end).unwrap_or_default()).unwrap_or_default();
                if address.parse::<Ipv6Addr>().is_err() {
                    return false;
                }
                (&b"v6"[..], text.get(end + 1..).unwrap_or_default())
            }
            None => return false,
        },
        _ => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let named = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let ported = match port {
        [] => true,
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    named && ported
}

/// A plain number of bytes.
pub fn parse_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > CONTENT_LENGTH_DIGITS {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The length of the line that `bytes` begin with, if there is no control byte, not even a tab, before the CRLF that ends it.
/// `None` says nothing: the line has to be looked at byte by byte. Most of a head is values; looked at by blocks, they cost little.
fn plain_line(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 16;
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    // No branch in here, so that it becomes a handful of vector instructions.
    let any = |block: &[u8; BLOCK]| block.iter().fold(false, |any, &byte| any | (byte < 0x20) | (byte == 0x7f));
    // What is left of a block at the end is looked at with the bytes before it, which have none.
    let at = blocks.iter().position(any).map_or_else(|| bytes.len().checked_sub(BLOCK), |block| Some(block * BLOCK))?;
    let (words, _) = bytes.get(at..)?.as_chunks::<8>();
    let first = words.first().and_then(first_control).or_else(|| words.get(1).and_then(first_control).map(|first| 8 + first))?;
    let length = at + first;
    bytes.get(length..)?.starts_with(b"\r\n").then_some(length)
}

/// Where the first control byte of a word stands.
fn first_control(word: &[u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let word = u64::from_le_bytes(*word);
    // The top bit of a byte is set where the byte was too small for the subtraction, and perhaps above such a byte, by the carry.
    let small = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & (ONES << 7);
    let found = small(word, 0x20) | small(word ^ (ONES * 0x7f), 1);
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

/// A byte of a name. From a table, because this is asked for every byte of every name.
fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// `tchar` of RFC 9110, 5.6.2.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let token = byte as u8;
        table[byte] = token.is_ascii_alphanumeric()
            || matches!(token, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod parser_tests;
#[cfg(test)]
mod tests;
