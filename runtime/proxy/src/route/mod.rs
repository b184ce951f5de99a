//! Matches a request head to a route.
//!
//! Pure: no I/O, no clock, no plugins. Knows paths, hosts, methods and headers; not services or targets. Built by `snapshot`,
//! asked once per exchange. The rules are Kong's (default router), written down with examples in `docs/router.md`, which a
//! test reads. A table is persistent: a changed one shares what did not change with the one before, and both serve.

mod bucket;
mod host;
mod method;
mod radix;
mod rank;
mod record;
mod regex_rule;
mod target;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::chain::Scheme;
pub use host::{HostError, HostHeader, MAX_HOST_BYTES};
pub use record::{PathHandling, RouteFault, RouteRecord};
pub use regex_rule::RegexFault;
pub use target::upstream_path;
pub use weir_model::path::{PathError, normalise};

use bucket::{Bucket, Rule, Work};
use host::{HostPattern, HostShape};
use http::{HeaderMap, Method};
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
    /// Routes without hosts.
    any_host: PathTree,
    any_host_census: Census,
    /// Host patterns without a port.
    any_port: HostTable,
    /// Host patterns with a port, by port.
    by_port: Vec<(u16, HostTable)>,
}

/// Rules by what their paths begin with; a rule without paths stands at the empty beginning.
type PathTree = RadixTree<Bucket>;

#[derive(Clone, Default)]
struct HostTable {
    exact: RadixTree<PathTree>,
    /// By the reversed ending.
    ending: RadixTree<PathTree>,
    beginning: RadixTree<PathTree>,
    /// Of the patterns with a wildcard.
    wildcard_census: Census,
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
    fn find_counting(&self, request: &RouteRequest<'_>, work: &mut Work) -> Option<Hit<'_>> {
        let mut best = None;
        // Hosts first: they rank higher, and what is found makes the rest be skipped unread.
        if !request.host.is_empty() {
            if let Ok(at) = self.port_position(request.port)
                && let Some((_, table)) = self.by_port.get(at)
            {
                table.improve(&mut best, request, work);
            }
            self.any_port.improve(&mut best, request, work);
        }
        if !best.is_some_and(|best: &Rule| best.outranks(self.any_host_census.ceiling())) {
            improve(&mut best, &self.any_host, request, work);
        }
        best.map(|rule| Hit { rule })
    }
    /// Adds a route. It must not be in here yet.
    pub fn insert(&mut self, record: &Arc<RouteRecord>) {
        self.count(record, Census::add);
        for rule in rules(record) {
            if record.hosts.is_empty() {
                self.any_host.entry(beginning(&rule)).insert(&rule);
            }
            for host in &record.hosts {
                let tree = self.table(host.port);
                tree.tree(host.shape).entry(&key(host)).entry(beginning(&rule)).insert(&rule);
            }
        }
    }
    /// Takes out a route that is in here.
    pub fn remove(&mut self, record: &Arc<RouteRecord>) {
        self.count(record, Census::subtract);
        for rule in rules(record) {
            let take_out = |paths: &mut PathTree| {
                paths.prune(beginning(&rule), |bucket| bucket.remove(&rule));
                paths.is_empty()
            };
            if record.hosts.is_empty() {
                take_out(&mut self.any_host);
            }
            for host in &record.hosts {
                self.table(host.port).tree(host.shape).prune(&key(host), take_out);
            }
        }
        self.by_port.retain(|(_, table)| !table.is_empty());
    }
    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.any_host.is_empty() && self.any_port.is_empty() && self.by_port.is_empty()
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
    fn improve<'a>(&'a self, best: &mut Option<&'a Rule>, request: &RouteRequest<'_>, work: &mut Work) {
        let host = request.host.as_bytes();
        if let Some(paths) = self.exact.get(host) {
            improve(best, paths, request, work);
        }
        if best.is_some_and(|best| best.outranks(self.wildcard_census.ceiling())) {
            return;
        }
        if !self.ending.is_empty() {
            // No name is longer than this buffer (`HostHeader::parse`); a longer one ends in no pattern.
            let mut buffer = [0; MAX_HOST_BYTES];
            if let Some(reversed) = buffer.get_mut(..host.len()) {
                reversed.iter_mut().zip(host.iter().rev()).for_each(|(to, from)| *to = *from);
                self.ending.beginning(reversed).for_each(|paths| improve(best, paths, request, work));
            }
        }
        self.beginning.beginning(host).for_each(|paths| improve(best, paths, request, work));
    }
    fn tree(&mut self, shape: HostShape) -> &mut RadixTree<PathTree> {
        match shape {
            HostShape::Exact => &mut self.exact,
            HostShape::Ending => &mut self.ending,
            HostShape::Beginning => &mut self.beginning,
        }
    }
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.ending.is_empty() && self.beginning.is_empty()
    }
}

fn improve<'a>(best: &mut Option<&'a Rule>, paths: &'a PathTree, request: &RouteRequest<'_>, work: &mut Work) {
    for bucket in paths.beginning(request.path.as_bytes()) {
        work.buckets += 1;
        bucket.improve(best, request, work);
    }
}

/// One rule for each path of the route; one without path if it has none.
fn rules(record: &Arc<RouteRecord>) -> impl Iterator<Item = Rule> {
    let none = record.paths.is_empty().then_some(None);
    let each = (0..record.paths.len()).map(Some);
    none.into_iter().chain(each).map(|path| Rule::new(Arc::clone(record), path))
}

/// Where in the path tree the rule stands.
fn beginning(rule: &Rule) -> &[u8] {
    rule.path().map(PathRule::literal).unwrap_or_default()
}

/// Where in the host tree the pattern stands.
fn key(host: &HostPattern) -> Vec<u8> {
    let text = host.text.bytes();
    match host.shape {
        HostShape::Ending => text.rev().collect(),
        HostShape::Exact | HostShape::Beginning => text.collect(),
    }
}
