//! What can go wrong with a cluster of tests, and the way out of it.

use std::fmt;
use std::path::PathBuf;

/// Cloned for every test that shares a cluster which did not start.
#[derive(Clone, Debug, PartialEq)]
pub enum HarnessError {
    /// Cassandra is not prepared.
    Missing(PathBuf),
    /// A cluster has one to three nodes; a small machine carries no more.
    Size(usize),
    /// The operating system refused something.
    Io {
        /// What was being done, as a gerund.
        doing: String,
        /// The cause.
        cause: String,
    },
    /// The nodes did not come up, in the last of several attempts.
    NotUp {
        /// How many attempts were made.
        attempts: u32,
        /// What the last one waited for, or how a node ended; and the end of the logs.
        said: String,
    },
    /// Something was waited for in vain.
    Deadline {
        /// What should have happened.
        what: String,
        /// The end of the logs.
        said: String,
    },
    /// Only a stopped node can do that, or only one that runs.
    State {
        /// Which node.
        node: usize,
        /// What it would have to be.
        must: &'static str,
    },
    /// A program of Java's or of the system's failed.
    Tool {
        /// Its name and arguments.
        call: String,
        /// How it ended and what it printed.
        said: String,
    },
}

impl HarnessError {
    /// An I/O error with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |cause| Self::Io { doing, cause: cause.to_string() }
    }
}

impl fmt::Display for HarnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(folder) => write!(
                f,
                "Cassandra is not prepared: {} is missing or incomplete; run `cargo xtask cassandra` (or name a prepared folder in {})",
                folder.display(),
                crate::FOLDER_VARIABLE
            ),
            Self::Size(nodes) => write!(f, "a cluster has 1 to {} nodes, not {nodes}", crate::NODES_MOST),
            Self::Io { doing, cause } => write!(f, "{doing}: {cause}"),
            Self::NotUp { attempts, said } => write!(f, "Cassandra did not come up in {attempts} attempts: {said}"),
            Self::Deadline { what, said } => write!(f, "waited in vain until {what}: {said}"),
            Self::State { node, must } => write!(f, "node {node} must be {must} for that"),
            Self::Tool { call, said } => write!(f, "{call} failed: {said}"),
        }
    }
}

impl std::error::Error for HarnessError {}
