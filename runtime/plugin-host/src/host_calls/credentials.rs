//! `credentials`: finding one, and making its consumer the exchange's.
//!
//! A component that imports this without the grant is not installed, so whoever gets here may. The handles that a plugin holds
//! are positions in the exchange's own list of what was found: nothing that a guest can invent authenticates anybody.

use super::headers::is_identity_header;
use crate::bindings::weir::plugin::credentials::{Credential, Host};
use crate::exchange::{Exchange, Kill};
use crate::limits::{CREDENTIAL_KEY_BYTES, FOUND_CREDENTIALS};
use crate::shared::unix_seconds;
use crate::state::State;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use wasmtime::Result;
use weir_model::{Consumer, Id};

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");

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
        // A moment that is not before the Unix epoch: the conversion keeps its value.
        if found.expires.is_some_and(|expires| expires <= unix_seconds().unsigned_abs()) {
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
}

/// Makes the consumer the exchange's and says so to the upstream. `credential` none: anonymous. False: the head is on its way,
/// and an upstream that was not told must not be taken for one that was.
fn become_consumer(exchange: &mut Exchange, consumer: Arc<Consumer>, credential: Option<Id>) -> bool {
    if exchange.request.sent {
        return false;
    }
    let headers = &mut exchange.request.headers;
    remove_identity(headers);
    let text = |text: &str| HeaderValue::from_str(text).ok();
    put(headers, CONSUMER_ID, text(&consumer.id.to_string()));
    // A name that no header can carry (a line end in it) is left out: the id is there.
    put(headers, CONSUMER_USERNAME, consumer.username.as_deref().and_then(text_bytes));
    put(headers, CONSUMER_CUSTOM_ID, consumer.custom_id.as_deref().and_then(text_bytes));
    match credential {
        Some(id) => put(headers, CREDENTIAL_IDENTIFIER, text(&id.to_string())),
        None => put(headers, ANONYMOUS_CONSUMER, Some(HeaderValue::from_static("true"))),
    }
    exchange.consumer = Some(consumer);
    exchange.credential = credential;
    true
}

fn text_bytes(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    // These few are not counted against the plugin's hundred; `HeaderMap`'s own capacity is 24,000.
    if let Some(value) = value {
        drop(headers.try_insert(name, value));
    }
}

/// Removes what only authentication may say, whoever said it. Public for the proxy, which does so when the request comes in.
pub fn remove_identity(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_identity_header(name.as_str())).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}
