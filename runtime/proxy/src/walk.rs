//! The walk of a chain: one phase, plugin after plugin.
//!
//! The entry of a plugin is picked when the walk reaches it, because an earlier plugin of the same walk decides who the consumer
//! is. The later phases pick what the request phase picked: a plugin that stands before the authentication did not know the
//! consumer then, and must not meet another configuration when the response comes. Nothing in here waits.

use crate::access_log::PluginFailure;
use crate::chain::{Chain, Scheme};
use crate::error::ProxyError;
use std::sync::Arc;
use weir_model::entity::OnFailure;
use weir_model::{Id, Phase};
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

/// Who the consumer was from which link of the request phase on. Usually one; a second authentication may change it.
#[derive(Debug, Default)]
pub struct Identities {
    first: Option<(usize, Id)>,
    /// After it; usually none, so that nothing is allocated.
    more: Vec<(usize, Id)>,
}

impl Identities {
    /// Notes the consumer after a link of the request phase, if that link has changed it.
    fn after(&mut self, link: usize, consumer: Option<Id>) {
        if let Some(consumer) = consumer
            && self.more.last().or(self.first.as_ref()).is_none_or(|(_, last)| *last != consumer)
        {
            match self.first {
                None => self.first = Some((link, consumer)),
                Some(_) => self.more.push((link, consumer)),
            }
        }
    }
    /// The consumer that a link knew when the request phase reached it.
    fn before(&self, link: usize) -> Option<Id> {
        self.first.iter().chain(&self.more).rev().find(|(since, _)| *since < link).map(|(_, consumer)| *consumer)
    }
}

/// Walks one phase of a chain. Failures are noted whatever they lead to.
pub fn walk(
    chain: &Chain,
    phase: Phase,
    scheme: Scheme,
    plugins: &mut WorkerPlugins,
    exchange: &mut Box<Exchange>,
    identities: &mut Identities,
    failures: &mut Vec<PluginFailure>,
) -> Walked {
    // Nothing is known of a component that is not there, neither its place in the order nor what its failure may mean: such an entry
    // refuses the request before any other plugin acts, or as soon as it is known that the request is of the entry's consumer.
    let missing = |exchange: &Exchange| {
        let plugin = chain.missing(scheme, exchange.caller.as_ref().map(|caller| caller.consumer.id));
        plugin.filter(|_| phase == Phase::Request).map(|plugin| ProxyError::PluginMissing { plugin: plugin.to_owned() })
    };
    for (index, link) in chain.walk(phase) {
        if let Some(error) = missing(exchange) {
            return Walked::Failed(error);
        }
        let Some(entry) = link.pick(scheme, identities.before(index)) else { continue };
        if !entry.handles(phase) {
            continue;
        }
        let ending = plugins.call(phase, entry, exchange);
        if phase == Phase::Request {
            identities.after(index, exchange.caller.as_ref().map(|caller| caller.consumer.id));
        }
        let (kill, message) = match ending {
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
    missing(exchange).map_or(Walked::Through, Walked::Failed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_the_consumer_that_it_knew_in_the_request_phase() {
        let (anonymous, ada) = (Id::random(), Id::random());
        let mut identities = Identities::default();
        identities.after(0, None);
        identities.after(1, Some(anonymous));
        identities.after(2, Some(anonymous));
        identities.after(3, Some(ada));
        identities.after(4, Some(ada));
        let known: Vec<_> = (0..6).map(|link| identities.before(link)).collect();
        assert_eq!(known, [None, None, Some(anonymous), Some(anonymous), Some(ada), Some(ada)]);
    }
}
