//! The configuration: Kong's fields and defaults, what of it is refused, and what is prepared for the calls.

use plugin_sdk::steps::{self, Step};
use plugin_sdk::{
    Announcement, Counters, Figure, Findings, Limit, Period, PreparedRule, Rule, Scope, Subject, Window, check_header_name,
};
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
    limit_by: LimitBy,
    /// The header that tells callers apart, with `limit_by` `header`.
    #[serde(default)]
    header_name: Option<String>,
    /// The path whose requests are counted together, with `limit_by` `path`.
    #[serde(default)]
    path: Option<String>,
    /// Whose requests count together. `local`: those of this node, for all of its workers. `cluster`: those of all nodes on the same
    /// store, which tell each other of them about once a second. `redis` is not built.
    #[serde(default)]
    policy: Policy,
    /// What happens, with `policy` `cluster`, when the store has been away for seconds. True: a node counts its own requests and
    /// adds what it last knew of the others. False: requests are answered 500. Local counts can always be reached.
    #[serde(default = "yes")]
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

    /// All of it, as the host takes it.
    #[serde(skip)]
    pub rule: Option<PreparedRule>,
}

/// Whose requests are counted together.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum LimitBy {
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
        if self.policy == Policy::Redis {
            findings.add(
                "policy",
                "\"redis\" is not built yet; use \"cluster\", which counts for all nodes, or \"local\", for each node alone",
            );
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

    /// Prepares windows and what the client is told of them, and lets the host begin with it.
    pub fn prepare(&mut self, findings: &mut Findings) {
        let (mut windows, mut announcements) = (Vec::new(), Vec::new());
        let mut announce = |header: &str, figure, of| announcements.push(Announcement { header: header.to_owned(), figure, of });
        for ((_, period, limit_header, remaining_header), limit) in WINDOWS.into_iter().zip(self.configured()) {
            let Some(limit) = limit else { continue };
            // Half a request cannot be made: 1.5 lets two through, as it does in Kong.
            windows.push(Window { limit: Limit { period, max: limit.ceil() as u64 }, text: Some(limit.to_string()) });
            announce(limit_header, Figure::Limit, Some(period));
            announce(remaining_header, Figure::Remaining, Some(period));
        }
        announce("ratelimit-limit", Figure::Limit, None);
        announce("ratelimit-remaining", Figure::Remaining, None);
        announce("ratelimit-reset", Figure::Reset, None);
        if self.hide_client_headers {
            announcements.clear();
        }
        let rule = Rule { by: self.subject(), windows, announcements };
        match Counters::prepare_scoped_rule(rule, self.scope()) {
            Ok(rule) => steps::before_request(&[Step::TakeBy(self.rule.insert(rule))]),
            Err(fault) => findings.add_general(fault.as_str()),
        }
    }

    /// `policy` and `fault_tolerant`; what is not built was refused.
    fn scope(&self) -> Scope {
        match (self.policy, self.fault_tolerant) {
            (Policy::Cluster, true) => Scope::Cluster,
            (Policy::Cluster, false) => Scope::ClusterStrict,
            (Policy::Local | Policy::Redis, _) => Scope::Node,
        }
    }

    /// `limit_by`, whose header and path were found to be there.
    fn subject(&self) -> Subject {
        match (self.limit_by, &self.header_name, &self.path) {
            (LimitBy::Consumer, ..) => Subject::Consumer,
            (LimitBy::Credential, ..) => Subject::Credential,
            (LimitBy::Service, ..) => Subject::Service,
            (LimitBy::Header, Some(name), _) => Subject::Header(name.clone()),
            (LimitBy::Path, _, Some(path)) => Subject::Path(path.clone()),
            (LimitBy::Ip | LimitBy::Header | LimitBy::Path, ..) => Subject::ClientIp,
        }
    }
}
