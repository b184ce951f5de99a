//! What a configuration prepares, with the rules of `wit/`: edits, look-ups, rules, and the steps made of them.

use super::{head, is_authority};
use crate::counters::{self, Figure, Scope, Subject};
use crate::edits::HeaderEdit;
use crate::header::{HeaderFault, check_header_name, check_header_value, check_request_header_name, says_who};
use crate::steps::Step as GivenStep;
use std::cell::RefCell;
use std::rc::Rc;

/// Of one configuration, both interfaces together: `wit/request.wit`.
const EDITS: usize = 1_000;
const BYTES: usize = 256 << 10;
/// Of one configuration: `wit/credentials.wit`, `wit/counters.wit`.
const LOOKUPS: usize = 32;
const RULES: usize = 8;
/// Of one rule: `wit/counters.wit`.
const WINDOWS: usize = 6;
const ANNOUNCEMENTS: usize = 20;
/// Before one phase: `wit/steps.wit`.
const STEPS: usize = 16;

thread_local! {
    /// What the configuration that is being made has prepared; none: `configure` does not run.
    static DRAFT: RefCell<Option<Draft>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Draft {
    edits: usize,
    bytes: usize,
    lookups: usize,
    rules: usize,
    steps: Steps,
}

/// The steps of a configuration.
#[derive(Default, Clone)]
pub(crate) struct Steps {
    pub before_request: Vec<Step>,
    pub before_response: Vec<Step>,
}

/// A step and what it takes.
#[derive(Clone)]
pub(crate) enum Step {
    EditRequest(Prepared),
    EditResponse(Prepared),
    AuthenticateBy(Lookup),
    TakeBy(Rule),
}

/// The edits of one list.
#[derive(Clone, Debug)]
pub(crate) struct Prepared(Rc<[HeaderEdit]>);

impl Prepared {
    pub(super) fn edits(&self) -> &[HeaderEdit] {
        &self.0
    }
}

/// A look-up.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(super) kind: String,
    pub(super) header: String,
}

/// A rule, and which nodes' takes it counts.
#[derive(Clone, Debug)]
pub(crate) struct Rule(pub(super) Rc<counters::Rule>, pub(super) Scope);

/// Runs what makes a configuration: only in it can something be prepared. Answers the steps with what was made.
pub(crate) fn configuring<T>(make: impl FnOnce() -> T) -> (T, Steps) {
    DRAFT.set(Some(Draft::default()));
    let made = make();
    (made, DRAFT.take().unwrap_or_default().steps)
}

#[allow(clippy::panic, reason = "fails the test of a plugin that the gateway would kill")]
fn with_draft<T>(prepare: impl FnOnce(&mut Draft) -> T) -> T {
    DRAFT.with_borrow_mut(|draft| match draft {
        Some(draft) => prepare(draft),
        None => panic!("something can be prepared only in `check`"),
    })
}

impl Draft {
    fn admit(&mut self, bytes: usize) -> Result<(), HeaderFault> {
        if self.bytes + bytes > BYTES {
            return Err(HeaderFault::TooMany);
        }
        self.bytes += bytes;
        Ok(())
    }
}

pub(crate) fn credentials_prepare_lookup(kind: &str, header: &str) -> Result<Lookup, HeaderFault> {
    with_draft(|draft| {
        if header.eq_ignore_ascii_case("host") || says_who(header) {
            return Err(HeaderFault::Reserved);
        }
        readable(header)?;
        if draft.lookups >= LOOKUPS {
            return Err(HeaderFault::TooMany);
        }
        draft.admit(kind.len() + header.len())?;
        draft.lookups += 1;
        Ok(Lookup { kind: kind.to_owned(), header: header.to_owned() })
    })
}

/// What no head may be written with can still be looked for.
fn readable(name: &str) -> Result<(), HeaderFault> {
    match check_header_name(name) {
        Err(HeaderFault::Reserved) => Ok(()),
        other => other,
    }
}

pub(crate) fn counters_prepare_rule(rule: counters::Rule) -> Result<Rule, HeaderFault> {
    counters_prepare_scoped_rule(rule, Scope::Node)
}
pub(crate) fn counters_prepare_scoped_rule(rule: counters::Rule, scope: Scope) -> Result<Rule, HeaderFault> {
    assert!(rule.windows.len() <= WINDOWS, "a rule has at most {WINDOWS} windows");
    assert!(rule.announcements.len() <= ANNOUNCEMENTS, "a rule has at most {ANNOUNCEMENTS} announcements");
    let periods: Vec<_> = rule.windows.iter().map(|window| window.limit.period).collect();
    assert!((1..periods.len()).all(|at| !periods[..at].contains(&periods[at])), "a rule has each period at most once");
    let known = |announced: &counters::Announcement| announced.of.is_none_or(|of| periods.contains(&of));
    assert!(rule.announcements.iter().all(known), "a rule announces only windows that it has");
    with_draft(|draft| {
        if let Subject::Header(name) = &rule.by {
            readable(name)?;
        }
        for announced in &rule.announcements {
            check_header_name(&announced.header)?;
            let mut texts =
                rule.windows.iter().filter_map(|window| window.text.as_ref()).filter(|_| announced.figure == Figure::Limit);
            texts.try_for_each(|text| check_header_value(text.as_bytes()))?;
        }
        if draft.rules >= RULES {
            return Err(HeaderFault::TooMany);
        }
        let texts: usize = rule.windows.iter().map(|window| window.text.as_ref().map_or(20, String::len)).sum();
        draft.admit(rule.announcements.iter().map(|announced| announced.header.len() + texts).sum())?;
        draft.rules += 1;
        Ok(Rule(Rc::new(rule), scope))
    })
}

