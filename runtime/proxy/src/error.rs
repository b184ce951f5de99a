//! Everything that can go wrong on the data path: whose fault it is, and whether it may be tried again.
//!
//! Decided where the error is born. What the client gets to see is decided in `reply`; causes go to the access event.

use crate::framing::HeadFault;
use weir_plugin_host::exchange::{Fault, Kill};

/// Why an exchange did not end as the client hoped.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The request head is not one that is served.
    #[error("request refused: {0}")]
    RequestHead(HeadFault),
    /// The head passed our own check, but not the parser behind it.
    #[error("request refused by the parser: {0}")]
    RequestParser(String),
    /// The head did not come in time.
    #[error("the request head did not arrive in time")]
    RequestHeadTimeout,
    /// `Connection` names a header that must not be removed.
    #[error("the Connection header names the protected header {0}")]
    ConnectionNamesProtected(String),
    /// A header name with `_`, and the node refuses those.
    #[error("the header name {0} contains an underscore")]
    UnderscoreHeader(String),
    /// The path can be read in more than one way.
    #[error("the request path is ambiguous")]
    RequestPath,
    /// The body is longer than the node takes.
    #[error("the request body is too large")]
    RequestBodyTooLarge,
    /// The body did not go on in time.
    #[error("the request body did not arrive in time")]
    RequestBodyTimeout,
    /// The body broke its framing, or its connection broke.
    #[error("the request body broke off: {0}")]
    RequestBodyBroken(String),
    /// The client is gone before the reply was complete.
    #[error("the client went away")]
    ClientGone,
    /// No route matches.
    #[error("no route matches")]
    NoRoute,
    /// The route has no service, and no plugin answered.
    #[error("the route has no service")]
    NoService,
    /// The route wants https.
    #[error("the route is served over https only")]
    HttpsRequired {
        /// 426, or a redirect.
        status: u16,
        /// Where the client should go, for a redirect.
        location: Option<String>,
    },
    /// The node serves as many requests as it may.
    #[error("the node is at its limit of requests in flight")]
    Overloaded,
    /// The upstream's name has no address.
    #[error("the name {host} cannot be resolved: {cause}")]
    UpstreamName {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// No connection.
    #[error("cannot connect to the upstream {address}: {cause}")]
    UpstreamConnect {
        /// Where to.
        address: String,
        /// The system's words.
        cause: String,
    },
    /// No connection in time.
    #[error("connecting to the upstream timed out")]
    UpstreamConnectTimeout,
    /// No secure connection.
    #[error("no secure connection to the upstream: {0}")]
    UpstreamTls(String),
    /// The upstream does not take the request in time.
    #[error("writing to the upstream timed out")]
    UpstreamWriteTimeout,
    /// The upstream does not answer in time, or stopped in the middle.
    #[error("reading from the upstream timed out")]
    UpstreamReadTimeout,
    /// The upstream closed the connection before a response head.
    #[error("the upstream closed the connection before it answered: {cause}")]
    UpstreamClosed {
        /// Whether the connection had served an exchange before: then it may have been closed for being idle.
        reused: bool,
        /// Whether any byte of the request went out.
        sent: bool,
        /// The system's words.
        cause: String,
    },
    /// The response head cannot be passed on.
    #[error("the upstream's response is not valid: {0}")]
    UpstreamResponse(&'static str),
    /// The response body broke off.
    #[error("the upstream's response broke off: {0}")]
    UpstreamBodyBroken(String),
    /// A plugin failed or was killed, and its entry is `closed`.
    #[error("the plugin {plugin} failed")]
    Plugin {
        /// Its name.
        plugin: String,
        /// How it was ended, unless it reported the failure itself.
        kill: Option<Kill>,
    },
    /// A plugin entry applies whose component this node does not have.
    #[error("the plugin {plugin} is not installed on this node")]
    PluginMissing {
        /// Its name.
        plugin: String,
    },
    /// The node stopped before the exchange had ended.
    #[error("the node stopped")]
    Stopped,
    /// A defect of the gateway.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// Whether an error may be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// No.
    Never,
    /// If the connection had been used before, nothing of a body was sent, and the method is idempotent.
    IfReused,
    /// Nothing was sent.
    AlwaysSafe,
}

impl Retry {
    /// The words in `docs/errors.md`.
    pub fn name(self) -> &'static str {
        match self {
            Retry::Never => "never",
            Retry::IfReused => "if the connection was reused",
            Retry::AlwaysSafe => "always safe",
        }
    }
}

