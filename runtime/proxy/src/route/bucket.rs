//! The routes at one place of the index: same host pattern, same beginning of the path.
//!
//! What is left to decide are methods, headers and regexes. Routes that name a header value or a method are found by it, so
//! that a thousand tenants told apart by a header do not make each look-up a thousand comparisons.

use super::RouteRequest;
use super::key::{Key, Scope};
use super::radix::RadixTree;
use super::rank::Rank;
use super::record::{HeaderRule, PathRule, RouteRecord};
use http::HeaderName;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// A route, through one of its hosts and one of its paths.
///
/// In 24 bytes, one of them with room for what else a slot may be: a slot of the index is half a cache line with its hash.
#[derive(Clone)]
pub(crate) struct Rule {
    rank: Rank,
    pub(crate) record: Arc<RouteRecord>,
    /// Index into the route's paths; `NO_PATH` if it has none.
    path: u32,
    /// Index into the route's hosts; `NO_HOST` if it has none, or more than can be counted here.
    host: u16,
    /// Whether there is more to compare than host and path prefix.
    asks: bool,
}

/// Marks a rule of a route without paths.
const NO_PATH: u32 = u32::MAX;

/// Marks a rule of a route without hosts.
const NO_HOST: u16 = u16::MAX;

impl Rule {
    pub(crate) fn new(record: Arc<RouteRecord>, host: Option<usize>, path: Option<usize>) -> Self {
        let path_rule = path.and_then(|at| record.paths.get(at));
        let rank = record.rank(path_rule);
        let is_regex = matches!(path_rule, Some(PathRule::Regex(_)));
        let asks = is_regex || !record.methods.is_empty() || !record.headers.is_empty();
        let path = path.and_then(|at| u32::try_from(at).ok()).unwrap_or(NO_PATH);
        let host = host.and_then(|at| u16::try_from(at).ok()).unwrap_or(NO_HOST);
        Self { rank, record, path, host, asks }
    }
    /// Whether a rule of at most this rank cannot go before this one.
    pub(crate) fn outranks(&self, ceiling: Rank) -> bool {
        self.rank > ceiling
    }
    /// The path rule through which the route is reached.
    pub(crate) fn path(&self) -> Option<&PathRule> {
        self.record.paths.get(self.path as usize)
    }
    /// The place that it stands at, as far as the rule itself can say.
    pub(crate) fn key(&self) -> Key<'_> {
        let scope = self.record.hosts.get(usize::from(self.host)).map_or(Scope::ANY, Scope::of);
        Key { scope, path: self.path().map(PathRule::literal).unwrap_or_default() }
    }
    /// `Less` goes first. Ties of rank: the older route, then the smaller id, then the earlier path.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let tie = |rule: &Self| (rule.record.created_at, rule.record.id(), rule.path);
        other.rank.cmp(&self.rank).then_with(|| tie(self).cmp(&tie(other)))
    }
    /// Whether the request fits what the place in the index does not say. Host and path prefix fit, or we were not asked.
    fn matches(&self, request: &RouteRequest<'_>) -> bool {
        !self.asks
            || (self.record.takes_method(request.method)
                && self.record.takes_headers(request.headers)
                && match self.path() {
                    Some(PathRule::Regex(regex)) => regex.is_match(request.path),
                    Some(PathRule::Prefix(_)) | None => true,
                })
    }
    /// Replaces `best` if this goes before it and matches; answers whether this does not go before it. `fits` is asked
    /// whether the place is the request's, once the rank says that it matters.
    #[inline]
    pub(crate) fn improve<'a>(
        &'a self,
        best: &mut Option<&'a Rule>,
        request: &RouteRequest<'_>,
        work: &mut Work,
        fits: impl FnOnce() -> bool,
    ) -> Tried {
        if best.is_some_and(|best| self.order(best).is_ge()) {
            return Tried::Behind;
        }
        if !fits() {
            return Tried::Refused;
        }
        work.rules += 1;
        if !self.matches(request) {
            return Tried::Refused;
        }
        *best = Some(self);
        Tried::Taken
    }
}

/// What became of a rule that was to replace the best.
#[derive(PartialEq, Eq)]
pub(crate) enum Tried {
    /// It is the best now.
    Taken,
    /// It does not match.
    Refused,
    /// It does not go before the best.
    Behind,
}

/// Rules, the first to try first.
type Rules = Vec<Rule>;

/// Up to so many rules are compared one after the other: cheaper than finding them by a key, in time and in memory, and what
/// most places hold.
const FEW: usize = 8;

/// See the module's head.
#[derive(Clone)]
pub(crate) enum Bucket {
    Few(Rules),
    /// Was more than `FEW` once; it stays so until nothing is left.
    Many(Box<Keyed>),
}

impl Default for Bucket {
    fn default() -> Self {
        Self::Few(Rules::new())
    }
}

