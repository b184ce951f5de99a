//! Follows the store: makes components ready, builds the next snapshot, swaps it, and only then says that it serves.
//!
//! Runs on a thread of its own, because all of it blocks and none of it may take time from a worker. Knows the order of a change; what
//! a change means is known by the rooms that it calls.

use super::components::Components;
use super::{NodeError, Trouble};
use crate::settings::Settings;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use weir_model::{Kind, Op, Revision, View};
use weir_plugin_host::Host;
use weir_proxy::Proxy;
use weir_proxy::snapshot::{Snapshot, SnapshotBuilder};
use weir_store::{OwnState, Store, StoreError};

/// Transactions read at once. A backlog is applied in bites of this many, so that its memory stays bounded.
const TRANSACTIONS_AT_ONCE: usize = 1000;
/// A change that could not be applied is tried again, for the cause may have gone (memory for a compilation, room on a disk).
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What the node asks of the thread.
pub enum Order {
    /// Read `plugins_dir` again.
    Reload(Box<Settings>, oneshot::Sender<()>),
}

/// What is built, and from what.
pub struct Follower {
    store: Arc<dyn Store>,
    components: Components,
    builder: SnapshotBuilder,
    /// The view of the newest snapshot.
    view: Arc<dyn View>,
    serving: watch::Sender<Revision>,
    trouble: Trouble,
    /// Whether components changed since the last swap, so that some may have to go after the next.
    components_changed: bool,
    /// Which history the view is of.
    cluster: String,
}

impl Follower {
    /// Makes everything ready that the newest state needs, and builds the first snapshot.
    pub fn begin(
        store: Arc<dyn Store>,
        host: Arc<Host>,
        mut components: Components,
        trouble: Trouble,
    ) -> Result<(Self, Arc<Snapshot>), NodeError> {
        let view = store.view()?;
        components.install_all(&*view)?;
        let mut builder = SnapshotBuilder::new(host);
        let snapshot = builder.load(Arc::clone(&view))?;
        let serving = watch::Sender::new(view.revision());
        trouble.plugins_dir(components.refused());
        let cluster = store.status().cluster;
        let follower = Self { store, components, builder, view, serving, trouble, components_changed: false, cluster };
        follower.tell();
        follower.tell_missing(&snapshot);
        Ok((follower, snapshot))
    }

    /// Where it tells what is wrong.
    pub fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// The newest revision that the proxy serves.
    pub fn serving(&self) -> watch::Receiver<Revision> {
        self.serving.subscribe()
    }

