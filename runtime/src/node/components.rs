//! Which components this node runs: the stock ones, those of `plugins_dir`, and the active ones of the store.
//!
//! Knows where components come from and which one goes before which; not what is in them. Everything here blocks (it compiles),
//! so it runs at start and on the thread that follows the store, never on a worker.

use super::directory::{Local, read_local, wasm_files};
use crate::node::NodeError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_model::entity::{Component, ComponentSettings};
use weir_model::{Digest, Id, Kind, Op, Selection, View};
use weir_plugin_host::{Host, Origin};
use weir_store::Store;

/// What a stock plugin may import: they are built with this binary and trusted as it is.
const STOCK_GRANTS: [&str; 2] = ["counters", "credentials"];

/// What is installed under one name because the store says so.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    id: Id,
    digest: Digest,
    settings: ComponentSettings,
}

/// The node's components.
pub struct Components {
    host: Arc<Host>,
    store: Arc<dyn Store>,
    runtime: tokio::runtime::Handle,
    stored: BTreeMap<String, Stored>,
    /// Of `plugins_dir`: plugin name and file.
    local: BTreeMap<String, PathBuf>,
    /// Files of `plugins_dir` that were refused, and why.
    refused: BTreeMap<String, String>,
}

impl Components {
    /// Nothing is installed yet.
    pub fn new(host: Arc<Host>, store: Arc<dyn Store>, runtime: tokio::runtime::Handle) -> Self {
        Self { host, store, runtime, stored: BTreeMap::new(), local: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Files of `plugins_dir` that could not be installed, and why.
    pub fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    /// Makes every file of `plugins_dir` ready, again if it was there before; unset, there is no such folder. A refused file is told and
    /// stops nothing else: what was installed under its name before stays. Of two with one name the first in their order serves. What has left the folder goes: the node is the same as
    /// after a restart. Answers the names of what was installed and of what went.
    pub fn install_directory(&mut self, folder: Option<&Path>) -> Vec<String> {
        self.refused.clear();
        let found = match folder.map_or_else(|| Ok(Vec::new()), wasm_files) {
            Ok(found) => found,
            Err(error) => {
                self.refuse(folder.unwrap_or(Path::new("plugins_dir")), &format!("the folder cannot be read: {error}"));
                return Vec::new();
            }
        };
        let mut local = BTreeMap::new();
        let mut named: BTreeMap<String, PathBuf> = BTreeMap::new();
        for file in found {
            let judged = read_local(&file).and_then(|found| {
                let name = self.judge(&found)?;
                // Before it is installed: that would put it, with its own grants, in the place of the first.
                if let Some(first) = named.get(&name) {
                    return Err(format!("{} is called `{name}` too; keep one of them", first.display()));
                }
                named.insert(name.clone(), file.clone());
                Ok(self.install_local(&found, &name)?.then_some(name))
            });
            match judged {
                Ok(Some(name)) => {
                    tracing::info!(plugin = name, file = %file.display(), "plugin of plugins_dir is ready");
                    local.insert(name, file);
                }
                Ok(None) => {}
                Err(reason) => self.refuse(&file, &reason),
            }
        }
        let mut changed: Vec<String> = local.keys().cloned().collect();
        for (name, file) in std::mem::take(&mut self.local) {
            if local.contains_key(&name) || self.stored.contains_key(&name) {
                continue;
            }
            if self.refused.contains_key(&file.display().to_string()) {
                // It is still the plugin of that name, for the next reload to judge.
                local.insert(name, file);
                continue;
            }
            self.host.uninstall(&name);
            tracing::warn!(plugin = name, file = %file.display(), "its file has left plugins_dir, and the plugin with it");
            changed.push(name);
        }
        self.local = local;
        changed
    }

    fn refuse(&mut self, file: &Path, reason: &str) {
        tracing::error!(file = %file.display(), reason, "plugins_dir: not installed");
        self.refused.insert(file.display().to_string(), reason.to_owned());
    }

    /// The name of the plugin that a file holds, if it can be installed.
    fn judge(&self, found: &Local) -> Result<String, String> {
        let manifest = weir_model::PluginCatalog::inspect(&*self.host, &found.bytes, &found.beside.grants);
        manifest.map(|manifest| manifest.name).map_err(|refusal| refusal.to_string())
    }

    /// Makes a file ready that was judged to hold that plugin; answers whether it serves.
    fn install_local(&self, found: &Local, name: &str) -> Result<bool, String> {
        if self.stored.contains_key(name) {
            // The store is the same for every node and goes before a folder that only this one has.
            tracing::warn!(plugin = name, file = %found.file.display(), "plugins_dir: the store has a component of that name, which serves");
            return Ok(false);
        }
        let installed = self.host.install(&found.bytes, Origin::Directory, &found.beside.grants, found.beside.settings.clone());
        installed.map(|_| true).map_err(|refusal| refusal.to_string())
    }

    /// Makes the stock plugins ready. They are part of the binary: one that is refused is a fault of the build.
    pub fn install_stock(&mut self) -> Result<(), NodeError> {
        let grants = STOCK_GRANTS.map(str::to_owned);
        for (name, bytes) in crate::stock::components() {
            let installed = self.host.install(bytes, Origin::Stock, &grants, ComponentSettings::default());
            installed.map_err(|refusal| NodeError::Component {
                name: (*name).to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                reason: refusal.to_string(),
            })?;
        }
        Ok(())
    }

    /// Makes every active component of a view ready.
    pub fn install_all(&mut self, view: &dyn View) -> Result<(), NodeError> {
        let mut components = Vec::new();
        view.each(Kind::Component, &Selection::All, &mut |entity| components.push(entity))?;
        for entity in components {
            let component: Component = entity.parse().map_err(|error| unreadable(entity.id, &error))?;
            if component.active {
                self.install(&component)?;
            }
        }
        Ok(())
    }

    /// The first half of a change: what a snapshot with these ops needs is made ready.
    pub fn prepare(&mut self, ops: &[Op]) -> Result<(), NodeError> {
        for op in ops {
            if let Op::Put(entity) = op
                && entity.kind == Kind::Component
            {
                let component: Component = entity.parse().map_err(|error| unreadable(entity.id, &error))?;
                if component.active {
                    self.install(&component)?;
                }
            }
        }
        Ok(())
    }

    /// The second half, after the snapshot without them serves: what is no longer active goes.
    pub fn retire(&mut self, view: &dyn View) {
        let gone: Vec<String> =
            self.stored.iter().filter(|(_, stored)| !is_active(view, stored.id)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.host.uninstall(&name);
            self.stored.remove(&name);
            tracing::info!(plugin = name, "component has left the store");
            // One of that name in plugins_dir stood behind it.
            let Some(file) = self.local.get(&name).cloned() else { continue };
            let installed = read_local(&file).and_then(|found| match self.judge(&found)? {
                held if held == name => self.install_local(&found, &name),
                // Another file may be that plugin; which one serves is for a reload to judge.
                held => Err(format!("it is called `{held}` now; reload to take it")),
            });
            if let Err(reason) = installed {
                self.refuse(&file, &reason);
            }
        }
    }

    fn install(&mut self, component: &Component) -> Result<(), NodeError> {
        let new = Stored { id: component.id, digest: component.digest, settings: component.settings.clone() };
        match self.stored.get(&component.name) {
            Some(old) if *old == new => return Ok(()),
            Some(old) if old.id == new.id && old.digest == new.digest => {
                self.host.set_settings(&component.name, new.settings.clone());
            }
            _ => self.install_bytes(component)?,
        }
        self.stored.insert(component.name.clone(), new);
        Ok(())
    }

    fn install_bytes(&self, component: &Component) -> Result<(), NodeError> {
        let refused =
            |reason: String| NodeError::Component { name: component.name.clone(), version: component.version.clone(), reason };
        let bytes = self.runtime.block_on(self.store.blob(component.digest)).map_err(|error| refused(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| refused(format!("its bytes ({}) are not in the store", component.digest)))?;
        let installed = self.host.install(&bytes, Origin::Uploaded, &component.grants, component.settings.clone());
        installed.map_err(|refusal| refused(refusal.to_string()))?;
        tracing::info!(plugin = component.name, version = component.version, "component is ready");
        Ok(())
    }
}

fn is_active(view: &dyn View, id: Id) -> bool {
    let active = |entity: weir_model::Entity| entity.body.get("active").and_then(serde_json::Value::as_bool);
    // A store that cannot be read is no reason to take a plugin away.
    view.get(Kind::Component, id).map_or(true, |entity| entity.and_then(active).unwrap_or(false))
}

fn unreadable(id: Id, error: &serde_json::Error) -> NodeError {
    NodeError::Component { name: id.to_string(), version: String::new(), reason: format!("its entity cannot be read: {error}") }
}
