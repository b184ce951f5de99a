//! The node's plugin host.
use crate::exchange::*;
use crate::*;
use serde_json::{Map, Value};
use std::sync::Arc;
use weir_model::entity::{ComponentSettings, OnFailure};
use weir_model::*;

/// Where a component comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Origin {
    /// Shipped in the binary.
    Stock,
    /// `plugins_dir`.
    Directory,
    /// The Admin API.
    Uploaded,
}
/// Host.
pub struct Host {}
/// Prepared.
pub struct Prepared {
    /// Info.
    pub info: PluginInfo,
    /// Settings.
    pub settings: ComponentSettings,
}
/// A plugin entry ready to be called.
pub struct Entry {
    /// Id.
    pub id: Id,
    /// Name.
    pub name: Arc<str>,
    /// Version.
    pub version: Arc<str>,
    /// Priority.
    pub priority: i64,
    /// What a failure means.
    pub on_failure: OnFailure,
    /// Dense number, unique among living entries.
    pub slot: u32,
    phases: u8,
}
impl Entry {
    /// Whether it takes part in that phase.
    pub fn handles(&self, phase: Phase) -> bool {
        self.phases & (1 << phase as u8) != 0
    }
}
impl Host {
    /// New.
    pub fn new(_settings: HostSettings) -> Result<Arc<Host>, HostError> {
        todo!()
    }
    /// Install.
    pub fn install(
        &self,
        _bytes: &[u8],
        _origin: Origin,
        _grants: &[String],
        _settings: ComponentSettings,
    ) -> Result<Arc<Prepared>, ComponentRefusal> {
        todo!()
    }
    /// Uninstall.
    pub fn uninstall(&self, _name: &str) {
        todo!()
    }
    /// Set settings.
    pub fn set_settings(&self, _name: &str, _settings: ComponentSettings) {
        todo!()
    }
    /// Installed.
    pub fn installed(&self, _name: &str) -> Option<Arc<Prepared>> {
        todo!()
    }
    /// Entry.
    pub fn entry(&self, _plugin: &Plugin) -> Result<Arc<Entry>, EntryError> {
        todo!()
    }
    /// Figures.
    pub fn figures(&self) -> Vec<PluginFigures> {
        todo!()
    }
}
impl PluginCatalog for Host {
    fn plugins(&self) -> Vec<PluginInfo> {
        todo!()
    }
    fn plugin(&self, _name: &str) -> Option<PluginInfo> {
        todo!()
    }
    fn check_config(&self, _name: &str, _config: &Map<String, Value>) -> Result<(), Findings> {
        todo!()
    }
    fn inspect(&self, _bytes: &[u8], _grants: &[String]) -> Result<ComponentManifest, ComponentRefusal> {
        todo!()
    }
}
/// Figures of one plugin.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PluginFigures {
    /// Name.
    pub name: String,
}
/// Instances of one worker thread.
pub struct WorkerPlugins {
    _host: Arc<Host>,
    _not_send: std::marker::PhantomData<*const ()>,
}
impl WorkerPlugins {
    /// New.
    pub fn new(host: Arc<Host>) -> Self {
        Self { _host: host, _not_send: std::marker::PhantomData }
    }
    /// Runs one phase of one entry on the exchange. Synchronous, never waits, never panics.
    pub fn call(&mut self, _phase: Phase, _entry: &Entry, _exchange: &mut Box<Exchange>) -> Ending {
        todo!()
    }
    /// Gives back what is no longer used (instances of replaced components, configurations of replaced entries). Call it about
    /// once a second from the worker's own timer; `call` does the same in small steps.
    pub fn maintain(&mut self) {
        todo!()
    }
}
/// Entry point of the `weir compile` child.
pub fn compile_child() -> std::process::ExitCode {
    todo!()
}
