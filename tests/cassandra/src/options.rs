//! What a test wants of its cluster.

use crate::{Cluster, HarnessError};
use std::path::{Path, PathBuf};

/// When a write is on disk, seen from its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CommitlogSync {
    /// Before the answer, each batch of writes as soon as the last one is on disk.
    Batch,
    /// Before the answer, the writes of 10 ms together.
    Group,
    /// Up to 10 s after the answer: Cassandra's own default, which loses answered writes.
    Periodic,
}

/// How conditional writes agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaxosVariant {
    /// Cassandra's default.
    V1,
    /// With `paxos_state_purging: repaired`; sound across range movements.
    V2,
}

/// How a cluster is set up; `Options::default()` is what [`Cluster::start`] takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub(crate) heap: String,
    pub(crate) commitlog_sync: CommitlogSync,
    pub(crate) paxos_variant: PaxosVariant,
    pub(crate) datacenters: Vec<String>,
    pub(crate) authentication: bool,
    pub(crate) tls: bool,
    pub(crate) client_authority: Option<PathBuf>,
    pub(crate) behind_proxies: bool,
    pub(crate) yaml: Vec<String>,
    pub(crate) joining: usize,
    pub(crate) wrappers: Vec<(usize, Vec<String>)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // With less a start collects garbage for seconds; a node takes about 0.9 GB with it.
            heap: "512M".to_owned(),
            // What was answered must survive `kill()`, or no test of durability means anything.
            commitlog_sync: CommitlogSync::Batch,
            paxos_variant: PaxosVariant::V2,
            datacenters: Vec::new(),
            authentication: false,
            tls: false,
            client_authority: None,
            behind_proxies: false,
            yaml: Vec::new(),
            joining: 0,
            wrappers: Vec::new(),
        }
    }
}

impl Options {
    /// The heap of each node, as Java writes it: `512M`.
    #[must_use]
    pub fn heap(mut self, size: &str) -> Self {
        size.clone_into(&mut self.heap);
        self
    }
    /// When a write is on disk.
    #[must_use]
    pub fn commitlog_sync(mut self, sync: CommitlogSync) -> Self {
        self.commitlog_sync = sync;
        self
    }
    /// How conditional writes agree.
    #[must_use]
    pub fn paxos_variant(mut self, variant: PaxosVariant) -> Self {
        self.paxos_variant = variant;
        self
    }
    /// The data centre of each node, in their order. Without it all are in `datacenter1`.
    #[must_use]
    pub fn datacenters(mut self, names: &[&str]) -> Self {
        self.datacenters = names.iter().map(|&name| name.to_owned()).collect();
        self
    }
    /// Clients log in (`cassandra`/`cassandra` is there, a superuser), and permissions are checked.
    #[must_use]
    pub fn authentication(mut self) -> Self {
        self.authentication = true;
        self
    }
    /// Clients speak TLS, and nothing else is answered; [`Cluster::ca_pem`] is whom they trust.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }
    /// Clients speak TLS and show a certificate that the authority of this PEM file has signed.
    #[must_use]
    pub fn client_certificates(mut self, authority: &Path) -> Self {
        self.tls = true;
        self.client_authority = Some(authority.to_path_buf());
        self
    }
    /// Each node announces the address of a [`crate::FaultProxy`] ([`crate::Node::proxy`]) as its own, so that a driver reaches it
    /// through that alone, whichever way it has learned of the node. Nodes among each other speak directly.
    #[must_use]
    pub fn behind_proxies(mut self) -> Self {
        self.behind_proxies = true;
        self
    }
    /// A line of `cassandra.yaml`. Cassandra refuses a key that is written twice, so not one of those that the harness writes.
    #[must_use]
    pub fn yaml(mut self, line: &str) -> Self {
        self.yaml.push(line.to_owned());
        self
    }
    /// The last so many nodes are not started with the others: each joins the ring when [`crate::Node::join`] is called.
    #[must_use]
    pub fn joining(mut self, nodes: usize) -> Self {
        self.joining = nodes;
        self
    }
    /// A command that starts Java of that node, such as `&["faketime", "-f", "+10s"]`.
    #[must_use]
    pub fn wrapped(mut self, node: usize, command: &[&str]) -> Self {
        self.wrappers.push((node, command.iter().map(|&word| word.to_owned()).collect()));
        self
    }
    /// Starts a cluster of 1 to 3 nodes and waits until each answers and all see each other up.
    pub fn start(self, nodes: usize) -> Result<Cluster, HarnessError> {
        Cluster::start_with(nodes, self)
    }
}
