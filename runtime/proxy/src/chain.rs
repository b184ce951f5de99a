//! The plugins of a route, in order.
//!
//! A chain is the plugin *names* in order; which entry of a name runs is picked when the walk reaches it, because an earlier
//! plugin of the same walk decides who the consumer is. Built by `snapshot`, walked by the data path. Does not know what an
//! entry does: it is generic over the entry, so that its rules are tested without wasm.

use crate::snapshot::IdMap;
use std::sync::Arc;
use weir_model::{Id, Phase};
use weir_plugin_host::Entry;

/// The client protocol of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// Over TLS, here or at a trusted proxy before us.
    Https,
}

impl Scheme {
    /// The word in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
    /// The port that a Host without port means.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A set of client protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SchemeSet(u8);

impl SchemeSet {
    /// Both.
    pub const ALL: SchemeSet = SchemeSet(0b11);
    /// From Kong's names; others are not client protocols of this proxy and add nothing.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let bit = |name| match name {
            "http" => 0b01,
            "https" => 0b10,
            _ => 0,
        };
        Self(names.into_iter().fold(0, |bits, name| bits | bit(name)))
    }
    /// Whether that protocol is in it.
    pub fn contains(self, scheme: Scheme) -> bool {
        let bit = match scheme {
            Scheme::Http => 0b01,
            Scheme::Https => 0b10,
        };
        self.0 & bit != 0
    }
}

/// A set of phases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhaseSet(u8);

impl PhaseSet {
    /// Those of an iterator.
    pub fn of(phases: impl IntoIterator<Item = Phase>) -> Self {
        Self(phases.into_iter().fold(0, |bits, phase| bits | Self::bit(phase)))
    }
    /// Whether that phase is in it.
    pub fn contains(self, phase: Phase) -> bool {
        self.0 & Self::bit(phase) != 0
    }
    /// Both together.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    fn bit(phase: Phase) -> u8 {
        match phase {
            Phase::Request => 0b001,
            Phase::Response => 0b010,
            Phase::Log => 0b100,
        }
    }
}

/// An entry that may run, if the client's protocol is one of its `protocols`.
#[derive(Debug)]
pub struct Candidate<E> {
    /// Unset: this node has no component of its plugin's name, so it cannot run, and must not be passed over.
    pub(crate) entry: Option<Arc<E>>,
    pub(crate) schemes: SchemeSet,
}

impl<E> Clone for Candidate<E> {
    fn clone(&self) -> Self {
        Self { entry: self.entry.clone(), schemes: self.schemes }
    }
}

/// One place of the precedence of scopes, most specific first in `Link::tiers`.
pub(crate) enum Tier<E> {
    /// The entry of this scope, whoever calls.
    Anyone(Candidate<E>),
    /// The entries of this scope by the consumer that they are for. Shared with the builder: there may be 100,000.
    ByConsumer(IdMap<Candidate<E>>),
}

impl<E> Clone for Tier<E> {
    fn clone(&self) -> Self {
        match self {
            Tier::Anyone(candidate) => Tier::Anyone(candidate.clone()),
            Tier::ByConsumer(map) => Tier::ByConsumer(map.clone()),
        }
    }
}

/// One plugin name of a chain, and the entries of it that may run.
pub struct Link<E = Entry> {
    pub(crate) plugin: Arc<str>,
    pub(crate) priority: i64,
    pub(crate) phases: PhaseSet,
    /// Whether an entry of it may lack its component; the picked entry is asked again.
    pub(crate) missing: bool,
    pub(crate) tiers: Vec<Tier<E>>,
}

impl<E> Link<E> {
    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }
    /// Whether an entry of this link may handle the phase; the picked entry is asked again.
    pub fn handles(&self, phase: Phase) -> bool {
        self.phases.contains(phase)
    }
    /// The entry that runs for this consumer, by Kong's precedence of scopes; none if all are for somebody else.
    pub fn pick(&self, scheme: Scheme, consumer: Option<Id>) -> Option<&Arc<E>> {
        self.candidate(scheme, consumer)?.entry.as_ref()
    }
    fn candidate(&self, scheme: Scheme, consumer: Option<Id>) -> Option<&Candidate<E>> {
        self.tiers.iter().find_map(|tier| {
            let candidate = match tier {
                Tier::Anyone(candidate) => candidate,
                Tier::ByConsumer(map) => map.get(&consumer?)?,
            };
            candidate.schemes.contains(scheme).then_some(candidate)
        })
    }
}

/// The plugins of a route (or of all routes that have none of their own), in order.
pub struct Chain<E = Entry> {
    links: Vec<Arc<Link<E>>>,
    /// Those of them whose component this node does not have; almost always none.
    missing: Vec<Arc<Link<E>>>,
    phases: PhaseSet,
}

impl<E> Default for Chain<E> {
    fn default() -> Self {
        Self { links: Vec::new(), missing: Vec::new(), phases: PhaseSet::default() }
    }
}

impl<E> Chain<E> {
    /// A chain of these links; `weir_model::chain::order` puts them in order.
    pub(crate) fn new(mut links: Vec<Arc<Link<E>>>) -> Self {
        links.sort_by(|a, b| weir_model::chain::order((a.priority, &a.plugin), (b.priority, &b.plugin)));
        let missing: Vec<_> = links.iter().filter(|link| link.missing).cloned().collect();
        // What cannot run refuses the request.
        let refusing = PhaseSet::of((!missing.is_empty()).then_some(Phase::Request));
        let phases = links.iter().fold(refusing, |all, link| all.union(link.phases));
        Self { links, missing, phases }
    }
    /// The plugin of an entry that should run for this consumer and cannot, because this node has no component of its name.
    pub fn missing(&self, scheme: Scheme, consumer: Option<Id>) -> Option<&str> {
        let cannot_run = |link: &&Arc<Link<E>>| link.candidate(scheme, consumer).is_some_and(|picked| picked.entry.is_none());
        self.missing.iter().find(cannot_run).map(|link| link.plugin())
    }
    /// All links, in order.
    pub fn links(&self) -> &[Arc<Link<E>>] {
        &self.links
    }
    /// Whether any link handles the phase: if not, the phase costs this one test.
    pub fn handles(&self, phase: Phase) -> bool {
        self.phases.contains(phase)
    }
    /// The links that may handle the phase, in order, each with its place in the chain. Order and places are the same in every
    /// phase.
    pub fn walk(&self, phase: Phase) -> impl Iterator<Item = (usize, &Arc<Link<E>>)> {
        let links: &[_] = if self.handles(phase) { &self.links } else { &[] };
        links.iter().enumerate().filter(move |(_, link)| link.handles(phase))
    }
}
