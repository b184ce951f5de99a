//! Look-up of consumers and credentials while an exchange is served.
//!
//! There may be ten million of them, so they are not in the snapshot but in the replica, read through the view that the
//! snapshot holds: an exchange sees credentials and routes of one revision.

use crate::{Consumer, Id, Kind, View, ViewError};
use serde_json::Value;
use std::sync::Arc;

/// A credential that was found by its key.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Primary key of the credential; becomes `X-Credential-Identifier`.
    pub id: Id,
    /// Whose it is.
    pub consumer: Id,
    /// When it stops being valid: seconds of the Unix clock.
    pub expires: Option<u64>,
}

/// Read access to consumers and credentials at one revision.
#[derive(Clone)]
pub struct Directory(Arc<dyn View>);

impl Directory {
    /// Looks up in this view.
    pub fn new(view: Arc<dyn View>) -> Self {
        Self(view)
    }
    /// The credential of `kind` (`"key-auth"`) with that key. An unknown kind has no credentials.
    pub fn credential(&self, kind: &str, key: &str) -> Result<Option<Credential>, ViewError> {
        let (kind, index) = match kind {
            "key-auth" => (Kind::KeyAuth, "key"),
            _ => return Ok(None),
        };
        let Some(id) = self.0.find(kind, index, key)? else { return Ok(None) };
        let Some(entity) = self.0.get(kind, id)? else { return Ok(None) };
        let Some(consumer) = entity.foreign("consumer") else { return Ok(None) };
        let seconds = |field: &str| entity.body.get(field).and_then(Value::as_u64);
        let expires = seconds("ttl").and_then(|ttl| Some(seconds("created_at")?.saturating_add(ttl)));
        Ok(Some(Credential { id, consumer, expires }))
    }
    /// The consumer with that id.
    pub fn consumer(&self, id: Id) -> Result<Option<Consumer>, ViewError> {
        Ok(self.0.get(Kind::Consumer, id)?.and_then(|entity| entity.parse().ok()))
    }
    /// The consumer with that id or, failing that, that username (Kong's `anonymous`).
    pub fn consumer_by_name(&self, name: &str) -> Result<Option<Consumer>, ViewError> {
        let id = match Id::parse(name) {
            Some(id) => Some(id),
            None => self.0.find(Kind::Consumer, "username", name)?,
        };
        id.map_or(Ok(None), |id| self.consumer(id))
    }
}
