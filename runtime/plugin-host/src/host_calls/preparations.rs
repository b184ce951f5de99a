//! What a configuration prepares once for all of its phase calls: header edits, look-ups of credentials, rules of limits, steps.
//!
//! Made while the guest's `configure` runs; kept by the worker with the number that `configure` answered, and gone with it. A
//! number that is used with another configuration means nothing there.

use super::counters::Rule;
use super::credentials::Lookup;
use super::steps::Step;
use crate::bindings::weir::plugin::types::HeaderFault;
use crate::exchange::{HeaderEdit, Kill};
use crate::limits::{PREPARED_BYTES, PREPARED_EDITS, PREPARED_LOOKUPS, PREPARED_RULES};
use crate::state::State;
use std::rc::Rc;
use std::sync::Arc;
use weir_model::Phase;

/// The head that edits are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// What one configuration prepared; the numbers that the guest has are positions.
#[derive(Default)]
pub struct Preparations {
    request_edits: Vec<Arc<[HeaderEdit]>>,
    response_edits: Vec<Arc<[HeaderEdit]>>,
    lookups: Vec<Lookup>,
    rules: Vec<Arc<Rule>>,
    before_request: Vec<Step>,
    before_response: Vec<Step>,
    edits: usize,
    bytes: usize,
}

impl Preparations {
    fn lists(&mut self, side: Side) -> &mut Vec<Arc<[HeaderEdit]>> {
        match side {
            Side::Request => &mut self.request_edits,
            Side::Response => &mut self.response_edits,
        }
    }
    /// Whether there is room for so many more bytes of names and values; counts them if so.
    fn admit(&mut self, bytes: usize) -> Result<(), HeaderFault> {
        let bytes = self.bytes.saturating_add(bytes);
        if bytes > PREPARED_BYTES {
            return Err(HeaderFault::TooMany);
        }
        self.bytes = bytes;
        Ok(())
    }
    /// Takes a list of edits that were judged.
    pub fn add_edits(&mut self, side: Side, edits: Arc<[HeaderEdit]>, bytes: usize) -> Result<u32, HeaderFault> {
        // An empty list counts too: it takes a place.
        let count = self.edits + edits.len().max(1);
        if count > PREPARED_EDITS {
            return Err(HeaderFault::TooMany);
        }
        self.admit(bytes)?;
        self.edits = count;
        push(self.lists(side), edits)
    }
    /// Takes a look-up.
    pub fn add_lookup(&mut self, lookup: Lookup, bytes: usize) -> Result<u32, HeaderFault> {
        if self.lookups.len() >= PREPARED_LOOKUPS {
            return Err(HeaderFault::TooMany);
        }
        self.admit(bytes)?;
        push(&mut self.lookups, lookup)
    }
    /// Takes a rule.
    pub fn add_rule(&mut self, rule: Rule, bytes: usize) -> Result<u32, HeaderFault> {
        if self.rules.len() >= PREPARED_RULES {
            return Err(HeaderFault::TooMany);
        }
        self.admit(bytes)?;
        push(&mut self.rules, Arc::new(rule))
    }
    /// Takes the steps of a phase.
    pub fn set_steps(&mut self, side: Side, steps: Vec<Step>) {
        match side {
            Side::Request => self.before_request = steps,
            Side::Response => self.before_response = steps,
        }
    }
    /// What comes before a phase; the log phase has no steps.
    pub fn steps(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Request => &self.before_request,
            Phase::Response => &self.before_response,
            Phase::Log => &[],
        }
    }
    /// A list of edits.
    pub fn edits(&self, side: Side, number: u32) -> Option<&Arc<[HeaderEdit]>> {
        let lists = match side {
            Side::Request => &self.request_edits,
            Side::Response => &self.response_edits,
        };
        lists.get(number as usize)
    }
    /// A look-up.
    pub fn lookup(&self, number: u32) -> Option<&Lookup> {
        self.lookups.get(number as usize)
    }
    /// A rule.
    pub fn rule(&self, number: u32) -> Option<&Arc<Rule>> {
        self.rules.get(number as usize)
    }
    /// The host's memory for it, about.
    pub fn weight(&self) -> usize {
        let edits = self.edits * size_of::<HeaderEdit>();
        let rules = self.rules.iter().map(|rule| rule.weight()).sum::<usize>() + self.lookups.len() * size_of::<Lookup>();
        let steps = (self.before_request.len() + self.before_response.len()) * size_of::<Step>();
        size_of::<Self>() + edits + rules + steps + self.bytes
    }
    fn is_empty(&self) -> bool {
        self.edits == 0 && self.lookups.is_empty() && self.rules.is_empty() && self.steps(Phase::Request).is_empty()
    }
}

/// The position that it got.
fn push<T>(list: &mut Vec<T>, item: T) -> Result<u32, HeaderFault> {
    list.push(item);
    u32::try_from(list.len() - 1).map_err(|_| HeaderFault::TooMany)
}

/// What an instance has of preparations: those that are being made, and those of the configuration whose phase runs.
#[derive(Default)]
pub struct Prepared {
    /// None: `configure` does not run.
    draft: Option<Preparations>,
    serving: Option<Rc<Preparations>>,
}

impl Prepared {
    /// `configure` begins.
    pub fn begin(&mut self) {
        self.draft = Some(Preparations::default());
    }
    /// `configure` ended. None if it prepared nothing.
    pub fn end(&mut self) -> Option<Rc<Preparations>> {
        self.draft.take().filter(|draft| !draft.is_empty()).map(Rc::new)
    }
    /// A phase of a configuration with these preparations begins.
    pub fn serve(&mut self, preparations: Option<Rc<Preparations>>) {
        self.serving = preparations;
    }
}

impl State {
    /// What is being prepared; outside of `configure` the call ends.
    pub(super) fn preparing(&mut self) -> wasmtime::Result<&mut Preparations> {
        if self.prepared.draft.is_none() {
            return Err(self.end(Kill::Limit, "what prepares something is only for `configure`"));
        }
        Ok(self.prepared.draft.get_or_insert_default())
    }
    /// What the configuration whose phase runs has prepared.
    pub(super) fn preparations(&mut self) -> wasmtime::Result<Rc<Preparations>> {
        self.lent()?;
        match &self.prepared.serving {
            Some(serving) => Ok(Rc::clone(serving)),
            None => Err(self.unprepared()),
        }
    }
    /// There is no such number.
    #[cold]
    pub(super) fn unprepared(&mut self) -> wasmtime::Error {
        self.end(Kill::Limit, "only what was prepared by this configuration can be used")
    }
}
