//! Where Cassandra is: the folder that `cargo xtask cassandra` fills, and what stands in it.
//!
//! `lib/` holds the jars, `java` leads to a Java runtime. The folder is there whole or not at all: it is filled elsewhere and renamed.

use crate::HarnessError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The version of Cassandra that the tests run on.
pub const VERSION: &str = "5.0.9";
/// Names another folder than the one in the user's cache.
pub const FOLDER_VARIABLE: &str = "WEIR_CASSANDRA";

/// A prepared Cassandra.
#[derive(Clone, Debug)]
pub struct Installation {
    folder: PathBuf,
}

impl Installation {
    /// The folder by the rule that all share: `WEIR_CASSANDRA`, else `weir/cassandra-5.0.9` in the user's cache.
    pub fn folder() -> PathBuf {
        if let Some(folder) = set(FOLDER_VARIABLE) {
            return folder.into();
        }
        let cache =
            set("XDG_CACHE_HOME").map_or_else(|| PathBuf::from(set("HOME").unwrap_or_default()).join(".cache"), Into::into);
        cache.join(format!("weir/cassandra-{VERSION}"))
    }

    /// The prepared Cassandra in that folder.
    pub fn find() -> Result<Self, HarnessError> {
        Self::at(&Self::folder())
    }

    /// The one in a folder of the caller's choice.
    pub fn at(folder: &Path) -> Result<Self, HarnessError> {
        let found = Self { folder: folder.to_path_buf() };
        let is_complete = found.java().is_file() && found.folder.join(format!("lib/cassandra-all-{VERSION}.jar")).is_file();
        if is_complete { Ok(found) } else { Err(HarnessError::Missing(folder.to_path_buf())) }
    }

    /// The Java launcher.
    pub(crate) fn java(&self) -> PathBuf {
        self.folder.join("java/bin/java")
    }

    /// Java's tool for keys and certificates.
    pub(crate) fn keytool(&self) -> PathBuf {
        self.folder.join("java/bin/keytool")
    }

    /// Every jar, in an order that does not change from start to start: an archive of classes is valid for one order.
    pub(crate) fn class_path(&self) -> Result<OsString, HarnessError> {
        let lib = self.folder.join("lib");
        let entries = std::fs::read_dir(&lib).map_err(HarnessError::io(format!("reading {}", lib.display())))?;
        let mut jars: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        jars.retain(|path| path.extension().is_some_and(|ending| ending == "jar"));
        jars.sort();
        std::env::join_paths(jars)
            .map_err(|error| HarnessError::Io { doing: "joining the class path".to_owned(), cause: error.to_string() })
    }
}

/// A variable that is set to something.
fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
