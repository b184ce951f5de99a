//! What the node knows about itself: for the Admin API, the status address and `weir status`.
//!
//! Gathers figures from the rooms at the moment of asking; keeps none.

use super::Trouble;
use crate::prefix::Listeners;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use weir_admin::{NodeFacts, NodeInfo, NodeStatus, ServerFigures};
use weir_model::Revision;
use weir_plugin_host::Host;
use weir_proxy::{Figures, Proxy};
use weir_store::Store;

/// The node's knowledge of itself.
pub struct Facts {
    /// Settings in force, without secrets.
    pub settings: Map<String, Value>,
    /// Addresses that were taken.
    pub listeners: Listeners,
    /// Of this prefix, for as long as it exists.
    pub node_id: String,
    /// The newest revision that is served.
    pub serving: watch::Receiver<Revision>,
    /// Rooms that are asked.
    pub proxy: Arc<Proxy>,
    /// Plugins.
    pub host: Arc<Host>,
    /// Configuration.
    pub store: Arc<dyn Store>,
    /// What is wrong.
    pub trouble: Trouble,
    /// Whether a load balancer should send requests.
    pub ready: AtomicBool,
}

impl Facts {
    /// From now on the node is ready, or is not.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
    /// Why a load balancer should not send requests here; unset: it may.
    ///
    /// A node that is behind is ready: it serves a whole configuration, and all its neighbours may be behind for the same reason.
    pub fn unready(&self) -> Option<&'static str> {
        (!self.ready.load(Ordering::Acquire)).then_some("the node is starting or ending")
    }
    /// Everything that `/status` shows.
    pub fn figures(&self) -> Value {
        let status = self.status();
        let store = self.store.status();
        json!({
            "ready": self.unready().is_none(),
            "pid": std::process::id(),
            "node_id": self.node_id,
            "version": env!("CARGO_PKG_VERSION"),
            "serving": *self.serving.borrow(),
            "server": status.server,
            "proxy": proxy_figures(&self.proxy.figures()),
            "memory": { "resident_bytes": status.memory_bytes },
            "database": { "reachable": store.holding.is_none(), "store": store },
            "plugins": status.plugins,
            "counts_shared": self.host.sharing(),
            "trouble": self.trouble.shown(),
            "listeners": self.listeners,
        })
    }
}

impl NodeFacts for Facts {
    fn serving(&self) -> watch::Receiver<Revision> {
        self.serving.clone()
    }
    fn status(&self) -> NodeStatus {
        NodeStatus {
            server: server_figures(&self.proxy.figures()),
            snapshot_error: self.trouble.snapshot_error(),
            plugins: serde_json::to_value(self.host.figures()).unwrap_or(Value::Null),
            memory_bytes: resident_bytes(),
        }
    }
    fn info(&self) -> NodeInfo {
        NodeInfo {
            hostname: super::store::hostname(),
            node_id: self.node_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: self.settings.clone(),
        }
    }
}

fn server_figures(figures: &Figures) -> ServerFigures {
    ServerFigures {
        connections_accepted: figures.connections_accepted,
        connections_handled: figures.connections_accepted.saturating_sub(figures.connections_refused),
        connections_active: figures.connections_active,
        // The proxy counts requests in flight; it does not tell those whose head is being read from those being answered.
        connections_reading: 0,
        connections_writing: figures.requests_in_flight,
        connections_waiting: figures.connections_active.saturating_sub(figures.requests_in_flight),
        total_requests: figures.requests,
    }
}

/// What the proxy counts beyond Kong's names.
fn proxy_figures(figures: &Figures) -> Value {
    json!({
        "requests_in_flight": figures.requests_in_flight,
        "upstream_idle_connections": figures.upstream_idle_connections,
        "access_events_dropped": figures.access_events_dropped,
        "ended": {
            "well": figures.ended_well,
            "failed_by_client": figures.failed_by_client,
            "failed_by_upstream": figures.failed_by_upstream,
            "failed_by_plugin": figures.failed_by_plugin,
            "failed_by_gateway": figures.failed_by_gateway,
        },
    })
}

/// Linux says it in kibibytes; elsewhere it is not known.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}
