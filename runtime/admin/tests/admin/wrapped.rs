//! A store around the embedded one, whose nodes, outcomes and failures the tests decide.

use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;
use weir_model::{Digest, Revision, Transaction, TransactionId, View};
use weir_store::{
    BoxFuture, Embedded, EmbeddedOptions, NodeState, Outcome, OwnState, Plan, Store, StoreError, StoreStatus, WriteError, Written,
};

/// What a write shall end in.
pub type Failure = fn() -> WriteError;

pub struct Wrapped {
    inner: Arc<Embedded>,
    _folder: TempDir,
    nodes: Mutex<Vec<NodeState>>,
    moved: watch::Sender<u64>,
    listed: watch::Sender<u64>,
    pub outcome: Mutex<Outcome>,
    /// Each next write ends so, after its plan was judged.
    pub failure: Mutex<Option<Failure>>,
    /// Views are of this moment and get no newer, as on a node that is behind.
    pub stale: Mutex<Option<Arc<dyn View>>>,
}

impl Wrapped {
    pub fn new(nodes: Vec<NodeState>) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = Embedded::open(folder.path(), EmbeddedOptions::default()).expect("a store");
        Arc::new(Self {
            inner,
            _folder: folder,
            nodes: Mutex::new(nodes),
            moved: watch::Sender::default(),
            listed: watch::Sender::default(),
            outcome: Mutex::new(Outcome::Open),
            failure: Mutex::default(),
            stale: Mutex::default(),
        })
    }
    pub fn change_nodes(&self, change: impl FnOnce(&mut Vec<NodeState>)) {
        change(&mut self.nodes.lock().expect("not poisoned"));
        self.moved.send_modify(|moved| *moved += 1);
    }
    /// Moves when the nodes are listed.
    pub fn listed(&self) -> watch::Receiver<u64> {
        self.listed.subscribe()
    }
}

pub fn node(name: &str, serving: u64) -> NodeState {
    NodeState {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        applied: Revision(serving),
        serving: Revision(serving),
        lag: 0,
        trouble: None,
        live: true,
        silent_ms: 0,
        own: name == "own",
    }
}

impl Store for Wrapped {
    fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        match self.stale.lock().expect("not poisoned").as_ref() {
            Some(view) => Ok(view.clone()),
            None => self.inner.view(),
        }
    }
    fn write(&self, plan: Plan) -> BoxFuture<'_, Result<Written, WriteError>> {
        let failure = self.failure.lock().expect("not poisoned").take();
        Box::pin(async move {
            let written = self.inner.write(plan).await;
            // A write brings the node to the tip, whatever it came to.
            drop(self.stale.lock().expect("not poisoned").take());
            match failure {
                Some(failure) => Err(failure()),
                None => written,
            }
        })
    }
    fn revisions(&self) -> watch::Receiver<Revision> {
        self.inner.revisions()
    }
    fn transactions(&self, after: Revision, limit: usize) -> Result<Vec<Transaction>, StoreError> {
        self.inner.transactions(after, limit)
    }
    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>> {
        self.inner.put_blob(bytes)
    }
    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.inner.blob(digest)
    }
    fn status(&self) -> StoreStatus {
        self.inner.status()
    }
    fn outcome(&self, _: TransactionId) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        let outcome = *self.outcome.lock().expect("not poisoned");
        Box::pin(async move { Ok(outcome) })
    }
    fn tell(&self, _: &OwnState) {}
    fn nodes(&self) -> Vec<NodeState> {
        let nodes = self.nodes.lock().expect("not poisoned").clone();
        self.listed.send_modify(|listed| *listed += 1);
        nodes
    }
    fn nodes_moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }
    fn adopt(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        self.inner.adopt()
    }
    fn republish(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        self.inner.republish()
    }
}
