//! The calls that are measured: a plugin with a configuration, the phase, the exchange it finds, and its native form.

use serde_json::{Value, json};
use weir_model::Phase;
use weir_plugin_host::exchange::Exchange;

use crate::native::{INJECTED, Native};
use crate::world::World;

/// One call.
pub struct Case {
    /// The stock plugin.
    pub plugin: &'static str,
    /// What it is configured to do.
    pub does: &'static str,
    /// What the operator would write.
    pub config: Value,
    /// When it is called.
    pub phase: Phase,
    /// The exchange that it is called with.
    pub exchange: fn(&World, usize) -> Box<Exchange>,
    /// The same work; false when the request is refused.
    pub native: fn(&Native, &mut Exchange) -> bool,
}

/// The word of a phase in the table.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Request => "request",
        Phase::Response => "response",
        Phase::Log => "log",
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    let injected: Vec<String> = INJECTED.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    vec![
        Case {
            plugin: "key-auth",
            does: "a known key in a header; three facts about the caller to the upstream: by steps",
            config: json!({}),
            phase: Phase::Request,
            exchange: World::request,
            native: Native::key_auth,
        },
        Case {
            plugin: "key-auth",
            does: "the same key in the query: by a call of the plugin",
            config: json!({}),
            phase: Phase::Request,
            exchange: World::request_with_query,
            native: Native::key_auth_by_query,
        },
        Case {
            plugin: "rate-limiting",
            does: "one limit per caller and hour; five headers: by steps",
            config: json!({ "hour": crate::native::HOURLY_LIMIT, "policy": "local", "limit_by": "consumer" }),
            phase: Phase::Request,
            exchange: World::authenticated,
            native: Native::rate_limiting,
        },
        Case {
            plugin: "request-transformer",
            does: "one header removed, one renamed, one added, one query argument added: by a call",
            config: json!({
                "remove": { "headers": ["cookie"] },
                "rename": { "headers": ["referer:x-referer"] },
                "add": { "headers": ["x-env:production"], "querystring": ["channel:web"] }
            }),
            phase: Phase::Request,
            exchange: World::authenticated,
            native: Native::request_transformer,
        },
        Case {
            plugin: "response-transformer",
            does: "six headers added: by steps",
            config: json!({ "add": { "headers": injected } }),
            phase: Phase::Response,
            exchange: World::answered,
            native: Native::response_transformer,
        },
        Case {
            plugin: "ip-restriction",
            does: "the third of three allowed networks: by a call",
            config: json!({ "allow": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] }),
            phase: Phase::Request,
            exchange: World::request,
            native: Native::ip_restriction,
        },
    ]
}
