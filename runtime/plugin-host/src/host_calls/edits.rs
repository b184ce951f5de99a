//! Header edits: parsed from what a guest says, prepared, made. `headers` has the rules of names and values.

use super::headers::{self, KnownNames};
use super::preparations::Side;
use super::request::is_authority;
use crate::bindings::weir::plugin::types::{Field, HeaderEdit as WitEdit, HeaderFault};
use crate::exchange::HeaderEdit;
use crate::state::State;
use http::header::HOST;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

impl State {
    /// Takes a list, while `configure` runs.
    pub(super) fn prepare_list(&mut self, side: Side, edits: Vec<WitEdit>) -> wasmtime::Result<Result<u32, HeaderFault>> {
        let bytes = edits.iter().map(weight).sum();
        self.charge(bytes)?;
        let draft = self.preparing()?;
        let edits = edits.into_iter().map(|edit| parse(side, edit)).collect::<Result<Arc<[_]>, _>>();
        Ok(edits.and_then(|edits| draft.add_edits(side, edits, bytes)))
    }
    /// A list of the configuration whose phase runs.
    pub(super) fn prepared_list(&mut self, side: Side, number: u32) -> wasmtime::Result<Arc<[HeaderEdit]>> {
        match self.preparations()?.edits(side, number) {
            Some(edits) => Ok(Arc::clone(edits)),
            None => Err(self.unprepared()),
        }
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
