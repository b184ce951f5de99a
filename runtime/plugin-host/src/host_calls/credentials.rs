//! `credentials`: finding one, and making its consumer the exchange's.
//!
//! A component that imports this without the grant is not installed, so whoever gets here may. The handles that a plugin holds
//! are positions in the exchange's own list of what was found: nothing that a guest can invent authenticates anybody.

use super::headers;
use crate::bindings::weir::plugin::credentials::{Credential, Host, LookedUp as WitLookedUp};
use crate::bindings::weir::plugin::types::HeaderFault;
use crate::exchange::{Exchange, Kill};
use crate::limits::{CREDENTIAL_KEY_BYTES, FOUND_CREDENTIALS};
use crate::shared::unix_seconds;
use crate::state::State;
use http::HeaderName;
use http::header::HOST;
use std::sync::Arc;
use wasmtime::Result;
use weir_model::directory::Caller;

/// A prepared look-up: which header of the request has the key, and of which kind of credential.
pub struct Lookup {
    /// None: a kind that the manifest does not name, which has no credentials.
    kind: Option<Box<str>>,
    header: HeaderName,
}

/// What a look-up came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookedUp {
    Absent,
    Empty,
    Repeated,
    Unknown,
    Authenticated,
}

/// Why nothing could be looked up.
#[derive(Debug)]
pub struct Unreadable;

impl Host for State {
    fn find(&mut self, kind: String, key: Vec<u8>) -> Result<Option<Credential>> {
        self.charge(kind.len() + key.len())?;
        if key.len() > CREDENTIAL_KEY_BYTES {
            // Keys come from clients: a long one must not count as a fault of the plugin.
            return Ok(None);
        }
        let slot = self.entry_slot;
        let named = self.origin.credentials.contains(&kind);
        let exchange = self.lent()?;
        let (true, Some(directory), Ok(key)) = (named, &exchange.directory, std::str::from_utf8(&key)) else { return Ok(None) };
        let found = match directory.holder(&kind, key) {
            Ok(found) => found,
            Err(_) => return Err(self.end(Kill::Host, "the store of credentials cannot be read")),
        };
        let Some(found) = found else { return Ok(None) };
        if has_expired(found.credential.expires) {
            return Ok(None);
        }
        let known = exchange.found.iter().position(|(owner, known)| *owner == slot && known.credential.id == found.credential.id);
        let handle = match known {
            Some(position) => position,
            None if exchange.found.len() >= FOUND_CREDENTIALS => {
                return Err(self.end(Kill::Limit, "too many credentials found in one exchange"));
            }
            None => {
                exchange.found.push((slot, found));
                exchange.found.len() - 1
            }
        };
        // `key-auth` opens no field to plugins: the key they have, and who it belongs to the host says when it is used.
        Ok(Some(Credential { handle: u32::try_from(handle).unwrap_or(u32::MAX), data: b"{}".to_vec() }))
    }

    fn authenticate(&mut self, handle: u32) -> Result<bool> {
        self.charge(4)?;
        let slot = self.entry_slot;
        let exchange = self.lent()?;
        let found = exchange.found.get(handle as usize).filter(|(owner, _)| *owner == slot);
        let caller = found.map(|(_, found)| Arc::clone(&found.caller));
        Ok(caller.is_some_and(|caller| become_caller(exchange, caller)))
    }

    fn authenticate_anonymous(&mut self, consumer: String) -> Result<bool> {
        self.charge(consumer.len())?;
        let exchange = self.lent()?;
        let Some(directory) = &exchange.directory else { return Ok(false) };
        match directory.consumer_by_name(&consumer) {
            Ok(Some(consumer)) => Ok(become_caller(exchange, Arc::new(Caller::new(consumer, None)))),
            Ok(None) => Ok(false),
            Err(_) => Err(self.end(Kill::Host, "the store of consumers cannot be read")),
        }
    }

    fn prepare_lookup(&mut self, kind: String, header: String) -> Result<std::result::Result<u32, HeaderFault>> {
        let bytes = kind.len() + header.len();
        self.charge(bytes)?;
        let kind = self.origin.credentials.contains(&kind).then(|| kind.into_boxed_str());
        let draft = self.preparing()?;
        // `host` and what says who calls are not in the head that look-ups read, and no place for a key.
        let place = headers::readable(&header).and_then(|header| {
            let elsewhere = header == HOST || headers::is_identity_header(header.as_str());
            if elsewhere { Err(HeaderFault::Reserved) } else { Ok(header) }
        });
        Ok(place.and_then(|header| draft.add_lookup(Lookup { kind, header }, bytes)))
    }

    fn authenticate_by(&mut self, lookup: u32) -> Result<WitLookedUp> {
        self.charge(4)?;
        let preparations = self.preparations()?;
        let Some(lookup) = preparations.lookup(lookup) else { return Err(self.unprepared()) };
        match authenticate_by(self.lent()?, lookup) {
            Ok(LookedUp::Absent) => Ok(WitLookedUp::Absent),
            Ok(LookedUp::Empty) => Ok(WitLookedUp::Empty),
            Ok(LookedUp::Repeated) => Ok(WitLookedUp::Repeated),
            Ok(LookedUp::Unknown) => Ok(WitLookedUp::Unknown),
            Ok(LookedUp::Authenticated) => Ok(WitLookedUp::Authenticated),
            Err(Unreadable) => Err(self.end(Kill::Host, "the store of credentials cannot be read")),
        }
    }
}

/// Finds the credential whose key is in the look-up's header, and makes its consumer the exchange's.
pub fn authenticate_by(exchange: &mut Exchange, lookup: &Lookup) -> std::result::Result<LookedUp, Unreadable> {
    let mut values = exchange.request.headers.get_all(&lookup.header).iter();
    let Some(key) = values.next() else { return Ok(LookedUp::Absent) };
    if values.next().is_some() {
        return Ok(LookedUp::Repeated);
    }
    if key.is_empty() {
        return Ok(LookedUp::Empty);
    }
    if key.len() > CREDENTIAL_KEY_BYTES {
        return Ok(LookedUp::Unknown);
    }
    let (Some(kind), Some(directory), Ok(key)) = (&lookup.kind, &exchange.directory, std::str::from_utf8(key.as_bytes())) else {
        return Ok(LookedUp::Unknown);
    };
    let Some(holder) = directory.holder(kind, key).map_err(|_| Unreadable)? else { return Ok(LookedUp::Unknown) };
    if has_expired(holder.credential.expires) {
        return Ok(LookedUp::Unknown);
    }
    Ok(if become_caller(exchange, Arc::clone(&holder.caller)) { LookedUp::Authenticated } else { LookedUp::Unknown })
}

/// A moment that is not before the Unix epoch: the conversion keeps its value.
fn has_expired(expires: Option<u64>) -> bool {
    expires.is_some_and(|expires| expires <= unix_seconds().unsigned_abs())
}

/// Makes the caller the exchange's. False: the head is on its way, and an upstream that was not told must not be taken for one that
/// was.
fn become_caller(exchange: &mut Exchange, caller: Arc<Caller>) -> bool {
    if exchange.request.sent {
        return false;
    }
    exchange.caller = Some(caller);
    true
}
