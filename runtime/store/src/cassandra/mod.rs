//! The store that nodes share: the journal in Cassandra, and this node's replica of what it leads to.
//!
//! The replica answers every read, also while Cassandra is away; the journal decides every write. What the journal guarantees is in
//! `journal`, which file the replica is in `local`.

mod advice;
mod blobs;
#[cfg(test)]
pub(crate) mod broken;
mod checkpoint;
mod collecting;
mod connection;
mod counts;
mod journal;
mod nodes;
mod opening;
mod partition;
mod reason;
mod schema;
mod sealing;
#[cfg(test)]
mod tests;
mod tls;
mod turns;

use crate::hash::Hashes;
use crate::local::{LocalStore, file, folder, writer};
use crate::replica::blobs::MAX_BLOB_BYTES;
use crate::replica::meta::Role;
use crate::replica::verify::Verified;
use crate::{
    BoxFuture, NodeIdentity, NodeState, OpenError, Outcome, OwnState, Plan, SharedCounts, Store, StoreError, StoreStatus,
    WriteError, Written,
};
use checkpoint::Keeping;
use connection::Connection;
use counts::Counts;
use journal::SharedJournal;
use nodes::Nodes;
pub use schema::{Readiness, Replication};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
pub use tls::{CassandraTls, ClientFiles, TlsFile, TlsFileError};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use weir_model::{Digest, Revision, Transaction, TransactionId, View};

/// How long an end waits for the write in hand. With [`LEAVE_WAIT`] five seconds: container runtimes kill ten
/// seconds after they have asked for an end, and an append is pursued for longer than that.
const CLOSE_WAIT: Duration = Duration::from_millis(4500);
/// How long an end waits until the others are told.
const LEAVE_WAIT: Duration = Duration::from_millis(500);
/// How long a start waits until what the store has is applied, once it answers. A node that is far behind serves what it has.
const CATCH_UP_WAIT: Duration = Duration::from_secs(60);

/// How to reach Cassandra, and what is this node's own.
#[derive(Clone, Debug)]
pub struct CassandraOptions {
    /// `host:port` of some of its nodes; the others are learnt from them.
    pub contact_points: Vec<String>,
    /// Lower-case letters, digits and `_`.
    pub keyspace: String,
    /// Of a keyspace that is made.
    pub replication: Replication,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// How it is spoken to through TLS; unset: without.
    pub tls: Option<CassandraTls>,
    /// The data centre whose nodes are asked first.
    pub local_data_center: Option<String>,
    /// For each connection.
    pub connect_timeout: Duration,
    /// How often this node looks for what others have written.
    pub update_frequency: Duration,
    /// Keys the hashes of history and state, and seals what is stored; the same on every node. Unset: unkeyed, and in the clear.
    pub cluster_key: Option<[u8; 32]>,
    /// Who this node is.
    pub node: NodeIdentity,
    /// Where the nodes of Cassandra are found instead of where they say that they are.
    #[cfg(test)]
    pub(crate) detours: std::collections::HashMap<std::net::SocketAddr, std::net::SocketAddr>,
}

/// The store in Cassandra. Dropping it, or [`Cassandra::close`], finishes the write in hand and gives the replica free.
pub struct Cassandra {
    local: LocalStore,
    connection: Connection,
    hashes: Hashes,
    nodes: Arc<Nodes>,
    counts: Counts,
    update_frequency: Duration,
    /// The writer did not end in time and still waits for the store.
    writer_left: AtomicBool,
    // After the writer, which waits on it.
    runtime: Option<Runtime>,
}

impl Cassandra {
    /// Opens the replica in the folder `path` (`<prefix>/replica`) and begins to follow the store. Blocks: for seconds if Cassandra
    /// does not answer, and until what it has is applied if it does.
    pub fn open(path: impl AsRef<Path>, options: CassandraOptions) -> Result<Arc<Self>, OpenError> {
        Self::open_tuned(path.as_ref(), options, writer::Tuning::default(), Keeping::default())
    }

