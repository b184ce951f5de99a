//! The proxy: a request is matched to a route, passes the route's plugins, goes upstream and comes back.
//!
//! Never talks to the store: it serves the snapshot that it was given, and keeps serving it when nothing newer comes.

pub mod chain;
pub mod route;
pub mod snapshot;
