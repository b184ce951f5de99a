//! Header values, and why a header write can be refused.

use std::fmt;

/// The value of a header: bytes, since not every value on the wire is UTF-8. Compares with `str` and with bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderValue(pub(crate) Vec<u8>);

impl HeaderValue {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// The text, if it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
    /// The bytes, without copying them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    /// The text, without copying it, if it is UTF-8.
    pub fn into_string(self) -> Option<String> {
        String::from_utf8(self.0).ok()
    }
}

impl AsRef<[u8]> for HeaderValue {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
impl PartialEq<str> for HeaderValue {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}
impl PartialEq<&str> for HeaderValue {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}
impl PartialEq<[u8]> for HeaderValue {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == other
    }
}
impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Why a header write was refused. Nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderFault {
    /// Not a header name, or longer than 128 bytes.
    BadName,
    /// Has a byte that a value must not have, or is longer than 8 KiB.
    BadValue,
    /// Only the gateway writes this header: framing, hop-by-hop, who the consumer is.
    Reserved,
    /// The head has 100 headers already.
    TooMany,
    /// The head is on its way.
    HeadAlreadySent,
}

impl HeaderFault {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            HeaderFault::BadName => "not a header name",
            HeaderFault::BadValue => "not a header value",
            HeaderFault::Reserved => "only the gateway writes this header",
            HeaderFault::TooMany => "the head has 100 headers already",
            HeaderFault::HeadAlreadySent => "the head was sent already",
        }
    }
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl std::error::Error for HeaderFault {}
