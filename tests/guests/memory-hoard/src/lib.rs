//! Takes memory and keeps it.
//! The gateway refuses at the limit, ends the call (`memory_budget`), and the memory is free again.
use plugin_sdk::{Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct MemoryHoard {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
}

impl Plugin for MemoryHoard {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        loop {
            // One bit set, so that the memory is really touched.
            std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}

plugin_sdk::export!(MemoryHoard: on_request);
