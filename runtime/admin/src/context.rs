//! What the Admin API needs of the node that it runs in.

use crate::export::{EXPORT_IDLE, EXPORTS};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use weir_model::{PluginCatalog, Revision};
use weir_store::Store;

/// The level of Kong's Admin API that clients negotiate on: it selects the current formats of decK. Weir's own version is in a
/// field of its own.
pub const API_VERSION: &str = "3.9.0";

/// How long a write waits until this node serves it. A snapshot takes milliseconds; after this the write stands all the same,
/// and the answer says that serving is pending.
const SERVING_WAIT: Duration = Duration::from_secs(5);

/// Uploads at a time: each holds up to 32 MiB and then compiles, which takes a core.
const UPLOADS: usize = 2;

/// Transactions at a time: each may hold 16 MiB of JSON, and takes a core while it is judged.
const TRANSACTIONS: usize = 2;

/// Everything that the handlers use.
pub struct AdminContext {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<dyn PluginCatalog>,
    pub(crate) node: Arc<dyn NodeFacts>,
    pub(crate) token: Option<Token>,
    pub(crate) serving_wait: Duration,
    pub(crate) uploads: Semaphore,
    pub(crate) transactions: Semaphore,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) export_idle: Duration,
    /// Names of the plugins with entries, at a revision: `GET /` shows them, and counting them reads every entry.
    pub(crate) in_use: Mutex<Option<(Revision, Vec<String>)>>,
}

impl AdminContext {
    /// An Admin API on this store. Without a token it must listen on loopback only; the caller sees to that.
    pub fn new(store: Arc<dyn Store>, catalog: Arc<dyn PluginCatalog>, node: Arc<dyn NodeFacts>, token: Option<Token>) -> Self {
        Self {
            store,
            catalog,
            node,
            token,
            serving_wait: SERVING_WAIT,
            uploads: Semaphore::new(UPLOADS),
            transactions: Semaphore::new(TRANSACTIONS),
            exports: Arc::new(Semaphore::new(EXPORTS)),
            export_idle: EXPORT_IDLE,
            in_use: Mutex::new(None),
        }
    }
    /// Another bound on the wait of a write for being served.
    #[must_use]
    pub fn with_serving_wait(mut self, wait: Duration) -> Self {
        self.serving_wait = wait;
        self
    }
    /// Another bound on how long the client of an export may leave a piece untaken.
    #[must_use]
    pub fn with_export_idle(mut self, idle: Duration) -> Self {
        self.export_idle = idle;
        self
    }
}

/// What the node tells of itself. Cheap to ask.
pub trait NodeFacts: Send + Sync {
    /// The newest revision that the proxy of this node serves.
    fn serving(&self) -> watch::Receiver<Revision>;
    /// Figures of this moment.
    fn status(&self) -> NodeStatus;
    /// What does not change while the node runs.
    fn info(&self) -> NodeInfo;
}

/// Figures of a node at a moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct NodeStatus {
    /// Connections and requests, by Kong's names.
    pub server: ServerFigures,
    /// Why the newest configuration is not served, if so: the last one that could be built is.
    pub snapshot_error: Option<String>,
    /// Figures of each plugin: calls, failures, the last failure.
    pub plugins: Value,
    /// Resident memory of the process, bytes.
    pub memory_bytes: Option<u64>,
}

/// Connections and requests since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ServerFigures {
    /// Accepted since the start.
    pub connections_accepted: u64,
    /// Accepted and not refused by a limit.
    pub connections_handled: u64,
    /// Open now.
    pub connections_active: u64,
    /// Of those, reading a request.
    pub connections_reading: u64,
    /// Of those, writing a response.
    pub connections_writing: u64,
    /// Of those, idle.
    pub connections_waiting: u64,
    /// Requests since the start.
    pub total_requests: u64,
}

/// What a node is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NodeInfo {
    /// Of the machine.
    pub hostname: String,
    /// Of the node.
    pub node_id: String,
    /// The product's own version.
    pub version: String,
    /// Settings, as far as an operator may see them; `database` is there.
    pub configuration: Map<String, Value>,
}

/// The secret that every request must bring. Never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token. An empty one would let everyone in, so there is none.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Some(text.into()).filter(|text| !text.is_empty()).map(Self)
    }
    /// Whether `given` is the token, in a time that does not tell how much of it was right.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let mut different = u8::from(own.len() != given.len());
        for (index, byte) in given.iter().enumerate() {
            // `black_box`: the compiler must not end the loop at the first difference.
            different |= std::hint::black_box(byte ^ own.get(index % own.len()).copied().unwrap_or_default());
        }
        std::hint::black_box(different) == 0
    }
}
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_matches_and_it_is_not_printed() {
        let token = Token::new("secret").expect("not empty");
        assert!(token.matches(b"secret"));
        for wrong in ["", "secre", "secrets", "Secret", "secretsecret"] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(Token::new("").is_none());
    }
}
