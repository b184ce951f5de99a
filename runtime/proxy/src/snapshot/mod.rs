//! The configuration as it is served: immutable, complete, of one revision.
//!
//! An exchange takes one snapshot and keeps it to its end, so route, service, chain and credentials cannot disagree. A new
//! snapshot shares with the one before all that did not change. Built by [`SnapshotBuilder`] from what the store holds; does
//! not know the store, and nothing in here waits.

mod builder;
mod error;
mod id_map;
mod plugins;
mod record;

#[cfg(test)]
pub(crate) mod tests;

pub use builder::SnapshotBuilder;
pub use error::SnapshotError;
pub(crate) use id_map::IdMap;
pub(crate) use record::facts;
pub use record::{ServiceFault, ServiceRecord};

use crate::chain::Chain;
use crate::route::{PathError, RouteRecord, RouteRequest, Router, Scheme, upstream_path};
use http::StatusCode;
use plugins::Chains;
use std::borrow::Cow;
use std::sync::Arc;
use weir_model::{Directory, Id, Revision};
use weir_plugin_host::Entry;

/// See the module's head.
pub struct Snapshot<E = Entry> {
    revision: Revision,
    router: Router,
    /// Enabled services.
    services: IdMap<Arc<ServiceRecord>>,
    chains: Chains<E>,
    directory: Directory,
    routes: usize,
    missing: imbl::OrdMap<Arc<str>, usize>,
}

/// What a snapshot has for a request.
pub enum Found<E = Entry> {
    /// This route serves it.
    Route(RouteMatch<E>),
    /// The route that would serve it takes https only, and the client speaks http.
    NeedsHttps {
        /// The route.
        route: Arc<RouteRecord>,
        /// 426, or the redirect to answer with.
        status: StatusCode,
    },
    /// No route matches.
    None,
}

/// A route, and all that follows from it.
pub struct RouteMatch<E = Entry> {
    /// The route.
    pub route: Arc<RouteRecord>,
    /// Its service; a route without one is answered 503.
    pub service: Option<Arc<ServiceRecord>>,
    /// Its plugins.
    pub chain: Arc<Chain<E>>,
    /// How many bytes of the path the route's path matched; unset if the route has no paths.
    pub matched: Option<usize>,
    /// What the groups of the route's regex caught: by number and by name.
    pub captures: Vec<(String, String)>,
}

impl<E> Snapshot<E> {
    /// The revision that this snapshot shows.
    pub fn revision(&self) -> Revision {
        self.revision
    }
    /// Consumers and credentials at this revision.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
    /// How many routes are configured, those of disabled services included.
    pub fn routes(&self) -> usize {
        self.routes
    }
    /// Plugins that have entries, and how many, but no component on this node: what those entries apply to is refused.
    pub fn missing_plugins(&self) -> impl Iterator<Item = (&str, usize)> {
        self.missing.iter().map(|(plugin, entries)| (&**plugin, *entries))
    }
    /// Matches a request to a route. Three reference counts move, the route's own in the record that was read for the match anyway;
    /// nothing is allocated unless the route's path is a regex.
    pub fn find(&self, request: &RouteRequest<'_>) -> Found<E> {
        let Some(hit) = self.router.find(request) else { return Found::None };
        let route = hit.record();
        if let Some(status) = route.https_only
            && request.scheme == Scheme::Http
        {
            return Found::NeedsHttps { route: Arc::clone(route), status };
        }
        let (matched, captures) = hit.matched(request.path);
        Found::Route(RouteMatch {
            service: route.service.and_then(|id| self.services.get(&id).map(Arc::clone)),
            chain: Arc::clone(self.chains.get(route.id(), route.service)),
            route: Arc::clone(route),
            matched,
            captures,
        })
    }
    /// An enabled service.
    pub fn service(&self, id: Id) -> Option<&Arc<ServiceRecord>> {
        self.services.get(&id)
    }
    /// The plugins of requests that no route takes: the global ones.
    pub fn global_chain(&self) -> &Arc<Chain<E>> {
        self.chains.global()
    }
}

impl<E> RouteMatch<E> {
    /// The path to ask the upstream for, from the path as routed.
    pub fn upstream_path<'p>(&self, path: &'p str) -> Result<Cow<'p, str>, PathError> {
        let base = self.service.as_ref().map_or("/", |service| &service.path);
        upstream_path(self.route.path_handling, self.route.strip_path, base, path, self.matched)
    }
    /// The request target to send upstream: [`Self::upstream_path`] with the query, if there is one.
    pub fn upstream_target<'p>(&self, path: &'p str, query: Option<&str>) -> Result<Cow<'p, str>, PathError> {
        let path = self.upstream_path(path)?;
        Ok(match query {
            None => path,
            Some(query) => Cow::Owned([&path, "?", query].concat()),
        })
    }
    /// The part of the path that the route matched and cuts off; `X-Forwarded-Prefix` says it where it is more than `/`.
    pub fn stripped_prefix<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.matched.filter(|_| self.route.strip_path).and_then(|length| path.get(..length))
    }
}
