//! Asks for an API key and finds out whose it is. Field names, answers and order are Kong's.

use plugin_sdk::query::Query;
use plugin_sdk::steps::{self, Step};
use plugin_sdk::{Credentials, Error, Exchange, Findings, Flow, LookedUp, Lookup, Plugin, Reply, Result, check_header_name};
use schemars::JsonSchema;
use serde::Deserialize;

/// The kind of credential that is looked up.
const KIND: &str = "key-auth";

#[derive(Deserialize, JsonSchema)]
struct KeyAuth {
    /// Names of the header or query argument that the key is in; the first one that is there counts.
    #[serde(default = "apikey")]
    #[schemars(length(min = 1, max = 32))]
    key_names: Vec<String>,
    /// Whether the key is taken out of the request before it goes upstream.
    #[serde(default)]
    hide_credentials: bool,
    /// Id or username of the consumer that requests without a valid key count as; unset: they are refused.
    #[serde(default)]
    anonymous: Option<String>,
    /// Whether the key is looked for in headers.
    #[serde(default = "yes")]
    key_in_header: bool,
    /// Whether the key is looked for in the query.
    #[serde(default = "yes")]
    key_in_query: bool,
    /// Whether the key is looked for in the body. Not built: only `false` is accepted.
    #[serde(default)]
    key_in_body: bool,
    /// Whether `OPTIONS` requests need a key too.
    #[serde(default = "yes")]
    run_on_preflight: bool,
    /// The realm in the `WWW-Authenticate` header of a refusal.
    #[serde(default)]
    realm: Option<String>,
    /// That header's value.
    #[serde(skip)]
    challenge: String,
    /// For each name in `key_names`.
    #[serde(skip)]
    lookups: Vec<Lookup>,
}

fn apikey() -> Vec<String> {
    vec!["apikey".to_owned()]
}
fn yes() -> bool {
    true
}

/// Why a request is not let in; the words are the client's.
#[derive(Clone, Copy)]
enum Refusal {
    Missing,
    Duplicate,
    Unknown,
}

impl Refusal {
    fn message(self) -> &'static str {
        match self {
            Refusal::Missing => "No API key found in request",
            Refusal::Duplicate => "Duplicate API key found",
            Refusal::Unknown => "Unauthorized",
        }
    }
}

impl Plugin for KeyAuth {
    const PRIORITY: i64 = 1250;
    const CREDENTIALS: &'static [&'static str] = &[KIND];

    fn check(&mut self, findings: &mut Findings) {
        for (index, name) in self.key_names.iter().enumerate() {
            if let Err(fault) = check_header_name(name) {
                findings.add(format!("key_names[{index}]"), fault.as_str());
            }
        }
        if self.key_in_body {
            findings.add("key_in_body", "looking for the key in the body is not built yet; use false");
        }
        if self.realm.as_deref().is_some_and(|realm| realm.contains(|c: char| c == '"' || c == '\\' || c.is_control())) {
            findings.add("realm", "must not contain quotes, backslashes or control characters");
        }
        self.challenge = match &self.realm {
            Some(realm) => format!("Key realm=\"{realm}\""),
            None => "Key".to_owned(),
        };
        if findings.is_empty() {
            self.prepare(findings);
        }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if !self.run_on_preflight && exchange.request.method() == "OPTIONS" {
            return Ok(Flow::Proceed);
        }
        // With `anonymous`, several authentication plugins on a route are alternatives: the first that knows the caller is enough.
        if self.anonymous.is_some() && is_known(exchange) {
            return Ok(Flow::Proceed);
        }
        match (self.authenticate(exchange)?, &self.anonymous) {
            (Ok(()), _) => Ok(Flow::Proceed),
            (Err(_), Some(consumer)) if exchange.credentials.authenticate_anonymous(consumer) => Ok(Flow::Proceed),
            (Err(_), Some(consumer)) => {
                Err(Error::new(format!("`anonymous` names the consumer '{consumer}', which does not exist")))
            }
            (Err(refusal), None) => Ok(self.refuse(exchange, refusal).into()),
        }
    }
}

