//! The scanner as it was before it looked at more than one byte at once: slower, and simple enough to be believed.

use super::super::{BodyFraming, HeadFault, HeadLimits, METHOD_LIMIT, NAME_LIMIT, Progress};
use super::super::{check_path_and_query, is_host, is_token, parse_length, trim};
use std::ops::Range;

/// What [`HeadScan`](super::super::HeadScan) is compared with.
#[derive(Clone, Debug, Default)]
pub struct ReferenceScan {
    line: usize,
    searched: usize,
    request_line: bool,
    skipped_empty_line: bool,
    headers: usize,
    http_10: bool,
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
    authority: Option<Range<usize>>,
    host: Range<usize>,
}

impl ReferenceScan {
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
            let Some(found) = memchr::memchr(b'\n', rest) else {
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
                self.header(line, start, limits)?;
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

    fn header(&mut self, line: &[u8], start: usize, limits: &HeadLimits) -> Result<(), HeadFault> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadFault::Folded);
        }
        self.headers += 1;
        if self.headers > limits.headers {
            return Err(HeadFault::TooMany);
        }
        let colon = memchr::memchr(b':', line).ok_or(HeadFault::Name)?;
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        if name.is_empty() || name.len() > NAME_LIMIT || !name.iter().all(|&byte| is_token(byte)) {
            return Err(HeadFault::Name);
        }
        // Control bytes: a bare CR ends a line for some readers, NUL ends a text for others.
        if value.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
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
