//! One node, from its folder to its last exchange: which room starts when, and which stops when.
//!
//! Only wiring: each step is one line that calls a room. Where the order matters the reason stands beside it.

mod components;
pub mod directory;
mod facts;
mod follow;
mod listen;
mod sharing;
mod signals;
mod status;
pub mod store;
mod trouble;

use crate::exit::Exit;
use crate::prefix::{Listeners, NodeLock, Prefix, PrefixError};
use crate::settings::{Drain, Secret, Settings};
use crate::{logs, tls};
use components::Components;
use facts::Facts;
use follow::{Follower, Order};
use sd_notify::NotifyState;
use signals::{Signals, Wish};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
pub use trouble::Trouble;
use weir_plugin_host::{Compiler, Host, HostError, HostSettings};
use weir_proxy::Proxy;
use weir_proxy::snapshot::SnapshotError;
use weir_store::{OpenError, StoreError};

/// Threads for the Admin API and the status address: apart from the workers, so that both answer while the workers are busy.
const CONTROL_THREADS: usize = 2;
/// What `weir stop` leaves exchanges: enough for a reply that is being written, no more.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// What the Admin API's own connections get to end, after the proxy has ended.
const ADMIN_GRACE: Duration = Duration::from_secs(2);

/// Settings that a reload takes; the others wait for a restart, and the log says which.
const RELOADABLE: &[&str] = &["log_level", "plugins_dir", "drain_delay_ms", "drain_timeout_ms"];

/// Why a node does not start, or does not take a change.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its folder.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Log(std::io::Error),
    /// The runtime of the control threads.
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    /// A certificate.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A view of it cannot be read.
    #[error(transparent)]
    View(#[from] weir_model::ViewError),
    /// The plugin host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A component that this node must run.
    #[error("the component {name} {version} is refused: {reason}")]
    Component {
        /// Its plugin name.
        name: String,
        /// Its version.
        version: String,
        /// Why.
        reason: String,
    },
    /// The configuration cannot be served.
    #[error("the configuration cannot be served: {0}")]
    Snapshot(#[from] SnapshotError),
    /// An address is not to be had.
    #[error("{setting}: {address} cannot be listened on: {cause}")]
    Listen {
        /// Which setting names it.
        setting: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// The proxy does not start.
    #[error("the proxy cannot start (proxy_listen, proxy_access_log): {0}")]
    Proxy(std::io::Error),
}

/// How the settings are found again on a reload.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `-c`.
    pub file: Option<PathBuf>,
    /// `-p`.
    pub prefix: Option<PathBuf>,
}

/// Runs a node until it is told to stop.
pub fn run(settings: Settings, origin: Origin) -> Exit {
    match start(settings, origin) {
        Ok(node) => node.serve(),
        Err(error) => {
            // To both: the log may be a file, and whoever typed `weir start` looks at the terminal.
            tracing::error!(%error, "the node cannot start");
            eprintln!("weir: {error}");
            Exit::Failed
        }
    }
}

/// A node that serves.
struct Node {
    runtime: tokio::runtime::Runtime,
    proxy: Arc<Proxy>,
    settings: Settings,
    origin: Origin,
    orders: mpsc::Sender<Order>,
    follower: JoinHandle<()>,
    facts: Arc<Facts>,
    trouble: Trouble,
    /// True ends the Admin API and the status address.
    control: watch::Sender<bool>,
    /// Their tasks, and the one that shares counts.
    served: Vec<tokio::task::JoinHandle<()>>,
    signals: Signals,
    _lock: NodeLock,
}

/// The steps of a start, in their order.
fn start(settings: Settings, origin: Origin) -> Result<Node, NodeError> {
    // The folder before the log, which may lie in it; the lock before anything in the folder is touched.
    let prefix = Prefix::new(&settings.prefix);
    prefix.prepare()?;
    let lock = prefix.lock()?;
    logs::begin(&settings.error_log, &settings.log_level).map_err(NodeError::Log)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), prefix = %prefix.path().display(), "starting");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("weir-control")
        .enable_all()
        .build();
    let runtime = runtime.map_err(NodeError::Threads)?;
    // Before anything slow: a signal during the start is kept and obeyed after it.
    let signals = runtime.block_on(async { Signals::listen() }).map_err(NodeError::Threads)?;
    // Addresses before the store: an address that is taken is the most frequent fault and must not cost a minute of compiling.
    let listeners = listen::Bound::all(&settings, &prefix)?;
    let store = store::open(&settings, &prefix)?;
    let host = Host::new(HostSettings::new(settings.proxy.workers, prefix.cache(), own_compiler()?))?;
    // Stock before `plugins_dir` before the store: each is refused a name that stands before it, or goes before it, by rule.
    let trouble = Trouble::default();
    let mut components = Components::new(Arc::clone(&host), Arc::clone(&store), runtime.handle().clone());
    components.install_stock()?;
    components.install_directory(settings.plugins_dir.as_deref());
    let (follower, first) = Follower::begin(Arc::clone(&store), Arc::clone(&host), components, trouble.clone())?;
    // The proxy before the Admin API: what the API answers about serving must be true.
    let proxy = Proxy::start(settings.proxy.clone(), listeners.proxy, Arc::clone(&host), first).map_err(NodeError::Proxy)?;
    let proxy = Arc::new(proxy);
    let announced = Listeners { proxy: listen::proxy_addresses(&proxy, &settings), ..listeners.announced };
    let facts = Arc::new(Facts {
        settings: settings.described(),
        listeners: announced.clone(),
        node_id: prefix.node_id()?,
        serving: follower.serving(),
        proxy: Arc::clone(&proxy),
        host: Arc::clone(&host),
        store: Arc::clone(&store),
        trouble: trouble.clone(),
        ready: Default::default(),
    });
    let control = watch::Sender::new(false);
    let rooms = listen::Rooms { settings: &settings, facts: &facts, store: &store, host: &host, ending: &control };
    let mut served = rooms.serve(&runtime, listeners.admin, listeners.status).map_err(NodeError::Threads)?;
    served.push(runtime.spawn(sharing::share(host, store, control.subscribe())));
    let (orders, order_queue) = mpsc::channel(1);
    let follower = spawn_follower(follower, &runtime, &proxy, order_queue)?;
    prefix.announce(&announced)?;
    // Last: from here on a load balancer may send requests, and `systemctl start` returns.
    facts.set_ready(true);
    notify(&[NotifyState::Ready]);
    tracing::info!(listeners = serde_json::to_string(&announced).unwrap_or_default(), "ready");
    Ok(Node { runtime, signals, proxy, settings, origin, orders, follower, facts, trouble, control, served, _lock: lock })
}