impl ProxyError {
    /// The stable word for this error in logs and in `docs/errors.md`.
    pub fn kind(&self) -> &'static str {
        use ProxyError::*;
        match self {
            RequestHead(_) => "request_head",
            RequestParser(_) => "request_parser",
            RequestHeadTimeout => "request_head_timeout",
            ConnectionNamesProtected(_) => "connection_names_protected",
            UnderscoreHeader(_) => "underscore_header",
            RequestPath => "request_path",
            RequestBodyTooLarge => "request_body_too_large",
            RequestBodyTimeout => "request_body_timeout",
            RequestBodyBroken(_) => "request_body_broken",
            ClientGone => "client_gone",
            NoRoute => "no_route",
            NoService => "no_service",
            HttpsRequired { .. } => "https_required",
            Overloaded => "overloaded",
            UpstreamName { .. } => "upstream_name",
            UpstreamConnect { .. } => "upstream_connect",
            UpstreamConnectTimeout => "upstream_connect_timeout",
            UpstreamTls(_) => "upstream_tls",
            UpstreamWriteTimeout => "upstream_write_timeout",
            UpstreamReadTimeout => "upstream_read_timeout",
            UpstreamClosed { .. } => "upstream_closed",
            UpstreamResponse(_) => "upstream_response",
            UpstreamBodyBroken(_) => "upstream_body_broken",
            Plugin { .. } => "plugin",
            PluginMissing { .. } => "plugin_missing",
            Stopped => "stopped",
            Internal(_) => "internal",
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        use ProxyError::*;
        match self {
            RequestHead(_)
            | RequestParser(_)
            | RequestHeadTimeout
            | ConnectionNamesProtected(_)
            | UnderscoreHeader(_)
            | RequestPath
            | RequestBodyTooLarge
            | RequestBodyTimeout
            | RequestBodyBroken(_)
            | ClientGone
            | NoRoute
            | HttpsRequired { .. } => Fault::Client,
            UpstreamName { .. }
            | UpstreamConnect { .. }
            | UpstreamConnectTimeout
            | UpstreamTls(_)
            | UpstreamWriteTimeout
            | UpstreamReadTimeout
            | UpstreamClosed { .. }
            | UpstreamResponse(_)
            | UpstreamBodyBroken(_) => Fault::Upstream,
            Plugin { .. } => Fault::Plugin,
            // A route without a service, a plugin without its component and an overloaded node are the operator's to mend.
            NoService | PluginMissing { .. } | Overloaded | Stopped | Internal(_) => Fault::Gateway,
        }
    }

    /// Whether it may be tried again.
    pub fn retry(&self) -> Retry {
        use ProxyError::*;
        match self {
            UpstreamConnect { .. } | UpstreamConnectTimeout | UpstreamTls(_) => Retry::AlwaysSafe,
            UpstreamClosed { sent: false, .. } => Retry::AlwaysSafe,
            UpstreamClosed { reused: true, .. } => Retry::IfReused,
            RequestHead(_)
            | RequestParser(_)
            | RequestHeadTimeout
            | ConnectionNamesProtected(_)
            | UnderscoreHeader(_)
            | RequestPath
            | RequestBodyTooLarge
            | RequestBodyTimeout
            | RequestBodyBroken(_)
            | ClientGone
            | NoRoute
            | NoService
            | HttpsRequired { .. }
            | Overloaded
            | UpstreamName { .. }
            | UpstreamClosed { .. }
            | UpstreamWriteTimeout
            | UpstreamReadTimeout
            | UpstreamResponse(_)
            | UpstreamBodyBroken(_)
            | Plugin { .. }
            | PluginMissing { .. }
            | Stopped
            | Internal(_) => Retry::Never,
        }
    }
}
