//! The embedded store: journal and state in one file on this machine.

use crate::{BoxFuture, OpenError, Plan, Store, StoreError, StoreStatus, WriteError, Written};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use weir_model::{Digest, Revision, Transaction, View};

/// How to open the embedded store.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedOptions {
    /// Keys the hashes of history and state, so that who can write the file cannot forge them. Unset: unkeyed.
    pub cluster_key: Option<[u8; 32]>,
}

/// The embedded store.
pub struct Embedded {}

impl Embedded {
    /// Opens the store in the folder `path` (`<prefix>/store`), which is created if it is not there.
    pub fn open(path: &Path, _options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        Err(OpenError::Io { path: path.to_owned(), cause: std::io::Error::other("being built") })
    }
}

impl Store for Embedded {
    fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Err(StoreError::Unavailable { cause: String::new() })
    }
    fn write(&self, _plan: Plan) -> BoxFuture<'_, Result<Written, WriteError>> {
        Box::pin(async { Err(WriteError::Unavailable { cause: String::new() }) })
    }
    fn revisions(&self) -> watch::Receiver<Revision> {
        watch::channel(Revision(0)).1
    }
    fn transactions(&self, _after: Revision, _limit: usize) -> Result<Vec<Transaction>, StoreError> {
        Ok(Vec::new())
    }
    fn put_blob(&self, _bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>> {
        Box::pin(async { Err(WriteError::Unavailable { cause: String::new() }) })
    }
    fn blob(&self, _digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
    fn status(&self) -> StoreStatus {
        StoreStatus {
            kind: "embedded",
            cluster: String::new(),
            revision: Revision(0),
            head: String::new(),
            state: String::new(),
            floor: Revision(0),
            file_bytes: 0,
            path: String::new(),
            writes_waiting: 0,
            holding: None,
        }
    }
}
