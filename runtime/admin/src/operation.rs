//! One write of an entity, by a request of its own or as part of a transaction: what it names, and what it comes to.

use crate::body::Input;
use crate::entity::{autos, now};
use crate::error::Fault;
use crate::path::{Endpoint, Parent};
use crate::plugin::Known;
use crate::precondition::Precondition;
use crate::wish::{Mode, Place, Wish};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use weir_model::constraints::{self, Change, find};
use weir_model::{Entity, Kind, Op, Refusal, Revision, View};
use weir_store::Planned;

/// A write.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// POST, PUT, PATCH.
    Put(Wish),
    /// DELETE.
    Delete(Removal),
}

/// A DELETE.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    kind: Kind,
    key: String,
    parent: Option<Parent>,
    condition: Precondition,
    now: u64,
}

/// What an operation comes to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Judged {
    pub(crate) done: Done,
    /// The results; empty when everything is so already.
    pub(crate) ops: Vec<Op>,
}

/// What the client is told of an operation; a plan hands it over as JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    status: u16,
    /// As it is from then on; unset if it is gone.
    pub(crate) entity: Option<Entity>,
    /// The revision that it was last written at, if this write does not write it.
    pub(crate) written: Option<Revision>,
}

impl Operation {
    /// What a request for this path asks for.
    pub(crate) fn of(endpoint: Endpoint, method: &Method, input: Input, condition: Precondition) -> Result<Self, Fault> {
        if *method == Method::DELETE {
            let (kind, key, parent) = match endpoint {
                Endpoint::Entity(kind, key) => (kind, key, None),
                Endpoint::NestedEntity(parent, kind, key) => (kind, key, Some(parent)),
                _ => return Err(Fault::NotFound),
            };
            return Ok(Self::Delete(Removal { kind, key, parent, condition, now: now() }));
        }
        let mode = match *method {
            Method::POST => Mode::Insert,
            Method::PUT => Mode::Replace,
            _ => Mode::Merge,
        };
        let (kind, place) = match endpoint {
            Endpoint::Collection(kind) => (kind, Place::New(None)),
            Endpoint::Nested(parent, kind) => (kind, Place::New(Some(parent))),
            Endpoint::Entity(kind, key) => (kind, Place::At(key, None)),
            Endpoint::NestedEntity(parent, kind, key) => (kind, Place::At(key, Some(parent))),
            Endpoint::Foreign(via) => (via.target, Place::Via(via)),
            // `Endpoint::written` names no entity for the others.
            _ => return Err(Fault::NotFound),
        };
        Ok(Self::Put(Wish { kind, mode, place, input: input.fields, form: input.form, condition, autos: autos() }))
    }

    /// The kind of the entity that it writes.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Operation::Put(wish) => wish.kind,
            Operation::Delete(removal) => removal.kind,
        }
    }

    /// What it comes to in this state. `plugins` knows the plugin of a name.
    pub(crate) fn judge(&self, view: &dyn View, plugins: &dyn Fn(&str) -> Option<Arc<Known>>) -> Result<Judged, Refusal> {
        match self {
            Operation::Put(wish) => {
                let status = if wish.mode == Mode::Insert { StatusCode::CREATED } else { StatusCode::OK };
                Judged::of(view, wish.judge(view, plugins)?, status)
            }
            Operation::Delete(removal) => {
                let done = Done { status: StatusCode::NO_CONTENT.as_u16(), entity: None, written: None };
                Ok(Judged { done, ops: removal.judge(view)? })
            }
        }
    }
}

impl Judged {
    /// A change, judged against this view.
    pub(crate) fn of(view: &dyn View, change: Change, status: StatusCode) -> Result<Self, Refusal> {
        let Change { entity, ops } = change;
        let key = (entity.kind, entity.id);
        let written = if ops.iter().any(|op| op.key() == key) { None } else { view.revision_of(entity.kind, entity.id)? };
        Ok(Self { done: Done { status: status.as_u16(), entity: Some(entity), written }, ops })
    }
    /// What the plan of a single write says.
    pub(crate) fn planned(self) -> Planned {
        Planned { ops: self.ops, answer: self.done.to_json() }
    }
}

impl Done {
    /// What a plan hands over.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
    /// What a plan has handed over.
    pub(crate) fn from_json(value: Value) -> Result<Self, Fault> {
        serde_json::from_value(value).map_err(|error| Fault::Crashed(format!("the answer of a write cannot be read: {error}")))
    }
    /// Of the answer to a single request.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK)
    }
}

impl Removal {
    /// What is not there is gone already, unless the path says whose it is.
    fn judge(&self, view: &dyn View) -> Result<Vec<Op>, Refusal> {
        let entity = find(view, self.kind, &self.key)?;
        if let Some(parent) = &self.parent {
            let owner = find(view, parent.kind, &parent.key)?.ok_or(Refusal::NotFound)?;
            if entity.as_ref().and_then(|entity| entity.foreign(&parent.field)) != Some(owner.id) {
                return Err(Refusal::NotFound);
            }
        }
        self.condition.judge(view, entity.as_ref(), self.now)?;
        match entity {
            Some(entity) => constraints::delete(view, self.kind, entity.id),
            None => Ok(Vec::new()),
        }
    }
}
