//! Sets a request header.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct HeaderInject {
    /// Name of the header.
    name: String,
    /// Its value.
    value: String,
}

impl Plugin for HeaderInject {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.request.set_header(&self.name, &self.value)?;
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(HeaderInject: on_request);

#[cfg(test)]
mod tests;