pub(crate) fn steps_before_request(steps: &[GivenStep<'_>]) {
    with_draft(|draft| draft.steps.before_request = owned(steps));
}
pub(crate) fn steps_before_response(steps: &[GivenStep<'_>]) {
    with_draft(|draft| draft.steps.before_response = owned(steps));
}

fn owned(steps: &[GivenStep<'_>]) -> Vec<Step> {
    assert!(steps.len() <= STEPS, "a phase has at most {STEPS} steps");
    let early_take = steps.iter().rev().skip(1).any(|step| matches!(step, GivenStep::TakeBy(_)));
    assert!(!early_take, "TakeBy is the last step: what it took would be taken again");
    let step = |step: &GivenStep<'_>| match step {
        GivenStep::EditRequest(edits) => edits.0.clone().map(Step::EditRequest),
        GivenStep::EditResponse(edits) => edits.0.clone().map(Step::EditResponse),
        GivenStep::AuthenticateBy(lookup) => Some(Step::AuthenticateBy(lookup.0.clone())),
        GivenStep::TakeBy(rule) => Some(Step::TakeBy(rule.0.clone())),
    };
    steps.iter().filter_map(step).collect()
}

pub(crate) fn request_prepare_edits(edits: Vec<HeaderEdit>) -> Result<Prepared, HeaderFault> {
    prepare(edits, judge_request)
}
pub(crate) fn response_prepare_edits(edits: Vec<HeaderEdit>) -> Result<Prepared, HeaderFault> {
    prepare(edits, |_| Ok(()))
}

fn prepare(edits: Vec<HeaderEdit>, also: fn(&HeaderEdit) -> Result<(), HeaderFault>) -> Result<Prepared, HeaderFault> {
    with_draft(|draft| {
        let count = draft.edits + edits.len().max(1);
        if count > EDITS {
            return Err(HeaderFault::TooMany);
        }
        for edit in &edits {
            head::judge(edit)?;
            also(edit)?;
            if let HeaderEdit::Remove(name) = edit {
                check_header_name(name)?;
            }
        }
        draft.admit(edits.iter().map(weight).sum())?;
        draft.edits = count;
        Ok(Prepared(edits.into()))
    })
}

/// What a request does not take, beyond what no head takes: what says how it came here, a Host that is none, and another name
/// for it.
pub(super) fn judge_request(edit: &HeaderEdit) -> Result<(), HeaderFault> {
    let host = |name: &str| name.eq_ignore_ascii_case("host");
    match edit {
        HeaderEdit::Set(name, value)
        | HeaderEdit::SetIfPresent(name, value)
        | HeaderEdit::Add(name, value)
        | HeaderEdit::AddIfAbsent(name, value) => {
            check_request_header_name(name)?;
            if host(name) && !is_authority(value) { Err(HeaderFault::BadValue) } else { Ok(()) }
        }
        HeaderEdit::Remove(name) => check_request_header_name(name),
        HeaderEdit::Rename(old, new) if host(old) || host(new) => Err(HeaderFault::Reserved),
        HeaderEdit::Rename(old, new) => check_request_header_name(old).and_then(|()| check_request_header_name(new)),
    }
}

/// The edit, given that a request always has one Host.
pub(super) fn with_host(edit: &HeaderEdit) -> Option<HeaderEdit> {
    match edit {
        HeaderEdit::Add(name, value) | HeaderEdit::SetIfPresent(name, value) if name.eq_ignore_ascii_case("host") => {
            Some(HeaderEdit::Set(name.clone(), value.clone()))
        }
        HeaderEdit::AddIfAbsent(name, _) if name.eq_ignore_ascii_case("host") => None,
        other => Some(other.clone()),
    }
}

fn weight(edit: &HeaderEdit) -> usize {
    match edit {
        HeaderEdit::Set(name, value)
        | HeaderEdit::SetIfPresent(name, value)
        | HeaderEdit::Add(name, value)
        | HeaderEdit::AddIfAbsent(name, value) => name.len() + value.len(),
        HeaderEdit::Remove(name) => name.len(),
        HeaderEdit::Rename(old, new) => old.len() + new.len(),
    }
}
