//! Why a snapshot cannot be built. The one before stays.

use super::ServiceFault;
use crate::route::RouteFault;
use weir_model::{Id, Kind, ViewError};

/// Why a snapshot cannot be built. Names the entity to mend.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The replica cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// An entity in the store does not have the shape of its kind.
    #[error("{kind} {id}: {reason}", kind = kind.name())]
    Malformed {
        /// Its kind.
        kind: Kind,
        /// Its primary key.
        id: Id,
        /// In the words of the parser.
        reason: String,
    },
    /// A service that cannot be served.
    #[error("service {id}: {fault}")]
    Service {
        /// The service.
        id: Id,
        /// What is wrong with it.
        fault: ServiceFault,
    },
    /// A route that cannot be served.
    #[error("route {id}: {fault}")]
    Route {
        /// The route.
        id: Id,
        /// What is wrong with it.
        fault: RouteFault,
    },
}
