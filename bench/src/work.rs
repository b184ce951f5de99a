//! The work that every arm does: the same callers, request heads, limit and headers.
//!
//! Knows no proxy. Each arm turns this into its own configuration, and the probes check what came out of it.

/// Where every request goes; the routes of all arms match on it.
pub const HOST: &str = "api.example.com";
/// The prefix that the routes of all arms match on.
pub const ROUTE_PREFIX: &str = "/orders";
/// Path of the requests of the load.
pub const LOAD_PATH: &str = "/orders/4711?expand=lines";
/// The origin answers this path with the request head that reached it, so that probes can see what the proxy sent.
pub const ECHO_PATH: &str = "/orders/echo";
/// Name of the header that carries the key, Kong's default.
pub const KEY_HEADER: &str = "apikey";

/// Callers with a key. Enough that no arm answers from one hot entry, few enough that this is not a test of look-up.
pub const CALLERS: usize = 100;
/// Hourly limit per caller while the load runs: counted on every request, never reached.
pub const LOAD_LIMIT: u64 = 100_000_000;
/// Hourly limit of the probe that checks that the limit is kept.
pub const PROBE_LIMIT: u64 = 5;

/// One caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Id of the consumer.
    pub id: String,
    /// Name of the consumer.
    pub username: String,
    /// Id of the credential.
    pub credential: String,
    /// The key.
    pub key: String,
}

/// What the arms with a chain do to a request.
#[derive(Debug, Clone)]
pub struct Work {
    /// The callers; a request without one of their keys is answered 401.
    pub callers: Vec<Caller>,
    /// Requests that each caller may make in an hour; the next one is answered 429.
    pub hourly_limit: u64,
    /// Headers added to every response.
    pub injected: Vec<(String, String)>,
}

/// Headers that the identity of the caller arrives in at the origin.
pub const IDENTITY_HEADERS: [&str; 3] = ["X-Consumer-ID", "X-Consumer-Username", "X-Credential-Identifier"];
/// Headers that tell the caller about the limit.
pub const LIMIT_HEADERS: [&str; 5] =
    ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "X-RateLimit-Limit-Hour", "X-RateLimit-Remaining-Hour"];
/// Headers that every arm, plain ones too, must send to the origin.
pub const FORWARDED_HEADERS: [&str; 5] =
    ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP"];

/// What a gateway typically stamps on a response.
const INJECTED: [(&str, &str); 6] = [
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("X-Env", "production"),
    ("X-Api-Version", "2026-11"),
];

impl Work {
    /// The work with this limit and the first `injected` of the response headers.
    pub fn new(hourly_limit: u64, injected: usize) -> Self {
        let callers = (0..CALLERS).map(Caller::numbered).collect();
        let injected = INJECTED.iter().take(injected).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { callers, hourly_limit, injected }
    }

    /// The same work with another limit.
    pub fn with_limit(&self, hourly_limit: u64) -> Self {
        Self { hourly_limit, ..self.clone() }
    }

    /// One request head for each caller, for the load.
    pub fn heads(&self) -> Vec<Vec<u8>> {
        self.callers.iter().map(|caller| head(LOAD_PATH, Some(&caller.key)).into_bytes()).collect()
    }
}

impl Caller {
    fn numbered(number: usize) -> Self {
        // Spread over the alphabet, so that no arm profits from keys with one long common prefix.
        let spread = |salt: u64| (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(salt | 1);
        Self {
            id: format!("{:08x}-0000-4000-8000-{number:012x}", spread(3) >> 32),
            username: format!("caller-{number:03}"),
            credential: format!("{:08x}-0000-4000-9000-{number:012x}", spread(5) >> 32),
            key: format!("{:016x}{:016x}", spread(7), spread(11)),
        }
    }
}

/// A request head of eleven headers, ten of them without a key: what a browser's call to an API looks like.
pub fn head(path: &str, key: Option<&str>) -> String {
    let mut head = format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {HOST}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0\r\n\
         Accept: application/json, text/plain, */*\r\n\
         Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
         Accept-Encoding: gzip, deflate, br\r\n\
         Referer: https://shop.example.com/account/orders\r\n\
         Cookie: session=6f1c0e5ab2d94c3f8e77; theme=dark\r\n\
         Cache-Control: no-cache\r\n\
         Sec-Fetch-Mode: cors\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    );
    if let Some(key) = key {
        head.push_str(&format!("{KEY_HEADER}: {key}\r\n"));
    }
    head.push_str("\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_request_has_eleven_headers() {
        let work = Work::new(LOAD_LIMIT, 6);
        let text = String::from_utf8(work.heads().remove(0)).expect("heads are ASCII");
        assert_eq!(text.trim_end().lines().count(), 1 + 11);
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn callers_are_distinct() {
        let work = Work::new(LOAD_LIMIT, 6);
        let keys: std::collections::BTreeSet<_> = work.callers.iter().map(|c| &c.key).collect();
        assert_eq!(keys.len(), CALLERS);
        assert!(work.callers.iter().all(|c| c.key.len() == 32 && c.id.len() == 36));
    }
}
