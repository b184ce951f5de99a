//! Write-only fields that stand for others: `services.url`.

use serde_json::{Map, Value};

/// `url` → `protocol`, `host`, `port`, `path`.
pub(super) fn url(text: &str) -> Result<Map<String, Value>, String> {
    let (protocol, rest) = text.split_once("://").ok_or("missing scheme in url: expected such as http://host:port/path")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains(['?', '#']) {
        return Err("a query or a fragment cannot be part of it".to_owned());
    }
    if authority.contains('@') {
        return Err("a user and a password cannot be part of it".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        // `[::1]`: the colons inside the brackets are the address's.
        Some((host, port)) if !port.ends_with(']') => {
            let port: u16 = port.parse().map_err(|_| format!("invalid port in url: {port}"))?;
            (host, Some(port))
        }
        _ => (authority, None),
    };
    if host.is_empty() {
        return Err("missing host in url".to_owned());
    }
    let port = port.unwrap_or(if protocol.eq_ignore_ascii_case("https") { 443 } else { 80 });
    let path = if path.is_empty() { Value::Null } else { Value::from(path) };
    Ok(Map::from_iter([
        ("protocol".to_owned(), Value::from(protocol.to_ascii_lowercase())),
        ("host".to_owned(), Value::from(host)),
        ("port".to_owned(), Value::from(port)),
        ("path".to_owned(), path),
    ]))
}
