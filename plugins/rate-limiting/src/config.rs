//! The configuration: Kong's fields and defaults, what of it is refused, and what is prepared for the calls.

use plugin_sdk::{Findings, HeaderEdit, Limit, Period, Response, ResponseEdits, check_header_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest limit that is accepted: beyond it, a JSON number is not exact (2^53).
const LIMIT_MAX: f64 = 9_007_199_254_740_992.0;

#[derive(Deserialize, JsonSchema)]
pub struct RateLimiting {
    /// Requests a second.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    second: Option<f64>,
    /// Requests a minute.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    minute: Option<f64>,
    /// Requests an hour.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    hour: Option<f64>,
    /// Requests a day.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    day: Option<f64>,
    /// Requests a month.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    month: Option<f64>,
    /// Requests a year.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    year: Option<f64>,
    /// Whose requests are counted together. Where that is not known, the client's address is.
    #[serde(default)]
    pub limit_by: LimitBy,
    /// The header that tells callers apart, with `limit_by` `header`.
    #[serde(default)]
    pub header_name: Option<String>,
    /// The path whose requests are counted together, with `limit_by` `path`.
    #[serde(default)]
    pub path: Option<String>,
    /// Where the counts are. Only `local` is built: in this node, for all of its workers.
    #[serde(default)]
    policy: Policy,
    /// What happens when the counts cannot be reached. The local ones always can: both values mean the same.
    #[serde(default = "yes")]
    #[allow(dead_code, reason = "Kong's field; with local counts there is nothing to decide")]
    fault_tolerant: bool,
    /// Where a Redis is. Not built: only the defaults are accepted.
    #[serde(default)]
    redis: Redis,
    /// Whether the client is not told how it stands.
    #[serde(default)]
    pub hide_client_headers: bool,
    /// Status of a refusal.
    #[serde(default = "too_many_requests")]
    #[schemars(range(min = 200, max = 599))]
    pub error_code: u16,
    /// Message of a refusal.
    #[serde(default = "exceeded")]
    pub error_message: String,
    /// Seconds between two exchanges of counts with Redis. Not built: only -1 is accepted.
    #[serde(default = "never")]
    sync_rate: f64,

    /// What is asked of the host, from the shortest window to the longest.
    #[serde(skip)]
    pub limits: Vec<Limit>,
    /// What the client is told, in the same order.
    #[serde(skip)]
    pub windows: Vec<Window>,
    /// What of it is the same in every answer.
    #[serde(skip)]
    pub announced: ResponseEdits,
}

/// Whose requests are counted together.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LimitBy {
    #[default]
    Consumer,
    Credential,
    Ip,
    Service,
    Header,
    Path,
}

/// Where the counts are.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Policy {
    #[default]
    Local,
    Cluster,
    Redis,
}

/// Where a Redis is.
#[derive(Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(default)]
struct Redis {
    /// Host name or address.
    host: Option<String>,
    /// Port.
    port: u16,
    /// Milliseconds.
    timeout: u32,
    /// User.
    username: Option<String>,
    /// Password.
    password: Option<String>,
    /// Number of the database.
    database: i32,
    /// Whether to speak TLS.
    ssl: bool,
    /// Whether the certificate is verified.
    ssl_verify: bool,
    /// Name in the TLS handshake.
    server_name: Option<String>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            host: None,
            port: 6379,
            timeout: 2000,
            username: None,
            password: None,
            database: 0,
            ssl: false,
            ssl_verify: false,
            server_name: None,
        }
    }
}

fn yes() -> bool {
    true
}
fn too_many_requests() -> u16 {
    429
}
fn exceeded() -> String {
    "API rate limit exceeded".to_owned()
}
fn never() -> f64 {
    -1.0
}

/// How a window is announced. The texts are made once: the configuration decides them.
pub struct Window {
    pub limit_header: &'static str,
    pub remaining_header: &'static str,
    pub limit_text: String,
}

