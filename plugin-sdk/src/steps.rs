//! What a phase does first, prepared with the configuration: the host does it without calling the plugin.
//!
//! If all steps go through, the phase is over and the plugin is not called; otherwise it is called as if there were none. So a
//! phase does its whole work in any case, and comes to the same with its steps and without them; tests compare the two whenever
//! they call a phase ([`crate::testing`]).

use crate::backing;
use crate::counters::PreparedRule;
use crate::edits::{RequestEdits, ResponseEdits};
use crate::exchange::Lookup;

/// One step.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// As [`crate::Request::apply`]. Does not go through if it is refused.
    EditRequest(&'a RequestEdits),
    /// As [`crate::Response::apply`]. Does not go through if it is refused.
    EditResponse(&'a ResponseEdits),
    /// As [`crate::Credentials::authenticate_by`]. Goes through if it authenticated.
    AuthenticateBy(&'a Lookup),
    /// As [`crate::Counters::take_by`] with the amount 1. Goes through if it took. It must be the last step: were the plugin called
    /// after it, it would take once more.
    TakeBy(&'a PreparedRule),
}

/// The steps of the request phase, in place of those given before; only in [`crate::Plugin::check`]. At most 16; with more than 200
/// edits together they are left out.
pub fn before_request(steps: &[Step<'_>]) {
    backing::steps_before_request(steps);
}

/// The steps of the response phase; as [`before_request`].
pub fn before_response(steps: &[Step<'_>]) {
    backing::steps_before_response(steps);
}
