//! Folders of clusters, and the removal of those whose process is gone.
//!
//! A shared cluster lives in a static, so nothing removes its folder at the end of its process: the next one does. A process holds a
//! lock on each folder of its own; the lock ends with it, however it ends.

use crate::HarnessError;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

const PREFIX: &str = "weir-cassandra-";
const LOCK: &str = "lock";

/// A folder that goes with the value.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A new one, after those that are left over are gone.
    pub(crate) fn new() -> Result<Self, HarnessError> {
        let base = std::env::temp_dir();
        sweep(&base);
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), RandomState::new().hash_one(0) >> 32);
        let path = base.join(name);
        let doing = || HarnessError::io(format!("making {}", path.display()));
        fs::create_dir(&path).map_err(doing())?;
        // Locked before it has its name: a process that sweeps at this moment must not take the folder for one left over.
        let unnamed = path.join("lock.new");
        let lock = File::create(&unnamed).map_err(doing())?;
        lock.lock().and_then(|()| fs::rename(&unnamed, path.join(LOCK))).map_err(doing())?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Nothing here may fail a start: a folder of another user's, or one that goes away at this moment, is left alone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // One without a lock file is being made at this moment.
        if is_ours && File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            drop(fs::remove_dir_all(&path));
        }
    }
}
