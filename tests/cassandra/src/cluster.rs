//! A cluster: addresses, files and nodes, started together and seen up by each other.

use crate::config::{Java, SEEDS, Start};
use crate::error::HarnessError;
use crate::installation::Installation;
use crate::network::{DETOURS_MOST, NATIVE_PORT, Network};
use crate::node::{Node, SAID_LINES, START_WAIT, folder_of};
use crate::options::Options;
use crate::process::GLANCE;
use crate::proxy::FaultProxy;
use crate::scratch::Scratch;
use crate::{certificates, log};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Each takes about 0.9 GB and, while it starts, a core.
pub const NODES_MOST: usize = 3;
/// A port may be lost to another program, and a node may give up on seeds that are slow to start.
const ATTEMPTS: u32 = 3;

/// How one node sees another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// It takes part.
    Up,
    /// It has been silent for too long.
    Down,
}

/// What does not change while a cluster lives, shared by its nodes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) options: Options,
    pub(crate) java: Java,
    network: Network,
    root: PathBuf,
}

impl Plan {
    pub(crate) fn address(&self, node: usize) -> Ipv4Addr {
        self.network.address(node)
    }
    pub(crate) fn hidden(&self, node: usize) -> Option<Ipv4Addr> {
        self.options.behind_proxies.then(|| self.network.hidden_address(node))
    }
    pub(crate) fn folder(&self, node: usize) -> PathBuf {
        folder_of(&self.root, node)
    }
    pub(crate) fn log(&self, node: usize) -> PathBuf {
        self.folder(node).join("node.log")
    }
}

/// Nodes that run; they and their files go when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // Before the folder: nodes must be gone before their files are.
    nodes: Vec<Node>,
    plan: Arc<Plan>,
    _scratch: Scratch,
}

impl Cluster {
    /// Starts 1 to 3 nodes with the harness's own options, and waits until each answers and all see each other up.
    pub fn start(nodes: usize) -> Result<Self, HarnessError> {
        Self::start_with(nodes, Options::default())
    }