/// The windows from the shortest to the longest: field, period, headers.
const WINDOWS: [(&str, Period, &str, &str); 6] = [
    ("second", Period::Second, "x-ratelimit-limit-second", "x-ratelimit-remaining-second"),
    ("minute", Period::Minute, "x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"),
    ("hour", Period::Hour, "x-ratelimit-limit-hour", "x-ratelimit-remaining-hour"),
    ("day", Period::Day, "x-ratelimit-limit-day", "x-ratelimit-remaining-day"),
    ("month", Period::Month, "x-ratelimit-limit-month", "x-ratelimit-remaining-month"),
    ("year", Period::Year, "x-ratelimit-limit-year", "x-ratelimit-remaining-year"),
];

impl RateLimiting {
    fn configured(&self) -> [Option<f64>; 6] {
        [self.second, self.minute, self.hour, self.day, self.month, self.year]
    }

    pub fn refuse_what_is_not_built(&self, findings: &mut Findings) {
        match self.policy {
            Policy::Local => {}
            Policy::Cluster => {
                findings.add("policy", "\"cluster\" is not built yet; use \"local\", which counts for each node alone")
            }
            Policy::Redis => {
                findings.add("policy", "\"redis\" is not built yet; use \"local\", which counts for each node alone")
            }
        }
        if self.redis != Redis::default() {
            findings.add("redis", "counting in a Redis is not built yet; leave this field out");
        }
        if self.sync_rate != never() {
            findings.add("sync_rate", "exchanging counts with a Redis is not built yet; use -1");
        }
    }

    pub fn refuse_what_does_not_fit(&self, findings: &mut Findings) {
        let set: Vec<(&str, f64)> =
            WINDOWS.iter().zip(self.configured()).filter_map(|((name, ..), limit)| Some((*name, limit?))).collect();
        if set.is_empty() {
            findings.add_general("at least one of second, minute, hour, day, month, year must be set");
        }
        for (name, limit) in &set {
            if !(*limit > 0.0 && *limit <= LIMIT_MAX) {
                findings.add(*name, "must be greater than 0, and at most 2^53");
            }
        }
        for (index, (short, lower)) in set.iter().enumerate() {
            for (long, _) in set.iter().skip(index + 1).filter(|(_, upper)| upper < lower) {
                findings.add(
                    *long,
                    format!("must not be lower than the limit for a {short} ({lower}), which could never be reached"),
                );
            }
        }
        match (self.limit_by, &self.header_name, &self.path) {
            (LimitBy::Header, None, _) => findings.add("header_name", "must be set when limit_by is \"header\""),
            (LimitBy::Path, _, None) => findings.add("path", "must be set when limit_by is \"path\""),
            _ => {}
        }
        if let Some(fault) = self.header_name.as_deref().and_then(|name| check_header_name(name).err()) {
            findings.add("header_name", fault.as_str());
        }
        if self.path.as_deref().is_some_and(|path| !path.starts_with('/') || path.len() > 1000) {
            findings.add("path", "must begin with / and have at most 1,000 bytes");
        }
        if !(200..=599).contains(&self.error_code) {
            findings.add("error_code", "must be a status from 200 to 599");
        }
    }

    pub fn prepare_windows(&mut self) {
        for ((_, period, limit_header, remaining_header), limit) in WINDOWS.into_iter().zip(self.configured()) {
            let Some(limit) = limit else { continue };
            // Half a request cannot be made: 1.5 lets two through, as it does in Kong.
            let max = limit.ceil() as u64;
            self.limits.push(Limit { period, max });
            self.windows.push(Window { limit_header, remaining_header, limit_text: limit.to_string() });
        }
    }

    /// Prepares the headers that the configuration alone decides: the limits, and the tightest one if there is only one.
    pub fn prepare_announcement(&mut self, findings: &mut Findings) {
        let set = |name: &str, window: &Window| HeaderEdit::Set(name.to_owned(), window.limit_text.clone().into_bytes());
        let mut edits: Vec<HeaderEdit> = self.windows.iter().map(|window| set(window.limit_header, window)).collect();
        if let [only] = self.windows.as_slice() {
            edits.push(set("ratelimit-limit", only));
        }
        match Response::prepare(edits) {
            Ok(announced) => self.announced = announced,
            Err(fault) => findings.add_general(fault.as_str()),
        }
    }
}
