//! Rules of single texts: names, tags, hosts, paths. Each says what is wrong in one sentence, in Kong's words where it has any.

use regex::RegexBuilder;
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of a compiled regex. A path regex of a few hundred characters needs a few KiB; one that needs more than this is a
/// memory bomb and is refused when it is written.
pub const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// DNS: the longest host name.
const HOST_LENGTH: usize = 253;
/// DNS: the longest label.
const LABEL_LENGTH: usize = 63;

/// Names and tags stand in every access event and list. Generated names (namespace, resource, port) have some hundred bytes.
const NAME_BYTES: usize = 1024;
/// Username and custom id go upstream as a header each. Many servers take 8 KiB for the whole head: both together leave half of it.
const IDENTITY_BYTES: usize = 2048;
/// A key comes in a header or in the query, and a request's target has 8 KiB by default, with everything else that is in it.
const KEY_BYTES: usize = 4096;

/// Bytes and not characters, because that is what headers and logs count.
fn within(text: &str, most: usize) -> Result<(), String> {
    if text.len() <= most { Ok(()) } else { Err(format!("must not have more than {most} bytes, has {}", text.len())) }
}

pub(super) fn name(text: &str) -> Result<(), String> {
    within(text, NAME_BYTES)?;
    let fits = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    if text.chars().all(fits) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("invalid value '{text}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"))
}

pub(super) fn tag(text: &str) -> Result<(), String> {
    within(text, NAME_BYTES)?;
    if text.chars().any(|c| c.is_control() || matches!(c, ',' | '/')) {
        return Err(format!("invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf8 sequences"));
    }
    Ok(())
}

/// A text that ends up in a header: no line breaks and the like.
pub(super) fn printable(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("control characters are not allowed".to_owned());
    }
    Ok(())
}

/// What a consumer is known by.
pub(super) fn identity(text: &str) -> Result<(), String> {
    within(text, IDENTITY_BYTES)?;
    printable(text)
}

/// What a client authenticates with.
pub(super) fn key(text: &str) -> Result<(), String> {
    within(text, KEY_BYTES)?;
    printable(text)
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_LENGTH).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    // All digits in the last label would be an address, and it is not one, or the caller had taken it.
    let numeric = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= HOST_LENGTH && labels.split('.').all(label) && !numeric
}

/// The host of a service: a name or an address, without a port.
pub(super) fn service_host(text: &str) -> Result<(), String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() || hostname(text) {
        return Ok(());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
        && hostname(host)
    {
        return Err("must not have a port".to_owned());
    }
    Err(format!("invalid value: {text}"))
}

/// A host of a route: exact, or with one `*` as its first or last label; an optional port.
pub(super) fn route_host(text: &str) -> Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && (!host.contains(':') || host.ends_with(']')) => (host, Some(port)),
        _ => (text, None),
    };
    // Digits only: `parse` alone would take `+80`. Nobody can send port 0.
    let is_port = |port: &str| {
        (1..=5).contains(&port.len())
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err("invalid port number".to_owned());
    }
    if let Some(bracketed) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return if bracketed.parse::<Ipv6Addr>().is_ok() { Ok(()) } else { Err(format!("invalid hostname: {text}")) };
    }
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let name = match host.matches('*').count() {
        0 => host,
        1 => host
            .strip_prefix("*.")
            .or_else(|| host.strip_suffix(".*"))
            .ok_or("invalid wildcard: must be placed at leftmost or rightmost label")?,
        _ => return Err("invalid wildcard: only one is allowed".to_owned()),
    };
    let empty_label = host.ends_with('*') && name.ends_with('.');
    if hostname(name) && !empty_label { Ok(()) } else { Err(format!("invalid hostname: {text}")) }
}

/// A name of a request header.
pub(super) fn header_name(text: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(format!("bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"));
    }
    if text.eq_ignore_ascii_case("host") {
        return Err("cannot contain 'host' header, which must be specified in the 'hosts' attribute".to_owned());
    }
    Ok(())
}

/// The path of a service: a prefix of the upstream path.
pub(super) fn service_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("should start with: /".to_owned());
    }
    path_characters(text)?;
    match crate::path::normalise(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("invalid path: '{text}' ({error})")),
    }
}