    fn open_tuned(
        path: &Path,
        options: CassandraOptions,
        tuning: writer::Tuning,
        keeping: Keeping,
    ) -> Result<Arc<Self>, OpenError> {
        let (hashes, options) = (Hashes::new(options.cluster_key), Arc::new(options));
        let folder = folder::Folder::claim(path)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("weir-cassandra").enable_all().build();
        let runtime = runtime.map_err(|cause| OpenError::Io { path: path.to_owned(), cause })?;
        let mut connection = Connection::begin(options.clone(), runtime.handle());
        let (cluster, opened) = opening::open(&folder, &mut connection, runtime.handle(), &hashes, tuning.cache_bytes)?;
        let (outlook_sender, mut outlook) = watch::channel(None);
        let journal = SharedJournal::new(
            connection.clone(),
            runtime.handle().clone(),
            hashes.clone(),
            cluster,
            options.update_frequency,
            Arc::new(outlook_sender),
        );
        let kept_hashes = hashes.clone();
        let local = LocalStore::start(folder, opened, hashes, tuning, Some(Box::new(journal)))?;
        // Ready means: what the store had when this node asked is served. A store that is away is not waited for.
        let looked =
            runtime.block_on(async { tokio::time::timeout(CATCH_UP_WAIT, outlook.wait_for(Option::is_some)).await.is_ok() });
        if !looked {
            tracing::warn!("this node is still catching up with the store; it serves what it has");
        }
        let nodes = Nodes::new(options.node.clone(), local.revisions());
        let update_frequency = options.update_frequency;
        runtime.spawn(nodes.clone().keep_telling(connection.clone(), update_frequency));
        let counts = Counts::new(connection.clone(), kept_hashes.clone());
        let store = Arc::new(Self {
            local,
            connection,
            hashes: kept_hashes,
            nodes,
            counts,
            update_frequency,
            writer_left: AtomicBool::new(false),
            runtime: Some(runtime),
        });
        store.begin_keeping_house(keeping);
        Ok(store)
    }

    /// Makes keyspace, tables and an empty journal, as far as they are not there. Answers what it did, line by line.
    pub fn bootstrap(options: &CassandraOptions) -> Result<Vec<String>, String> {
        once(async { schema::bootstrap(&connection::connect(options).await?, options).await })
    }

    /// Whether the tables are there. Fails as well if this node has not the cluster key that they were begun with.
    pub fn readiness(options: &CassandraOptions) -> Result<Readiness, String> {
        once(async {
            let session = connection::connect(options).await?;
            let readiness =
                schema::readiness(&session, &options.keyspace).await.map_err(|error| reason::of_statement(options, &error))?;
            if readiness == Readiness::Ready {
                schema::key_fits(&session, options).await?;
            }
            Ok(readiness)
        })
    }

