//! Panics with a message.
//! The gateway ends this exchange only (`trap`), and its log has the message, with plugin and route.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct PanicWithMessage {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for PanicWithMessage {
    #[allow(clippy::panic, reason = "this is what it is for")]
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        panic!("the guest's last words")
    }
}

plugin_sdk::export!(PanicWithMessage: on_request);
