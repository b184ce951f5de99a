//! Matches a request head to a route.
//!
//! Pure: no I/O, no clock, no plugins. Knows paths, hosts, methods and headers; not services or targets. Built by `snapshot`,
//! asked once per exchange. The rules are Kong's (default router), written down with examples in `docs/router.md`, which a
//! test reads. A table is persistent: a changed one shares what did not change with the one before, and both serve.

mod bucket;
mod host;
mod index;
mod key;
mod label;
mod method;
mod radix;
mod rank;
mod record;
mod regex_rule;
mod table;
mod target;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::chain::Scheme;
pub use host::{HostError, HostHeader, MAX_HOST_BYTES};
pub use record::{PathHandling, RouteFault, RouteRecord};
pub use regex_rule::RegexFault;
pub use target::upstream_path;
pub use weir_model::path::{PathError, normalise};

use bucket::{Rule, Work};
use host::{HostPattern, HostShape};
use http::{HeaderMap, Method};
use index::{Index, Search};
use key::{Key, Scope};
use radix::RadixTree;
use rank::Census;
use record::PathRule;
use std::sync::Arc;

/// What of a request decides its route.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The client's protocol, after `trusted_ips`.
    pub scheme: Scheme,
    /// As sent.
    pub method: &'a Method,
    /// As [`HostHeader::parse`] gives it; empty if the request has none.
    pub host: &'a str,
    /// The port in the Host header, or the scheme's default.
    pub port: u16,
    /// In normal form ([`normalise`]), without query.
    pub path: &'a str,
    /// As sent.
    pub headers: &'a HeaderMap,
}

/// All routes, arranged so that neither a look-up nor a change depends on how many there are.
#[derive(Clone, Default)]
pub struct Router {
    /// All rules, by host pattern and by what their paths begin with; a rule without paths stands at the empty beginning.
    index: Index,
    /// Of routes without hosts.
    any_host_census: Census,
    /// Which host patterns there are without a port.
    any_port: HostTable,
    /// Which there are with a port, by port.
    by_port: Vec<(u16, HostTable)>,
}

/// Host patterns that routes have, so that only these are asked for.
#[derive(Clone, Default)]
struct HostTable {
    /// How many are without wildcard.
    exact: usize,
    /// By the reversed ending.
    ending: RadixTree<Wildcard>,
    beginning: RadixTree<Wildcard>,
    /// Of the patterns with a wildcard.
    wildcard_census: Census,
}

/// A pattern with a wildcard.
#[derive(Clone, Default)]
struct Wildcard {
    /// Of its text.
    length: usize,
    /// How often routes have it.
    count: usize,
}

/// The route that a request gets, and through which of its paths.
pub struct Hit<'a> {
    rule: &'a Rule,
}

impl<'a> Hit<'a> {
    /// The route.
    pub fn record(&self) -> &'a Arc<RouteRecord> {
        &self.rule.record
    }
    /// How much of the path the route's path matched (none: the route has no paths), and what its regex caught.
    pub fn matched(&self, path: &str) -> (Option<usize>, Vec<(String, String)>) {
        match self.rule.path() {
            None => (None, Vec::new()),
            Some(PathRule::Prefix(prefix)) => (Some(prefix.len()), Vec::new()),
            Some(PathRule::Regex(regex)) => match regex.captures(path) {
                Some((length, captures)) => (Some(length), captures),
                None => (None, Vec::new()),
            },
        }
    }
}