    /// Makes the tables that came after the first version, as far as they are not there; answers their names. Nodes of older versions
    /// go on beside them.
    pub fn complete(options: &CassandraOptions) -> Result<Vec<&'static str>, String> {
        once(async { schema::complete(&connection::connect(options).await?, &options.keyspace).await })
    }

    /// The tables that [`Cassandra::complete`] would make.
    pub fn incomplete(options: &CassandraOptions) -> Result<Vec<&'static str>, String> {
        once(async {
            let session = connection::connect(options).await?;
            schema::incomplete(&session, &options.keyspace).await.map_err(|error| error.to_string())
        })
    }

    /// Nodes that live and run another version than the one that `options` name: `name (version)` of each. Takes seconds.
    pub fn of_other_versions(options: &CassandraOptions) -> Result<Vec<String>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let connection = Connection::begin(Arc::new(options.clone()), runtime.handle());
        runtime.block_on(async {
            let prepared = connection.prepared_soon().await?;
            nodes::of_other_versions(&prepared, &options.node.version).await
        })
    }

    /// What of Cassandra's own settings weakens what is promised, and what to do about it.
    pub fn advice(options: &CassandraOptions) -> Result<Vec<String>, String> {
        once(advice::advice(options))
    }

    /// Reads a replica that no process has open from end to end and proves it. Nothing if there is none.
    pub fn verify(path: impl AsRef<Path>, cluster_key: Option<[u8; 32]>) -> Result<Option<Verified>, OpenError> {
        let path = path.as_ref();
        if !path.exists() {
            return Ok(None);
        }
        let folder = folder::Folder::claim(path)?;
        let Some((cluster, file)) = folder.find()? else { return Ok(None) };
        file::verify(&file, Role::Replica, cluster, &Hashes::new(cluster_key)).map(Some)
    }

    /// Drops the keyspace with everything in it.
    pub fn reset(options: &CassandraOptions) -> Result<(), String> {
        once(async { schema::reset(&connection::connect(options).await?, &options.keyspace).await })
    }

    /// Finishes the write in hand, for five seconds at most, and gives the replica free. Views fail from then on.
    pub fn close(&self) {
        if !self.local.close_within(Some(CLOSE_WAIT)) {
            self.writer_left.store(true, Ordering::Relaxed);
            tracing::warn!("the store has not answered the last write; whether it is done is open");
        }
        if let Some(runtime) = &self.runtime {
            let (nodes, connection) = (self.nodes.clone(), self.connection.clone());
            let (done, left) = std::sync::mpsc::channel();
            runtime.spawn(async move {
                nodes.leave(&connection).await;
                // Whoever waited may have given up.
                let _ = done.send(());
            });
            // A store that does not answer learns of the end by silence.
            let _ = left.recv_timeout(LEAVE_WAIT);
        }
    }

    /// Why writes are refused at the moment, or this node does not follow; nothing while all is well.
    pub fn trouble(&self) -> Option<String> {
        self.local.holding()
    }

    fn begin_keeping_house(self: &Arc<Self>, keeping: Keeping) {
        let Some(runtime) = &self.runtime else { return };
        let store = Arc::downgrade(self);
        runtime.spawn(async move {
            // Soon after a start as well, of a node that starts anew every day.
            let mut collect_at = Instant::now() + keeping.collect_every / 24;
            loop {
                // Not all nodes at once: whoever comes second finds that it is done.
                let mut random = [0];
                let share = getrandom::fill(&mut random).map_or(0, |()| random[0]);
                tokio::time::sleep(keeping.period / 2 + keeping.period * u32::from(share) / 256).await;
                let Some(store) = store.upgrade() else { return };
                let mut done = store.keep_house(keeping).await;
                if done.is_ok() && Instant::now() >= collect_at {
                    collect_at = Instant::now() + keeping.collect_every;
                    done = store.collect(keeping.collect_after).await.map(|collected| collected.is_some());
                }
                // Dropped by this runtime's own task it could not wait for itself; it does not.
                drop(store);
                if let Err(cause) = done {
                    tracing::debug!(%cause, "no checkpoint could be written, or nothing collected");
                }
            }
        });
    }

    async fn keep_house(&self, keeping: Keeping) -> Result<bool, String> {
        let prepared = self.connection.prepared()?;
        let view = self.local.newest_view().map_err(|error| error.to_string())?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        checkpoint::keep_house(&prepared, &self.hashes, &view, keeping, now).await
    }

    /// Deletes bytes in the store that nobody refers to and that are older; answers how many uploads those were, or nothing if this node
    /// does not know enough to judge.
    async fn collect(&self, older: Duration) -> Result<Option<usize>, String> {
        let prepared = self.connection.prepared()?;
        let view = self.local.newest_view().map_err(|error| error.to_string())?;
        collecting::collect(&prepared, &view, older).await
    }

    /// How often this node looks.
    pub fn update_frequency(&self) -> Duration {
        self.update_frequency
    }

    /// Looks at the store now, and not at the next turn.
    pub fn follow_now(&self) {
        self.local.follow_now();
    }
}

/// Runs something short that needs a runtime, for a command.
fn once<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(work)
}

