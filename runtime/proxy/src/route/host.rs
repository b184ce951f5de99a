//! The Host header, and the patterns that routes hold against it.
//!
//! Pure. A host is compared in lower case, without port and without the final dot of a fully qualified name.

use super::label::Label;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The longest host name that DNS can carry is 253 characters; the final dot makes 254.
pub const MAX_HOST_BYTES: usize = 254;

/// A Host header (or the authority of an absolute target), taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostHeader<'a> {
    /// Lower case; an IPv6 address in its brackets.
    pub name: Cow<'a, str>,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// Why a Host header is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostError {
    /// Nothing is named.
    #[error("the host is empty")]
    Empty,
    /// Longer than any name.
    #[error("the host is longer than {MAX_HOST_BYTES} bytes")]
    TooLong,
    /// A character that no host name has (user information, a path, an escape, white space, …), or an empty label.
    #[error("the host is not a name or an address")]
    Name,
    /// Not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl<'a> HostHeader<'a> {
    /// Takes a header value apart. Everything that two readers might read differently is an error.
    pub fn parse(value: &'a [u8]) -> Result<Self, HostError> {
        let text = std::str::from_utf8(value).map_err(|_| HostError::Name)?;
        let (name, port) = split_port(text)?;
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > MAX_HOST_BYTES {
            return Err(HostError::TooLong);
        }
        if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            address.parse::<Ipv6Addr>().map_err(|_| HostError::Name)?;
            return Ok(Self { name: lower(name), port });
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if !name.split('.').all(is_label) {
            return Err(HostError::Name);
        }
        Ok(Self { name: lower(name), port })
    }
}

/// Letters, digits, `-`, and the `_` and `~` that live systems have in host names.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'))
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

/// Name and port of `name`, `name:port`, `[address]`, `[address]:port`.
fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let name_ends = if text.starts_with('[') { text.find(']').map_or(text.len(), |at| at + 1) } else { text.len() };
    let colon = match text.get(name_ends..) {
        Some("") | None => text.find(':').filter(|_| !text.starts_with('[')),
        Some(rest) if rest.starts_with(':') => Some(name_ends),
        Some(_) => return Err(HostError::Name),
    };
    let Some((name, port)) = colon.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) else {
        return Ok((text, None));
    };
    // `parse` alone would take `+80`.
    let is_number = !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port != 0).ok_or(HostError::Port)?;
    Ok((name, Some(port)))
}

/// How many bytes of a pattern stand in the record itself: what most names need, and the pattern takes 40 bytes.
const HOST_INLINE: usize = 30;

/// Which hosts a route is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostPattern {
    pub(crate) shape: HostShape,
    /// The whole name, or what a wildcard leaves of it, with its dot: `.example.com`, `example.`.
    pub(crate) text: Label<HOST_INLINE>,
    /// Unset: any port.
    pub(crate) port: Option<u16>,
}

/// Where the wildcard of a pattern stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HostShape {
    /// Nowhere.
    Exact,
    /// `*.example.com`: names that end in the text.
    Ending,
    /// `example.*`: names that begin with the text.
    Beginning,
}

impl HostPattern {
    /// From a route's `hosts`.
    pub(crate) fn parse(pattern: &str) -> Result<Self, HostError> {
        if pattern.parse::<Ipv6Addr>().is_ok() {
            let text = format!("[{}]", pattern.to_ascii_lowercase());
            return Ok(Self { shape: HostShape::Exact, text: text.as_str().into(), port: None });
        }
        let (name, port) = split_port(pattern)?;
        let (shape, text, fixed) = if let Some(rest) = name.strip_prefix('*') {
            let rest = rest.strip_suffix('.').unwrap_or(rest);
            (HostShape::Ending, rest, rest.strip_prefix('.').ok_or(HostError::Name)?)
        } else if let Some(rest) = name.strip_suffix('*') {
            (HostShape::Beginning, rest, rest.strip_suffix('.').ok_or(HostError::Name)?)
        } else {
            let exact = HostHeader::parse(name.as_bytes())?;
            return Ok(Self { shape: HostShape::Exact, text: (&*exact.name).into(), port });
        };
        if !fixed.split('.').all(is_label) {
            return Err(HostError::Name);
        }
        Ok(Self { shape, text: text.to_ascii_lowercase().as_str().into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_could_be_read_in_two_ways_is_refused() {
        for (value, error) in [
            ("", HostError::Empty),
            (":80", HostError::Empty),
            (".", HostError::Name),
            (".a", HostError::Name),
            ("a..b", HostError::Name),
            ("a b", HostError::Name),
            ("a,b", HostError::Name),
            ("a/b", HostError::Name),
            ("user@a", HostError::Name),
            ("a%2eb", HostError::Name),
            ("*.a", HostError::Name),
            ("a:", HostError::Port),
            ("a:0", HostError::Port),
            ("a:+80", HostError::Port),
            ("a:65536", HostError::Port),
            ("a:80:80", HostError::Port),
            ("a:80x", HostError::Port),
            ("[::1", HostError::Name),
            ("[::1]x", HostError::Name),
            ("[::1%25eth0]", HostError::Name),
            ("[1.2.3.4]", HostError::Name),
            ("::1", HostError::Port),
        ] {
            assert_eq!(HostHeader::parse(value.as_bytes()), Err(error), "{value:?}");
        }
        assert_eq!(HostHeader::parse(b"\xff"), Err(HostError::Name));
        assert_eq!(HostHeader::parse("a".repeat(255).as_bytes()), Err(HostError::TooLong));
    }

    #[test]
    fn a_host_is_lower_case_without_port_and_final_dot() {
        for (value, name, port) in [
            ("Example.COM", "example.com", None),
            ("example.com:8000", "example.com", Some(8000)),
            ("example.com.:80", "example.com", Some(80)),
            ("127.0.0.1", "127.0.0.1", None),
            ("[::A]:8080", "[::a]", Some(8080)),
            ("my_host", "my_host", None),
        ] {
            let host = HostHeader::parse(value.as_bytes()).unwrap();
            assert_eq!((&*host.name, host.port), (name, port), "{value}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_the_first_or_the_last_labels_only() {
        for wrong in ["*", "*.", ".*", "a*", "*a", "a.*.b", "*.a.*", "*.*", "*..a", "a b.*", ""] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong:?}");
        }
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        assert_eq!(pattern("*.A.com:81"), HostPattern { shape: HostShape::Ending, text: ".a.com".into(), port: Some(81) });
        assert_eq!(pattern("a.*"), HostPattern { shape: HostShape::Beginning, text: "a.".into(), port: None });
        assert_eq!(pattern("*.a.com."), HostPattern { shape: HostShape::Ending, text: ".a.com".into(), port: None });
        assert_eq!(pattern("::A"), HostPattern { shape: HostShape::Exact, text: "[::a]".into(), port: None });
        assert_eq!(pattern("A.com."), HostPattern { shape: HostShape::Exact, text: "a.com".into(), port: None });
    }
}
