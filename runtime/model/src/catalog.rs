//! The door between those who accept plugin configurations (Admin API) and those who can judge them (plugin host).

use crate::{Digest, Findings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A phase of an exchange in which a plugin can take part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The request head is there.
    Request,
    /// A response head is there.
    Response,
    /// The last byte was sent.
    Log,
}

/// What is known of a plugin that is ready to be configured: stock, from `plugins_dir`, or uploaded.
#[derive(Clone, Debug, Serialize)]
pub struct PluginInfo {
    /// The name that a plugin entry uses.
    pub name: String,
    /// The version that serves.
    pub version: String,
    /// Order in the chain: higher runs first; equal ones by name, descending.
    pub priority: i64,
    /// `stock`, `directory` or `uploaded`.
    pub origin: &'static str,
    /// What it handles.
    pub phases: Vec<Phase>,
    /// Whether it may authenticate (imports `credentials`); such an entry cannot be scoped to a consumer.
    pub authenticates: bool,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
}

/// What a component says of itself, and what was read from it, before it is stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ComponentManifest {
    /// The plugin name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Order in the chain.
    pub priority: i64,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
    /// Exported phases.
    pub phases: Vec<Phase>,
    /// Imported capabilities that need a grant.
    pub needs_grants: Vec<String>,
    /// Of the bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Why a component cannot be stored. The message names the reason and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ComponentRefusal(pub String);

/// Knows the plugins that this node can run. Implemented by the plugin host, asked by the Admin API.
///
/// All calls may take milliseconds (they run the guest): call them where blocking is allowed.
pub trait PluginCatalog: Send + Sync {
    /// Every plugin, by name.
    fn plugins(&self) -> Vec<PluginInfo>;
    /// One plugin.
    fn plugin(&self, name: &str) -> Option<PluginInfo>;
    /// Whether the guest accepts this complete configuration: runs its `configure`.
    fn check_config(&self, name: &str, config: &Map<String, Value>) -> Result<(), Findings>;
    /// As `check_config`, of a component that need not be installed: what it says to each of these complete configurations, in
    /// their order. Asked before another version begins to serve the entries of its name.
    fn try_configs(
        &self,
        bytes: &[u8],
        grants: &[String],
        configs: &[Map<String, Value>],
    ) -> Result<Vec<Findings>, ComponentRefusal>;
    /// Compiles and asks a component: everything short of storing it. `grants` are what the operator allows.
    fn inspect(&self, bytes: &[u8], grants: &[String]) -> Result<ComponentManifest, ComponentRefusal>;
}
