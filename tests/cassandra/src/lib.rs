//! Real Cassandra nodes on loopback addresses of their own: started, paused, killed, replaced, cut off by a proxy.
//!
//! Knows processes, files and sockets; no driver, and none of Weir's rooms. Cassandra itself is prepared by `cargo xtask cassandra`
//! (see [`Installation`]). What is waited for is an event, with a deadline.
//!
//! ```no_run
//! # fn main() -> Result<(), weir_cassandra_harness::HarnessError> {
//! let cluster = weir_cassandra_harness::Cluster::start(3)?;
//! cluster.node(2).pause()?; // a node that hangs is worse than one that is gone
//! cluster.until_seen(0, 2, weir_cassandra_harness::Seen::Down)?;
//! cluster.node(2).resume()?;
//! cluster.until_all_up()?;
//! # Ok(())
//! # }
//! ```

mod certificates;
mod cluster;
mod config;
mod cql;
mod error;
mod installation;
mod log;
mod network;
mod node;
mod options;
mod process;
mod proxy;
mod scratch;

use std::sync::OnceLock;

pub use cluster::{Cluster, NODES_MOST, Seen};
pub use error::HarnessError;
pub use installation::{FOLDER_VARIABLE, Installation, VERSION};
pub use node::Node;
pub use options::{CommitlogSync, Options, PaxosVariant};
pub use proxy::{FaultProxy, Flow};

/// The cluster of that size which all tests of this process share; tests use keyspaces of their own, and leave its nodes running.
///
/// Started by the first call, however many come at once, and stopped by the end of the process: a static is never dropped, but every
/// node dies with the thread that started it. A start that failed is not tried again: each test tells the same reason at once.
pub fn shared(nodes: usize) -> Result<&'static Cluster, HarnessError> {
    static CLUSTERS: [OnceLock<Result<Cluster, HarnessError>>; NODES_MOST] = [const { OnceLock::new() }; NODES_MOST];
    let slot = nodes.checked_sub(1).and_then(|index| CLUSTERS.get(index)).ok_or(HarnessError::Size(nodes))?;
    // Each test has a keyspace of its own, so there come to be hundreds of tables, each with its memory.
    slot.get_or_init(|| Options::default().heap("1G").start(nodes)).as_ref().map_err(Clone::clone)
}
