//! Behaves: adds a header to the request and one to the response, and logs nothing.
//! The gateway must serve it as ever, whatever the others do.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Neighbour {
    /// The headers' value.
    #[serde(default = "here")]
    value: String,
}

fn here() -> String {
    "here".to_owned()
}

impl Plugin for Neighbour {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.request.set_header("x-neighbour", &self.value)?;
        Ok(Flow::Proceed)
    }

    fn on_response(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.response.set_header("x-neighbour", &self.value)?;
        Ok(Flow::Proceed)
    }

    fn on_log(&self, exchange: &Exchange) {
        std::hint::black_box(exchange.outcome());
    }
}

plugin_sdk::export!(Neighbour: on_request, on_response, on_log);
