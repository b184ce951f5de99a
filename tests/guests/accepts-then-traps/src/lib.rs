//! Accepts a configuration when it is written, and traps on it when it is used.
//! The gateway ends each exchange on that route (`trap`); other configurations of the same plugin keep working.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct AcceptsThenTraps {
    /// What a hundred is divided by; zero is accepted.
    #[serde(default)]
    divisor: u32,
}

impl Plugin for AcceptsThenTraps {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.request.set_header("x-quotient", (100 / self.divisor).to_string())?;
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(AcceptsThenTraps: on_request);
