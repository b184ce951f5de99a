//! `steps`: what a phase does first, taken by the host in place of a call of the guest.
//!
//! A step does what the host function of its name does, through the same code. Knows nothing of instances: they are what is spared.

use super::credentials::{LookedUp, authenticate_by};
use super::preparations::{Preparations, Side};
use super::{counters, request, response};
use crate::bindings::weir::plugin::counters::Verdict;
use crate::bindings::weir::plugin::steps::{Host, Step as WitStep};
use crate::exchange::{Exchange, Kill};
use crate::limits::{STEP_EDITS, STEPS};
use crate::shared::Shared;
use crate::state::State;
use wasmtime::Result;
use weir_model::{Id, Phase};

/// One step; the number is that of what was prepared, and was there when the step was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    EditRequest(u32),
    EditResponse(u32),
    AuthenticateBy(u32),
    TakeBy(u32),
}

impl Host for State {
    fn before_request(&mut self, steps: Vec<WitStep>) -> Result<()> {
        self.set_steps(Side::Request, &steps)
    }
    fn before_response(&mut self, steps: Vec<WitStep>) -> Result<()> {
        self.set_steps(Side::Response, &steps)
    }
}

impl State {
    fn set_steps(&mut self, side: Side, steps: &[WitStep]) -> Result<()> {
        self.charge(size_of_val(steps))?;
        if steps.len() > STEPS {
            return Err(self.end(Kill::Limit, "a phase has at most 16 steps"));
        }
        let draft = self.preparing()?;
        let steps: Option<Vec<Step>> = steps.iter().map(|step| known(draft, *step)).collect();
        let Some(mut steps) = steps else { return Err(self.unprepared()) };
        let edits: usize = steps.iter().map(|step| edits_in(draft, *step)).sum();
        // No budget bounds what the host does, so a phase that does this much is called.
        if edits > STEP_EDITS {
            steps.clear();
        }
        let early_take = steps.iter().rev().skip(1).any(|step| matches!(step, Step::TakeBy(_)));
        draft.set_steps(side, steps);
        if early_take {
            return Err(self.end(Kill::Limit, "`take-by` is the last step: what it took would be taken again"));
        }
        Ok(())
    }
}

/// The step, if what it names was prepared.
fn known(draft: &Preparations, step: WitStep) -> Option<Step> {
    match step {
        WitStep::EditRequest(number) => draft.edits(Side::Request, number).map(|_| Step::EditRequest(number)),
        WitStep::EditResponse(number) => draft.edits(Side::Response, number).map(|_| Step::EditResponse(number)),
        WitStep::AuthenticateBy(number) => draft.lookup(number).map(|_| Step::AuthenticateBy(number)),
        WitStep::TakeBy(number) => draft.rule(number).map(|_| Step::TakeBy(number)),
    }
}

/// How many edits a step makes.
fn edits_in(draft: &Preparations, step: Step) -> usize {
    let list = match step {
        Step::EditRequest(number) => draft.edits(Side::Request, number),
        Step::EditResponse(number) => draft.edits(Side::Response, number),
        Step::AuthenticateBy(_) | Step::TakeBy(_) => None,
    };
    list.map_or(0, |edits| edits.len())
}

/// Takes the steps before a phase. True: there are some, and all went through, so the phase is over.
pub fn take(preparations: &Preparations, phase: Phase, entry: Id, shared: &Shared, exchange: &mut Exchange) -> bool {
    let steps = preparations.steps(phase);
    !steps.is_empty() && steps.iter().all(|step| goes_through(*step, preparations, phase, entry, shared, exchange))
}

fn goes_through(
    step: Step,
    preparations: &Preparations,
    phase: Phase,
    entry: Id,
    shared: &Shared,
    exchange: &mut Exchange,
) -> bool {
    match step {
        Step::EditRequest(number) => {
            let edits = preparations.edits(Side::Request, number);
            edits.is_some_and(|edits| request::edit(exchange, phase, edits).is_ok())
        }
        Step::EditResponse(number) => {
            let edits = preparations.edits(Side::Response, number);
            edits.is_some_and(|edits| response::edit_all(exchange, phase, edits).is_ok())
        }
        Step::AuthenticateBy(number) => {
            let lookup = preparations.lookup(number);
            // A store that cannot be read: the guest's own call of it says so.
            lookup.is_some_and(|lookup| matches!(authenticate_by(exchange, lookup), Ok(LookedUp::Authenticated)))
        }
        Step::TakeBy(number) => {
            let rule = preparations.rule(number);
            let verdict = rule.map(|rule| counters::take_by(exchange, phase, entry, shared, rule, 1));
            matches!(verdict, Some(Verdict::Taken))
        }
    }
}
