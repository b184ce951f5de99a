//! Why the host cannot start, and why an entry cannot be made.

use std::path::PathBuf;

/// The host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The wasm engine refuses these settings or this machine.
    #[error("the wasm engine cannot start: {0}")]
    Engine(String),
    /// The folder for precompiled code cannot be used.
    #[error("the folder for compiled plugins {path} cannot be used: {source}")]
    CacheDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that drives deadlines cannot be started.
    #[error("the thread that drives plugin deadlines cannot be started: {0}")]
    Ticker(std::io::Error),
}

/// An entry cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// No component answers to that name.
    #[error("the plugin '{name}' is not installed on this node; put its file into plugins_dir again")]
    NotInstalled {
        /// The name.
        name: String,
    },
}
