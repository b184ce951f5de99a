//! Look-up of consumers and credentials while an exchange is served.
//!
//! There may be ten million of them, so they are not in the snapshot but in the replica, read through the view that the
//! snapshot holds: an exchange sees credentials and routes of one revision. What was found is remembered, up to a limit, and
//! handed on from one snapshot to the next unless the change between them was about consumers or credentials.

use crate::{Consumer, Id, Kind, Op, View, ViewError};
use http::HeaderValue;
use quick_cache::sync::Cache;
use serde_json::Value;
use std::sync::Arc;

/// How many found credentials, and how many consumers, are remembered. At about 500 bytes a credential and 200 a consumer this is
/// some 45 MiB at most, and it holds the callers of a busy day; the rest cost a look-up in the replica (a few microseconds).
const REMEMBERED: usize = 65_536;

/// Longer keys are looked up each time, so that the memory above is a bound.
const REMEMBERED_KEY_BYTES: usize = 128;

/// A credential that was found by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Primary key of the credential; becomes `X-Credential-Identifier`.
    pub id: Id,
    /// Whose it is.
    pub consumer: Id,
    /// When it stops being valid: seconds of the Unix clock. The caller compares; this room has no clock.
    pub expires: Option<u64>,
}

/// Who a consumer is, as the values of the headers that say so. None: no header can carry it (a line end in a name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Primary key.
    pub id: Option<HeaderValue>,
    /// Unique name.
    pub username: Option<HeaderValue>,
    /// The operator's own identifier.
    pub custom_id: Option<HeaderValue>,
}

impl Identity {
    /// The values for a consumer.
    pub fn of(consumer: &Consumer) -> Self {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
        Self {
            id: value(&consumer.id.to_string()),
            username: consumer.username.as_deref().and_then(value),
            custom_id: consumer.custom_id.as_deref().and_then(value),
        }
    }
}

/// A credential with whose it is: all that authenticating takes, made once for all the requests of a caller.
#[derive(Debug)]
pub struct Holder {
    /// The credential.
    pub credential: Credential,
    /// Its primary key as a header's value.
    pub credential_text: Option<HeaderValue>,
    /// Whose it is.
    pub consumer: Arc<Consumer>,
    /// Who that is.
    pub identity: Identity,
}

/// Read access to consumers and credentials at one revision. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    view: Arc<dyn View>,
    found: Arc<Found>,
}

struct Found {
    // Only what exists is remembered: remembering what does not would let a stranger fill the memory with guesses.
    key_auths: Cache<String, Arc<Holder>>,
    consumers: Cache<Id, Arc<Consumer>>,
}

impl Directory {
    /// Looks up in this view.
    pub fn new(view: Arc<dyn View>) -> Self {
        let found = Found { key_auths: Cache::new(REMEMBERED), consumers: Cache::new(REMEMBERED) };
        Self { view, found: Arc::new(found) }
    }
    /// The directory of the next view, which differs from this one's by exactly `ops`.
    pub fn succeeded_by(&self, view: Arc<dyn View>, ops: &[Op]) -> Self {
        let people = |op: &Op| matches!(op.key().0, Kind::Consumer | Kind::KeyAuth);
        if ops.iter().any(people) { Self::new(view) } else { Self { view, found: self.found.clone() } }
    }
    /// The credential of `kind` (`"key-auth"`) with that key. An unknown kind has no credentials.
    pub fn credential(&self, kind: &str, key: &str) -> Result<Option<Credential>, ViewError> {
        Ok(self.holder(kind, key)?.map(|holder| holder.credential))
    }
    /// The credential of `kind` with that key, and whose it is; none also if the consumer is gone.
    pub fn holder(&self, kind: &str, key: &str) -> Result<Option<Arc<Holder>>, ViewError> {
        if kind != "key-auth" {
            return Ok(None);
        }
        if let Some(holder) = self.found.key_auths.get(key) {
            return Ok(Some(holder));
        }
        let Some(credential) = self.read_credential(Kind::KeyAuth, "key", key)? else { return Ok(None) };
        let Some(consumer) = self.consumer(credential.consumer)? else { return Ok(None) };
        let credential_text = HeaderValue::from_str(&credential.id.to_string()).ok();
        let holder = Arc::new(Holder { credential, credential_text, identity: Identity::of(&consumer), consumer });
        if key.len() <= REMEMBERED_KEY_BYTES {
            self.found.key_auths.insert(key.to_owned(), Arc::clone(&holder));
        }
        Ok(Some(holder))
    }
    /// The consumer with that id.
    pub fn consumer(&self, id: Id) -> Result<Option<Arc<Consumer>>, ViewError> {
        if let Some(consumer) = self.found.consumers.get(&id) {
            return Ok(Some(consumer));
        }
        let entity = self.view.get(Kind::Consumer, id)?;
        let consumer = entity.and_then(|entity| entity.parse().ok()).map(Arc::new);
        if let Some(consumer) = &consumer {
            self.found.consumers.insert(id, Arc::clone(consumer));
        }
        Ok(consumer)
    }
    /// The consumer with that id or, failing that, that username (Kong's `anonymous`).
    pub fn consumer_by_name(&self, name: &str) -> Result<Option<Arc<Consumer>>, ViewError> {
        let id = match Id::parse(name) {
            Some(id) => Some(id),
            None => self.view.find(Kind::Consumer, "username", name)?,
        };
        id.map_or(Ok(None), |id| self.consumer(id))
    }

    fn read_credential(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Credential>, ViewError> {
        let Some(id) = self.view.find(kind, index, key)? else { return Ok(None) };
        let Some(entity) = self.view.get(kind, id)? else { return Ok(None) };
        let Some(consumer) = entity.foreign("consumer") else { return Ok(None) };
        let seconds = |field: &str| entity.body.get(field).and_then(Value::as_u64);
        let expires = seconds("ttl").and_then(|ttl| Some(seconds("created_at")?.saturating_add(ttl)));
        Ok(Some(Credential { id, consumer, expires }))
    }
}
