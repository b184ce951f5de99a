//! A component that is ready, and a plugin entry that uses it. Both are immutable; what they count stands in `figures`.

use crate::breaker::Breaker;
use crate::figures::Stats;
use crate::limits::Budget;
use crate::link::Linked;
use crate::shared::{Shared, Slot};
use crate::state;
use std::sync::Arc;
use weir_model::entity::{ComponentSettings, OnFailure};
use weir_model::{Digest, Id, Phase, Plugin, PluginInfo};

/// Where a component comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Origin {
    /// Shipped in the binary; nothing else may take its name.
    Stock,
    /// From `plugins_dir`.
    Directory,
    /// Through the Admin API.
    Uploaded,
}

impl Origin {
    /// The word in the Admin API.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Stock => "stock",
            Origin::Directory => "directory",
            Origin::Uploaded => "uploaded",
        }
    }
}

/// A component, compiled, linked and asked who it is, with the operator's settings.
pub struct Prepared {
    /// What it is.
    pub info: PluginInfo,
    /// What the operator decided about it.
    pub settings: ComponentSettings,
    /// Of the component's bytes.
    pub digest: Digest,
    /// Where it comes from.
    pub origin: Origin,
    pub(crate) linked: Arc<Linked>,
    pub(crate) common: Arc<state::Origin>,
    pub(crate) budget: Budget,
    pub(crate) slot: Slot,
}

impl Prepared {
    pub(crate) fn new(draft: Draft, origin: Origin, settings: ComponentSettings) -> Self {
        let Draft { info, digest, linked, common } = draft;
        let slot = common.shared.components.take();
        Self { budget: Budget::of(&settings), info, settings, digest, origin, linked, common, slot }
    }

    /// The same component under other settings.
    pub(crate) fn with_settings(&self, settings: ComponentSettings) -> Self {
        let draft = Draft {
            info: self.info.clone(),
            digest: self.digest,
            linked: Arc::clone(&self.linked),
            common: Arc::clone(&self.common),
        };
        Self::new(draft, self.origin, settings)
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.common.stats
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.common.shared
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.common.shared.components.give_back(self.slot);
    }
}

/// What is known of a component before it is installed.
pub(crate) struct Draft {
    pub info: PluginInfo,
    pub digest: Digest,
    pub linked: Arc<Linked>,
    pub common: Arc<state::Origin>,
}

/// A plugin entry ready to be called. An exchange that began with it may end with it, whatever is installed meanwhile.
pub struct Entry {
    /// The plugin entity's primary key.
    pub id: Id,
    /// The plugin's name.
    pub name: Arc<str>,
    /// The version that runs.
    pub version: Arc<str>,
    /// Order in the chain: higher runs first.
    pub priority: i64,
    /// What a failure means for the exchange; `closed` if the component may authenticate, whatever its settings say.
    pub on_failure: OnFailure,
    /// A dense number, this entry's alone while it lives and given again afterwards.
    pub slot: u32,
    phases: u8,
    pub(crate) serial: u64,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) config: Box<[u8]>,
    pub(crate) breaker: Breaker,
}

impl Entry {
    pub(crate) fn new(prepared: Arc<Prepared>, plugin: &Plugin) -> Self {
        let Slot { number, serial } = prepared.common.shared.entries.take();
        let info = &prepared.info;
        // A JSON map always has a text.
        let config = serde_json::to_vec(&plugin.config).unwrap_or_default();
        Self {
            id: plugin.id,
            name: Arc::clone(&prepared.common.name),
            version: Arc::clone(&prepared.common.version),
            priority: info.priority,
            on_failure: if info.authenticates { OnFailure::Closed } else { prepared.settings.on_failure },
            slot: number,
            phases: info.phases.iter().fold(0, |bits, phase| bits | bit(*phase)),
            serial,
            config: config.into_boxed_slice(),
            breaker: Breaker::default(),
            prepared,
        }
    }

    /// Whether it takes part in that phase: a bit test.
    pub fn handles(&self, phase: Phase) -> bool {
        self.phases & bit(phase) != 0
    }

    /// Whether it may authenticate: such an entry runs for everybody, before the consumer is known.
    pub fn authenticates(&self) -> bool {
        self.prepared.info.authenticates
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.prepared.stats().breaker(self.id, false);
        self.prepared.common.shared.entries.give_back(Slot { number: self.slot, serial: self.serial });
    }
}

fn bit(phase: Phase) -> u8 {
    match phase {
        Phase::Request => 1,
        Phase::Response => 2,
        Phase::Log => 4,
    }
}
