//! Adds headers without end, whatever it is told.
//! The gateway refuses from the hundredth on; the request goes upstream with a hundred headers at most.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct HeaderFlood {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
    /// How many it tries to add.
    #[serde(default = "many")]
    count: u32,
}

fn many() -> u32 {
    1000
}

impl Plugin for HeaderFlood {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        for number in 0..self.count {
            // The refusal is what this guest does not listen to.
            let _ = exchange.request.add_header(&format!("x-flood-{number}"), "x".repeat(100));
            let _ = exchange.response.add_header(&format!("x-flood-{number}"), "x".repeat(100));
        }
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(HeaderFlood: on_request);