    pub(crate) fn start_with(nodes: usize, options: Options) -> Result<Self, HarnessError> {
        if nodes == 0 || nodes > NODES_MOST {
            return Err(HarnessError::Size(nodes));
        }
        let java = Java::new(Installation::find()?)?;
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            match Self::attempt(nodes, &options, &java) {
                Err(failed @ HarnessError::Deadline { .. }) => said = failed.to_string(),
                outcome => return outcome,
            }
        }
        Err(HarnessError::NotUp { attempts: ATTEMPTS, said })
    }

    fn attempt(nodes: usize, options: &Options, java: &Java) -> Result<Self, HarnessError> {
        let scratch = Scratch::new()?;
        let network = Network::free(nodes)?;
        let plan = Arc::new(Plan {
            name: "weir-tests".to_owned(),
            addresses: (0..nodes).map(|node| network.address(node)).collect(),
            options: options.clone(),
            java: java.clone(),
            network,
            root: scratch.path().to_path_buf(),
        });
        let nodes = (0..nodes).map(|index| Node::new(index, Arc::clone(&plan))).collect::<Result<Vec<_>, _>>()?;
        let cluster = Self { nodes, plan, _scratch: scratch };
        if options.tls {
            let folders: Vec<_> = cluster.nodes.iter().enumerate().map(|(i, node)| (cluster.plan.folder(i), node.ip())).collect();
            certificates::make(&java.installation, &cluster.plan.root, &folders, options.client_authority.as_deref())?;
        }
        let end = Instant::now() + START_WAIT;
        // The seeds at once: nothing is to be streamed, and most of a start is loading classes. Another gives up on seeds that are
        // slow to start.
        let now = &cluster.nodes[..cluster.nodes.len().saturating_sub(options.joining)];
        let (seeds, others) = now.split_at(SEEDS.min(now.len()));
        for together in [seeds, others] {
            together.iter().try_for_each(|node| node.launch(Start::Usual))?;
            together.iter().try_for_each(|node| node.wait_until_answering(end))?;
        }
        cluster.wait_for_all_up(end)?;
        if options.authentication {
            cluster.wait_for_superuser(end)?;
        }
        Ok(cluster)
    }

    /// Where drivers begin: every node.
    pub fn contact_points(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::address).collect()
    }
    /// A further way to the nodes: a proxy in front of each, which a driver takes that is told to (by the translation of addresses),
    /// so that one client's way can be broken and no other's.
    pub fn detour(&self) -> Result<Vec<FaultProxy>, HarnessError> {
        let mut refused = HarnessError::Size(0);
        for way in 0..DETOURS_MOST {
            let place = |node| SocketAddr::from((self.plan.network.detour_address(node, way), NATIVE_PORT));
            let proxies = self.nodes.iter().enumerate().map(|(node, to)| FaultProxy::at(place(node), to.address()));
            match proxies.collect() {
                Ok(proxies) => return Ok(proxies),
                // Taken by a way that is still in use.
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
    /// One node, counted from 0. Panics, as a slice does, if there are not so many.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }
    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// The certificate of whoever signed the nodes', if the cluster was started with [`Options::tls`].
    pub fn ca_pem(&self) -> Option<PathBuf> {
        self.plan.options.tls.then(|| self.plan.root.join(certificates::CA_FILE))
    }
    /// The data centre of each node.
    pub fn datacenters(&self) -> Vec<&str> {
        let names = &self.plan.options.datacenters;
        (0..self.nodes.len()).map(|node| names.get(node).map_or("datacenter1", String::as_str)).collect()
    }

    /// Waits until all nodes that run see each other up: after `start_again`, `replace`, `resume`.
    pub fn until_all_up(&self) -> Result<(), HarnessError> {
        self.wait_for_all_up(Instant::now() + START_WAIT)
    }
    /// Waits until one node sees another so.
    pub fn until_seen(&self, by: usize, node: usize, seen: Seen) -> Result<(), HarnessError> {
        let is_seen = || self.sees_up(by, node) == Some(seen == Seen::Up);
        self.wait(Instant::now() + START_WAIT, is_seen, || format!("node {by} sees node {node} {seen:?}"))
    }

    fn wait_for_all_up(&self, end: Instant) -> Result<(), HarnessError> {
        let running = || (0..self.nodes.len()).filter(|&node| self.nodes[node].is_running());
        let blind =
            || running().flat_map(|by| running().map(move |node| (by, node))).find(|&(by, node)| !self.is_member(by, node));
        self.wait(end, || blind().is_none(), || format!("all nodes see each other up ({:?} does not)", blind()))
    }
    /// Whether one node sees another up that says of itself that it has joined.
    fn is_member(&self, by: usize, node: usize) -> bool {
        let own = || log::since(&self.plan.log(node), self.nodes[node].mark(node));
        by == node || self.sees_up(by, node) == Some(true) && log::has_joined(&own(), self.plan.address(node))
    }
    /// The last word of one node on another, since the later start of the two.
    fn sees_up(&self, by: usize, node: usize) -> Option<bool> {
        let since = self.nodes[by].mark(by).max(self.nodes[node].mark(by));
        log::sees_up(&log::since(&self.plan.log(by), since), self.plan.address(node))
    }
    /// One of the nodes makes the first role; until then nobody can log in.
    fn wait_for_superuser(&self, end: Instant) -> Result<(), HarnessError> {
        let is_made = || self.nodes.iter().any(|node| log::since(&node.log_path(), 0).contains("Created default superuser role"));
        self.wait(end, is_made, || "the role `cassandra` is made".to_owned())
    }

    fn wait(&self, end: Instant, is_so: impl Fn() -> bool, what: impl Fn() -> String) -> Result<(), HarnessError> {
        while !is_so() {
            if Instant::now() > end {
                let logs = self.nodes.iter().map(|node| format!("\n{node:?}\n{}", node.log_tail(SAID_LINES)));
                return Err(HarnessError::Deadline { what: what(), said: logs.collect() });
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }
}
