//! The embedded store: journal and state in one file on this machine.
//!
//! A journal row and the state that it leads to are one `redb` transaction, synced before anyone is answered. One thread
//! writes; readers take views and wait for nobody. Does not know what the entities mean.

mod backend;
mod file;
mod folder;
mod queue;
mod recovery;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use crate::hash::{Hashes, hex};
use crate::replica::verify::Verified;
use crate::replica::{ReplicaError, blobs};
use crate::row::{Row, decode_changes};
use crate::{BoxFuture, OpenError, Plan, Store, StoreError, StoreStatus, WriteError, Written};
use queue::{Queue, Work};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use view::{EmbeddedView, Tables};
use weir_model::{Digest, Revision, Transaction, View};

/// Bytes of rows that one call of `transactions` answers with at most (and always one row). The follower of this process
/// applies as it reads; more would only lie in memory.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How to open the embedded store.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedOptions {
    /// Keys the hashes of history and state, so that who can write the file cannot forge them. Unset: unkeyed.
    pub cluster_key: Option<[u8; 32]>,
}

/// The embedded store. Dropping it, or [`Embedded::close`], finishes the writes that wait and gives the file free.
pub struct Embedded {
    shared: Arc<Shared>,
    queue: Queue,
    path: PathBuf,
    // Declared last: the folder stays claimed until everything above is gone.
    folder: Mutex<Option<folder::Folder>>,
}

/// What the writer and the readers share.
struct Shared {
    newest: Mutex<Option<Arc<EmbeddedView>>>,
    moves: watch::Receiver<Revision>,
    holding: Mutex<Option<String>>,
    // One look at the file is enough for all readers that met a failure.
    look_asked: AtomicBool,
    #[cfg(test)]
    health: Mutex<Option<Arc<backend::Health>>>,
}

impl Shared {
    fn newest(&self) -> Option<Arc<EmbeddedView>> {
        locked(&self.newest).clone()
    }
}

