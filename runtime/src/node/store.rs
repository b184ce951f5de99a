//! Opens the store that the settings name.

use super::{NodeError, cluster_key};
use crate::prefix::Prefix;
use crate::settings::database::{CassandraSettings, Database};
use crate::settings::{Secret, Settings};
use std::sync::Arc;
use weir_model::Id;
use weir_store::{Cassandra, CassandraOptions, Embedded, EmbeddedOptions, NodeIdentity, Store, replica_folder};

/// Opens it; with Cassandra this waits for seconds if it does not answer.
pub fn open(settings: &Settings, prefix: &Prefix) -> Result<Arc<dyn Store>, NodeError> {
    let node = identity(prefix)?;
    Ok(match &settings.database {
        Database::Embedded => Embedded::open(prefix.store(), EmbeddedOptions { cluster_key: cluster_key(settings), node })?,
        Database::Cassandra(cassandra) => Cassandra::open(replica_folder(prefix.path()), options(settings, cassandra, node))?,
    })
}

/// How Cassandra is reached by a command that is no node.
pub fn cassandra_options(settings: &Settings) -> Option<CassandraOptions> {
    match &settings.database {
        Database::Embedded => None,
        Database::Cassandra(cassandra) => Some(options(settings, cassandra, NodeIdentity::default())),
    }
}

fn options(settings: &Settings, cassandra: &CassandraSettings, node: NodeIdentity) -> CassandraOptions {
    let credentials = match (&cassandra.username, &cassandra.password) {
        (Some(user), Some(Secret(password))) => Some((user.clone(), password.clone())),
        _ => None,
    };
    CassandraOptions {
        contact_points: cassandra.contact_points.clone(),
        keyspace: cassandra.keyspace.clone(),
        replication: cassandra.replication.clone(),
        credentials,
        tls: cassandra.tls.clone(),
        local_data_center: cassandra.local_data_center.clone(),
        connect_timeout: cassandra.timeout,
        update_frequency: cassandra.update_frequency,
        cluster_key: cluster_key(settings),
        node,
    }
}

fn identity(prefix: &Prefix) -> Result<NodeIdentity, NodeError> {
    let id = prefix.node_id()?;
    Ok(NodeIdentity {
        id: Id::parse(&id).unwrap_or_else(|| Id::from_name("node", &id)),
        name: hostname(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The name of this machine.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