/// Rules by what they ask for.
#[derive(Clone, Default)]
pub(crate) struct Keyed {
    /// Those that name neither a header value nor a method.
    open: Rules,
    by_method: RadixTree<Rules>,
    /// By header name, then by value in lower case.
    by_header: Vec<(HeaderName, RadixTree<Rules>)>,
}

impl Bucket {
    /// Adds a rule.
    pub(crate) fn insert(&mut self, rule: &Rule) {
        match self {
            Self::Few(rules) if rules.len() < FEW => insert(rules, rule),
            Self::Few(rules) => {
                let mut keyed = Box::<Keyed>::default();
                rules.iter().chain([rule]).for_each(|rule| keyed.insert(rule));
                *self = Self::Many(keyed);
            }
            Self::Many(keyed) => keyed.insert(rule),
        }
    }
    /// Takes a rule out; answers whether nothing is left.
    pub(crate) fn remove(&mut self, rule: &Rule) -> bool {
        match self {
            Self::Few(rules) => remove(rules, rule),
            Self::Many(keyed) => keyed.remove(rule),
        }
    }
    /// Replaces `best` if a rule in here goes before it and matches.
    pub(crate) fn improve<'a>(&'a self, best: &mut Option<&'a Rule>, request: &RouteRequest<'_>, work: &mut Work) {
        match self {
            Self::Few(rules) => improve(best, rules, request, work),
            Self::Many(keyed) => keyed.improve(best, request, work),
        }
    }
}

impl Keyed {
    fn insert(&mut self, rule: &Rule) {
        let record = &rule.record;
        if let Some(header) = keyed_header(record) {
            let at = self.by_header.iter().position(|(name, _)| *name == header.name).unwrap_or_else(|| {
                self.by_header.push((header.name.clone(), RadixTree::default()));
                self.by_header.len() - 1
            });
            for value in &header.exact {
                insert(self.by_header[at].1.entry(value.as_bytes()), rule);
            }
        } else if !record.methods.is_empty() {
            for method in record.methods.iter() {
                insert(self.by_method.entry(method.as_str().as_bytes()), rule);
            }
        } else {
            insert(&mut self.open, rule);
        }
    }
    fn remove(&mut self, rule: &Rule) -> bool {
        let record = &rule.record;
        if let Some(header) = keyed_header(record) {
            for (_, tree) in self.by_header.iter_mut().filter(|(name, _)| *name == header.name) {
                header.exact.iter().for_each(|value| tree.prune(value.as_bytes(), |rules| remove(rules, rule)));
            }
            self.by_header.retain(|(_, tree)| !tree.is_empty());
        } else if !record.methods.is_empty() {
            for method in record.methods.iter() {
                self.by_method.prune(method.as_str().as_bytes(), |rules| remove(rules, rule));
            }
        } else {
            remove(&mut self.open, rule);
        }
        self.open.is_empty() && self.by_method.is_empty() && self.by_header.is_empty()
    }
    fn improve<'a>(&'a self, best: &mut Option<&'a Rule>, request: &RouteRequest<'_>, work: &mut Work) {
        improve(best, &self.open, request, work);
        if let Some(rules) = self.by_method.get(request.method.as_str().as_bytes()) {
            improve(best, rules, request, work);
        }
        for (name, tree) in &self.by_header {
            for value in request.headers.get_all(name) {
                if let Some(rules) = tree.get(&lower(value.as_bytes())) {
                    improve(best, rules, request, work);
                }
            }
        }
    }
}

/// What a look-up did, so that tests can hold it independent of the number of routes. Compiled away elsewhere.
#[derive(Default, Debug)]
pub(crate) struct Work {
    /// Cells of the table read: of the cache lines that a look-up may have to wait for, all but the route's own.
    pub(crate) cells: usize,
    /// Places asked, right ones and wrong ones.
    pub(crate) buckets: usize,
    /// Rules compared with the request.
    pub(crate) rules: usize,
}

fn improve<'a>(best: &mut Option<&'a Rule>, rules: &'a [Rule], request: &RouteRequest<'_>, work: &mut Work) {
    for rule in rules {
        // They are in order: nothing after one that is taken, or behind the best, goes before the best either.
        if rule.improve(best, request, work, || true) != Tried::Refused {
            return;
        }
    }
}

/// The header whose values find the route: the first that is compared with fixed values only.
fn keyed_header(record: &RouteRecord) -> Option<&HeaderRule> {
    record.headers.iter().find(|header| header.patterns.is_empty())
}

fn insert(rules: &mut Rules, rule: &Rule) {
    if let Err(at) = rules.binary_search_by(|other| other.order(rule)) {
        // Most places hold one rule; doubling would waste three of four.
        rules.reserve_exact(1);
        rules.insert(at, rule.clone());
    }
}

fn remove(rules: &mut Rules, rule: &Rule) -> bool {
    if let Ok(at) = rules.binary_search_by(|other| other.order(rule)) {
        rules.remove(at);
    }
    rules.is_empty()
}

fn lower(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(u8::is_ascii_uppercase) { Cow::Owned(value.to_ascii_lowercase()) } else { Cow::Borrowed(value) }
}
