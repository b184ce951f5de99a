//! The store's file on this machine: journal and state in one `redb` file, one thread that writes, views that wait for nobody.
//!
//! A journal row and the state that it leads to are one `redb` transaction. Does not know what the entities mean, and not who
//! decides which transaction comes next: that is the writer itself (the embedded store), or an [`Authority`] that many nodes
//! share.

mod attempt;
pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod file;
pub(crate) mod folder;
mod follow;
pub(crate) mod queue;
mod recovery;
pub(crate) mod reload;
pub(crate) mod view;
pub(crate) mod writer;

use crate::hash::{Hashes, hex};
use crate::replica::{ReplicaError, blobs};
use crate::row::{Row, decode_changes};
use crate::{BoxFuture, OpenError, Plan, StoreError, StoreStatus, WriteError, Written};
use authority::Authority;
use queue::{Queue, Work};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use view::{LocalView, Tables};
use weir_model::{Digest, Revision, Transaction, View};

/// Bytes of rows that one call of `transactions` answers with at most (and always one row). The follower of this process
/// applies as it reads; more would only lie in memory.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The open file and its writer. Dropping it, or [`LocalStore::close`], finishes the writes that wait and gives the file free.
pub(crate) struct LocalStore {
    pub(crate) shared: Arc<Shared>,
    queue: Queue,
    path: PathBuf,
    // Declared last: the folder stays claimed until everything above is gone.
    folder: Mutex<Option<folder::Folder>>,
}
/// What the writer and the readers share.
pub(crate) struct Shared {
    newest: Mutex<Option<Arc<LocalView>>>,
    moves: watch::Receiver<Revision>,
    holding: Mutex<Option<String>>,
    /// When it was last known that the authority has nothing newer.
    pub(crate) confirmed: Mutex<Option<Instant>>,
    // One look at the file is enough for all readers that met a failure.
    look_asked: AtomicBool,
    #[cfg(test)]
    pub(crate) health: Mutex<Option<Arc<backend::Health>>>,
}

impl Shared {
    fn newest(&self) -> Option<Arc<LocalView>> {
        locked(&self.newest).clone()
    }
}

/// A value behind a lock holds no invariant that a panic elsewhere could have broken: each is replaced whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalStore {
    /// Publishes what an open file holds and starts its writer.
    pub(crate) fn start(
        folder: folder::Folder,
        opened: file::Opened,
        hashes: Hashes,
        tuning: writer::Tuning,
        authority: Option<Box<dyn Authority>>,
    ) -> Result<Self, OpenError> {
        let path = opened.path.clone();
        let (moves, receiver) = watch::channel(opened.meta.tip.revision);
        let shared = Arc::new(Shared {
            newest: Mutex::new(None),
            moves: receiver,
            holding: Mutex::new(None),
            confirmed: Mutex::new(None),
            look_asked: AtomicBool::new(false),
            #[cfg(test)]
            health: Mutex::new(None),
        });
        let queue = writer::start(shared.clone(), opened, hashes, moves, tuning, authority)
            .map_err(|cause| OpenError::Io { path: path.clone(), cause })?;
        Ok(Self { shared, queue, path, folder: Mutex::new(Some(folder)) })
    }

    /// Finishes the writes that wait, closes the file and gives it free for another process. Views fail from then on.
    pub(crate) fn close(&self) {
        self.close_within(None);
    }

    /// The same, but waits no longer than `limit`. Answers whether the writer has ended: if not, it is left to end with the process,
    /// which is no worse than a crash, and the folder stays claimed until then.
    pub(crate) fn close_within(&self, limit: Option<Duration>) -> bool {
        let ended = self.queue.close(limit);
        *locked(&self.shared.newest) = None;
        let folder = locked(&self.folder).take();
        if !ended {
            std::mem::forget(folder);
        }
        ended
    }

    fn newest(&self) -> Result<Arc<LocalView>, StoreError> {
        self.shared.newest().ok_or_else(|| StoreError::Unavailable { cause: "the store is closed".to_owned() })
    }

    /// Takes whatever history the authority has, and leaves this node's own beside it.
    pub(crate) fn adopt(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let sent = self.queue.send(Work::Adopt { reply });
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(queue::gone()))
        })
    }

    /// The newest state, for questions that belong together.
    pub(crate) fn newest_view(&self) -> Result<Arc<LocalView>, StoreError> {
        self.newest()
    }

    /// Why writes are refused at the moment; nothing while they are not.
    pub(crate) fn holding(&self) -> Option<String> {
        locked(&self.shared.holding).clone()
    }

    /// Asks the writer to look at what the authority has, now and not at its next turn.
    pub(crate) fn follow_now(&self) {
        // A full queue is served by a writer that looks anyway.
        drop(self.queue.send(Work::Follow));
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl LocalStore {
    /// See [`crate::Store`], as all that follow.
    pub(crate) fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Ok(self.newest()?)
    }

    pub(crate) fn write(&self, plan: Plan) -> BoxFuture<'_, Result<Written, WriteError>> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let sent = self.queue.send(Work::Write { plan, reply });
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(queue::gone()))
        })
    }

    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        let mut moves = self.shared.moves.clone();
        moves.mark_unchanged();
        moves
    }

    pub(crate) fn transactions(&self, after: Revision, limit: usize) -> Result<Vec<Transaction>, StoreError> {
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

    pub(crate) fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>> {
        Box::pin(async move {
            if bytes.len() > blobs::MAX_BLOB_BYTES {
                return Err(WriteError::TooLarge { unit: "bytes", size: bytes.len(), limit: blobs::MAX_BLOB_BYTES });
            }
            let (reply, answer) = tokio::sync::oneshot::channel();
            self.queue.send(Work::Blob { digest: blobs::digest(&bytes), bytes, reply })?;
            answer.await.unwrap_or_else(|_| Err(queue::gone()))
        })
    }

    pub(crate) fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
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

    pub(crate) fn status(&self, kind: &'static str) -> StoreStatus {
        let holding = locked(&self.shared.holding).clone();
        let meta = self.shared.newest().map(|view| view.meta().clone());
        let holding = if meta.is_none() { Some("the store is closed".to_owned()) } else { holding };
        // Another than at the start, once another history was adopted.
        let folder = self.path.parent().unwrap_or(&self.path);
        let path = meta.as_ref().map_or_else(|| self.path.clone(), |meta| folder::file_of(folder, meta.cluster));
        StoreStatus {
            kind,
            cluster: meta.as_ref().map(|meta| meta.cluster.to_string()).unwrap_or_default(),
            revision: meta.as_ref().map(|meta| meta.tip.revision).unwrap_or_default(),
            head: meta.as_ref().map(|meta| hex(&meta.tip.head)).unwrap_or_default(),
            state: meta.as_ref().map(|meta| hex(&meta.tip.state.0)).unwrap_or_default(),
            confirmed_ms: locked(&self.shared.confirmed).map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            floor: meta.as_ref().map(|meta| meta.floor).unwrap_or_default(),
            file_bytes: std::fs::metadata(&path).map(|file| file.len()).unwrap_or(0),
            path: path.display().to_string(),
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
