//! Limits, time-outs and manners of the proxy: names, bounds and defaults of each setting. What each means is said in the proxy.

use super::source::Source;
use serde_json::{Value, json};
use std::time::Duration;
use weir_proxy::{ProxySettings, UnderscoreHeaders};

/// A limit in memory above a gigabyte is a typing error.
const BYTES_MOST: usize = 1 << 30;
/// A time-out of more than a day means "none", which no wait here may have.
const TIMEOUT_MOST_MS: u64 = 86_400_000;
/// More than file descriptors that Linux gives a process by any usual setting.
const SOCKETS_MOST: usize = 1 << 20;

/// Reads what the operator says into the proxy's own settings; what he does not say keeps the proxy's default.
pub fn read(source: &mut Source) -> ProxySettings {
    let mut s = ProxySettings::default();
    let bytes = |source: &mut Source, key, least, field: &mut usize| {
        *field = source.number(key, least, BYTES_MOST).unwrap_or(*field);
    };
    // No head fits into less; the lower bound keeps a `0` from refusing everything.
    bytes(source, "request_head_limit_bytes", 1024, &mut s.request_head_limit_bytes);
    bytes(source, "request_target_limit_bytes", 256, &mut s.request_target_limit_bytes);
    bytes(source, "response_head_limit_bytes", 1024, &mut s.response_head_limit_bytes);
    s.request_body_limit_bytes = source.number("request_body_limit_bytes", 0, u64::MAX).unwrap_or(s.request_body_limit_bytes);
    for (key, field) in [
        ("request_head_timeout_ms", &mut s.request_head_timeout),
        ("request_body_timeout_ms", &mut s.request_body_timeout),
        ("send_timeout_ms", &mut s.send_timeout),
        ("keepalive_timeout_ms", &mut s.keepalive_timeout),
    ] {
        *field = source.number(key, 1, TIMEOUT_MOST_MS).map_or(*field, Duration::from_millis);
    }
    s.keepalive_requests = source.number("keepalive_requests", 1, u64::MAX).unwrap_or(s.keepalive_requests);
    for (key, field) in [
        ("connections_limit", &mut s.connections_limit),
        ("requests_in_flight_limit", &mut s.requests_in_flight_limit),
        ("upstream_keepalive_pool_size", &mut s.upstream_idle_connections),
    ] {
        *field = source.number(key, 1, SOCKETS_MOST).unwrap_or(*field);
    }
    let idle = source.number("upstream_keepalive_idle_timeout", 1, TIMEOUT_MOST_MS / 1000);
    s.upstream_idle_timeout = idle.map_or(s.upstream_idle_timeout, Duration::from_secs);
    s.upstream_keepalive_requests =
        source.number("upstream_keepalive_max_requests", 1, u32::MAX).unwrap_or(s.upstream_keepalive_requests);
    for (key, field) in [
        ("upstream_tls_verify", &mut s.upstream_tls_verify),
        ("via_header", &mut s.via_header),
        ("latency_headers", &mut s.latency_headers),
        ("request_id_header", &mut s.request_id_header),
    ] {
        *field = source.flag(key).unwrap_or(*field);
    }
    s.underscore_headers = source.parsed("underscore_headers", underscore_headers).unwrap_or(s.underscore_headers);
    s
}

fn underscore_headers(text: &str) -> Result<UnderscoreHeaders, String> {
    match text {
        "drop" => Ok(UnderscoreHeaders::Drop),
        "refuse" => Ok(UnderscoreHeaders::Refuse),
        "pass" => Ok(UnderscoreHeaders::Pass),
        other => Err(format!("`{other}` is not one of drop, refuse, pass")),
    }
}

/// The values in force, under the names of the settings.
pub fn describe(s: &ProxySettings, put: &mut impl FnMut(&str, Value)) {
    let ms = |duration: Duration| json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    put("request_head_limit_bytes", json!(s.request_head_limit_bytes));
    put("request_target_limit_bytes", json!(s.request_target_limit_bytes));
    put("response_head_limit_bytes", json!(s.response_head_limit_bytes));
    put("request_body_limit_bytes", json!(s.request_body_limit_bytes));
    put("request_head_timeout_ms", ms(s.request_head_timeout));
    put("request_body_timeout_ms", ms(s.request_body_timeout));
    put("send_timeout_ms", ms(s.send_timeout));
    put("keepalive_timeout_ms", ms(s.keepalive_timeout));
    put("keepalive_requests", json!(s.keepalive_requests));
    put("connections_limit", json!(s.connections_limit));
    put("requests_in_flight_limit", json!(s.requests_in_flight_limit));
    put("upstream_keepalive_pool_size", json!(s.upstream_idle_connections));
    put("upstream_keepalive_idle_timeout", json!(s.upstream_idle_timeout.as_secs()));
    put("upstream_keepalive_max_requests", json!(s.upstream_keepalive_requests));
    put("upstream_tls_verify", json!(s.upstream_tls_verify));
    put("via_header", json!(s.via_header));
    put("latency_headers", json!(s.latency_headers));
    put("request_id_header", json!(s.request_id_header));
    let underscore = match s.underscore_headers {
        UnderscoreHeaders::Drop => "drop",
        UnderscoreHeaders::Refuse => "refuse",
        UnderscoreHeaders::Pass => "pass",
    };
    put("underscore_headers", json!(underscore));
}
