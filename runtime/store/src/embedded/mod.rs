//! The embedded store: journal and state in one file, and this process alone decides what comes next.
//!
//! Nobody is answered before the file is synced. All of the work is `local`'s; here is which file it is.

#[cfg(test)]
mod tests;

use crate::hash::Hashes;
use crate::local::{LocalStore, file, folder, writer};
use crate::replica::meta::Role;
use crate::replica::verify::Verified;
use crate::{
    BoxFuture, NodeIdentity, NodeState, OpenError, Outcome, OwnState, Plan, Store, StoreError, StoreStatus, WriteError, Written,
};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use weir_model::{Digest, Revision, Transaction, TransactionId, View};

/// How to open the embedded store.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedOptions {
    /// Keys the hashes of history and state, so that who can write the file cannot forge them. Unset: unkeyed.
    pub cluster_key: Option<[u8; 32]>,
    /// Who this node is; it is the only one.
    pub node: NodeIdentity,
}

/// The embedded store. Dropping it, or [`Embedded::close`], finishes the writes that wait and gives the file free.
pub struct Embedded {
    local: LocalStore,
    node: NodeIdentity,
    told: watch::Sender<OwnState>,
    moved: watch::Sender<u64>,
}

impl Embedded {
    /// Opens the store in the folder `path` (`<prefix>/store`), which is created if it is not there.
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        Self::open_tuned(path.as_ref(), options, writer::Tuning::default())
    }

    fn open_tuned(path: &Path, options: EmbeddedOptions, tuning: writer::Tuning) -> Result<Arc<Self>, OpenError> {
        let EmbeddedOptions { cluster_key, node } = options;
        let hashes = Hashes::new(cluster_key);
        let folder = folder::Folder::claim(path)?;
        let (cluster, file) = folder.find_or_create(&hashes)?;
        let opened = file::open(&file, Role::Embedded, cluster, &hashes, tuning.cache_bytes)?;
        let local = LocalStore::start(folder, opened, hashes, tuning, None)?;
        Ok(Arc::new(Self { local, node, told: watch::Sender::default(), moved: watch::Sender::default() }))
    }

    /// Reads a store that no process has open from end to end and proves its chain, state, indexes and blobs. Nothing
    /// if there is no store yet.
    pub fn verify(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Option<Verified>, OpenError> {
        let path = path.as_ref();
        if !path.exists() {
            return Ok(None);
        }
        let folder = folder::Folder::claim(path)?;
        let Some((cluster, file)) = folder.find()? else { return Ok(None) };
        file::verify(&file, Role::Embedded, cluster, &Hashes::new(options.cluster_key)).map(Some)
    }

    /// Finishes the writes that wait, closes the file and gives it free for another process. Views fail from then on.
    /// Blocks until the writes that wait are done: some milliseconds, a second at most.
    pub fn close(&self) {
        self.local.close();
    }
}

fn alone() -> WriteError {
    let reason = "the embedded store has one history, its own; there is nothing to take or to give".to_owned();
    WriteError::Refused(weir_model::Refusal::Conflict(reason))
}

impl Store for Embedded {
    fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        self.local.view()
    }
    fn write(&self, plan: Plan) -> BoxFuture<'_, Result<Written, WriteError>> {
        self.local.write(plan)
    }
    fn revisions(&self) -> watch::Receiver<Revision> {
        self.local.revisions()
    }
    fn transactions(&self, after: Revision, limit: usize) -> Result<Vec<Transaction>, StoreError> {
        self.local.transactions(after, limit)
    }
    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>> {
        self.local.put_blob(bytes)
    }
    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.local.blob(digest)
    }
    fn status(&self) -> StoreStatus {
        self.local.status("embedded")
    }
    fn outcome(&self, _: TransactionId) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        // Its appends are done or not when they are answered, or the disk is at fault, of which the status tells.
        Box::pin(async { Ok(Outcome::Forgotten) })
    }
    fn tell(&self, node: &OwnState) {
        self.told.send_if_modified(|told| std::mem::replace(told, node.clone()) != *node);
        self.moved.send_modify(|moved| *moved += 1);
    }
    fn nodes(&self) -> Vec<NodeState> {
        let told = self.told.borrow().clone();
        let applied = *self.local.revisions().borrow();
        vec![NodeState {
            id: self.node.id.to_string(),
            name: self.node.name.clone(),
            version: self.node.version.clone(),
            applied,
            serving: told.serving,
            lag: applied.0.saturating_sub(told.serving.0),
            trouble: told.trouble,
            live: true,
            silent_ms: 0,
            own: true,
        }]
    }
    fn nodes_moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }
    fn adopt(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        Box::pin(async { Err(alone()) })
    }
    fn republish(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        Box::pin(async { Err(alone()) })
    }
}
