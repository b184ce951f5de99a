//! Opens, creates and verifies the file. Every way in is guarded: `redb` may panic on a file that was altered.

use super::backend::{Health, Watched};
use super::folder::io_error;
use crate::OpenError;
use crate::hash::Hashes;
use crate::replica::meta::{Meta, Role};
use crate::replica::verify::{self, Verified};
use crate::replica::{BLOBS, JOURNAL, ReplicaError, STATE};
use crate::row::FORMAT;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_model::Id;

/// Memory for pages while the whole file is read once, where keeping them gains nothing.
const ONCE_CACHE_BYTES: usize = 16 << 20;

/// An open file.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) health: Arc<Health>,
    pub(crate) meta: Meta,
    pub(crate) path: PathBuf,
}

/// Runs what may meet an altered file; a panic is a message.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // What `run` touched is thrown away after a panic: the caller closes the file.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_message(&*panic))
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Creates the file of a new cluster; it appears under its name when it is complete.
pub(crate) fn create(path: &Path, role: Role, cluster: Id, hashes: &Hashes) -> Result<(), OpenError> {
    let fresh = path.with_extension("redb.new");
    let failed = |error: ReplicaError| open_error(path, error);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let file = file.map_err(|cause| io_error(&fresh, cause))?;
    let database = build(file, Arc::default(), ONCE_CACHE_BYTES, false).map_err(|error| database_error(path, error))?;
    write_genesis(&database, role, cluster, hashes).map_err(failed)?;
    drop(database);
    let parent = path.parent().unwrap_or(Path::new("."));
    let renamed = fs::rename(&fresh, path).and_then(|()| File::open(parent)?.sync_all());
    renamed.map_err(|cause| io_error(path, cause))
}

fn write_genesis(database: &Database, role: Role, cluster: Id, hashes: &Hashes) -> Result<(), ReplicaError> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Meta::genesis(role, cluster, hashes).write(&mut transaction.open_table(STATE)?)?;
    transaction.open_table(JOURNAL)?;
    transaction.open_table(BLOBS)?;
    transaction.commit()?;
    Ok(())
}

/// Opens the file and checks that it is whose it should be and that its end is sound.
pub(crate) fn open(path: &Path, role: Role, cluster: Id, hashes: &Hashes, cache_bytes: usize) -> Result<Opened, OpenError> {
    let health = Arc::new(Health::default());
    let file = open_private(path)?;
    let opened = guarded(|| {
        let database = build(file, health.clone(), cache_bytes, false).map_err(|error| database_error(path, error))?;
        let meta = check(path, &database, role, cluster, hashes)?;
        Ok(Opened { database, health, meta, path: path.to_owned() })
    });
    opened.unwrap_or_else(|cause| Err(OpenError::Damaged { path: path.to_owned(), cause }))
}

/// Reads the whole file and proves it.
pub(crate) fn verify(path: &Path, role: Role, cluster: Id, hashes: &Hashes) -> Result<Verified, OpenError> {
    let file = open_private(path)?;
    let verified = guarded(|| {
        let database = build(file, Arc::default(), ONCE_CACHE_BYTES, true).map_err(|error| database_error(path, error))?;
        check(path, &database, role, cluster, hashes)?;
        let whole = || {
            let read = database.begin_read()?;
            verify::whole(&read.open_table(STATE)?, &read.open_table(JOURNAL)?, &read.open_table(BLOBS)?, hashes)
        };
        whole().map_err(|error| open_error(path, error))
    });
    verified.unwrap_or_else(|cause| Err(OpenError::Damaged { path: path.to_owned(), cause }))
}

fn open_private(path: &Path) -> Result<File, OpenError> {
    let failed = |cause| io_error(path, cause);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() == 0 {
        // `redb` would make a new, empty store of it.
        return Err(OpenError::Damaged { path: path.to_owned(), cause: "it is empty".to_owned() });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others could read the store's file, which holds secrets; now they cannot");
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(file)
}

fn build(file: File, health: Arc<Health>, cache_bytes: usize, whole_check: bool) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(whole_check);
    builder.create_with_backend(Watched::new(file, health)?)
}

fn check(path: &Path, database: &Database, role: Role, cluster: Id, hashes: &Hashes) -> Result<Meta, OpenError> {
    let failed = |error: ReplicaError| open_error(path, error);
    let read = database.begin_read().map_err(|error| failed(error.into()))?;
    let state = read.open_table(STATE).map_err(|error| failed(error.into()))?;
    match Meta::format(&state).map_err(failed)? {
        Some(found) if found > FORMAT => {
            return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
        }
        Some(_) | None => {}
    }
    let meta = Meta::read(&state).map_err(failed)?;
    if meta.cluster != cluster {
        return Err(OpenError::Foreign { path: path.to_owned(), found: format!("cluster {}", meta.cluster) });
    }
    if meta.role != role {
        return Err(OpenError::Foreign { path: path.to_owned(), found: meta.role.to_string() });
    }
    if meta.key_check != hashes.key_check(cluster) {
        return Err(OpenError::WrongKey { path: path.to_owned() });
    }
    let journal = read.open_table(JOURNAL).map_err(|error| failed(error.into()))?;
    read.open_table(BLOBS).map_err(|error| failed(error.into()))?;
    verify::quick(&meta, &journal, hashes).map_err(failed)?;
    Ok(meta)
}

fn open_error(path: &Path, error: ReplicaError) -> OpenError {
    match error {
        ReplicaError::File(error) => match *error {
            redb::Error::Io(cause) => storage_error(path, StorageError::Io(cause)),
            other => OpenError::Damaged { path: path.to_owned(), cause: other.to_string() },
        },
        ReplicaError::Read(cause) => OpenError::Damaged { path: path.to_owned(), cause },
        ReplicaError::Malformed(cause) => OpenError::Damaged { path: path.to_owned(), cause: cause.to_string() },
    }
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned(), holder: "another process".to_owned() },
        DatabaseError::Storage(error) => storage_error(path, error),
        other => OpenError::Damaged { path: path.to_owned(), cause: other.to_string() },
    }
}

fn storage_error(path: &Path, error: StorageError) -> OpenError {
    match error {
        // What is not `redb`'s file at all, or ends too early, is told by these two kinds.
        StorageError::Io(cause)
            if !matches!(cause.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            io_error(path, cause)
        }
        other => OpenError::Damaged { path: path.to_owned(), cause: other.to_string() },
    }
}
