//! Which file a node begins with: its replica, or a new one where there is none, or none that can be read.
//!
//! What the replica holds is in the store as well, so a damaged one is set aside, for whoever wants to know, and loaded anew. Without the
//! store it stays where it is.

use super::connection::{Connection, Reach};
use super::{Readiness, partition};
use crate::OpenError;
use crate::hash::Hashes;
use crate::local::file::{self, Opened};
use crate::local::folder::Folder;
use crate::replica::meta::Role;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Handle;
use weir_model::Id;

/// How long a start waits for Cassandra when this node has a replica to serve from.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// The same for a node that has nothing yet.
const LONG_WAIT: Duration = Duration::from_secs(30);

/// The file, and the cluster whose history it holds.
pub(super) fn open(
    folder: &Folder,
    connection: &mut Connection,
    runtime: &Handle,
    hashes: &Hashes,
    cache_bytes: usize,
) -> Result<(Id, Opened), OpenError> {
    let opened = |(cluster, path): (Id, PathBuf)| Ok((cluster, file::open(&path, Role::Replica, cluster, hashes, cache_bytes)?));
    let damage = match folder.find().and_then(|found| found.map(opened).transpose()) {
        Ok(Some(found)) => {
            reached(connection, runtime, SHORT_WAIT);
            return Ok(found);
        }
        Ok(None) => None,
        Err(damage @ (OpenError::Damaged { .. } | OpenError::Missing { .. })) => Some(damage),
        Err(error) => return Err(error),
    };
    let cluster = match reached(connection, runtime, LONG_WAIT) {
        // A node that has something to serve starts whatever has become of the tables: an empty store empties no node.
        Reach::Unready(readiness) => Err(OpenError::Tables(readiness)),
        _ => runtime
            .block_on(first_cluster(connection, hashes))
            .map_err(|cause| OpenError::NoReplica { path: folder.path().to_owned(), cause }),
    };
    let cluster = match (cluster, damage) {
        (Ok(cluster), Some(damage)) => {
            let aside = folder.set_aside(cluster, &damage)?;
            tracing::warn!(%damage, ?aside, "the replica cannot be read; this node loads what the store has");
            cluster
        }
        (Ok(cluster), None) => cluster,
        (Err(cause), Some(damage)) => return Err(OpenError::ReplicaLost { damage: Box::new(damage), cause: Box::new(cause) }),
        (Err(cause), None) => return Err(cause),
    };
    opened(folder.create(Role::Replica, cluster, hashes)?)
}

fn reached(connection: &mut Connection, runtime: &Handle, wait: Duration) -> Reach {
    runtime.block_on(async { tokio::time::timeout(wait, connection.known()).await }).unwrap_or(Reach::Connecting)
}

/// Which cluster the store is of, for a node that has nothing yet.
async fn first_cluster(connection: &Connection, hashes: &Hashes) -> Result<Id, String> {
    let prepared = connection.prepared()?;
    let end = partition::end(&prepared, &prepared.tip.serial).await?;
    let end = end.ok_or_else(|| Readiness::Missing.to_string())?;
    hashes.key_fault(end.cluster, &end.key_check).map_or(Ok(end.cluster), |fault| Err(fault.to_owned()))
}