/// Whether a plugin before this one found a credential. The header is the gateway's word once there is a consumer.
fn is_known(exchange: &Exchange) -> bool {
    exchange.consumer().is_some() && exchange.request.header("x-anonymous-consumer").is_none()
}

impl KeyAuth {
    fn refuse(&self, exchange: &Exchange, refusal: Refusal) -> Reply {
        exchange.error(401, refusal.message()).header("www-authenticate", &self.challenge)
    }

    /// Prepares looking the key up by header, and lets the host begin with it where nothing comes before and nothing after.
    fn prepare(&mut self, findings: &mut Findings) {
        for (index, name) in self.key_names.iter().enumerate() {
            match Credentials::prepare_lookup(KIND, name) {
                Ok(lookup) => self.lookups.push(lookup),
                Err(fault) => findings.add(format!("key_names[{index}]"), fault.as_str()),
            }
        }
        let nothing_else = self.run_on_preflight && self.anonymous.is_none() && !self.hide_credentials && self.key_in_header;
        if let (true, Some(lookup)) = (nothing_else, self.lookups.first()) {
            steps::before_request(&[Step::AuthenticateBy(lookup)]);
        }
    }

    /// The first name that the client sent a key under counts, in the header before the query.
    fn authenticate(&self, exchange: &mut Exchange) -> Result<std::result::Result<(), Refusal>> {
        // Asked for once, and only when no header had the key.
        let mut query: Option<Query> = None;
        for (name, lookup) in self.key_names.iter().zip(&self.lookups) {
            let mut found = if self.key_in_header { in_header(exchange, lookup) } else { None };
            if found.is_none() && self.key_in_query {
                let query = query.get_or_insert_with(|| Query::parse(&exchange.request.query().unwrap_or_default()));
                found = in_query(exchange, query, name);
            }
            let Some(found) = found else { continue };
            // Also a key that nobody has: with `anonymous` the request goes on.
            if self.hide_credentials && !matches!(found, Err(Refusal::Duplicate)) {
                hide(exchange, name)?;
            }
            return Ok(found);
        }
        Ok(Err(Refusal::Missing))
    }
}

/// Whether the key in the header is known; none if there is no such header.
fn in_header(exchange: &mut Exchange, lookup: &Lookup) -> Option<std::result::Result<(), Refusal>> {
    match exchange.credentials.authenticate_by(lookup) {
        LookedUp::Absent => None,
        LookedUp::Empty => Some(Err(Refusal::Missing)),
        LookedUp::Repeated => Some(Err(Refusal::Duplicate)),
        LookedUp::Unknown => Some(Err(Refusal::Unknown)),
        LookedUp::Authenticated => Some(Ok(())),
    }
}

/// Whether the key in the query is known; none if there is no such argument.
fn in_query(exchange: &mut Exchange, query: &Query, name: &str) -> Option<std::result::Result<(), Refusal>> {
    let mut values = query.values(name);
    let key = values.next()?;
    if values.next().is_some() {
        return Some(Err(Refusal::Duplicate));
    }
    if key.is_empty() {
        return Some(Err(Refusal::Missing));
    }
    let found = exchange.credentials.find(KIND, key.as_ref());
    let known = found.is_some_and(|credential| exchange.credentials.authenticate(&credential));
    Some(if known { Ok(()) } else { Err(Refusal::Unknown) })
}

/// Removes the name from both places: a client that sends the key in one may have left it in the other.
fn hide(exchange: &mut Exchange, name: &str) -> Result<()> {
    exchange.request.remove_header(name);
    let mut query = Query::parse(&exchange.request.query().unwrap_or_default());
    if query.has(name) {
        query.remove(name);
        let rest = query.to_string();
        let path = exchange.request.path();
        exchange.request.set_target(&path, Some(rest.as_str()).filter(|rest| !rest.is_empty()))?;
    }
    Ok(())
}

plugin_sdk::export!(KeyAuth: on_request);

#[cfg(test)]
mod tests;
