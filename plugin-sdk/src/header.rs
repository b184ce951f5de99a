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
    /// Only the gateway writes this header: framing, hop-by-hop, who the consumer is, how the request came here.
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

/// Limits of a name and a value, in bytes: `wit/types.wit`.
const NAME_BYTES: usize = 128;
const VALUE_BYTES: usize = 8 << 10;

/// Headers that frame the message or speak about one connection.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Headers of a request that the gateway writes after the plugins.
const WAY: [&str; 10] = [
    "expect",
    "http2-settings",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-kong-request-id",
    "x-real-ip",
];

/// Whether a plugin may write a header of that name: for [`Plugin::check`](crate::Plugin::check), so that an operator hears of it
/// when the configuration is written and not when an exchange fails.
pub fn check_header_name(name: &str) -> Result<(), HeaderFault> {
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(is_token) {
        Err(HeaderFault::BadName)
    } else if FRAMING.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) || says_who(name) {
        Err(HeaderFault::Reserved)
    } else {
        Ok(())
    }
}

/// The same for a header of the request: what says how the request came here is not a plugin's to write either.
pub fn check_request_header_name(name: &str) -> Result<(), HeaderFault> {
    check_header_name(name)?;
    let taken = WAY.iter().any(|reserved| reserved.eq_ignore_ascii_case(name));
    if taken { Err(HeaderFault::Reserved) } else { Ok(()) }
}

/// Whether a header can have that value.
pub fn check_header_value(value: &[u8]) -> Result<(), HeaderFault> {
    let clean = value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if value.len() > VALUE_BYTES || !clean { Err(HeaderFault::BadValue) } else { Ok(()) }
}

/// A byte of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the header says who the consumer is. Any other sign counts as `-`: some servers cannot tell them apart.
pub(crate) fn says_who(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let begins = ["x-consumer-", "x-credential-"].iter().any(|prefix| name.starts_with(prefix));
    begins || name == "x-consumer" || name == "x-anonymous-consumer"
}
