//! Header edits that a configuration prepares once and its phases make in one call.
//!
//! Lists are the instance's: each belongs to the number that `configure` answered, and goes with its `release` or with the
//! instance. Knows nothing of heads; `headers` and `request` make the edits.

use super::headers::{self, KnownNames};
use super::request::is_authority;
use crate::bindings::weir::plugin::types::{Field, HeaderEdit as WitEdit, HeaderFault};
use crate::exchange::{HeaderEdit, Kill};
use crate::limits::{PREPARED_EDIT_BYTES, PREPARED_EDITS};
use crate::state::State;
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use std::collections::HashMap;
use std::sync::Arc;

/// The head that edits are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// The prepared edits of an instance.
#[derive(Default)]
pub struct Edits {
    /// By the guest's number of the configuration.
    kept: HashMap<u32, Lists>,
    /// Of the configuration that is being made; none: `configure` does not run.
    draft: Option<Lists>,
    /// Whose phase runs.
    serving: u32,
}

/// The lists of one configuration; their numbers are positions.
#[derive(Default)]
struct Lists {
    request: Vec<Arc<[HeaderEdit]>>,
    response: Vec<Arc<[HeaderEdit]>>,
    count: usize,
    bytes: usize,
}

impl Lists {
    fn of(&mut self, side: Side) -> &mut Vec<Arc<[HeaderEdit]>> {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
    fn add(&mut self, side: Side, edits: Vec<WitEdit>) -> Result<u32, HeaderFault> {
        // An empty list counts too: it takes a place.
        let count = self.count + edits.len().max(1);
        let bytes = self.bytes + edits.iter().map(weight).sum::<usize>();
        if count > PREPARED_EDITS || bytes > PREPARED_EDIT_BYTES {
            return Err(HeaderFault::TooMany);
        }
        let edits = edits.into_iter().map(|edit| parse(side, edit)).collect::<Result<Arc<[_]>, _>>()?;
        (self.count, self.bytes) = (count, bytes);
        let lists = self.of(side);
        lists.push(edits);
        u32::try_from(lists.len() - 1).map_err(|_| HeaderFault::TooMany)
    }
}

impl Edits {
    /// `configure` begins.
    pub fn begin(&mut self) {
        self.draft = Some(Lists::default());
    }
    /// `configure` ended, with this number or without one.
    pub fn keep(&mut self, configuration: Option<u32>) {
        let draft = self.draft.take();
        if let (Some(configuration), Some(lists)) = (configuration, draft) {
            // Whatever another configuration of that number had is not the guest's any more.
            self.kept.remove(&configuration);
            if lists.count > 0 {
                self.kept.insert(configuration, lists);
            }
        }
    }
    /// The configuration is no longer used.
    pub fn release(&mut self, configuration: u32) {
        self.kept.remove(&configuration);
    }
    /// A phase of this configuration begins.
    pub fn serve(&mut self, configuration: u32) {
        self.serving = configuration;
    }
}

impl State {
    /// Takes a list, while `configure` runs.
    pub(super) fn prepare(&mut self, side: Side, edits: Vec<WitEdit>) -> wasmtime::Result<Result<u32, HeaderFault>> {
        self.charge(edits.iter().map(weight).sum())?;
        match &mut self.edits.draft {
            Some(draft) => Ok(draft.add(side, edits)),
            None => Err(self.end(Kill::Limit, "`prepare-edits` is only for `configure`")),
        }
    }
    /// A list of the configuration whose phase runs.
    pub(super) fn prepared(&mut self, side: Side, number: u32) -> wasmtime::Result<Option<Arc<[HeaderEdit]>>> {
        self.lent()?;
        let Edits { kept, serving, .. } = &mut self.edits;
        Ok(kept.get_mut(serving).and_then(|lists| lists.of(side).get(number as usize).cloned()))
    }
    /// There is no such list.
    #[cold]
    pub(super) fn unprepared(&mut self) -> wasmtime::Error {
        self.end(Kill::Limit, "`apply-edits` takes what `prepare-edits` answered to this configuration")
    }
}

/// `set` of each field.
pub fn sets(names: &mut KnownNames, fields: Vec<Field>, request: bool) -> Result<Vec<HeaderEdit>, HeaderFault> {
    let set = |Field { name, value }| {
        let name = if request { names.writable_in_request(&name)? } else { names.writable(&name)? };
        let value = headers::value(value)?;
        if request && name == HOST && !is_authority(&value) {
            return Err(HeaderFault::BadValue);
        }
        Ok(HeaderEdit::Set(name, value))
    };
    fields.into_iter().map(set).collect()
}

fn parse(side: Side, edit: WitEdit) -> Result<HeaderEdit, HeaderFault> {
    let writable = match side {
        Side::Request => headers::writable_in_request,
        Side::Response => headers::writable,
    };
    let field = |field: Field| -> Result<(HeaderName, HeaderValue), HeaderFault> {
        let (name, value) = (writable(&field.name)?, headers::value(field.value)?);
        if side == Side::Request && name == HOST && !is_authority(&value) {
            Err(HeaderFault::BadValue)
        } else {
            Ok((name, value))
        }
    };
    Ok(match edit {
        WitEdit::Set(set) => field(set).map(|(name, value)| HeaderEdit::Set(name, value))?,
        WitEdit::SetIfPresent(set) => field(set).map(|(name, value)| HeaderEdit::SetIfPresent(name, value))?,
        WitEdit::Add(add) => match field(add)? {
            // There is never a second one.
            (name, value) if side == Side::Request && name == HOST => HeaderEdit::Set(name, value),
            (name, value) => HeaderEdit::Add(name, value),
        },
        WitEdit::AddIfAbsent(add) => field(add).map(|(name, value)| HeaderEdit::AddIfAbsent(name, value))?,
        WitEdit::Remove(name) => HeaderEdit::Remove(writable(&name)?),
        WitEdit::Rename((old, new)) => {
            let (old, new) = (writable(&old)?, writable(&new)?);
            if side == Side::Request && (old == HOST || new == HOST) {
                return Err(HeaderFault::Reserved);
            }
            HeaderEdit::Rename(old, new)
        }
    })
}

/// Bytes of names and values.
fn weight(edit: &WitEdit) -> usize {
    match edit {
        WitEdit::Set(field) | WitEdit::SetIfPresent(field) | WitEdit::Add(field) | WitEdit::AddIfAbsent(field) => {
            field.name.len() + field.value.len()
        }
        WitEdit::Remove(name) => name.len(),
        WitEdit::Rename((old, new)) => old.len() + new.len(),
    }
}
