//! What can stop a benchmark, or only one arm of it.

use std::path::PathBuf;

/// Anything that goes wrong here ends the arm that it happened to; only a fault of the driver itself ends the run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, as a gerund: "reading /proc/1/stat".
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A program could not be had: not built, not in the archive, no network.
    #[error("{0}")]
    Missing(String),
    /// A program ended, or did not answer in time.
    #[error("{program} did not come up: {said}")]
    NotUp {
        /// Which one.
        program: String,
        /// The end of what it printed.
        said: String,
    },
    /// A proxy does not do the work that its row claims.
    #[error("{arm}: {said}")]
    Probe {
        /// Which arm.
        arm: String,
        /// What was expected and what came.
        said: String,
    },
    /// An Admin API call was refused.
    #[error("{call} answered {status}: {body}")]
    Admin {
        /// Method and path.
        call: String,
        /// Its status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// Bytes that are not an HTTP/1.1 response, or one with a framing that no arm should produce here.
    #[error("not the response that was expected: {0}")]
    Response(String),
    /// A file that `--write` should fill has no place for the results.
    #[error("{path} has no `{marker}` line")]
    NoMarker {
        /// The file.
        path: PathBuf,
        /// The line that is missing.
        marker: String,
    },
}

impl BenchError {
    /// An I/O error with what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// Result of anything in this crate.
pub type Result<T> = std::result::Result<T, BenchError>;
