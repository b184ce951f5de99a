//! Limits how many requests a caller may make in a second, minute, hour, day, month and year.
//!
//! Field names, headers and answers are Kong's. Counting is the host's: all windows are taken in one call, for the whole node,
//! whatever the number of workers, or for all nodes.

mod config;

use config::RateLimiting;
use plugin_sdk::{Error, Exchange, Findings, Flow, Plugin, Result, Verdict};

impl Plugin for RateLimiting {
    const PRIORITY: i64 = 910;

    fn check(&mut self, findings: &mut Findings) {
        self.refuse_what_is_not_built(findings);
        self.refuse_what_does_not_fit(findings);
        if findings.is_empty() {
            self.prepare(findings);
        }
    }

    /// The host takes from the windows first, as the step before this phase; so this is usually called for a refusal only.
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        let Some(rule) = &self.rule else { return Err(Error::new("the limits were not prepared")) };
        let wait = match exchange.counters.try_take_by(rule, 1) {
            Verdict::Taken => return Ok(Flow::Proceed),
            Verdict::NoRoom(wait) => wait,
            // Kong's answer where counts cannot be reached and `fault_tolerant` is off.
            Verdict::Unknown => return Ok(exchange.error(500, "An unexpected error occurred").into()),
        };
        let mut reply = exchange.error(self.error_code, &self.error_message);
        if !self.hide_client_headers {
            reply = reply.header("retry-after", wait.to_string());
        }
        Ok(reply.into())
    }
}

plugin_sdk::export!(RateLimiting: on_request);

#[cfg(test)]
mod tests;