/// A path of a route: a normalised prefix, or `~` and a regex.
pub(super) fn route_path(text: &str) -> Result<(), String> {
    if let Some(pattern) = text.strip_prefix('~') {
        if !pattern.starts_with('/') {
            return Err("should start with: / (fixed path) or ~/ (regex path)".to_owned());
        }
        return regex(pattern);
    }
    if !text.starts_with('/') {
        return Err("should start with: / (fixed path) or ~/ (regex path)".to_owned());
    }
    path_characters(text)?;
    match crate::path::normalise(text) {
        Ok(normal) if normal == text => Ok(()),
        Ok(normal) => Err(format!("non-normalized path, consider use '{normal}' instead")),
        Err(error) => Err(format!("invalid path: '{text}' ({error})")),
    }
}

/// A regex that the router will compile: linear time, no look-around, no back-references.
pub(super) fn regex(pattern: &str) -> Result<(), String> {
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build();
    // Alone too: `a)|(b` would close the group that anchors it.
    match compile(pattern).and_then(|_| compile(&format!("^(?:{pattern})"))) {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!("invalid regex: '{pattern}' (it needs more than 1 MiB)")),
        Err(error) => {
            // The last line is the reason; those before draw the pattern.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!("invalid regex: '{pattern}' ({reason})"))
        }
    }
}

fn path_characters(text: &str) -> Result<(), String> {
    if text.contains("//") {
        return Err("must not have empty segments".to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    if !text.bytes().all(allowed) {
        return Err(format!("invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)"));
    }
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let code = rest.get(at..at + 3).unwrap_or(&rest[at..]);
        if code.len() != 3 || !code.bytes().skip(1).all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("invalid url-encoded value: '{code}'"));
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_routes_take_one_wildcard_at_an_end() {
        for good in ["example.com", "*.example.com", "example.*", "example.com:8080", "*.x:1", "127.0.0.1", "[::1]:80", "::1"] {
            assert_eq!(route_host(good), Ok(()), "{good}");
        }
        for bad in [
            "*",
            "a.*.b",
            "*.a.*",
            "a*.b",
            "exa mple",
            "a.b:x",
            "-a.b",
            "a..b",
            "",
            "a/b",
            "a.b:99999",
            "a:0",
            "a:+1",
            "a..*",
            "[1.2.3.4]",
        ] {
            assert!(route_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_of_services_are_names_or_addresses() {
        for good in ["example.com", "localhost", "10.0.0.1", "::1", "[::1]", "my_host", "a.b."] {
            assert_eq!(service_host(good), Ok(()), "{good}");
        }
        assert_eq!(service_host("example.com:80"), Err("must not have a port".to_owned()));
        for bad in ["http://x", "a b", "999.1.1.1", "x\r\ny", "a/b"] {
            assert!(service_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_of_routes_are_normal_prefixes_or_regexes() {
        for good in ["/", "/a", "/a/", "/a%20b", "~/a/(?<id>[0-9]+)$", "/a-b_c.d~e"] {
            assert_eq!(route_path(good), Ok(()), "{good}");
        }
        assert_eq!(route_path("/a/../b"), Err("non-normalized path, consider use '/b' instead".to_owned()));
        assert_eq!(route_path("/%61/."), Err("non-normalized path, consider use '/a/' instead".to_owned()));
        assert_eq!(route_path("/a%2fb"), Err("non-normalized path, consider use '/a%2Fb' instead".to_owned()));
        assert_eq!(route_path("a"), Err("should start with: / (fixed path) or ~/ (regex path)".to_owned()));
        assert_eq!(route_path("~a"), Err("should start with: / (fixed path) or ~/ (regex path)".to_owned()));
        assert_eq!(route_path("/a//b"), Err("must not have empty segments".to_owned()));
        assert_eq!(route_path("/a%2"), Err("invalid url-encoded value: '%2'".to_owned()));
        assert_eq!(route_path("/a%zz"), Err("invalid url-encoded value: '%zz'".to_owned()));
        assert!(route_path("/ä").unwrap_err().starts_with("invalid path"));
        assert!(route_path("/a?b").unwrap_err().starts_with("invalid path"));
        assert!(route_path("~/a)|(b").is_err() && service_path("/a%00").is_err() && service_path("/..%2fa").is_err());
        assert!(route_path("~/a(").unwrap_err().starts_with("invalid regex: '/a('"));
        assert!(route_path("~/(a{1000}){1000}").unwrap_err().contains("more than 1 MiB"));
    }

    #[test]
    fn tags_and_names_say_what_they_may_hold() {
        assert!(tag("prod é").is_ok() && tag("a,b").is_err() && tag("a/b").is_err());
        assert!(name("a.b-c_d~é").is_ok() && name("a b").is_err() && name("a/b").is_err() && name("a\u{85}").is_err());
        assert!(
            header_name("x-a").is_ok() && header_name("Host").is_err() && header_name("a b").is_err() && header_name("").is_err()
        );
    }
}
