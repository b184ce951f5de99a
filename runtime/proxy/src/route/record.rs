//! A route as it is served: parsed once, shared by every snapshot that holds it.
//!
//! Pure. What cannot be served is refused here, with the reason; nothing is skipped.

use super::host::{HostError, HostPattern, HostShape};
use super::label::Label;
use super::method::MethodSet;
use super::rank::{self, Rank};
use super::regex_rule::{PathRegex, RegexFault, header_regex};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use regex::bytes::Regex;
use smallvec::SmallVec;
use std::sync::Arc;
use weir_model::path::PathError;
use weir_model::{Id, Route};
use weir_plugin_host::exchange::EntityFacts;

/// How the service's path and the request's become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathHandling {
    /// Joined with one slash.
    V0,
    /// Joined as they are.
    V1,
}

/// A route that is served.
///
/// Whatever a look-up compares with stands in the record itself if the route has one host and one path, as nearly all have: a
/// record that is not in the cache is waited for once, not once for each text.
#[derive(Debug)]
pub struct RouteRecord {
    id: Id,
    /// What plugins and logs may know.
    pub facts: Arc<EntityFacts>,
    /// Its service; unset: 503.
    pub service: Option<Id>,
    /// Whether the matched prefix is cut from the upstream path.
    pub strip_path: bool,
    /// Whether the upstream sees the client's Host.
    pub preserve_host: bool,
    /// How the upstream path is made.
    pub path_handling: PathHandling,
    /// Set if only https is served: what plain http is answered with (426 or a redirect).
    pub https_only: Option<StatusCode>,
    pub(crate) created_at: u64,
    pub(crate) regex_priority: i64,
    pub(crate) methods: MethodSet,
    pub(crate) hosts: SmallVec<[HostPattern; 1]>,
    pub(crate) paths: SmallVec<[PathRule; 1]>,
    pub(crate) headers: Box<[HeaderRule]>,
}

/// How many bytes of a prefix stand in the record itself: what most paths need, and the rule takes 40 bytes.
const PREFIX_INLINE: usize = 38;

/// Which paths a route is for.
#[derive(Debug)]
pub(crate) enum PathRule {
    /// Those that begin so, in normal form.
    Prefix(Label<PREFIX_INLINE>),
    /// Those whose beginning matches.
    Regex(Box<PathRegex>),
}

/// What a header must be.
#[derive(Debug)]
pub(crate) struct HeaderRule {
    pub(crate) name: HeaderName,
    /// Lower case.
    pub(crate) exact: Box<[Box<str>]>,
    pub(crate) patterns: Box<[Regex]>,
}

/// What is wrong with a route that stands in the store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteFault {
    /// It would catch every request.
    #[error("set at least one of methods, hosts, headers, paths")]
    NoMatcher,
    /// Not a protocol that this proxy serves.
    #[error("protocol '{0}' is not supported; use http and https")]
    Protocol(String),
    /// Not a method name.
    #[error("'{0}' is not a method")]
    Method(String),
    /// Not a host or a host pattern.
    #[error("host '{0}': {1}")]
    Host(String, #[source] HostError),
    /// Not a path.
    #[error("path '{0}': {1}")]
    Path(String, #[source] PathError),
    /// A regex that does not compile.
    #[error(transparent)]
    Regex(#[from] RegexFault),
    /// Not a header name.
    #[error("'{0}' is not a header name")]
    Header(String),
    /// No value to compare with.
    #[error("header '{0}' has no values")]
    HeaderWithoutValues(String),
    /// Neither 426 nor a redirect.
    #[error("https_redirect_status_code {0} is none of 426, 301, 302, 307, 308")]
    RedirectStatus(u16),
    /// Neither v0 nor v1.
    #[error("path_handling '{0}' is neither v0 nor v1")]
    PathHandling(String),
}

impl RouteRecord {
    /// From the entity.
    pub fn new(route: &Route) -> Result<Self, RouteFault> {
        let method = |name: &String| Method::from_bytes(name.as_bytes()).map_err(|_| RouteFault::Method(name.clone()));
        let methods = route.methods.iter().flatten().map(method).collect::<Result<MethodSet, _>>()?;
        let hosts =
            each(&route.hosts, |host| HostPattern::parse(host).map_err(|error| RouteFault::Host(host.to_owned(), error)))?;
        let paths = each(&route.paths, PathRule::parse)?;
        let headers = route.headers.iter().flatten();
        let headers = headers.map(|(name, values)| HeaderRule::parse(name, values)).collect::<Result<Box<[_]>, _>>()?;
        if methods.is_empty() && hosts.is_empty() && paths.is_empty() && headers.is_empty() {
            return Err(RouteFault::NoMatcher);
        }
        Ok(Self {
            id: route.id,
            facts: crate::snapshot::facts(route.id, route.name.clone()),
            service: route.service.map(|service| service.id),
            strip_path: route.strip_path,
            preserve_host: route.preserve_host,
            path_handling: match route.path_handling.as_str() {
                "v0" => PathHandling::V0,
                "v1" => PathHandling::V1,
                other => return Err(RouteFault::PathHandling(other.to_owned())),
            },
            https_only: https_only(route)?,
            created_at: route.created_at,
            regex_priority: route.regex_priority,
            methods,
            hosts,
            paths,
            headers,
        })
    }
    /// The identifier.
    pub fn id(&self) -> Id {
        self.id
    }
    /// How many attributes are set that decide.
    pub(crate) fn attributes(&self) -> usize {
        let set = [!self.methods.is_empty(), !self.hosts.is_empty(), !self.headers.is_empty(), !self.paths.is_empty()];
        set.into_iter().filter(|set| *set).count()
    }
    /// How this route ranks where it is matched through that path rule (none: it has no paths).
    pub(crate) fn rank(&self, rule: Option<&PathRule>) -> Rank {
        let plain_hosts = !self.hosts.is_empty() && self.hosts.iter().all(|host| host.shape == HostShape::Exact);
        let path = match rule {
            None => rank::PathRank::None,
            Some(PathRule::Prefix(prefix)) => rank::PathRank::Prefix(prefix.len()),
            Some(PathRule::Regex(_)) => rank::PathRank::Regex(self.regex_priority),
        };
        Rank::new(self.attributes(), plain_hosts, self.headers.len(), path)
    }
    /// Whether the method is one of its methods, if it has any.
    pub(crate) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }
    /// Whether every header that it names is there with one of the values.
    pub(crate) fn takes_headers(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|rule| rule.matches(headers))
    }
}

