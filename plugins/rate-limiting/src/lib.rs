//! Limits how many requests a caller may make in a second, minute, hour, day, month and year.
//!
//! Field names, headers and answers are Kong's. Counting is the host's: all windows are taken in one call, exactly, for the whole
//! node, whatever the number of workers.

mod config;

use config::{LimitBy, RateLimiting};
use plugin_sdk::{Exchange, Findings, Flow, Limit, Plugin, Result, Taken, Usage};

/// What a counter's key may have at most, in bytes (the interface says 1 KiB); a longer header value is cut to it.
const KEY_BYTES: usize = 1024;

impl Plugin for RateLimiting {
    const PRIORITY: i64 = 910;

    fn check(&mut self, findings: &mut Findings) {
        self.refuse_what_is_not_built(findings);
        self.refuse_what_does_not_fit(findings);
        self.prepare_windows();
        if findings.is_empty() && !self.hide_client_headers {
            self.prepare_announcement(findings);
        }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        let key = self.key(exchange);
        let outcome = exchange.counters.take(&key, &self.limits, 1);
        let tightest = self.tightest(&outcome);
        if !self.hide_client_headers {
            self.announce(exchange, &outcome, tightest)?;
        }
        if outcome.taken {
            return Ok(Flow::Proceed);
        }
        let mut reply = exchange.error(self.error_code, &self.error_message);
        if !self.hide_client_headers {
            let wait = tightest.map_or(1, |(_, usage)| usage.resets_in_s);
            reply = reply.header("retry-after", decimal(u64::from(wait)));
        }
        Ok(reply.into())
    }
}

impl RateLimiting {
    /// Whose windows are counted. The kind stands before the value, so that a header cannot pass for an address.
    fn key(&self, exchange: &Exchange) -> String {
        let named = match self.limit_by {
            LimitBy::Consumer => exchange.consumer().map(|consumer| format!("consumer:{}", consumer.id)),
            LimitBy::Credential => credential(exchange),
            LimitBy::Ip => None,
            LimitBy::Service => exchange.service().map(|service| format!("service:{}", service.id)),
            LimitBy::Header => self.header_name.as_deref().and_then(|name| {
                let value = exchange.request.header(name)?;
                let text = String::from_utf8_lossy(value.as_bytes());
                Some(format!("header:{}", &text[..text.floor_char_boundary(KEY_BYTES - 7)]))
            }),
            LimitBy::Path => {
                self.path.as_deref().filter(|path| *path == exchange.request.path()).map(|path| format!("path:{path}"))
            }
        };
        named.unwrap_or_else(|| format!("ip:{}", exchange.request.client_ip()))
    }

    /// The window with the least room; of equal ones the longest. Its position and how it stands.
    fn tightest(&self, outcome: &Taken) -> Option<(usize, Usage)> {
        let room = |(index, usage): &(usize, Usage)| {
            let max = self.limits.get(*index).map_or(0, |limit| limit.max);
            max.saturating_sub(usage.used)
        };
        // The windows are in the order of their lengths, and `min_by_key` answers the first of equals: so from the longest down.
        outcome.usages.iter().copied().enumerate().rev().min_by_key(room)
    }

    /// Tells the client how it stands, in whatever reply it gets.
    fn announce(&self, exchange: &mut Exchange, outcome: &Taken, tightest: Option<(usize, Usage)>) -> Result<()> {
        exchange.response.apply(&self.announced)?;
        for (index, usage) in outcome.usages.iter().enumerate() {
            let Some(window) = self.windows.get(index) else { continue };
            exchange.response.set_header(window.remaining_header, decimal(self.remaining(index, *usage)))?;
        }
        if let Some((index, usage)) = tightest
            && let Some(window) = self.windows.get(index)
        {
            if self.windows.len() > 1 {
                exchange.response.set_header("ratelimit-limit", &window.limit_text)?;
            }
            exchange.response.set_header("ratelimit-remaining", decimal(self.remaining(index, usage)))?;
            exchange.response.set_header("ratelimit-reset", decimal(u64::from(usage.resets_in_s)))?;
        }
        Ok(())
    }

    fn remaining(&self, index: usize, usage: Usage) -> u64 {
        self.limits.get(index).map_or(0, |limit: &Limit| limit.max.saturating_sub(usage.used))
    }
}

/// The credential that let the caller in. The header is the gateway's word once there is a consumer; an anonymous one has none.
fn credential(exchange: &Exchange) -> Option<String> {
    exchange.consumer()?;
    let id = exchange.request.header("x-credential-identifier")?.into_string()?;
    Some(format!("credential:{id}"))
}

/// A number in text, without the formatting machinery: this runs several times for each request.
fn decimal(mut number: u64) -> Decimal {
    let mut digits = [0; Decimal::DIGITS];
    let mut start = digits.len();
    loop {
        start -= 1;
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 || start == 0 {
            return Decimal { digits, start };
        }
    }
}

/// The digits of a number.
struct Decimal {
    digits: [u8; Self::DIGITS],
    start: usize,
}

impl Decimal {
    /// `u64::MAX` has twenty.
    const DIGITS: usize = 20;
}

impl AsRef<[u8]> for Decimal {
    fn as_ref(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

plugin_sdk::export!(RateLimiting: on_request);

#[cfg(test)]
mod tests;
