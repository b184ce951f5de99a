//! `credentials`: finding one, and making its consumer the exchange's.
//!
//! A component that imports this without the grant is not installed, so whoever gets here may. The handles that a plugin holds
//! are positions in the exchange's own list of what was found: nothing that a guest can invent authenticates anybody.

use super::headers::{self, is_identity_header};
use crate::bindings::weir::plugin::credentials::{Credential, Host, LookedUp as WitLookedUp};
use crate::bindings::weir::plugin::types::HeaderFault;
use crate::exchange::{Exchange, Kill};
use crate::limits::{CREDENTIAL_KEY_BYTES, FOUND_CREDENTIALS};
use crate::shared::unix_seconds;
use crate::state::State;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use wasmtime::Result;
use weir_model::directory::Identity;
use weir_model::{Consumer, Id};

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");

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
            return Err(self.end(Kill::Limit, "`find` takes keys of up to 8 KiB"));
        }
        let slot = self.entry_slot;
        let named = self.origin.credentials.contains(&kind);
        let exchange = self.lent()?;
        let (true, Some(directory), Ok(key)) = (named, &exchange.directory, std::str::from_utf8(&key)) else { return Ok(None) };
        let found = match directory.credential(&kind, key) {
            Ok(found) => found,
            Err(_) => return Err(self.end(Kill::Host, "the store of credentials cannot be read")),
        };
        let Some(found) = found else { return Ok(None) };
        if has_expired(found.expires) {
            return Ok(None);
        }
        let known = exchange.found.iter().position(|(owner, known)| *owner == slot && known.id == found.id);
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
        let found = exchange.found.get(handle as usize).filter(|(owner, _)| *owner == slot).map(|(_, found)| *found);
        let (Some(found), Some(directory)) = (found, &exchange.directory) else { return Ok(false) };
        match directory.consumer(found.consumer) {
            Ok(Some(consumer)) => Ok(become_consumer(exchange, consumer, Some(found.id))),
            Ok(None) => Ok(false),
            Err(_) => Err(self.end(Kill::Host, "the store of consumers cannot be read")),
        }
    }

    fn authenticate_anonymous(&mut self, consumer: String) -> Result<bool> {
        self.charge(consumer.len())?;
        let exchange = self.lent()?;
        let Some(directory) = &exchange.directory else { return Ok(false) };
        match directory.consumer_by_name(&consumer) {
            Ok(Some(consumer)) => Ok(become_consumer(exchange, consumer, None)),
            Ok(None) => Ok(false),
            Err(_) => Err(self.end(Kill::Host, "the store of consumers cannot be read")),
        }
    }

    fn prepare_lookup(&mut self, kind: String, header: String) -> Result<std::result::Result<u32, HeaderFault>> {
        let bytes = kind.len() + header.len();
        self.charge(bytes)?;
        let kind = self.origin.credentials.contains(&kind).then(|| kind.into_boxed_str());
        let draft = self.preparing()?;
        Ok(headers::readable(&header).and_then(|header| draft.add_lookup(Lookup { kind, header }, bytes)))
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
    let id = holder.credential.id;
    let became = become_known(exchange, Arc::clone(&holder.consumer), &holder.identity, Some((id, &holder.credential_text)));
    Ok(if became { LookedUp::Authenticated } else { LookedUp::Unknown })
}

/// A moment that is not before the Unix epoch: the conversion keeps its value.
fn has_expired(expires: Option<u64>) -> bool {
    expires.is_some_and(|expires| expires <= unix_seconds().unsigned_abs())
}

/// Makes the consumer the exchange's and says so to the upstream. `credential` none: anonymous.
fn become_consumer(exchange: &mut Exchange, consumer: Arc<Consumer>, credential: Option<Id>) -> bool {
    let identity = Identity::of(&consumer);
    let text = credential.map(|id| HeaderValue::from_str(&id.to_string()).ok());
    let credential = credential.zip(text.as_ref());
    become_known(exchange, consumer, &identity, credential)
}

/// As [`become_consumer`], with the texts made before. False: the head is on its way, and an upstream that was not told must not be
/// taken for one that was.
fn become_known(
    exchange: &mut Exchange,
    consumer: Arc<Consumer>,
    identity: &Identity,
    credential: Option<(Id, &Option<HeaderValue>)>,
) -> bool {
    if exchange.request.sent {
        return false;
    }
    let headers = &mut exchange.request.headers;
    remove_identity(headers);
    put(headers, CONSUMER_ID, identity.id.as_ref());
    // A name that no header can carry (a line end in it) is left out: the id is there.
    put(headers, CONSUMER_USERNAME, identity.username.as_ref());
    put(headers, CONSUMER_CUSTOM_ID, identity.custom_id.as_ref());
    match credential {
        Some((_, text)) => put(headers, CREDENTIAL_IDENTIFIER, text.as_ref()),
        None => put(headers, ANONYMOUS_CONSUMER, Some(&HeaderValue::from_static("true"))),
    }
    exchange.consumer = Some(consumer);
    exchange.credential = credential.map(|(id, _)| id);
    true
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<&HeaderValue>) {
    // These few are not counted against the plugin's hundred; `HeaderMap`'s own capacity is 24,000.
    if let Some(value) = value {
        drop(headers.try_insert(name, value.clone()));
    }
}

/// Removes what only authentication may say, whoever said it. Public for the proxy, which does so when the request comes in.
pub fn remove_identity(headers: &mut HeaderMap) {
    // Usually there is none, and an empty list takes no memory.
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_identity_header(name.as_str())).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}