/// A value behind a lock holds no invariant that a panic elsewhere could have broken: each is replaced whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Embedded {
    /// Opens the store in the folder `path` (`<prefix>/store`), which is created if it is not there.
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        Self::open_tuned(path.as_ref(), options, writer::Tuning::default())
    }

    fn open_tuned(path: &Path, options: EmbeddedOptions, tuning: writer::Tuning) -> Result<Arc<Self>, OpenError> {
        let hashes = Hashes::new(options.cluster_key);
        let folder = folder::Folder::claim(path)?;
        let (cluster, file) = folder.find_or_create(&hashes)?;
        let opened = file::open(&file, cluster, &hashes, tuning.cache_bytes)?;
        let (moves, receiver) = watch::channel(opened.meta.tip.revision);
        let shared = Arc::new(Shared {
            newest: Mutex::new(None),
            moves: receiver,
            holding: Mutex::new(None),
            look_asked: AtomicBool::new(false),
            #[cfg(test)]
            health: Mutex::new(None),
        });
        let queue = writer::start(shared.clone(), opened, hashes, moves, tuning)
            .map_err(|cause| OpenError::Io { path: file.clone(), cause })?;
        Ok(Arc::new(Self { shared, queue, path: file, folder: Mutex::new(Some(folder)) }))
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
        file::verify(&file, cluster, &Hashes::new(options.cluster_key)).map(Some)
    }

    /// Finishes the writes that wait, closes the file and gives it free for another process. Views fail from then on.
    /// Blocks until the writes that wait are done: some milliseconds, a second at most.
    pub fn close(&self) {
        self.queue.close();
        *locked(&self.shared.newest) = None;
        *locked(&self.folder) = None;
    }

    fn newest(&self) -> Result<Arc<EmbeddedView>, StoreError> {
        self.shared.newest().ok_or_else(|| StoreError::Unavailable { cause: "the store is closed".to_owned() })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for Embedded {
    fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Ok(self.newest()?)
    }

    fn write(&self, plan: Plan) -> BoxFuture<'_, Result<Written, WriteError>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let sent = self.queue.send(Work::Write { plan, reply });
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(queue::gone()))
        })
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        let mut moves = self.shared.moves.clone();
        moves.mark_unchanged();
        moves
    }

    fn transactions(&self, after: Revision, limit: usize) -> Result<Vec<Transaction>, StoreError> {
        let view = self.newest()?;
        if after > view.revision() {
            return Err(StoreError::Ahead { asked: after, tip: view.revision() });
        }
        let floor = view.meta().floor;
        if after < floor {
            return Err(StoreError::Trimmed { floor });
        }
        view.read(|tables| read_rows(tables, after, limit)).map_err(|error| StoreError::Unavailable { cause: error.0 })
    }

    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>> {
        Box::pin(async move {
            if bytes.len() > blobs::MAX_BLOB_BYTES {
                return Err(WriteError::TooLarge { unit: "bytes", size: bytes.len(), limit: blobs::MAX_BLOB_BYTES });
            }
            let (reply, answer) = tokio::sync::oneshot::channel();
            self.queue.send(Work::Blob { digest: blobs::digest(&bytes), bytes, reply })?;
            answer.await.unwrap_or_else(|_| Err(queue::gone()))
        })
    }

    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let view = self.newest()?;
            // Tens of megabytes are read and hashed: long enough to keep a worker of the runtime from its other work.
            let read = tokio::task::spawn_blocking(move || {
                let bytes = view.read(|tables| blobs::read(&tables.state, &tables.chunks, digest))?;
                Ok(bytes.map(|bytes| (blobs::digest(&bytes) == digest, bytes)))
            });
            let unavailable = |cause: String| StoreError::Unavailable { cause };
            match read.await.map_err(|error| unavailable(error.to_string()))? {
                Ok(Some((true, bytes))) => Ok(Some(bytes)),
                Ok(Some((false, _))) => Err(StoreError::BlobDamaged(digest)),
                Ok(None) => Ok(None),
                Err(weir_model::ViewError(cause)) => Err(unavailable(cause)),
            }
        })
    }

    fn status(&self) -> StoreStatus {
        let holding = locked(&self.shared.holding).clone();
        let meta = self.shared.newest().map(|view| view.meta().clone());
        let holding = if meta.is_none() { Some("the store is closed".to_owned()) } else { holding };
        StoreStatus {
            kind: "embedded",
            cluster: meta.as_ref().map(|meta| meta.cluster.to_string()).unwrap_or_default(),
            revision: meta.as_ref().map(|meta| meta.tip.revision).unwrap_or_default(),
            head: meta.as_ref().map(|meta| hex(&meta.tip.head)).unwrap_or_default(),
            state: meta.as_ref().map(|meta| hex(&meta.tip.state.0)).unwrap_or_default(),
            floor: meta.as_ref().map(|meta| meta.floor).unwrap_or_default(),
            file_bytes: std::fs::metadata(&self.path).map(|file| file.len()).unwrap_or(0),
            path: self.path.display().to_string(),
            writes_waiting: self.queue.waiting(),
            holding,
        }
    }
}

fn read_rows(tables: &Tables, after: Revision, limit: usize) -> Result<Vec<Transaction>, ReplicaError> {
    let mut transactions = Vec::new();
    let mut bytes = 0;
    for entry in tables.journal.range(after.next().0..)?.take(limit) {
        let (revision, row) = entry?;
        bytes += row.value().len();
        if bytes > MAX_ANSWER_BYTES && !transactions.is_empty() {
            break;
        }
        let changes = decode_changes(&Row::decode(row.value())?.ops)?;
        let ops = changes.into_iter().map(crate::row::Change::into_op).collect();
        transactions.push(Transaction { revision: Revision(revision.value()), ops });
    }
    Ok(transactions)
}
