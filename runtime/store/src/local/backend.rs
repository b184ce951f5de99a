//! The file under `redb`, watched: which step failed first.
//!
//! `redb` refuses everything after the first failure of its file. What may be done then depends on which step it was:
//! after a failed write the file is as it was at the last commit; after a failed sync nobody knows, and the page cache
//! may claim that all is well.

use redb::{BackendError, StorageBackend, backends::FileBackend};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

/// The first failure of the file since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Health {
    write: OnceLock<String>,
    sync: OnceLock<String>,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

impl Health {
    /// Why a write or a growth of the file failed.
    pub(crate) fn failed_write(&self) -> Option<&str> {
        self.write.get().map(String::as_str)
    }
    /// Why the file could not be synced. It must not be written again by this process.
    pub(crate) fn failed_sync(&self) -> Option<&str> {
        self.sync.get().map(String::as_str)
    }
}

/// Failures to play in tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) write: std::sync::atomic::AtomicBool,
    pub(crate) sync: std::sync::atomic::AtomicBool,
    pub(crate) read: std::sync::atomic::AtomicBool,
}

/// A file that notes its failures.
#[derive(Debug)]
pub(crate) struct Watched {
    file: FileBackend,
    health: Arc<Health>,
}

impl Watched {
    pub(crate) fn new(file: File, health: Arc<Health>) -> Result<Self, redb::DatabaseError> {
        Ok(Self { file: FileBackend::new(file)?, health })
    }
    #[cfg(test)]
    fn play(&self, fault: impl Fn(&Faults) -> &std::sync::atomic::AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
        if fault(&self.health.faults).load(std::sync::atomic::Ordering::SeqCst) { Err(kind.into()) } else { Ok(()) }
    }
}

fn noted<T>(slot: &OnceLock<String>, result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result {
        // Only the first failure is the cause; `redb` makes the others of it.
        let _ = slot.set(error.to_string());
    }
    result
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        self.play(|faults| &faults.read, io::ErrorKind::Other)?;
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        noted(&self.health.write, self.file.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        noted(&self.health.sync, self.play(|faults| &faults.sync, io::ErrorKind::Other))?;
        noted(&self.health.sync, self.file.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        noted(&self.health.write, self.play(|faults| &faults.write, io::ErrorKind::StorageFull))?;
        noted(&self.health.write, self.file.write(offset, data))
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
