//! The writes that wait for the writer thread: first in, first out, and not too many.

use super::locked;
use crate::{Plan, WriteError, Written};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use weir_model::{Digest, Revision};

/// Writes that may wait. At some 1,000 writes a second the last of them waits about as long as an Admin client does
/// before it gives up; more would be answered to nobody.
pub(crate) const MAX_WAITING: usize = 4096;
/// Blob bytes that may wait: two uploads of the largest size. Uploads are rare, and each copy lies in memory.
pub(crate) const MAX_WAITING_BLOB_BYTES: usize = 64 << 20;

/// Something for the writer thread to do.
pub(crate) enum Work {
    /// Run a plan and append its results.
    Write { plan: Plan, reply: oneshot::Sender<Result<Written, WriteError>> },
    /// Store a blob.
    Blob { digest: Digest, bytes: Vec<u8>, reply: oneshot::Sender<Result<Digest, WriteError>> },
    /// Look at what the authority has.
    Follow,
    /// Take the authority's history instead of this one.
    Adopt { reply: oneshot::Sender<Result<Revision, WriteError>> },
    /// A read has failed: see whether the file must be opened anew.
    Look,
}

/// The way to the writer thread.
pub(crate) struct Queue {
    sender: Mutex<Option<mpsc::Sender<Work>>>,
    // A second handle, by which waiting writes are counted, keeps no thread alive.
    weak: mpsc::WeakSender<Work>,
    blob_bytes: std::sync::Arc<AtomicUsize>,
    writer: Mutex<Option<Running>>,
}

/// The writer thread, and what it holds until it ends.
pub(crate) struct Running {
    pub(crate) thread: JoinHandle<()>,
    pub(crate) ended: std::sync::mpsc::Receiver<()>,
}

impl Queue {
    pub(crate) fn new(sender: mpsc::Sender<Work>, blob_bytes: std::sync::Arc<AtomicUsize>, writer: Running) -> Self {
        let weak = sender.downgrade();
        Self { sender: Mutex::new(Some(sender)), weak, blob_bytes, writer: Mutex::new(Some(writer)) }
    }
    /// Puts work at the end of the queue, or says at once that there is no room.
    pub(crate) fn send(&self, work: Work) -> Result<(), WriteError> {
        let sender = locked(&self.sender).clone().ok_or_else(gone)?;
        let bytes = if let Work::Blob { bytes, .. } = &work { bytes.len() } else { 0 };
        let waiting_bytes = self.blob_bytes.fetch_add(bytes, Ordering::Relaxed);
        let refused = if bytes > 0 && waiting_bytes + bytes > MAX_WAITING_BLOB_BYTES {
            Err(WriteError::Busy { waiting: self.waiting() })
        } else {
            sender.try_send(work).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => WriteError::Busy { waiting: MAX_WAITING },
                mpsc::error::TrySendError::Closed(_) => gone(),
            })
        };
        if refused.is_err() {
            self.blob_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        refused
    }
    pub(crate) fn waiting(&self) -> usize {
        self.weak.upgrade().map_or(0, |sender| sender.max_capacity() - sender.capacity())
    }
    /// Takes no more work and waits until what waits is done, but no longer than `limit`. Answers whether it is.
    pub(crate) fn close(&self, limit: Option<Duration>) -> bool {
        drop(locked(&self.sender).take());
        let Some(writer) = locked(&self.writer).take() else { return true };
        // A plan may hold the last handle of the store, so that it is dropped on the writer thread, which cannot wait for itself.
        if writer.thread.thread().id() == std::thread::current().id() {
            return true;
        }
        // Nothing is ever sent: it is dropped with the thread.
        let waited = limit.map(|limit| writer.ended.recv_timeout(limit));
        if waited == Some(Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
            return false;
        }
        if writer.thread.join().is_err() {
            tracing::error!("the store's writer thread has panicked");
        }
        true
    }
}

/// The answer when there is no writer thread any more.
pub(crate) fn gone() -> WriteError {
    WriteError::Unavailable { cause: "the store is closed, because the gateway is stopping".to_owned() }
}
