//! What may be written into a head, and how it is read: the same for requests and responses.

use crate::bindings::weir::plugin::types::{Field, HeaderFault};
use crate::exchange::HeaderEdit;
use crate::limits::{HEADER_NAME_BYTES, HEADER_VALUE_BYTES, HEADERS, KNOWN_NAMES};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that frame the message or speak about one connection: only the proxy writes them.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Headers of a request that say how it came here: the proxy writes them after the plugins, so a plugin's would be lost.
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

/// Whether the header says who the consumer is: only authentication writes those. Servers that turn `-` and other signs into `_`
/// (CGI and its heirs) cannot tell `X_Consumer_ID` or `X.Consumer.ID` from the real one, so the aliases count too.
pub fn is_identity_header(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["x-consumer-", "x-credential-"];
    const NAMES: [&str; 2] = ["x-anonymous-consumer", "x-consumer"];
    // Almost no header gets past this test.
    let Some((first, rest)) = name.as_bytes().split_first() else { return false };
    if !first.eq_ignore_ascii_case(&b'x') || rest.first().is_none_or(u8::is_ascii_alphanumeric) {
        return false;
    }
    let same = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (b == b'-' && !a.is_ascii_alphanumeric());
    let begins = |prefix: &str| name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(|(a, b)| same(a, b));
    PREFIXES.iter().any(|prefix| begins(prefix)) || NAMES.iter().any(|whole| name.len() == whole.len() && begins(whole))
}

/// Whether plugins may not write that header.
pub fn is_reserved(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str()) || is_identity_header(name.as_str())
}

/// The name, if a plugin may write it.
pub fn writable(name: &str) -> Result<HeaderName, HeaderFault> {
    if name.len() > HEADER_NAME_BYTES {
        return Err(HeaderFault::BadName);
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderFault::BadName)?;
    if is_reserved(&name) { Err(HeaderFault::Reserved) } else { Ok(constant(name)) }
}

/// The name, if it is one: for looking it up.
pub fn readable(name: &str) -> Result<HeaderName, HeaderFault> {
    if name.len() > HEADER_NAME_BYTES {
        return Err(HeaderFault::BadName);
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderFault::BadName)
}

/// Names that gateways write into most replies. As constants they are copied without counting references.
const OFTEN: [&str; 18] = [
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit-second",
    "x-ratelimit-limit-minute",
    "x-ratelimit-limit-hour",
    "x-ratelimit-limit-day",
    "x-ratelimit-limit-month",
    "x-ratelimit-limit-year",
    "x-ratelimit-remaining-second",
    "x-ratelimit-remaining-minute",
    "x-ratelimit-remaining-hour",
    "x-ratelimit-remaining-day",
    "x-ratelimit-remaining-month",
    "x-ratelimit-remaining-year",
    "x-env",
    "x-api-version",
    "x-request-id",
];

/// The same name, as a constant if it is one of those above.
fn constant(name: HeaderName) -> HeaderName {
    OFTEN.iter().find(|often| name == **often).map_or(name, |often| HeaderName::from_static(often))
}

/// The name, if a plugin may write it into a request.
pub fn writable_in_request(name: &str) -> Result<HeaderName, HeaderFault> {
    in_request(writable(name)?)
}

fn in_request(name: HeaderName) -> Result<HeaderName, HeaderFault> {
    if WAY.contains(&name.as_str()) { Err(HeaderFault::Reserved) } else { Ok(name) }
}

/// Names in their parsed form, so that the ones that a plugin writes in every call are judged and allocated once.
#[derive(Default)]
pub struct KnownNames {
    names: Vec<HeaderName>,
    next: usize,
}

impl KnownNames {
    /// As [`writable`].
    pub fn writable(&mut self, name: &str) -> Result<HeaderName, HeaderFault> {
        if let Some(known) = self.names.iter().find(|known| known.as_str() == name) {
            return Ok(known.clone());
        }
        let parsed = writable(name)?;
        if self.names.len() < KNOWN_NAMES {
            self.names.push(parsed.clone());
        } else if let Some(place) = self.names.get_mut(self.next) {
            // The oldest goes: a plugin that writes ever new names costs itself the memory, and nobody else anything.
            *place = parsed.clone();
            self.next = (self.next + 1) % KNOWN_NAMES;
        }
        Ok(parsed)
    }

    /// As [`writable_in_request`].
    pub fn writable_in_request(&mut self, name: &str) -> Result<HeaderName, HeaderFault> {
        in_request(self.writable(name)?)
    }
}

