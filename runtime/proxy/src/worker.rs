//! One worker: a thread with its own runtime, plugin instances, upstream connections and figures. Nothing in it is shared or locked
//! while a request is served.

use crate::access_log::{AccessBuffer, AccessLog};
use crate::client_io::Client;
use crate::ids::Ids;
use crate::listener::{self, Listener};
use crate::settings::ProxySettings;
use crate::snapshot::Snapshot;
use crate::spares::Spares;
use crate::upstream::pool::{Pool, PoolLimits};
use crate::upstream::resolve::Resolver;
use crate::upstream::tls::UpstreamTls;
use arc_swap::{ArcSwap, Cache};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::LocalOptions;
use tokio::sync::watch;
use weir_plugin_host::exchange::Fault;
use weir_plugin_host::{Host, WorkerPlugins};

/// How often buffered access events are handed to the writer: soon enough for somebody who watches the log.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// How often idle connections and idle plugin configurations are looked through, in flushes.
const FLUSHES_PER_SWEEP: u32 = 5;

/// What all workers of a proxy share.
pub(crate) struct Shared {
    pub settings: ProxySettings,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub host: Arc<Host>,
    pub tls: UpstreamTls,
    pub log: AccessLog,
    pub stage: watch::Receiver<Stage>,
    /// Client connections of the node.
    pub connections: AtomicUsize,
    pub figures: Vec<WorkerFigures>,
}

/// What the proxy is doing. It goes on to later ones only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    /// Accepting and serving.
    Serving,
    /// The same, and every reply closes its connection: whoever balances is to send clients elsewhere.
    Leaving,
    /// Only finishing what has begun.
    Draining,
    /// Gone, whatever has not finished.
    Stopped,
}

/// Figures of one worker, written by its thread only.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct WorkerFigures {
    pub accepted: AtomicU64,
    pub refused_connections: AtomicU64,
    pub active: AtomicU64,
    pub requests: AtomicU64,
    pub in_flight: AtomicU64,
    pub idle_upstream: AtomicU64,
    pub by_fault: [AtomicU64; 5],
}

impl WorkerFigures {
    /// Counts a request that failed, or none.
    pub fn count_fault(&self, fault: Fault) {
        let at = match fault {
            Fault::None => 0,
            Fault::Client => 1,
            Fault::Upstream => 2,
            Fault::Plugin => 3,
            Fault::Gateway => 4,
        };
        self.by_fault.get(at).iter().for_each(|figure| add(figure, 1));
    }
}

/// Adds without a locked instruction: only the owning thread writes.
pub(crate) fn add(figure: &AtomicU64, change: i64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Relaxed);
}

