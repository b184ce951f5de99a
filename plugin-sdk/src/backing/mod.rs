//! The two backings of the SDK's types, chosen by the target: the host, or plain memory. Both have the same methods, named after
//! the interface and the function in `wit/`, so that one cannot offer what the other does not.

#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod memory;

#[cfg(target_arch = "wasm32")]
pub(crate) use host::{
    Handle, Lookup, Prepared, Rule, counters_prepare_rule, counters_prepare_scoped_rule, credentials_prepare_lookup, log,
    request_prepare_edits, response_prepare_edits, steps_before_request, steps_before_response,
};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use memory::{
    Handle, Lookup, Prepared, Rule, counters_prepare_rule, counters_prepare_scoped_rule, credentials_prepare_lookup, log,
    request_prepare_edits, response_prepare_edits, steps_before_request, steps_before_response,
};
