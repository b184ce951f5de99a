//! The functions that plugins import, one file for each interface of `wit/`.
//!
//! All of them act on the exchange that is lent to the instance, count what they move, and return at once: a guest cannot be
//! interrupted while it is in one, so none may wait.

mod clock;
pub(crate) mod counters;
pub(crate) mod credentials;
mod edits;
mod exchange;
pub(crate) mod headers;
pub(crate) mod log;
pub(crate) mod preparations;
mod random;
mod request;
mod response;
pub(crate) mod steps;
pub(crate) mod wasi;

/// `types` has no functions.
impl crate::bindings::weir::plugin::types::Host for crate::state::State {}

#[cfg(test)]
mod tests;