/// What one worker has.
pub(crate) struct Worker {
    pub shared: Arc<Shared>,
    pub index: usize,
    pub snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    pub plugins: RefCell<WorkerPlugins>,
    pub pool: RefCell<Pool>,
    pub resolver: Resolver,
    pub ids: RefCell<Ids>,
    pub log: AccessBuffer,
    /// Buffers for request heads, used over and over.
    pub buffers: RefCell<Vec<Vec<u8>>>,
    /// What ended exchanges have left for the next ones.
    pub spares: RefCell<Spares>,
    /// What it is doing.
    pub stage: Cell<Stage>,
    /// Two clocks read together, some times a second: what time of day a monotonic instant is.
    clocks: Cell<(Instant, SystemTime)>,
    clients: RefCell<Vec<Weak<Client>>>,
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize) -> Rc<Self> {
        Rc::new(Self {
            snapshot: RefCell::new(Cache::new(Arc::clone(&shared.snapshot))),
            plugins: RefCell::new(WorkerPlugins::new(Arc::clone(&shared.host))),
            pool: RefCell::default(),
            resolver: Resolver::default(),
            ids: RefCell::new(Ids::new()),
            log: AccessBuffer::new(shared.log.clone()),
            buffers: RefCell::default(),
            spares: RefCell::default(),
            stage: Cell::new(Stage::Serving),
            clocks: Cell::new((Instant::now(), SystemTime::now())),
            clients: RefCell::default(),
            shared,
            index,
        })
    }
    /// The node's settings.
    pub fn settings(&self) -> &ProxySettings {
        &self.shared.settings
    }
    /// This worker's figures.
    pub fn figures(&self) -> &WorkerFigures {
        // One for each worker was made before the first one started.
        static NONE: WorkerFigures = WorkerFigures {
            accepted: AtomicU64::new(0),
            refused_connections: AtomicU64::new(0),
            active: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            idle_upstream: AtomicU64::new(0),
            by_fault: [const { AtomicU64::new(0) }; 5],
        };
        self.shared.figures.get(self.index).unwrap_or(&NONE)
    }
    /// Limits of the pool.
    pub fn pool_limits(&self) -> PoolLimits {
        let settings = self.settings();
        PoolLimits {
            per_authority: settings.upstream_idle_connections,
            idle_timeout: settings.upstream_idle_timeout,
            exchanges: settings.upstream_keepalive_requests,
        }
    }
    /// The requests that this worker may serve at once: its share of the node's.
    pub fn in_flight_limit(&self) -> u64 {
        let settings = self.settings();
        settings.requests_in_flight_limit.div_ceil(settings.workers.max(1)) as u64
    }
    /// Remembers a client, to be told when the node drains.
    pub fn remember(&self, client: &Rc<Client>) {
        let mut clients = self.clients.borrow_mut();
        // Forgotten ones are cleared away before the list grows, so it is never twice as long as there are clients.
        if clients.len() == clients.capacity() {
            clients.retain(|client| client.strong_count() > 0);
        }
        clients.push(Rc::downgrade(client));
    }
    fn drain(&self) {
        self.stage.set(Stage::Draining);
        self.clients.borrow_mut().drain(..).filter_map(|client| client.upgrade()).for_each(|client| client.close_soon());
    }
    /// The time of day at an instant not long ago.
    pub fn wall_time(&self, at: Instant) -> SystemTime {
        let (instant, time) = self.clocks.get();
        time + at.saturating_duration_since(instant) - instant.saturating_duration_since(at)
    }
    fn tick(&self, ticks: u32) {
        self.clocks.set((Instant::now(), SystemTime::now()));
        self.log.flush();
        // A worker without requests would keep the view of the store that it last served by, and with it all pages that changes have
        // left free since: the store's file would grow by each of them.
        if let Ok(mut snapshot) = self.snapshot.try_borrow_mut() {
            let _newest = snapshot.load();
        }
        if ticks.is_multiple_of(FLUSHES_PER_SWEEP) {
            let mut pool = self.pool.borrow_mut();
            pool.sweep(Instant::now(), &self.pool_limits());
            self.figures().idle_upstream.store(pool.len() as u64, Ordering::Relaxed);
            drop(pool);
            self.plugins.borrow_mut().maintain();
        }
    }
}

/// The thread's whole life.
pub(crate) fn run(shared: Arc<Shared>, index: usize, listeners: Vec<Listener>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let mut stage = shared.stage.clone();
        let worker = Worker::new(shared, index);
        let acceptors: Vec<_> = listeners
            .into_iter()
            .map(|listener| tokio::task::spawn_local(listener::accept(Rc::clone(&worker), listener)))
            .collect();
        let mut ticks = 0_u32;
        let mut interval = tokio::time::interval(FLUSH_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    ticks = ticks.wrapping_add(1);
                    worker.tick(ticks);
                }
                changed = stage.changed() => {
                    // The other end is gone: so is the proxy.
                    let now = if changed.is_err() { Stage::Stopped } else { *stage.borrow_and_update() };
                    match now {
                        Stage::Serving => {}
                        Stage::Leaving => worker.stage.set(Stage::Leaving),
                        Stage::Draining if worker.stage.get() < Stage::Draining => worker.drain(),
                        Stage::Draining => {}
                        Stage::Stopped => break,
                    }
                }
            }
            if worker.stage.get() == Stage::Draining
                && acceptors.iter().all(|acceptor| acceptor.is_finished())
                && is_idle(&worker)
            {
                break;
            }
        }
        // Exchanges that are left are dropped with the runtime, and log themselves.
        worker.stage.set(Stage::Stopped);
    });
    Ok(())
}

fn is_idle(worker: &Worker) -> bool {
    worker.figures().active.load(Ordering::Relaxed) == 0
}
