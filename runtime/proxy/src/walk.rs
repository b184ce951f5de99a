//! The walk of a chain: one phase, plugin after plugin.
//!
//! The entry of a plugin is picked when the walk reaches it, because an earlier plugin of the same walk decides who the consumer
//! is. Nothing in here waits.

use crate::access_log::PluginFailure;
use crate::chain::{Chain, Scheme};
use crate::error::ProxyError;
use std::sync::Arc;
use weir_model::Phase;
use weir_model::entity::OnFailure;
use weir_plugin_host::exchange::{Ending, Exchange, Kill, Reply};
use weir_plugin_host::{Entry, WorkerPlugins};

/// How a walk ended.
pub enum Walked {
    /// All the way.
    Through,
    /// A plugin made the reply; those after it were not asked.
    Replied(Reply),
    /// A plugin failed, and its entry is `closed`.
    Failed(ProxyError),
}

/// Walks one phase of a chain. Failures are noted whatever they lead to.
pub fn walk(
    chain: &Chain,
    phase: Phase,
    scheme: Scheme,
    plugins: &mut WorkerPlugins,
    exchange: &mut Box<Exchange>,
    failures: &mut Vec<PluginFailure>,
) -> Walked {
    for step in chain.walk(phase) {
        let consumer = exchange.consumer.as_ref().map(|consumer| consumer.id);
        let Some(entry) = step.pick(scheme, consumer) else { continue };
        if !entry.handles(phase) {
            continue;
        }
        let (kill, message) = match plugins.call(phase, entry, exchange) {
            Ending::Proceed => continue,
            Ending::Respond(reply) => return Walked::Replied(reply),
            Ending::Failed(message) => (None, Some(message)),
            Ending::Killed(kill) => (Some(kill), None),
        };
        note(entry, phase, kill, message, failures);
        match entry.on_failure {
            // Nothing can be refused any more, and one plugin's failure is no reason to keep the others from logging.
            _ if phase == Phase::Log => {}
            OnFailure::Open => {}
            OnFailure::Closed => return Walked::Failed(ProxyError::Plugin { plugin: entry.name.to_string(), kill }),
        }
    }
    Walked::Through
}

fn note(entry: &Entry, phase: Phase, kill: Option<Kill>, message: Option<String>, failures: &mut Vec<PluginFailure>) {
    let phase = match phase {
        Phase::Request => "request",
        Phase::Response => "response",
        Phase::Log => "log",
    };
    failures.push(PluginFailure {
        plugin: Arc::clone(&entry.name),
        version: Arc::clone(&entry.version),
        phase,
        kind: kill.map_or("failed", Kill::name),
        message,
    });
}
