//! Edits that a configuration prepares, with the rules of `prepare-edits` in `wit/`.

use super::{head, is_authority};
use crate::edits::HeaderEdit;
use crate::header::{HeaderFault, check_header_name, check_request_header_name};
use std::cell::Cell;

/// Of one configuration, both interfaces together: `wit/request.wit`.
const EDITS: usize = 1_000;
const BYTES: usize = 256 << 10;

thread_local! {
    /// Edits and bytes that the configuration which is being made has prepared; none: `configure` does not run.
    static USED: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// The edits of one list.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<HeaderEdit>);

impl Prepared {
    pub(super) fn edits(&self) -> &[HeaderEdit] {
        &self.0
    }
}

/// Runs what makes a configuration: only in it can edits be prepared.
pub(crate) fn configuring<T>(make: impl FnOnce() -> T) -> T {
    USED.set(Some((0, 0)));
    let made = make();
    USED.set(None);
    made
}

pub(crate) fn request_prepare_edits(edits: Vec<HeaderEdit>) -> Result<Prepared, HeaderFault> {
    prepare(edits, judge_request)
}
pub(crate) fn response_prepare_edits(edits: Vec<HeaderEdit>) -> Result<Prepared, HeaderFault> {
    prepare(edits, |_| Ok(()))
}

#[allow(clippy::panic, reason = "fails the test of a plugin that the gateway would kill")]
fn prepare(edits: Vec<HeaderEdit>, also: fn(&HeaderEdit) -> Result<(), HeaderFault>) -> Result<Prepared, HeaderFault> {
    let Some((count, bytes)) = USED.get() else { panic!("edits can be prepared only in `check`") };
    let count = count + edits.len().max(1);
    let bytes = bytes + edits.iter().map(weight).sum::<usize>();
    if count > EDITS || bytes > BYTES {
        return Err(HeaderFault::TooMany);
    }
    for edit in &edits {
        head::judge(edit)?;
        also(edit)?;
        if let HeaderEdit::Remove(name) = edit {
            check_header_name(name)?;
        }
    }
    USED.set(Some((count, bytes)));
    Ok(Prepared(edits))
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
