//! The node's folder: what lies where, who may read it, and that only one node lives in it.
//!
//! ```text
//! run/weir.pid         the process id; locked for as long as the node lives
//! run/listeners.json   the addresses that were taken
//! logs/                access log
//! ssl/                 certificates that the node made for itself
//! store/               the embedded store
//! cache/               compiled plugins
//! node_id              who the node is
//! ```

use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Only the node's user looks into its folders: they hold keys, certificates and compiled code that is trusted.
const PRIVATE_FOLDER: u32 = 0o700;
/// What others may read: the pid and the addresses, for monitoring that runs as another user.
const PUBLIC_FOLDER: u32 = 0o755;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrefixError {
    /// A file or folder cannot be made or read.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another node lives there.
    #[error("a node of {prefix} runs already (process {pid}); stop it with `weir quit -p {prefix}`, or give this one another prefix", prefix = prefix.display())]
    Taken {
        /// The folder.
        prefix: PathBuf,
        /// Who.
        pid: String,
    },
}

/// The folder of one node.
#[derive(Clone, Debug)]
pub struct Prefix(PathBuf);

/// The addresses that a running node took, as `run/listeners.json` says them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listeners {
    /// Where clients come in.
    pub proxy: Vec<Address>,
    /// The Admin API.
    pub admin: Vec<Address>,
    /// `/status`.
    pub status: Vec<Address>,
}

/// One address that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// With the port that was really taken.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// Proof that this process is the only node of its prefix. Dropped with the process.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

impl Prefix {
    /// The folder at `path`; nothing is made yet.
    pub fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// The embedded store's folder.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }
    /// Compiled plugins.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
    /// Certificates of the node's own making.
    pub fn ssl(&self) -> PathBuf {
        self.0.join("ssl")
    }
    fn pid_file(&self) -> PathBuf {
        self.0.join("run/weir.pid")
    }
    fn listeners_file(&self) -> PathBuf {
        self.0.join("run/listeners.json")
    }

    /// Makes the folders that are missing.
    pub fn prepare(&self) -> Result<(), PrefixError> {
        for (folder, mode) in [
            (self.0.clone(), PUBLIC_FOLDER),
            (self.0.join("run"), PUBLIC_FOLDER),
            (self.0.join("logs"), PRIVATE_FOLDER),
            (self.ssl(), PRIVATE_FOLDER),
            (self.store(), PRIVATE_FOLDER),
            (self.cache(), PRIVATE_FOLDER),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&folder)
                .map_err(|cause| PrefixError::Io { path: folder, cause })?;
        }
        Ok(())
    }

    /// Becomes the node of this folder. The lock is the system's, so a node that was killed leaves nothing to clean up.
    pub fn lock(&self) -> Result<NodeLock, PrefixError> {
        let path = self.pid_file();
        let io = |cause| PrefixError::Io { path: path.clone(), cause };
        // Not truncated: until it is locked, the number in it is another node's.
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
        let mut file = open.map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io)?;
                return Err(PrefixError::Taken { prefix: self.0.clone(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(io(cause)),
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        // The addresses in there are of a node that has ended: nobody should be sent to them while this one starts.
        match std::fs::remove_file(self.listeners_file()) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(PrefixError::Io { path: self.listeners_file(), cause }),
            _ => Ok(NodeLock { _file: file }),
        }
    }

    /// Tells which addresses were taken. Written beside and renamed: a reader sees all of it or nothing.
    pub fn announce(&self, listeners: &Listeners) -> Result<(), PrefixError> {
        let path = self.listeners_file();
        let beside = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(listeners).map_err(io::Error::from);
        text.and_then(|text| std::fs::write(&beside, text))
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|cause| PrefixError::Io { path, cause })
    }

    /// Who the node of this folder is: made once, kept for as long as the folder is.
    pub fn node_id(&self) -> Result<String, PrefixError> {
        let path = self.0.join("node_id");
        let io = |cause| PrefixError::Io { path: path.clone(), cause };
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(io(cause)),
            _ => {}
        }
        let id = uuid::Uuid::new_v4().to_string();
        std::fs::write(&path, &id).map_err(io)?;
        Ok(id)
    }

    /// The addresses of the node that runs there.
    pub fn listeners(&self) -> Result<Listeners, PrefixError> {
        let path = self.listeners_file();
        let text = std::fs::read(&path).map_err(|cause| PrefixError::Io { path: path.clone(), cause })?;
        serde_json::from_slice(&text).map_err(|error| PrefixError::Io { path, cause: error.into() })
    }

    /// The node that runs there, if one does. That the file is locked proves it; a number in a file would not.
    pub fn running(&self) -> Result<Option<Running>, PrefixError> {
        let path = self.pid_file();
        let io = |cause| PrefixError::Io { path: path.clone(), cause };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(io(cause)),
        };
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(cause)) => return Err(io(cause)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let pid = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| io(io::Error::other("the file is locked, and holds no process id")))?;
        Ok(Some(Running { pid, file }))
    }
}

/// A node that lives.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub pid: rustix::process::Pid,
    file: File,
}

impl Running {
    /// Waits until the node has ended; false if it has not within `deadline`.
    pub fn wait_for_end(self, deadline: Duration) -> bool {
        let (ended, end) = std::sync::mpsc::channel();
        // The system wakes the thread when the node's lock goes; if it never does, the thread ends with this process.
        std::thread::spawn(move || {
            let is_free = self.file.lock_shared().is_ok();
            // Given back before it is told: whoever waits may want the lock for himself.
            drop(self.file);
            if is_free {
                let _ = ended.send(());
            }
        });
        end.recv_timeout(deadline).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_of_a_folder_is_refused_and_the_first_is_named() {
        let folder = std::env::temp_dir().join(format!("weir-prefix-{}", std::process::id()));
        let prefix = Prefix::new(&folder);
        prefix.prepare().unwrap();
        assert!(prefix.running().unwrap().is_none());
        let lock = prefix.lock().unwrap();
        let refusal = prefix.lock().unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        let running = prefix.running().unwrap().expect("it is locked");
        assert_eq!(running.pid.as_raw_nonzero().get() as u32, std::process::id());
        drop(lock);
        assert!(running.wait_for_end(Duration::from_secs(10)));
        // At once: nobody waits for a lock that the waiting itself holds.
        prefix.lock().unwrap();
        assert!(prefix.running().unwrap().is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
