//! Look-up of consumers and credentials while an exchange is served.
//!
//! There may be ten million of them, so they are not in the snapshot but in the replica, read through the view that the
//! snapshot holds: an exchange sees credentials and routes of one revision. What was found is remembered, up to a limit, and
//! handed on from one snapshot to the next unless the change between them was about consumers or credentials.

use crate::{Consumer, Id, Kind, Op, View, ViewError};
use http::{HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde_json::Value;
use std::sync::Arc;

/// How many found credentials, and how many consumers, are remembered. At about 800 bytes a credential and 200 a consumer this is
/// some 65 MiB at most, and it holds the callers of a busy day; the rest cost a look-up in the replica (a few microseconds).
const REMEMBERED: usize = 65_536;

/// Longer keys, and consumers with longer names, are looked up each time, so that the memory above is a bound.
const REMEMBERED_KEY_BYTES: usize = 128;
const REMEMBERED_NAME_BYTES: usize = 128;

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

/// Who calls, and what the upstream is told of it. Made once for all the requests of a caller.
#[derive(Debug)]
pub struct Caller {
    /// The consumer.
    pub consumer: Arc<Consumer>,
    /// The credential that was used; none: anonymous.
    pub credential: Option<Id>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Caller {
    /// The consumer, by that credential or anonymous.
    pub fn new(consumer: Arc<Consumer>, credential: Option<Id>) -> Self {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
        let told = [
            ("x-consumer-id", value(&consumer.id.to_string())),
            // A name that no header can carry (a line end in it) is left out: the id is there.
            ("x-consumer-username", consumer.username.as_deref().and_then(value)),
            ("x-consumer-custom-id", consumer.custom_id.as_deref().and_then(value)),
            ("x-credential-identifier", credential.and_then(|id| value(&id.to_string()))),
            ("x-anonymous-consumer", credential.is_none().then(|| HeaderValue::from_static("true"))),
        ];
        let headers = told.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value?))).collect();
        Self { consumer, credential, headers }
    }
    /// The headers that say who calls, for the upstream: `X-Consumer-*` and `X-Credential-Identifier`, or `X-Anonymous-Consumer`.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }
}

/// A credential with whose it is.
#[derive(Debug)]
pub struct Holder {
    /// The credential.
    pub credential: Credential,
    /// Who calls with it.
    pub caller: Arc<Caller>,
}

/// Read access to consumers and credentials at one revision. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
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
        Self(Arc::new(Inner { view, found: Arc::new(found) }))
    }
    /// The directory of the next view, which differs from this one's by exactly `ops`.
    pub fn succeeded_by(&self, view: Arc<dyn View>, ops: &[Op]) -> Self {
        let people = |op: &Op| matches!(op.key().0, Kind::Consumer | Kind::KeyAuth);
        if ops.iter().any(people) { Self::new(view) } else { Self(Arc::new(Inner { view, found: Arc::clone(&self.0.found) })) }
    }
    /// The credential of `kind` (`"key-auth"`) with that key, and whose it is; none also if the consumer is gone. An unknown kind
    /// has no credentials.
    pub fn holder(&self, kind: &str, key: &str) -> Result<Option<Arc<Holder>>, ViewError> {
        if kind != "key-auth" {
            return Ok(None);
        }
        let remembered = &self.0.found.key_auths;
        if let Some(holder) = remembered.get(key) {
            return Ok(Some(holder));
        }
        let Some(credential) = self.read_credential(Kind::KeyAuth, "key", key)? else { return Ok(None) };
        let Some(consumer) = self.consumer(credential.consumer)? else { return Ok(None) };
        let holder = Arc::new(Holder { credential, caller: Arc::new(Caller::new(consumer, Some(credential.id))) });
        if key.len() <= REMEMBERED_KEY_BYTES && is_small(&holder.caller.consumer) {
            remembered.insert(key.to_owned(), Arc::clone(&holder));
        }
        Ok(Some(holder))
    }
    /// The consumer with that id.
    pub fn consumer(&self, id: Id) -> Result<Option<Arc<Consumer>>, ViewError> {
        if let Some(consumer) = self.0.found.consumers.get(&id) {
            return Ok(Some(consumer));
        }
        let entity = self.0.view.get(Kind::Consumer, id)?;
        let consumer = entity.and_then(|entity| entity.parse().ok()).map(Arc::new);
        if let Some(consumer) = consumer.as_ref().filter(|consumer| is_small(consumer)) {
            self.0.found.consumers.insert(id, Arc::clone(consumer));
        }
        Ok(consumer)
    }
    /// The consumer with that id or, failing that, that username (Kong's `anonymous`).
    pub fn consumer_by_name(&self, name: &str) -> Result<Option<Arc<Consumer>>, ViewError> {
        let id = match Id::parse(name) {
            Some(id) => Some(id),
            None => self.0.view.find(Kind::Consumer, "username", name)?,
        };
        id.map_or(Ok(None), |id| self.consumer(id))
    }

    fn read_credential(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Credential>, ViewError> {
        let Some(id) = self.0.view.find(kind, index, key)? else { return Ok(None) };
        let Some(entity) = self.0.view.get(kind, id)? else { return Ok(None) };
        let Some(consumer) = entity.foreign("consumer") else { return Ok(None) };
        let seconds = |field: &str| entity.body.get(field).and_then(Value::as_u64);
        let expires = seconds("ttl").and_then(|ttl| Some(seconds("created_at")?.saturating_add(ttl)));
        Ok(Some(Credential { id, consumer, expires }))
    }
}

/// Whether a consumer's names are short enough to be remembered.
fn is_small(consumer: &Consumer) -> bool {
    let bytes = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    bytes(&consumer.username) + bytes(&consumer.custom_id) <= REMEMBERED_NAME_BYTES
}
