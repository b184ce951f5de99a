//! The same work written directly against the exchange, as a filter compiled into the gateway would be.
//!
//! No more general than the configurations in `cases`: this is what the plugins are held against, so it leaves out whatever the
//! measured call does not use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use weir_model::Id;
use weir_plugin_host::exchange::{Exchange, HeaderEdit};

use crate::world::{Caller, callers};

/// Never reached, always counted.
pub const HOURLY_LIMIT: u64 = 100_000_000;
/// What the response transformer adds.
pub const INJECTED: [(&str, &str); 6] = [
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-env", "production"),
    ("x-api-version", "2026-11"),
];

const HOUR_SECONDS: u64 = 3600;

/// What the filters know.
pub struct Native {
    callers: HashMap<Vec<u8>, Caller>,
    // Behind a lock, as the count of a node with several workers must be.
    counts: Mutex<HashMap<(Id, u64), u64>>,
    allowed: Vec<IpNet>,
    injected: Vec<(HeaderName, HeaderValue)>,
}

impl Native {
    /// All filters, configured as in `cases`.
    pub fn new() -> Self {
        let pair =
            |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Self {
            callers: callers().into_iter().map(|caller| (caller.key.clone().into_bytes(), caller)).collect(),
            counts: Mutex::default(),
            allowed: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].iter().filter_map(|text| text.parse().ok()).collect(),
            injected: INJECTED.iter().map(pair).collect(),
        }
    }

    /// Finds the caller by his key and tells the upstream.
    pub fn key_auth(&self, exchange: &mut Exchange) -> bool {
        let key = exchange.request.headers.get("apikey");
        let Some(caller) = key.and_then(|key| self.callers.get(key.as_bytes())) else { return false };
        exchange.caller = Some(std::sync::Arc::clone(&caller.known));
        true
    }

    /// The same, the key being in the query.
    pub fn key_auth_by_query(&self, exchange: &mut Exchange) -> bool {
        let query = exchange.request.query.as_deref().unwrap_or_default();
        let key = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "apikey");
        let Some(caller) = key.and_then(|(_, key)| self.callers.get(key.as_bytes())) else { return false };
        exchange.caller = Some(std::sync::Arc::clone(&caller.known));
        true
    }

    /// Counts the request; the headers wait for the response.
    pub fn rate_limiting(&self, exchange: &mut Exchange) -> bool {
        let Some(caller) = &exchange.caller else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let used = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry((caller.consumer.id, now / HOUR_SECONDS)).or_insert(0);
            *count += 1;
            *count
        };
        if used > HOURLY_LIMIT {
            return false;
        }
        let left = HeaderValue::from(HOURLY_LIMIT - used);
        let limit = HeaderValue::from(HOURLY_LIMIT);
        let edits = &mut exchange.response_edits;
        let mut edit = |name, value| edits.push(HeaderEdit::Set(HeaderName::from_static(name), value).into());
        edit("x-ratelimit-limit-hour", limit.clone());
        edit("x-ratelimit-remaining-hour", left.clone());
        edit("ratelimit-limit", limit);
        edit("ratelimit-remaining", left);
        edit("ratelimit-reset", HeaderValue::from(HOUR_SECONDS - now % HOUR_SECONDS));
        true
    }

    /// Removes, renames and adds.
    pub fn request_transformer(&self, exchange: &mut Exchange) -> bool {
        let headers = &mut exchange.request.headers;
        headers.remove("cookie");
        if let Some(value) = headers.remove("referer") {
            headers.insert("x-referer", value);
        }
        if !headers.contains_key("x-env") {
            headers.insert("x-env", HeaderValue::from_static("production"));
        }
        let query = exchange.request.query.get_or_insert_default();
        if !query.split('&').any(|pair| pair.split('=').next() == Some("channel")) {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str("channel=web");
        }
        true
    }

    /// Adds what is not there.
    pub fn response_transformer(&self, exchange: &mut Exchange) -> bool {
        let Some(response) = &mut exchange.response else { return false };
        for (name, value) in &self.injected {
            if !response.headers.contains_key(name) {
                response.headers.insert(name.clone(), value.clone());
            }
        }
        true
    }

    /// Whether the client's address is allowed.
    pub fn ip_restriction(&self, exchange: &mut Exchange) -> bool {
        self.allowed.iter().any(|network| network.contains(&exchange.client_ip))
    }
}
