use super::HeaderInject;
use plugin_sdk::{Flow, testing};

#[test]
fn sets_the_configured_header() {
    let plugin = testing::configure::<HeaderInject>(r#"{"name": "x-env", "value": "prod"}"#).unwrap();
    let mut exchange = testing::get("/orders").with_header("X-Env", "forged");
    assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
    assert_eq!(exchange.request.header("x-env").unwrap(), "prod");
}

#[test]
fn fails_when_the_gateway_keeps_the_header_for_itself() {
    let plugin = testing::configure::<HeaderInject>(r#"{"name": "x-consumer-id", "value": "me"}"#).unwrap();
    let failure = plugin.on_request(&mut testing::get("/")).unwrap_err();
    assert_eq!(failure.message(), "only the gateway writes this header");
}
