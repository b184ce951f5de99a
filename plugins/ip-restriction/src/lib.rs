//! Lets addresses in, or keeps them out. Field names and answers are Kong's.

mod ranges;

use plugin_sdk::{Error, Exchange, Findings, Flow, Plugin, Result};
use ranges::{Ranges, block};
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize, JsonSchema)]
struct IpRestriction {
    /// Addresses and blocks (`10.0.0.0/8`) that are let in; set: nobody else is.
    #[serde(default)]
    allow: Option<Vec<String>>,
    /// Addresses and blocks that are kept out, even if they are in `allow`.
    #[serde(default)]
    deny: Option<Vec<String>>,
    /// Status of a refusal; unset: 403.
    #[serde(default)]
    #[schemars(range(min = 200, max = 599))]
    status: Option<u16>,
    /// Message of a refusal; unset: it names the address.
    #[serde(default)]
    message: Option<String>,

    #[serde(skip)]
    allowed: Ranges,
    #[serde(skip)]
    denied: Ranges,
}

const FORBIDDEN: u16 = 403;

impl Plugin for IpRestriction {
    const PRIORITY: i64 = 990;

    fn check(&mut self, findings: &mut Findings) {
        let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if !given(&self.allow) && !given(&self.deny) {
            findings.add_general("at least one of allow, deny must be set and have an entry");
        }
        self.allowed = read("allow", self.allow.take(), findings);
        self.denied = read("deny", self.deny.take(), findings);
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            findings.add("status", "must be from 200 to 599");
        }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        let text = exchange.request.client_ip();
        let address: IpAddr = text.parse().map_err(|_| Error::new("the client has no IP address"))?;
        let kept_out = self.denied.contain(address) || (!self.allowed.is_empty() && !self.allowed.contain(address));
        if !kept_out {
            return Ok(Flow::Proceed);
        }
        let status = self.status.unwrap_or(FORBIDDEN);
        let reply = match &self.message {
            Some(message) => exchange.error(status, message),
            None => exchange.error(status, &format!("IP address not allowed: {text}")),
        };
        Ok(reply.into())
    }
}

fn read(field: &str, list: Option<Vec<String>>, findings: &mut Findings) -> Ranges {
    let mut blocks = Vec::new();
    for (index, text) in list.unwrap_or_default().iter().enumerate() {
        match block(text) {
            Some(block) => blocks.push(block),
            None => findings.add(format!("{field}[{index}]"), "must be an IP address, or a block such as 10.0.0.0/8"),
        }
    }
    Ranges::new(blocks)
}

plugin_sdk::export!(IpRestriction: on_request);

#[cfg(test)]
mod tests;
