//! Sleeps.
//! The gateway ends the call at once (`wait`): nothing may hold up a worker.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Sleeping {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for Sleeping {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        std::thread::sleep(std::time::Duration::from_secs(3600));
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(Sleeping: on_request);
