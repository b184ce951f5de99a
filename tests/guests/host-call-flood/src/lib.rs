//! Asks the host without end.
//! The gateway ends the call at the limit of calls (`host_calls`), long before its CPU time is used up.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct HostCallFlood {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for HostCallFlood {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        loop {
            std::hint::black_box(exchange.request.header("x"));
        }
    }
}

plugin_sdk::export!(HostCallFlood: on_request);
