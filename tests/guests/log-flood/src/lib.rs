//! Writes a thousand long lines to the log.
//! The gateway writes sixteen of them, cut to 1 KiB, counts the others, and serves the exchange.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct LogFlood {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for LogFlood {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        for _ in 0..1000 {
            plugin_sdk::log::error(&"flood ".repeat(300));
        }
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(LogFlood: on_request);
