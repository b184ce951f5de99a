//! What an author meets when a plugin is tested: the harness follows the gateway's rules.

use plugin_sdk::log::Level;
use plugin_sdk::testing::{Gateway, configure, get, logged, manifest, schema};
use plugin_sdk::{Error, Exchange, Facts, Fault, Findings, Flow, Plugin, Reply, Result, log};
use serde_json::json;

/// Handles requests, and forgot to list that it also handles responses.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Forgetful {
    /// What it does.
    #[serde(default)]
    mode: Mode,
    /// Parts.
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Log,
    Fail,
    Reply,
    Find,
}

#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Part {
    size: Option<u8>,
}

impl Plugin for Forgetful {
    const NAME: Option<&'static str> = Some("forgetful");
    const PRIORITY: i64 = -7;

    fn check(&mut self, findings: &mut Findings) {
        for (index, part) in self.parts.iter().enumerate() {
            if part.size == Some(0) {
                findings.add(format!("parts[{index}].size"), "must not be 0;\nleave it out");
            }
        }
    }
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        match self.mode {
            Mode::Log => log::warn("seen"),
            Mode::Fail => return Err(Error::new("on purpose")),
            Mode::Reply => {
                exchange.response.set_header("x-later", "1")?;
                return Ok(Reply::new(418).header("X-Now", "1").body("short").into());
            }
            Mode::Find => drop(exchange.credentials.find("key-auth", "x")),
        }
        Ok(Flow::Proceed)
    }
    fn on_response(&self, _: &mut Exchange) -> Result<Flow> {
        Ok(Flow::Proceed)
    }
    fn on_log(&self, exchange: &Exchange) {
        let facts = exchange.outcome();
        log::info(&format!("{} {:?}", facts.status, facts.fault));
    }
}

plugin_sdk::export!(Forgetful: on_request, on_log);

#[test]
#[should_panic(
    expected = "the gateway would never call on_response of this plugin: list it, as in export!(Forgetful: on_response)"
)]
fn a_phase_that_is_not_listed_fails_the_test_that_calls_it() {
    let mut exchange = get("/");
    exchange.upstream_answers(200, &[]);
    drop(configure::<Forgetful>("{}").unwrap().on_response(&mut exchange));
}

#[test]
#[should_panic(expected = "looks up \"key-auth\", which its CREDENTIALS do not name")]
fn a_kind_of_credential_that_is_not_named_fails_the_test() {
    drop(configure::<Forgetful>(r#"{"mode": "find"}"#).unwrap().on_request(&mut get("/")));
}

#[test]
fn mistakes_are_told_as_the_gateway_reads_them() {
    let findings = configure::<Forgetful>(r#"{"parts": [{"size": 0}, {"size": 1}, {"size": 0}]}"#).unwrap_err();
    let lines = "parts[0].size: must not be 0; leave it out\nparts[2].size: must not be 0; leave it out";
    assert_eq!(findings.to_string(), lines);
}

#[test]
fn unknown_fields_are_refused_with_their_path_and_wrong_types_too() {
    let findings = configure::<Forgetful>(r#"{"Mode": "log"}"#).unwrap_err();
    assert_eq!(findings.to_string(), "Mode: unknown field");
    assert!(configure::<Forgetful>(r#"{"mode": 1}"#).is_err());
    assert!(configure::<Forgetful>("no JSON").is_err());
}

#[test]
fn the_schema_has_defaults_descriptions_and_no_room_for_unknown_fields() {
    let schema = schema::<Forgetful>();
    let fields = &schema["properties"];
    assert_eq!(fields["mode"]["default"], json!("log"));
    assert_eq!(fields["mode"]["description"], json!("What it does."));
    assert_eq!(fields["mode"]["enum"], json!(["log", "fail", "reply", "find"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(fields["parts"]["items"]["additionalProperties"], json!(false));
    assert!(schema.get("$defs").is_none() && schema.get("$schema").is_none());
}

#[test]
fn the_manifest_takes_its_version_from_cargo() {
    let manifest = manifest::<Forgetful>();
    assert_eq!(manifest["name"], json!("forgetful"));
    assert_eq!(manifest["version"], json!(env!("CARGO_PKG_VERSION")));
    assert_eq!(manifest["priority"], json!(-7));
    assert_eq!(manifest["credentials"], json!([]));
}

#[test]
fn a_reply_becomes_the_response_with_the_headers_that_waited() {
    let mut exchange = get("/");
    configure::<Forgetful>(r#"{"mode": "reply"}"#).unwrap().on_request(&mut exchange).unwrap();
    assert_eq!(exchange.response.status(), Some(418));
    assert_eq!(exchange.response.header("x-now").unwrap(), "1");
    assert_eq!(exchange.response.header("x-later").unwrap(), "1");
    assert_eq!(exchange.response_body(), b"short");
}

#[test]
fn what_is_logged_can_be_asked_for() {
    drop(logged());
    let plugin = configure::<Forgetful>("{}").unwrap();
    let mut exchange = Gateway::new().get("/");
    plugin.on_request(&mut exchange).unwrap();
    exchange.set_outcome(Facts { status: 502, fault: Fault::Upstream, ..Facts::default() });
    plugin.on_log(&mut exchange);
    assert_eq!(logged(), [(Level::Warn, "seen".to_owned()), (Level::Info, "502 Upstream".to_owned())]);
    assert_eq!(logged(), []);
}

#[test]
fn a_failure_is_an_error_and_no_response() {
    let mut exchange = get("/");
    let failure = configure::<Forgetful>(r#"{"mode": "fail"}"#).unwrap().on_request(&mut exchange).unwrap_err();
    assert_eq!(failure, Error::new("on purpose"));
    assert_eq!(exchange.response.status(), None);
}