    /// Follows until the store or the node goes away.
    pub fn run(mut self, runtime: &tokio::runtime::Handle, proxy: &Proxy, mut orders: mpsc::Receiver<Order>) {
        let mut moves = self.store.revisions();
        loop {
            self.catch_up(proxy);
            let event = runtime.block_on(async {
                tokio::select! {
                    moved = moves.changed() => moved.map(|()| None).map_err(drop),
                    order = orders.recv() => order.map(Some).ok_or(()),
                    () = tokio::time::sleep(RETRY_AFTER), if self.trouble.is_behind() => Ok(None),
                }
            });
            match event {
                Ok(None) => {}
                Ok(Some(Order::Reload(settings, done))) => {
                    self.reload(&settings, proxy);
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Err(()) => return,
            }
        }
    }

    /// Brings the proxy to the newest revision. What fails leaves the last snapshot serving, and is told.
    fn catch_up(&mut self, proxy: &Proxy) {
        match self.next_snapshot() {
            Ok(None) => {}
            Ok(Some(snapshot)) => {
                self.trouble.caught_up();
                self.publish(snapshot, proxy);
            }
            Err(error) => {
                tracing::error!(
                    serving = self.view.revision().0, newest = self.store.status().revision.0, error = %error,
                    "the new configuration cannot be served; the last one stays"
                );
                self.trouble.behind(error.to_string());
                self.tell();
            }
        }
    }

    /// The other nodes on this store learn what this one serves, and why not more.
    fn tell(&self) {
        self.store.tell(&OwnState { serving: *self.serving.borrow(), trouble: self.trouble.snapshot_error() });
    }

    fn next_snapshot(&mut self) -> Result<Option<Arc<Snapshot>>, NodeError> {
        // The view first: what is committed after it is left for the next round.
        let view = self.store.view()?;
        // A node that is behind tries again even if nothing is new: the builder reads the whole view after a failure.
        let cluster = self.store.status().cluster;
        let is_another_history = std::mem::replace(&mut self.cluster, cluster.clone()) != cluster;
        if view.revision() <= self.view.revision() && !is_another_history && !self.trouble.is_behind() {
            return Ok(None);
        }
        // An operator has told this node to take the store's history: its revisions say nothing of ours.
        let ops = if is_another_history {
            Err(StoreError::Trimmed { floor: view.revision() })
        } else {
            self.ops_until(view.revision())
        };
        let snapshot = match ops {
            Ok(ops) => {
                self.components_changed |= ops.iter().any(|op| op.key().0 == Kind::Component);
                // Components before the snapshot: its entries are made from them.
                self.components.prepare(&ops)?;
                self.builder.apply(&ops, Arc::clone(&view))?
            }
            // The journal no longer reaches back to where we are: all of it anew.
            Err(StoreError::Trimmed { .. }) => {
                self.components_changed = true;
                self.components.install_all(&*view)?;
                self.builder.load(Arc::clone(&view))?
            }
            Err(error) => return Err(error.into()),
        };
        self.view = view;
        Ok(Some(snapshot))
    }

    /// What leads from the served revision to that one: for an entity that changed several times, only the last result.
    fn ops_until(&self, newest: Revision) -> Result<Vec<Op>, StoreError> {
        let mut ops = Vec::new();
        let mut at = self.view.revision();
        while at < newest {
            let transactions = self.store.transactions(at, TRANSACTIONS_AT_ONCE)?;
            let Some(last) = transactions.last() else { break };
            at = last.revision;
            ops.extend(transactions.into_iter().filter(|it| it.revision <= newest).flat_map(|it| it.ops));
        }
        let mut seen = HashSet::new();
        ops.reverse();
        ops.retain(|op| seen.insert(op.key()));
        ops.reverse();
        Ok(ops)
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>, proxy: &Proxy) {
        let revision = snapshot.revision();
        self.tell_missing(&snapshot);
        proxy.publish(snapshot);
        // After the swap: no new exchange asks for what goes now.
        if std::mem::take(&mut self.components_changed) {
            self.components.retire(&*self.view);
        }
        // Last: whoever waits for the revision may send a request at once.
        self.serving.send_replace(revision);
        self.tell();
        tracing::debug!(revision = revision.0, "serving");
    }

    /// Plugins that entries use and this node does not have: what those entries apply to is answered 500, so nobody may overlook it.
    fn tell_missing(&self, snapshot: &Snapshot) {
        let missing = snapshot.missing_plugins().map(|(plugin, entries)| {
            let reason = format!(
                "{entries} enabled plugin entries use it and this node has no component of that name: every request that they apply to \
                 is answered 500. Put its file into plugins_dir again (weir reload), upload the component, or delete the entries"
            );
            (plugin.to_owned(), reason)
        });
        let missing: BTreeMap<String, String> = missing.collect();
        let told = self.trouble.plugins_missing(missing.clone());
        for (plugin, reason) in missing.iter().filter(|(plugin, _)| !told.contains_key(*plugin)) {
            tracing::error!(plugin, "the plugin is missing: {reason}");
        }
        for plugin in told.keys().filter(|plugin| !missing.contains_key(*plugin)) {
            tracing::info!(plugin, "the plugin is no longer missing");
        }
    }

    fn reload(&mut self, settings: &Settings, proxy: &Proxy) {
        let names = self.install_directory(settings.plugins_dir.as_deref());
        if names.is_empty() {
            return;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match self.builder.refresh(&names, Arc::clone(&self.view)) {
            Ok(snapshot) => self.publish(snapshot, proxy),
            Err(error) => {
                tracing::error!(%error, "plugins_dir was read, but no snapshot can be built of it; the last one stays");
                self.trouble.behind(error.to_string());
            }
        }
    }

    fn install_directory(&mut self, folder: Option<&Path>) -> Vec<String> {
        let names = self.components.install_directory(folder);
        self.trouble.plugins_dir(self.components.refused());
        names
    }
}
