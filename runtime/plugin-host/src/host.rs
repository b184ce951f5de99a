//! The node's plugin host: what is installed, and how it gets there.
//!
//! Installing is slow and done off the workers; it changes which component a name stands for, and nothing else: entries and the
//! exchanges that hold them keep what they have.

use crate::compile::Compilation;
use crate::counters::cluster::{Round, SharingFigures};
use crate::engine::{Pools, start_ticker};
use crate::error::{EntryError, HostError};
use crate::figures::{PluginFigures, Stats};
use crate::inspect::{self, refused};
use crate::prepared::{Entry, Origin, Prepared};
use crate::settings::HostSettings;
use crate::shared::{Shared, unix_seconds};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use weir_model::entity::ComponentSettings;
use weir_model::{ComponentRefusal, Plugin};

/// The node's plugin host. One in a process, shared by all that need it.
pub struct Host {
    settings: HostSettings,
    shared: Arc<Shared>,
    pub(crate) pools: Pools,
    pub(crate) compilation: Compilation,
    installed: RwLock<BTreeMap<String, Arc<Prepared>>>,
    stats: Mutex<BTreeMap<String, Arc<Stats>>>,
    workers: AtomicUsize,
}

impl Host {
    /// Starts the engines and the thread that drives deadlines.
    pub fn new(settings: HostSettings) -> Result<Arc<Host>, HostError> {
        let pools = Pools::new(&settings)?;
        let compilation = Compilation::new(settings.compiler.clone(), &settings.cache_dir, &pools.small.engine)?;
        let shared = Arc::new(Shared::new());
        start_ticker(&pools, &shared)?;
        Ok(Arc::new(Self {
            settings,
            shared,
            pools,
            compilation,
            installed: RwLock::default(),
            stats: Mutex::default(),
            workers: AtomicUsize::new(0),
        }))
    }

    /// Makes a component ready (compiles it or takes it from the cache, links it, asks who it is) and puts it in the place of the
    /// one of the same name: entries made later use it. Blocks, maybe for seconds: call it off the workers.
    pub fn install(
        &self,
        bytes: &[u8],
        origin: Origin,
        grants: &[String],
        settings: ComponentSettings,
    ) -> Result<Arc<Prepared>, ComponentRefusal> {
        let draft = inspect::draft(self, bytes, origin, grants)?;
        let name = draft.info.name.clone();
        let mut installed = self.installed.write().unwrap_or_else(PoisonError::into_inner);
        if !installed.contains_key(&name) && installed.len() >= self.settings.max_components as usize {
            return Err(refused(&format!(
                "{} components are installed, which is the most that this node takes",
                installed.len()
            )));
        }
        let prepared = Arc::new(Prepared::new(draft, origin, settings));
        installed.insert(name, Arc::clone(&prepared));
        Ok(prepared)
    }

    /// Forgets a component. Entries that use it go on until they are dropped.
    pub fn uninstall(&self, name: &str) {
        self.installed.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Changes what the operator decided about a component; takes effect for entries made later.
    pub fn set_settings(&self, name: &str, settings: ComponentSettings) {
        let mut installed = self.installed.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = installed.get_mut(name).filter(|prepared| prepared.settings != settings) {
            *prepared = Arc::new(prepared.with_settings(settings));
        }
    }

    /// The component that a name stands for.
    pub fn installed(&self, name: &str) -> Option<Arc<Prepared>> {
        self.installed.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// One plugin entry, ready to be called. Cheap: the guest sees the configuration at the first use in each worker.
    pub fn entry(&self, plugin: &Plugin) -> Result<Arc<Entry>, EntryError> {
        match self.installed(&plugin.name) {
            Some(prepared) => Ok(Arc::new(Entry::new(prepared, plugin))),
            None => Err(EntryError::NotInstalled { name: plugin.name.clone() }),
        }
    }

    /// The figures of every plugin that is installed or still in use.
    pub fn figures(&self) -> Vec<PluginFigures> {
        let installed = self.installed.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let figures = |(name, stats): (&String, &Arc<Stats>)| {
            let prepared = installed.get(name);
            let version = prepared.map(|prepared| prepared.info.version.clone());
            stats.figures(name, version, prepared.map(|prepared| prepared.info.origin))
        };
        stats.iter().map(figures).collect()
    }

    /// How many keys the counters remember.
    pub fn counter_keys(&self) -> usize {
        self.shared.counters.len()
    }

    /// From now on limits of the cluster are counted with other nodes, through rounds of whoever calls this. Without it this node
    /// is the cluster. What is known of the others is stale when no round has ended well for so long.
    pub fn begin_sharing(&self, stale_after: Duration) {
        self.shared.cluster.begin(stale_after, self.shared.now());
    }

    /// The counts that the other nodes do not know yet, at most `most`. The round must be ended, whatever becomes of it.
    pub fn begin_round(&self, most: usize) -> Round {
        self.shared.cluster.begin_round(most, unix_seconds(), self.shared.now())
    }

    /// Brings back what the other nodes took from the windows of a round, in its order; `None` where that could not be learnt.
    /// `reached`: whether the store answered at all.
    pub fn end_round(&self, round: Round, reached: bool, others: &[Option<u64>]) {
        self.shared.cluster.end_round(round, reached, others);
    }

    /// How sharing goes; nothing where nothing is shared.
    pub fn sharing(&self) -> Option<SharingFigures> {
        self.shared.cluster.figures(self.shared.now())
    }

    pub(crate) fn all_installed(&self) -> Vec<Arc<Prepared>> {
        self.installed.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn shared_arc(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// A number for one more worker, where it counts, and whether it is the first one to have it.
    pub(crate) fn enter_worker(&self) -> (usize, bool) {
        let (entered, workers) = (self.workers.fetch_add(1, Ordering::Relaxed), self.settings.workers.max(1));
        // The proxy starts as many workers as it announced. Were there more, numbers would be given again, and a count of a number's
        // first worker could be lost.
        (entered % workers, entered < workers)
    }

    /// The figures of a plugin name; those of names that nobody uses any more are forgotten on the way.
    pub(crate) fn stats(&self, name: &str) -> Arc<Stats> {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.retain(|_, stats| Arc::strong_count(stats) > 1);
        let new = || Arc::new(Stats::new(self.settings.workers));
        Arc::clone(stats.entry(name.to_owned()).or_insert_with(new))
    }

    /// Figures that nobody sees: of a component that has no name yet.
    pub(crate) fn scratch_stats(&self) -> Arc<Stats> {
        Arc::new(Stats::new(1))
    }
}
