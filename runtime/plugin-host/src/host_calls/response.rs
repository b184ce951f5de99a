//! `response`: reading the response's head, and writing it before and after it exists.

use super::counters::Announced;
use super::preparations::Side;
use super::{edits, headers};
use crate::bindings::weir::plugin::response::Host;
use crate::bindings::weir::plugin::types::{Field, HeaderEdit as WitEdit, HeaderFault};
use crate::exchange::{Exchange, HeaderEdit, Kill, PendingEdit, ResponseHead};
use crate::limits::HEADERS;
use crate::state::State;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use wasmtime::Result;
use weir_model::Phase;

type Written = std::result::Result<(), HeaderFault>;

impl State {
    fn response_read<T>(&mut self, read: impl FnOnce(&HeaderMap) -> T) -> Result<Option<T>> {
        Ok(self.lent()?.response.as_ref().map(|response| read(&response.headers)))
    }

    /// As [`edit`], on the exchange that is lent.
    fn edit_response(&mut self, change: HeaderEdit) -> Result<Written> {
        let phase = self.phase;
        let exchange = self.lent()?;
        Ok(phase.map_or(Err(HeaderFault::HeadAlreadySent), |phase| edit(exchange, phase, change)))
    }
    /// As [`edit_all`], on the exchange that is lent.
    fn edit_response_all(&mut self, edits: &Arc<[HeaderEdit]>) -> Result<Written> {
        let phase = self.phase;
        let exchange = self.lent()?;
        Ok(phase.map_or(Err(HeaderFault::HeadAlreadySent), |phase| edit_all(exchange, phase, edits)))
    }
}

/// Writes to the response, or keeps the write until there is one.
fn edit(exchange: &mut Exchange, phase: Phase, edit: HeaderEdit) -> Written {
    match writable(exchange, phase)? {
        Some(headers) => headers::apply(headers, std::slice::from_ref(&edit)),
        None => keep(exchange, edit.into()),
    }
}

/// Makes a prepared list, or keeps it until there is a response: all or none.
pub(super) fn edit_all(exchange: &mut Exchange, phase: Phase, edits: &Arc<[HeaderEdit]>) -> Written {
    match writable(exchange, phase)? {
        Some(headers) => headers::apply(headers, edits),
        None if edits.is_empty() => Ok(()),
        None => keep(exchange, PendingEdit::List(Arc::clone(edits))),
    }
}

/// Tells how limits stand; what does not fit any more is left out.
pub(super) fn announce(exchange: &mut Exchange, phase: Phase, announced: Announced) {
    match writable(exchange, phase) {
        Ok(Some(headers)) => announced.write(|name, value| {
            let _full = headers::set(headers, name, value);
        }),
        Ok(None) => {
            let room = HEADERS.saturating_sub(waiting(exchange));
            exchange.response_edits.extend(announced.cut_to(room).map(PendingEdit::Announced));
        }
        Err(_too_late) => {}
    }
}

/// The response's headers, while they may be written; none: there is no response yet.
fn writable(exchange: &mut Exchange, phase: Phase) -> std::result::Result<Option<&mut HeaderMap>, HeaderFault> {
    match &mut exchange.response {
        _ if phase == Phase::Log => Err(HeaderFault::HeadAlreadySent),
        Some(ResponseHead { sent: true, .. }) => Err(HeaderFault::HeadAlreadySent),
        Some(response) => Ok(Some(&mut response.headers)),
        None => Ok(None),
    }
}

fn keep(exchange: &mut Exchange, edit: PendingEdit) -> Written {
    if waiting(exchange) + edit.count() > HEADERS {
        return Err(HeaderFault::TooMany);
    }
    exchange.response_edits.push(edit);
    Ok(())
}

/// Writes that wait for the response.
fn waiting(exchange: &Exchange) -> usize {
    exchange.response_edits.iter().map(PendingEdit::count).sum()
}

impl Host for State {
    fn status(&mut self) -> Result<Option<u16>> {
        self.charge(2)?;
        Ok(self.lent()?.response.as_ref().map(|response| response.status.as_u16()))
    }
    fn set_status(&mut self, status: u16) -> Result<()> {
        self.charge(2)?;
        let Some(status) = (200..=599).contains(&status).then(|| StatusCode::from_u16(status).ok()).flatten() else {
            return Err(self.end(Kill::Limit, "`set-status` takes 200 to 599"));
        };
        let over = self.phase == Some(Phase::Log);
        if let Some(response) = &mut self.lent()?.response
            && !response.sent
            && !over
        {
            response.status = status;
        }
        Ok(())
    }

    fn header(&mut self, name: String) -> Result<Option<Vec<u8>>> {
        let value = self.response_read(|headers| headers::joined(headers, &name))?.flatten();
        self.charge(name.len() + value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }
    fn header_values(&mut self, name: String) -> Result<Vec<Vec<u8>>> {
        let values = self.response_read(|headers| headers::apart(headers, &name))?.unwrap_or_default();
        self.charge(name.len() + values.iter().map(Vec::len).sum::<usize>())?;
        Ok(values)
    }
    fn headers(&mut self) -> Result<Vec<Field>> {
        let fields = self.response_read(headers::fields)?.unwrap_or_default();
        self.charge(headers::weight(&fields))?;
        Ok(fields)
    }

    fn set_header(&mut self, name: String, value: Vec<u8>) -> Result<Written> {
        self.charge(name.len() + value.len())?;
        match (self.names.writable(&name), headers::value(value)) {
            (Ok(name), Ok(value)) => self.edit_response(HeaderEdit::Set(name, value)),
            (Err(fault), _) | (_, Err(fault)) => Ok(Err(fault)),
        }
    }
    fn add_header(&mut self, name: String, value: Vec<u8>) -> Result<Written> {
        self.charge(name.len() + value.len())?;
        match (self.names.writable(&name), headers::value(value)) {
            (Ok(name), Ok(value)) => self.edit_response(HeaderEdit::Add(name, value)),
            (Err(fault), _) | (_, Err(fault)) => Ok(Err(fault)),
        }
    }
    fn remove_header(&mut self, name: String) -> Result<()> {
        self.charge(name.len())?;
        if let Ok(name) = headers::writable(&name) {
            // Nothing happens where it cannot be removed any more.
            let _too_late = self.edit_response(HeaderEdit::Remove(name))?;
        }
        Ok(())
    }
    fn set_headers(&mut self, fields: Vec<Field>) -> Result<Written> {
        self.charge(headers::weight(&fields))?;
        match edits::sets(&mut self.names, fields, false) {
            Ok(edits) => self.edit_response_all(&edits.into()),
            Err(fault) => Ok(Err(fault)),
        }
    }
    fn prepare_edits(&mut self, edits: Vec<WitEdit>) -> Result<std::result::Result<u32, HeaderFault>> {
        self.prepare_list(Side::Response, edits)
    }
    fn apply_edits(&mut self, edits: u32) -> Result<Written> {
        self.charge(4)?;
        let edits = self.prepared_list(Side::Response, edits)?;
        self.edit_response_all(&edits)
    }
}