fn each<T>(texts: &Option<Vec<String>>, parse: impl Fn(&str) -> Result<T, RouteFault>) -> Result<SmallVec<[T; 1]>, RouteFault> {
    let mut list: SmallVec<[T; 1]> = texts.iter().flatten().map(|text| parse(text)).collect::<Result<_, _>>()?;
    list.shrink_to_fit();
    Ok(list)
}

fn https_only(route: &Route) -> Result<Option<StatusCode>, RouteFault> {
    if let Some(other) = route.protocols.iter().find(|name| !matches!(name.as_str(), "http" | "https")) {
        return Err(RouteFault::Protocol(other.clone()));
    }
    let status = match route.https_redirect_status_code {
        426 => StatusCode::UPGRADE_REQUIRED,
        301 => StatusCode::MOVED_PERMANENTLY,
        302 => StatusCode::FOUND,
        307 => StatusCode::TEMPORARY_REDIRECT,
        308 => StatusCode::PERMANENT_REDIRECT,
        other => return Err(RouteFault::RedirectStatus(other)),
    };
    let names = |name| route.protocols.iter().any(|protocol| protocol == name);
    Ok((names("https") && !names("http")).then_some(status))
}

impl PathRule {
    fn parse(path: &str) -> Result<Self, RouteFault> {
        if let Some(pattern) = path.strip_prefix('~') {
            return Ok(Self::Regex(Box::new(PathRegex::new(pattern)?)));
        }
        // Requests are compared in normal form, so a prefix in any other form would never match.
        let normal = weir_model::path::normalise(path).map_err(|error| RouteFault::Path(path.to_owned(), error))?;
        Ok(Self::Prefix(Label::new(normal.as_bytes())))
    }
    /// What every path that it matches begins with.
    pub(crate) fn literal(&self) -> &[u8] {
        match self {
            Self::Prefix(prefix) => prefix.bytes(),
            Self::Regex(regex) => regex.literal(),
        }
    }
}

impl HeaderRule {
    fn parse(name: &str, values: &[String]) -> Result<Self, RouteFault> {
        if values.is_empty() {
            return Err(RouteFault::HeaderWithoutValues(name.to_owned()));
        }
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| RouteFault::Header(name.to_owned()))?;
        let (patterns, exact): (Vec<&String>, Vec<_>) = values.iter().partition(|value| value.starts_with("~*"));
        let patterns = patterns.into_iter().filter_map(|value| value.strip_prefix("~*")).map(header_regex);
        Ok(Self {
            name: parsed,
            exact: exact.into_iter().map(|value| value.to_ascii_lowercase().into()).collect(),
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }
    fn matches(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().map(|value| value.as_bytes()).any(|value| {
            self.exact.iter().any(|exact| exact.as_bytes().eq_ignore_ascii_case(value))
                || self.patterns.iter().any(|pattern| pattern.is_match(value))
        })
    }
}