/// The thread ends when the node drops its orders.
fn spawn_follower(
    follower: Follower,
    runtime: &tokio::runtime::Runtime,
    proxy: &Arc<Proxy>,
    orders: mpsc::Receiver<Order>,
) -> Result<JoinHandle<()>, NodeError> {
    let (runtime, proxy) = (runtime.handle().clone(), Arc::clone(proxy));
    let thread = std::thread::Builder::new().name("weir-follow".to_owned());
    let life = move || {
        let trouble = follower.trouble();
        // What it leaves behind is shared with nobody, but the node must not serve on in silence.
        if catch_unwind(AssertUnwindSafe(|| follower.run(&runtime, &proxy, orders))).is_err() {
            trouble.behind("the thread that follows the store has ended by a panic; restart this node".to_owned());
            tracing::error!("the thread that follows the store has ended by a panic; the last configuration serves on");
        }
    };
    thread.spawn(life).map_err(NodeError::Threads)
}

impl Node {
    /// Obeys signals until one ends the node.
    fn serve(mut self) -> Exit {
        let wish = loop {
            match self.runtime.block_on(self.signals.next()) {
                Wish::Reload => self.reload(),
                Wish::ReopenLogs => self.proxy.reopen_access_log(),
                wish @ (Wish::Stop | Wish::Quit) => break wish,
            }
        };
        self.end(wish)
    }

    /// Reads the settings again and takes what can be taken while the node runs. Bad settings change nothing.
    fn reload(&mut self) {
        notify_reloading();
        match Settings::load(self.origin.file.as_deref(), self.origin.prefix.as_deref()) {
            Err(faults) => {
                tracing::error!(faults = %faults, "reload: the settings are wrong; nothing was changed");
                self.trouble.settings(Some(faults.to_string()));
            }
            Ok(new) => {
                self.trouble.settings(None);
                self.take(new);
            }
        }
        notify(&[NotifyState::Ready]);
    }

