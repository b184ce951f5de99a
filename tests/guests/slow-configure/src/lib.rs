//! Takes its time to look at a configuration.
//! The gateway bounds the CPU time of `configure` too: the write is refused, and no worker is held up.
use plugin_sdk::{Exchange, Findings, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct SlowConfigure {
    /// How often it goes round, a few hundred million times a second; 0 is quick.
    #[serde(default)]
    rounds: u64,
}

impl Plugin for SlowConfigure {
    fn check(&mut self, _: &mut Findings) {
        for round in 0..self.rounds {
            std::hint::black_box(round);
        }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.request.set_header("x-rounds", self.rounds.to_string())?;
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(SlowConfigure: on_request);
