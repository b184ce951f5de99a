//! Why a write is not done. Each is the writer's to mend; the Admin API gives each its code and status.

use crate::{Findings, Id, Kind, Revision, ViewError};
use serde_json::{Map, Value};

/// The reason that a write was refused at the revision it was judged at.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The entity is not well formed.
    #[error("schema violation ({0})")]
    Schema(Findings),
    /// Another entity holds the same primary key.
    #[error("primary key violation on {0:?} {1}")]
    PrimaryKey(Kind, Id),
    /// Another entity holds the same unique value: the fields and values that collide.
    #[error("UNIQUE violation detected on '{0:?}'")]
    Unique(Map<String, Value>),
    /// The field points to an entity that does not exist.
    #[error("the foreign key '{field}' does not reference an existing '{kind}' entity", kind = kind.name())]
    ForeignKey {
        /// The field with the foreign key.
        field: String,
        /// What it should point to.
        kind: Kind,
        /// The value as given.
        value: Value,
    },
    /// The entity is still pointed to by others.
    #[error("an existing '{by}' entity references this '{kind}' entity", by = by.name(), kind = kind.name())]
    Referenced {
        /// What was to be deleted.
        kind: Kind,
        /// The kind of those that point to it.
        by: Kind,
    },
    /// There is no such entity.
    #[error("not found")]
    NotFound,
    /// `If-Match` named another revision.
    #[error("the entity has changed; it is at revision {0} now: read it and try again")]
    Changed(Revision),
    /// `If-Match` asked for an entity that is not there.
    #[error("If-Match asks for an entity that is there, and this one is not; leave If-Match out to create it")]
    Absent,
    /// `If-None-Match: *` asked that it is not there.
    #[error("the entity exists already, at revision {0}; leave If-None-Match out to replace it")]
    Exists(Revision),
    /// The request is well formed, and still not allowed; the message says why and what to do.
    #[error("{0}")]
    Conflict(String),
    /// The state could not be read to judge the write.
    #[error(transparent)]
    View(#[from] ViewError),
}