/// Makes all edits, or none when the head would have too many headers.
pub fn apply(headers: &mut HeaderMap, edits: &[HeaderEdit]) -> Result<(), HeaderFault> {
    // An edit adds at most one header: nearly always all fit whatever they do.
    if headers.len() + edits.len() <= HEADERS {
        edits.iter().for_each(|edit| edit.apply(headers));
        return Ok(());
    }
    let mut changed = headers.clone();
    edits.iter().for_each(|edit| edit.apply(&mut changed));
    if changed.len() > HEADERS.max(headers.len()) {
        return Err(HeaderFault::TooMany);
    }
    *headers = changed;
    Ok(())
}

/// The value, if it is one.
pub fn value(bytes: Vec<u8>) -> Result<HeaderValue, HeaderFault> {
    if bytes.len() > HEADER_VALUE_BYTES {
        return Err(HeaderFault::BadValue);
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).map_err(|_| HeaderFault::BadValue)
}

/// Replaces all headers of that name.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), HeaderFault> {
    if headers.len() >= HEADERS && !headers.contains_key(&name) {
        return Err(HeaderFault::TooMany);
    }
    headers.try_insert(name, value).map(drop).map_err(|_| HeaderFault::TooMany)
}

/// Adds one more.
pub fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), HeaderFault> {
    if headers.len() >= HEADERS {
        return Err(HeaderFault::TooMany);
    }
    headers.try_append(name, value).map(drop).map_err(|_| HeaderFault::TooMany)
}

/// All values of a header as one.
pub fn joined(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut joined = values.next()?.as_bytes().to_vec();
    for value in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    Some(joined)
}

/// All values of a header, apart.
pub fn apart(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
}

/// All headers.
pub fn fields(headers: &HeaderMap) -> Vec<Field> {
    headers.iter().map(|(name, value)| Field { name: name.as_str().to_owned(), value: value.as_bytes().to_vec() }).collect()
}

/// Bytes of names and values, as they count against the call's budget.
pub fn weight(fields: &[Field]) -> usize {
    fields.iter().map(|field| field.name.len() + field.value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_and_their_aliases_are_reserved_and_others_are_not() {
        for name in [
            "x-consumer-id",
            "X_Consumer_ID",
            "x-consumer_custom-id",
            "x.consumer~id",
            "x-credential-identifier",
            "x-anonymous-consumer",
        ] {
            assert!(is_identity_header(name), "{name}");
        }
        for name in ["", "x", "x-", "x-consume", "x-forwarded-for", "xconsumer-id", "x-anonymous-consumers", "host"] {
            assert!(!is_identity_header(name), "{name}");
        }
        for name in ["content-length", "Transfer-Encoding", "connection", "X-Consumer-Username"] {
            assert_eq!(writable(name), Err(HeaderFault::Reserved), "{name}");
        }
        assert!(writable("Host").is_ok() && writable_in_request("Host").is_ok() && writable("X-Real-IP").is_ok());
        for name in ["X-Forwarded-For", "x-real-ip", "X-Kong-Request-Id", "expect", "x-consumer-id"] {
            assert_eq!(writable_in_request(name), Err(HeaderFault::Reserved), "{name}");
        }
        assert_eq!(writable("a b"), Err(HeaderFault::BadName));
        assert_eq!(writable(&"n".repeat(129)), Err(HeaderFault::BadName));
    }

    #[test]
    fn a_head_takes_a_hundred_headers_and_no_more() {
        let mut headers = HeaderMap::new();
        let name = |index: usize| HeaderName::try_from(format!("h{index}")).unwrap();
        let value = HeaderValue::from_static("v");
        (0..HEADERS).for_each(|index| add(&mut headers, name(index), value.clone()).unwrap());
        assert_eq!(add(&mut headers, name(0), value.clone()), Err(HeaderFault::TooMany));
        assert_eq!(set(&mut headers, name(HEADERS), value.clone()), Err(HeaderFault::TooMany));
        assert_eq!(set(&mut headers, name(0), value), Ok(()), "replacing adds none");
    }

    #[test]
    fn several_values_are_read_as_one_so_that_none_can_hide() {
        let mut headers = HeaderMap::new();
        headers.append("a", HeaderValue::from_static("1"));
        headers.append("a", HeaderValue::from_static("2"));
        assert_eq!(joined(&headers, "A").as_deref(), Some(&b"1, 2"[..]));
        assert_eq!(apart(&headers, "a"), [b"1", b"2"]);
        assert_eq!(joined(&headers, "b"), None);
        assert_eq!(joined(&headers, "not a name"), None);
    }
}
