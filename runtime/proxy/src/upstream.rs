//! The way to the upstreams: names, connections, the pool of idle ones, and one call on one of them.

pub mod call;
pub mod pool;
pub mod request_body;
pub mod resolve;
pub mod response;
pub mod stream;
pub mod tls;
