//! Opens a connection of its own.
//! The gateway does not let it: the call fails or is ended, and no connection is made.
use plugin_sdk::{Error, Exchange, Flow, Plugin, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct OpeningASocket {
    /// Misbehave only when the request has a header `misbehave`.
    #[serde(default)]
    only_when_asked: bool,
    /// Where to.
    #[serde(default = "somewhere")]
    address: String,
}

fn somewhere() -> String {
    "127.0.0.1:1".to_owned()
}

impl Plugin for OpeningASocket {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        if self.only_when_asked && exchange.request.header("misbehave").is_none() {
            return Ok(Flow::Proceed);
        }
        match std::net::TcpStream::connect(&self.address) {
            Ok(_) => Ok(plugin_sdk::Reply::new(200).body("the guest has a connection").into()),
            Err(error) => Err(Error::new(format!("no connection: {error}"))),
        }
    }
}

plugin_sdk::export!(OpeningASocket: on_request);
