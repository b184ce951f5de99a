//! The store's folder: who has it, and which file in it is meant.
//!
//! `lock` is held by the process that uses the folder. `current` names the file that holds the configuration; without
//! it a lost file would look like a first start, and the gateway would come up with no routes. Files of other names are
//! left alone: a file is only ever continued under the cluster id that is its name.

use super::file;
use crate::OpenError;
use crate::hash::Hashes;
use crate::replica::meta::Role;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use weir_model::Id;

const LOCK: &str = "lock";
const CURRENT: &str = "current";

/// A folder that this process has claimed.
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is just being started holds the same open file until it has
        // replaced itself. A process that dies without coming here gives the lock back all the same.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, path = %self.path.display(), "the store's folder could not be unlocked");
        }
    }
}

impl Folder {
    /// Creates the folder if need be, and takes it for this process.
    pub(crate) fn claim(path: &Path) -> Result<Self, OpenError> {
        // Keys and other secrets stand in the file in clear text: nobody but the owner reads them.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|cause| io_error(path, cause))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let mut lock = lock.map_err(|cause| io_error(&lock_path, cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Only for the message; the lock is what counts.
                let _ = lock.read_to_string(&mut process);
                let process = process.trim();
                let holder = if process.is_empty() { "another process".to_owned() } else { format!("process {process}") };
                return Err(OpenError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(cause)) => return Err(io_error(&lock_path, cause)),
        }
        let noted = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        if let Err(error) = noted {
            // A full disk: the next process is then told "another process".
            tracing::warn!(%error, path = %lock_path.display(), "the process id could not be noted");
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The file of this folder and the cluster that it must belong to; a new one on the first start.
    pub(crate) fn find_or_create(&self, hashes: &Hashes) -> Result<(Id, PathBuf), OpenError> {
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        let cluster = Id::random();
        self.create(Role::Embedded, cluster, hashes)
    }

    /// A new, empty file, which is this folder's from now on.
    pub(crate) fn create(&self, role: Role, cluster: Id, hashes: &Hashes) -> Result<(Id, PathBuf), OpenError> {
        let path = self.file_of(cluster);
        file::create(&path, role, cluster, hashes)?;
        point_to(&self.path, cluster)?;
        Ok((cluster, path))
    }

    /// The file of this folder; nothing if there never was one.
    pub(crate) fn find(&self) -> Result<Option<(Id, PathBuf)>, OpenError> {
        let pointer = self.path.join(CURRENT);
        let files = self.files()?;
        match fs::read_to_string(&pointer) {
            Ok(text) => {
                let damaged = || OpenError::Damaged { path: pointer.clone(), cause: "it should hold a cluster id".to_owned() };
                let cluster = Id::parse(text.trim()).ok_or_else(damaged)?;
                let path = self.file_of(cluster);
                if !files.contains(&cluster) {
                    return Err(OpenError::Missing { path, pointer });
                }
                for other in files.iter().filter(|id| **id != cluster) {
                    tracing::warn!(file = %self.file_of(*other).display(), "a file of another configuration is left alone");
                }
                Ok(Some((cluster, path)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => match files.as_slice() {
                [] => Ok(None),
                // A restored backup, or a first start that was interrupted before it wrote the pointer.
                [cluster] => {
                    point_to(&self.path, *cluster)?;
                    Ok(Some((*cluster, self.file_of(*cluster))))
                }
                several => {
                    let files = several.iter().map(|id| format!("{id}.redb")).collect::<Vec<_>>().join(", ");
                    Err(OpenError::Ambiguous { path: self.path.clone(), files })
                }
            },
            Err(cause) => Err(io_error(&pointer, cause)),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file that cannot be read, and one that stands where that of `cluster` is to be, out of the way under a new name; answers
    /// what they are called now. Nothing is deleted.
    pub(crate) fn set_aside(&self, cluster: Id, damage: &OpenError) -> Result<Vec<PathBuf>, OpenError> {
        let mut files = vec![self.file_of(cluster)];
        if let OpenError::Damaged { path, .. } = damage
            && !files.contains(path)
        {
            files.push(path.clone());
        }
        let mut aside = Vec::new();
        for file in files.into_iter().filter(|file| file.exists()) {
            let free = |number: &u32| !damaged_name(&file, *number).exists();
            let to = damaged_name(&file, (1..).find(free).unwrap_or(u32::MAX));
            fs::rename(&file, &to).map_err(|cause| io_error(&to, cause))?;
            aside.push(to);
        }
        Ok(aside)
    }

    fn file_of(&self, cluster: Id) -> PathBuf {
        file_of(&self.path, cluster)
    }

    // The clusters that have a file here.
    fn files(&self) -> Result<Vec<Id>, OpenError> {
        let failed = |cause| io_error(&self.path, cause);
        let mut clusters = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            clusters.extend(name.to_str().and_then(|name| name.strip_suffix(".redb")).and_then(Id::parse));
        }
        clusters.sort_unstable();
        Ok(clusters)
    }
}

/// The file of a history.
pub(crate) fn file_of(folder: &Path, cluster: Id) -> PathBuf {
    folder.join(format!("{cluster}.redb"))
}

/// `….redb.damaged-1`, `-2`, …: no file that a start would take.
fn damaged_name(file: &Path, number: u32) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".damaged-{number}"));
    PathBuf::from(name)
}

/// Notes which file is meant.
pub(crate) fn point_to(folder: &Path, cluster: Id) -> Result<(), OpenError> {
    let (path, fresh) = (folder.join(CURRENT), folder.join("current.new"));
    let written = File::create(&fresh).and_then(|mut file| {
        writeln!(file, "{cluster}")?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&fresh, &path)).and_then(|()| File::open(folder)?.sync_all());
    renamed.map_err(|cause| io_error(&path, cause))
}

/// Says which kind of trouble a failed call of the system is.
pub(crate) fn io_error(path: &Path, cause: std::io::Error) -> OpenError {
    let path = path.to_owned();
    match cause.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => OpenError::NotWritable { path, cause },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            OpenError::DiskFull { path, cause: cause.to_string() }
        }
        _ => OpenError::Io { path, cause },
    }
}
