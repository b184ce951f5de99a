//! Compiled code on disk: one file for each (component, engine), written whole or not at all, checked when it is read.

use crate::error::HostError;
use crate::limits::{CACHED_FILES, COMPILED_BYTES};
use rustix::process::geteuid;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::Engine;
use weir_model::Digest;

/// Bytes of the digest that stands before the code.
const HEAD: usize = 32;

/// The folder, and the part of the names that says for which engine.
pub struct Cache {
    dir: PathBuf,
    engine: String,
    writes: AtomicU64,
}

impl Cache {
    /// Creates the folder, or takes it over if nobody else can write to it.
    pub fn open(dir: &Path, engine: &Engine) -> Result<Self, HostError> {
        let failed = |source| HostError::CacheDir { path: dir.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let metadata = std::fs::metadata(dir).map_err(failed)?;
        if metadata.uid() != geteuid().as_raw() {
            let reason = "it belongs to another user, who could replace the code that this node runs";
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
        }
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let mut hasher = Hash256(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = hasher.0.finalize().to_hex()[..32].to_owned();
        Ok(Self { dir: dir.to_owned(), engine, writes: AtomicU64::new(0) })
    }

    /// The code, if it is there and whole.
    pub fn get(&self, digest: Digest) -> Option<Vec<u8>> {
        let path = self.path(digest);
        if std::fs::metadata(&path).ok()?.len() > (HEAD + COMPILED_BYTES) as u64 {
            return None;
        }
        let mut bytes = std::fs::read(&path).ok()?;
        let (head, code) = bytes.split_at_checked(HEAD)?;
        if blake3::hash(code).as_bytes() != head {
            tracing::warn!(path = %path.display(), "compiled plugin code is damaged; it is compiled again");
            return None;
        }
        bytes.drain(..HEAD);
        Some(bytes)
    }

    /// Keeps the code: a temporary file, then a rename, so that no reader ever sees half of it.
    pub fn put(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!(".{}-{number}.new", std::process::id()));
        let written = || {
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(blake3::hash(code).as_bytes())?;
            file.write_all(code)?;
            std::fs::rename(&temporary, self.path(digest))
        };
        let outcome = written();
        if outcome.is_err() {
            // The reason is in `outcome`; what is left of the file is of no use.
            drop(std::fs::remove_file(&temporary));
        }
        self.prune()?;
        outcome
    }

    /// Removes the oldest files beyond the limit.
    fn prune(&self) -> io::Result<()> {
        let files = std::fs::read_dir(&self.dir)?.filter_map(Result::ok);
        let mut files: Vec<_> = files.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path()))).collect();
        if files.len() > CACHED_FILES {
            files.sort();
            for (_, path) in files.iter().take(files.len() - CACHED_FILES) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.engine))
    }
}

/// `std`'s own hashers have 64 bits; two engine configurations must never share a file.
struct Hash256(blake3::Hasher);

impl Hasher for Hash256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        let bytes = self.0.finalize();
        bytes.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::from_bytes([7; 32])
    }

    #[test]
    fn damaged_shortened_and_absent_files_are_not_given_out() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("code"), &Engine::default()).unwrap();
        assert_eq!(cache.get(digest()), None);
        cache.put(digest(), b"machine code").unwrap();
        assert_eq!(cache.get(digest()).as_deref(), Some(&b"machine code"[..]));
        let path = cache.path(digest());
        let whole = std::fs::read(&path).unwrap();
        for damage in [&whole[..10], &whole[..whole.len() - 1], b""] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(cache.get(digest()), None);
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert_eq!(cache.get(digest()), None);
        cache.put(digest(), b"machine code").unwrap();
        assert!(cache.get(digest()).is_some());
    }

    #[test]
    fn the_folder_is_closed_to_others_even_if_it_was_open() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Cache::open(dir.path(), &Engine::default()).unwrap();
        assert_eq!(std::fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_oldest_files_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), &Engine::default()).unwrap();
        for number in 0..CACHED_FILES {
            std::fs::write(dir.path().join(number.to_string()), b"").unwrap();
        }
        cache.put(digest(), b"new").unwrap();
        assert!(cache.get(digest()).is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), CACHED_FILES);
    }
}
