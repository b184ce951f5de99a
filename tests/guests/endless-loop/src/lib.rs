//! Never comes back.
//! The gateway ends the call when its CPU time is used up (`cpu_budget`), and serves everybody else.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct EndlessLoop {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for EndlessLoop {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        loop {
            std::hint::black_box(());
        }
    }
}

plugin_sdk::export!(EndlessLoop: on_request);