impl Router {
    /// The route for a request: of all that match, the one with the highest rank. Allocates nothing for a plain path, unless
    /// a header that tells routes apart is sent in upper case.
    pub fn find(&self, request: &RouteRequest<'_>) -> Option<Hit<'_>> {
        self.find_counting(request, &mut Work::default())
    }
    fn find_counting<'r>(&'r self, request: &RouteRequest<'_>, work: &mut Work) -> Option<Hit<'r>> {
        let mut search = Search { index: &self.index, request, best: None, work };
        // Hosts first: they rank higher, and what is found makes the rest be skipped unread.
        if !request.host.is_empty() {
            if let Ok(at) = self.port_position(request.port)
                && let Some((port, table)) = self.by_port.get(at)
            {
                table.improve(&mut search, Some(*port));
            }
            self.any_port.improve(&mut search, None);
        }
        if !search.best.is_some_and(|best| best.outranks(self.any_host_census.ceiling())) {
            search.improve(&Scope::ANY);
        }
        search.best.map(|rule| Hit { rule })
    }
    /// Adds a route. It must not be in here yet.
    pub fn insert(&mut self, record: &Arc<RouteRecord>) {
        self.count(record, Census::add);
        for host in &record.hosts {
            self.table(host.port).add(host);
        }
        each_rule(record, |key, rule| self.index.insert(key, rule));
    }
    /// Takes out a route that is in here.
    pub fn remove(&mut self, record: &Arc<RouteRecord>) {
        self.count(record, Census::subtract);
        for host in &record.hosts {
            self.table(host.port).subtract(host);
        }
        each_rule(record, |key, rule| self.index.remove(key, rule));
        self.by_port.retain(|(_, table)| !table.is_empty());
    }
    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty() && self.any_port.is_empty() && self.by_port.is_empty()
    }
    fn count(&mut self, record: &RouteRecord, change: fn(&mut Census, usize)) {
        if record.hosts.is_empty() {
            change(&mut self.any_host_census, record.attributes());
        }
        for host in record.hosts.iter().filter(|host| host.shape != HostShape::Exact) {
            change(&mut self.table(host.port).wildcard_census, record.attributes());
        }
    }
    fn table(&mut self, port: Option<u16>) -> &mut HostTable {
        let Some(port) = port else { return &mut self.any_port };
        let at = self.port_position(port).unwrap_or_else(|at| {
            self.by_port.insert(at, (port, HostTable::default()));
            at
        });
        &mut self.by_port[at].1
    }
    fn port_position(&self, port: u16) -> Result<usize, usize> {
        self.by_port.binary_search_by_key(&port, |(port, _)| *port)
    }
}

impl HostTable {
    fn improve(&self, search: &mut Search<'_, '_, '_>, port: Option<u16>) {
        let host = search.request.host.as_bytes();
        if self.exact > 0 {
            search.improve(&Scope::new(HostShape::Exact, port, host));
        }
        if search.best.is_some_and(|best| best.outranks(self.wildcard_census.ceiling())) {
            return;
        }
        if !self.ending.is_empty() {
            // No name is longer than this buffer (`HostHeader::parse`); a longer one ends in no pattern.
            let mut buffer = [0; MAX_HOST_BYTES];
            if let Some(reversed) = buffer.get_mut(..host.len()) {
                reversed.iter_mut().zip(host.iter().rev()).for_each(|(to, from)| *to = *from);
                for wildcard in self.ending.beginning(reversed) {
                    let text = host.get(host.len() - wildcard.length..).unwrap_or_default();
                    search.improve(&Scope::new(HostShape::Ending, port, text));
                }
            }
        }
        for wildcard in self.beginning.beginning(host) {
            let text = host.get(..wildcard.length).unwrap_or_default();
            search.improve(&Scope::new(HostShape::Beginning, port, text));
        }
    }
    fn add(&mut self, host: &HostPattern) {
        match self.wildcards(host.shape) {
            None => self.exact += 1,
            Some(tree) => {
                let wildcard = tree.entry(&tree_key(host));
                wildcard.length = host.text.len();
                wildcard.count += 1;
            }
        }
    }
    fn subtract(&mut self, host: &HostPattern) {
        match self.wildcards(host.shape) {
            None => self.exact = self.exact.saturating_sub(1),
            Some(tree) => tree.prune(&tree_key(host), |wildcard| {
                wildcard.count = wildcard.count.saturating_sub(1);
                wildcard.count == 0
            }),
        }
    }
    fn wildcards(&mut self, shape: HostShape) -> Option<&mut RadixTree<Wildcard>> {
        match shape {
            HostShape::Exact => None,
            HostShape::Ending => Some(&mut self.ending),
            HostShape::Beginning => Some(&mut self.beginning),
        }
    }
    fn is_empty(&self) -> bool {
        self.exact == 0 && self.ending.is_empty() && self.beginning.is_empty()
    }
}

/// Brings one rule for each host and each path of the route, with the place that it stands at; a route without hosts or without paths
/// has rules all the same.
fn each_rule(record: &Arc<RouteRecord>, mut bring: impl FnMut(Key<'_>, &Rule)) {
    let hosts = record.hosts.iter().enumerate().map(|(at, host)| (Some(at), Scope::of(host)));
    let no_host = record.hosts.is_empty().then_some((None, Scope::ANY));
    for (host, scope) in hosts.chain(no_host) {
        let paths = record.paths.iter().enumerate().map(|(at, path)| (Some(at), path.literal()));
        let no_path = record.paths.is_empty().then_some((None, &[] as &[u8]));
        for (path, beginning) in paths.chain(no_path) {
            bring(Key { scope, path: beginning }, &Rule::new(Arc::clone(record), host, path));
        }
    }
}

/// Where in a tree of host patterns the pattern stands.
fn tree_key(host: &HostPattern) -> Vec<u8> {
    let text = host.text.bytes().iter().copied();
    match host.shape {
        HostShape::Ending => text.rev().collect(),
        HostShape::Exact | HostShape::Beginning => text.collect(),
    }
}
