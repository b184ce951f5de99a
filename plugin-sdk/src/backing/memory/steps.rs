//! Steps in tests: taken on a copy of the exchange, to see whether they come to what the phase itself does.

use super::prepared::{Step, Steps};
use super::{Handle, State};
use crate::exchange::LookedUp;
use crate::manifest::Phase;
use std::fmt::Write;

impl Handle {
    /// What the steps before a phase would make of the exchange; none: there are none, or one does not go through.
    pub(crate) fn after_steps(&self, steps: &Steps, phase: Phase) -> Option<String> {
        let steps = match phase {
            Phase::Request => &steps.before_request,
            Phase::Response => &steps.before_response,
            Phase::Log => return None,
        };
        let copy = Self::new(self.state().copy());
        let through = !steps.is_empty() && steps.iter().all(|step| copy.goes_through(step));
        through.then(|| copy.state().described())
    }
    /// What the exchange is now, for comparing it with that.
    pub(crate) fn described(&self) -> String {
        self.state().described()
    }
    fn goes_through(&self, step: &Step) -> bool {
        match step {
            Step::EditRequest(edits) => self.request_apply_edits(edits).is_ok(),
            Step::EditResponse(edits) => self.response_apply_edits(edits).is_ok(),
            Step::AuthenticateBy(lookup) => self.credentials_authenticate_by(lookup) == LookedUp::Authenticated,
            Step::TakeBy(rule) => self.counters_take_by(rule, 1).is_none(),
        }
    }
}

impl State {
    /// The same exchange in a node of its own.
    fn copy(&self) -> Self {
        Self { node: self.node.copy(), ..self.clone() }
    }
    /// All that steps can change, in an order that does not depend on how it was done.
    fn described(&self) -> String {
        let fields = |head: &super::Head| {
            let mut fields: Vec<String> =
                head.fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
            fields.sort();
            fields.join("; ")
        };
        let mut pending = super::Head::default();
        for edit in &self.pending {
            let _full = pending.edit(edit);
        }
        let mut text = String::new();
        let request = &self.request;
        let _infallible = write!(
            text,
            "{} {}?{:?} [{}] by {:?}; to come [{}]",
            request.method,
            request.path,
            request.query,
            fields(&request.head),
            self.consumer,
            fields(&pending)
        );
        if let Some(response) = &self.response {
            let _infallible = write!(text, "; {} [{}]", response.status, fields(&response.head));
        }
        text
    }
}
