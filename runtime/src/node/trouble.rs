//! What keeps this node from serving what the store says; shown by `/status` until it is mended.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the thread that follows the store and whoever shows the state of the node.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    snapshot: Option<String>,
    plugins_dir: BTreeMap<String, String>,
    plugins_missing: BTreeMap<String, String>,
    settings: Option<String>,
}

impl Trouble {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is a few plain values: a panic elsewhere cannot have left half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The newest configuration cannot be served.
    pub fn behind(&self, reason: String) {
        self.state().snapshot = Some(reason);
    }
    /// It can.
    pub fn caught_up(&self) {
        self.state().snapshot = None;
    }
    /// Whether the node serves an older configuration than the store's.
    pub fn is_behind(&self) -> bool {
        self.state().snapshot.is_some()
    }
    /// The files of `plugins_dir` that were refused, and why.
    pub fn plugins_dir(&self, refused: &BTreeMap<String, String>) {
        self.state().plugins_dir = refused.clone();
    }
    /// Plugins that entries use and this node does not have, and what that means. Answers those that were known already.
    pub fn plugins_missing(&self, missing: BTreeMap<String, String>) -> BTreeMap<String, String> {
        std::mem::replace(&mut self.state().plugins_missing, missing)
    }
    /// The settings could not be read on the last reload; unset: they could.
    pub fn settings(&self, reason: Option<String>) {
        self.state().settings = reason;
    }
    /// Why the newest configuration is not served.
    pub fn snapshot_error(&self) -> Option<String> {
        self.state().snapshot.clone()
    }
    /// All of it, for `/status`.
    pub fn shown(&self) -> Value {
        let State { snapshot, plugins_dir, plugins_missing, settings } = &*self.state();
        json!({ "snapshot": snapshot, "plugins_dir": plugins_dir, "plugins_missing": plugins_missing, "settings": settings })
    }
}
