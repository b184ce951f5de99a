//! A plugin that nobody made a component of.
//! The gateway refuses it when it is uploaded, and says how to make one.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct CoreModule {}

impl Plugin for CoreModule {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        let _ = exchange;
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(CoreModule: on_request);
