//! The proxy: a request is matched to a route, passes the route's plugins, goes upstream and comes back.
//!
//! Never talks to the store: it serves the snapshot that it was given, and keeps serving it when nothing newer comes.

mod access_log;
pub mod chain;
mod client_io;
mod connection;
mod deadlines;
mod error;
mod exchange;
mod forward;
mod framing;
mod headers;
mod ids;
mod leaving;
mod listener;
mod proxy;
mod reply;
mod reply_body;
pub mod route;
mod settings;
pub mod snapshot;
mod spares;
mod upstream;
mod walk;
mod worker;

pub use error::{ProxyError, Retry};
pub use framing::HeadFault;
pub use listener::ListenerSpec;
pub use proxy::{Figures, Proxy};
pub use settings::{AccessLogTarget, ProxySettings, UnderscoreHeaders};
pub use upstream::tls::UpstreamTls;