impl Drop for Cassandra {
    fn drop(&mut self) {
        self.close();
        let Some(runtime) = self.runtime.take() else { return };
        if self.writer_left.load(Ordering::Relaxed) {
            // The writer waits on it, until the process ends.
            std::mem::forget(runtime);
        } else {
            // May be dropped by a task of another runtime, which must not wait.
            runtime.shutdown_background();
        }
    }
}

impl Store for Cassandra {
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
        Box::pin(async move {
            if bytes.len() > MAX_BLOB_BYTES {
                return Err(WriteError::TooLarge { unit: "bytes", size: bytes.len(), limit: MAX_BLOB_BYTES });
            }
            let prepared = self.connection.prepared().map_err(|cause| WriteError::Unavailable { cause })?;
            // In the store before it is here: a component may be named as soon as this is answered.
            blobs::put_component(&prepared, &bytes).await.map_err(|cause| WriteError::Unavailable { cause })?;
            self.local.put_blob(bytes).await
        })
    }
    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            if let Some(bytes) = self.local.blob(digest).await? {
                return Ok(Some(bytes));
            }
            let Ok(prepared) = self.connection.prepared() else { return Ok(None) };
            let read = blobs::component(&prepared, digest).await;
            read.map_err(|unread| StoreError::Unavailable { cause: unread.to_string() })
        })
    }
    fn status(&self) -> StoreStatus {
        self.local.status("cassandra")
    }
    fn outcome(&self, transaction: TransactionId) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let unavailable = |cause| StoreError::Unavailable { cause };
            let prepared = self.connection.prepared().map_err(unavailable)?;
            let at = partition::slot(&prepared, transaction.first).await.map_err(unavailable)?;
            if let Some(random) = at {
                return Ok(if random == transaction.random { Outcome::Done } else { Outcome::NotDone });
            }
            let end = partition::end(&prepared, &prepared.tip.serial).await.map_err(unavailable)?;
            Ok(match end {
                Some(end) if end.floor >= transaction.first => Outcome::Forgotten,
                // The place is inside a row that begins earlier: another's append covers it.
                Some(end) if end.revision >= transaction.first => Outcome::NotDone,
                Some(_) | None => Outcome::Open,
            })
        })
    }
    fn tell(&self, node: &OwnState) {
        self.nodes.tell(node);
    }
    fn nodes(&self) -> Vec<NodeState> {
        self.nodes.list()
    }
    fn nodes_moved(&self) -> watch::Receiver<u64> {
        self.nodes.moved()
    }
    fn counts(&self) -> Option<&dyn SharedCounts> {
        Some(&self.counts)
    }
    fn adopt(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        Box::pin(async move {
            self.connection.prepared_soon().await.map_err(|cause| WriteError::Unavailable { cause })?;
            self.local.adopt().await
        })
    }
    fn republish(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        Box::pin(async move {
            let unavailable = |cause| WriteError::Unavailable { cause };
            let prepared = self.connection.prepared_soon().await.map_err(unavailable)?;
            let view = self.local.newest_view().map_err(|error| unavailable(error.to_string()))?;
            // A keyspace that was emptied, or is older, does not have them, and no node could load the state without.
            for digest in checkpoint::components(&view).map_err(unavailable)? {
                let bytes = self.local.blob(digest).await.map_err(|error| unavailable(error.to_string()))?;
                let bytes = bytes.ok_or_else(|| unavailable(format!("the bytes of component {digest} are not on this node")))?;
                blobs::put_component(&prepared, &bytes).await.map_err(unavailable)?;
            }
            let (cluster, revision) = checkpoint::republish(&prepared, &self.hashes, &view).await.map_err(unavailable)?;
            tracing::warn!(%cluster, revision = revision.0, "the configuration of this node is the store's now");
            self.local.adopt().await
        })
    }
}

/// Where the replica of a node is, below its folder.
pub fn replica_folder(prefix: &Path) -> PathBuf {
    prefix.join("replica")
}