    fn take(&mut self, new: Settings) {
        let differing = self.settings.differences(&new);
        let (taken, waiting): (Vec<_>, Vec<_>) = differing.iter().partition(|name| RELOADABLE.contains(&name.as_str()));
        logs::set_level(&new.log_level);
        self.settings.log_level = new.log_level.clone();
        self.settings.drain = new.drain;
        self.settings.plugins_dir = new.plugins_dir.clone();
        self.proxy.reopen_access_log();
        let (done, is_done) = oneshot::channel();
        // Waited for, so that `ready` after `reloading` is true; signals that come meanwhile are kept.
        let taken_over = self
            .runtime
            .block_on(async { self.orders.send(Order::Reload(Box::new(new), done)).await.is_ok() && is_done.await.is_ok() });
        if !taken_over {
            tracing::error!("reload: the thread that follows the store has ended; restart this node");
        }
        if waiting.is_empty() {
            tracing::info!(?taken, "reloaded");
        } else {
            tracing::warn!(?taken, needs_restart = ?waiting, "reloaded; some settings are taken at a restart only");
        }
    }

    /// The steps of an end, in their order.
    fn end(mut self, wish: Wish) -> Exit {
        notify(&[NotifyState::Stopping]);
        // First: a load balancer that looks now sends nobody any more.
        self.facts.set_ready(false);
        let Drain { delay, timeout: grace } = match wish {
            Wish::Quit => self.settings.drain,
            _ => Drain { delay: Duration::ZERO, timeout: STOP_GRACE },
        };
        tracing::info!(?delay, ?grace, "ending");
        let (proxy, signals) = (&self.proxy, &mut self.signals);
        // The Admin API and the status address answer meanwhile: whoever drains wants to watch.
        self.runtime.block_on(async {
            let ended = async {
                if !delay.is_zero() {
                    proxy.leave();
                    tokio::time::sleep(delay).await;
                }
                proxy.drain(grace).await
            };
            tokio::select! {
                in_time = ended => tracing::info!(in_time, "the proxy has ended"),
                // Told again, and harder: no more waiting.
                () = second_thoughts(signals) => tracing::warn!("told to stop while draining: exchanges are cut"),
            }
        });
        // The Admin API after the proxy: a write that has begun may still end and be answered.
        self.control.send_replace(true);
        let served = std::mem::take(&mut self.served);
        let all = async {
            for task in served {
                // One that panicked has ended as well.
                drop(task.await);
            }
        };
        let ended = self.runtime.block_on(async { tokio::time::timeout(ADMIN_GRACE, all).await });
        if ended.is_err() {
            tracing::warn!("requests of the Admin API, or the last counts for other nodes, did not end in time");
        }
        self.release()
    }

    /// Lets go of everything in an order in which each can finish: the access log is written out by the last holder of the proxy.
    fn release(self) -> Exit {
        let Self { runtime, proxy, orders, follower, facts, .. } = self;
        drop(orders);
        if follower.join().is_err() {
            tracing::error!("the thread that follows the store had ended by a panic");
        }
        runtime.shutdown_timeout(ADMIN_GRACE);
        drop(facts);
        drop(proxy);
        tracing::info!("ended");
        Exit::Success
    }
}

async fn second_thoughts(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

/// The compiler is this very binary, as a child with limits of its own.
pub fn own_compiler() -> Result<Compiler, NodeError> {
    let program = std::env::current_exe().map_err(NodeError::Threads)?;
    Ok(Compiler::Child { program, args: vec!["compile".to_owned()] })
}

/// What keys the hashes of the store.
pub fn cluster_key(settings: &Settings) -> Option<[u8; 32]> {
    // 64 hexadecimal digits, the same notation as a digest's: the settings have checked it.
    let Secret(digits) = settings.cluster_key.as_ref()?;
    digits.parse::<weir_model::Digest>().ok().map(|key| *key.as_bytes())
}

fn notify(state: &[NotifyState<'_>]) {
    // Without a supervisor there is nobody to tell; with one that is gone, nothing to do.
    drop(sd_notify::notify(state));
}

fn notify_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}
