//! Prints, as a plugin author who looks for a mistake does.
//! The gateway writes it to the plugin's log and serves the exchange.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Printing {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for Printing {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        println!("printed by the guest");
        eprintln!("printed by the guest, as an error");
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(Printing: on_request);
