//! Executes `unreachable`, without a word.
//! The gateway ends this exchange only (`trap`), and uses a new instance for the next one.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Trap {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for Trap {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        std::process::abort()
    }
}

plugin_sdk::export!(Trap: on_request);
