//! The proxy as the node sees it: started, given snapshots, asked for figures, drained.

use crate::access_log::{AccessLog, Writer};
use crate::listener::{self, ListenerSpec};
use crate::settings::ProxySettings;
use crate::snapshot::Snapshot;
use crate::upstream::tls::UpstreamTls;
use crate::worker::{self, Shared, Stage, WorkerFigures};
use arc_swap::ArcSwap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use weir_model::Revision;
use weir_plugin_host::Host;

/// How long workers may take to leave after they were told to stop: they only drop what they have.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running proxy. Dropping it stops it at once; `drain` first lets it finish.
pub struct Proxy {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    stage: watch::Sender<Stage>,
    serving: watch::Sender<Revision>,
    threads: Vec<JoinHandle<()>>,
    ended: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
    writer: Writer,
}

/// What a proxy has done, and is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Client connections accepted.
    pub connections_accepted: u64,
    /// Client connections closed at once, because the node has as many as it may.
    pub connections_refused: u64,
    /// Client connections open.
    pub connections_active: u64,
    /// Requests, refused ones included.
    pub requests: u64,
    /// Requests being served.
    pub requests_in_flight: u64,
    /// Idle connections to upstreams, at the last sweep.
    pub upstream_idle_connections: u64,
    /// Requests that ended well.
    pub ended_well: u64,
    /// Requests that failed by the client's fault.
    pub failed_by_client: u64,
    /// … by the upstream's.
    pub failed_by_upstream: u64,
    /// … by a plugin's.
    pub failed_by_plugin: u64,
    /// … by the gateway's.
    pub failed_by_gateway: u64,
    /// Access events that were dropped.
    pub access_events_dropped: u64,
}

impl Proxy {
    /// Opens the listeners and starts the workers; serves `snapshot` when it returns.
    pub fn start(
        settings: ProxySettings,
        listeners: Vec<ListenerSpec>,
        host: Arc<Host>,
        snapshot: Arc<Snapshot>,
    ) -> io::Result<Proxy> {
        let tls = UpstreamTls::new(settings.upstream_tls_verify);
        Self::start_with(settings, listeners, host, snapshot, tls)
    }

    /// As `start`, with other roots for upstreams than the system's.
    pub fn start_with(
        settings: ProxySettings,
        listeners: Vec<ListenerSpec>,
        host: Arc<Host>,
        snapshot: Arc<Snapshot>,
        tls: UpstreamTls,
    ) -> io::Result<Proxy> {
        let workers = settings.workers.max(1);
        let (sets, addresses) = listener::open(&listeners, workers)?;
        let (log, writer) = AccessLog::start(&settings.access_log)?;
        let (stage, seen) = watch::channel(Stage::Serving);
        let (ended, ends) = mpsc::unbounded_channel();
        let (serving, _) = watch::channel(snapshot.revision());
        let shared = Arc::new(Shared {
            settings,
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            host,
            tls,
            log,
            stage: seen,
            connections: AtomicUsize::new(0),
            figures: (0..workers).map(|_| WorkerFigures::default()).collect(),
        });
        let mut proxy = Proxy {
            shared,
            addresses,
            stage,
            serving,
            threads: Vec::with_capacity(workers),
            ended: tokio::sync::Mutex::new(ends),
            writer,
        };
        for (index, set) in sets.into_iter().enumerate() {
            let (shared, ended) = (Arc::clone(&proxy.shared), ended.clone());
            let life = move || {
                if let Err(error) = worker::run(shared, index, set) {
                    tracing::error!(index, %error, "a worker could not start");
                }
                // Nobody may be waiting.
                let _ = ended.send(());
            };
            proxy.threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(life)?);
        }
        Ok(proxy)
    }

    /// Serves this snapshot from the next request on. Exchanges in progress keep theirs.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let revision = snapshot.revision();
        self.shared.snapshot.store(snapshot);
        self.serving.send_replace(revision);
    }

    /// The newest revision that is served.
    pub fn serving(&self) -> watch::Receiver<Revision> {
        self.serving.subscribe()
    }

    /// The addresses that were taken, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Figures over all workers.
    pub fn figures(&self) -> Figures {
        let sum = |figure: fn(&WorkerFigures) -> &AtomicU64| {
            self.shared.figures.iter().map(|figures| figure(figures).load(Ordering::Relaxed)).sum()
        };
        let [ended_well, failed_by_client, failed_by_upstream, failed_by_plugin, failed_by_gateway] = [
            sum(|figures| &figures.by_fault[0]),
            sum(|figures| &figures.by_fault[1]),
            sum(|figures| &figures.by_fault[2]),
            sum(|figures| &figures.by_fault[3]),
            sum(|figures| &figures.by_fault[4]),
        ];
        Figures {
            connections_accepted: sum(|figures| &figures.accepted),
            connections_refused: sum(|figures| &figures.refused_connections),
            connections_active: sum(|figures| &figures.active),
            requests: sum(|figures| &figures.requests),
            requests_in_flight: sum(|figures| &figures.in_flight),
            upstream_idle_connections: sum(|figures| &figures.idle_upstream),
            ended_well,
            failed_by_client,
            failed_by_upstream,
            failed_by_plugin,
            failed_by_gateway,
            access_events_dropped: self.shared.log.dropped(),
        }
    }

    /// Opens the access log's file again, after it was rotated.
    pub fn reopen_access_log(&self) {
        self.shared.log.reopen();
    }

    /// Serves on, and closes each client's connection with its next reply: for a node that will drain soon, while whoever balances
    /// the load still finds out. Nothing is refused or cut.
    pub fn leave(&self) {
        self.go_on_to(Stage::Leaving);
    }

    /// Nothing if it is there, or further.
    fn go_on_to(&self, next: Stage) {
        self.stage.send_if_modified(|stage| {
            let earlier = *stage < next;
            *stage = next.max(*stage);
            earlier
        });
    }

    /// Stops accepting, lets what has begun come to its end, and stops. True if everything ended before the deadline.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.go_on_to(Stage::Draining);
        let in_time = tokio::time::timeout(deadline, self.all_ended()).await.is_ok();
        self.stage.send_replace(Stage::Stopped);
        if !in_time {
            // Exchanges that are cut are logged while their worker leaves.
            let _ = tokio::time::timeout(STOP_TIMEOUT, self.all_ended()).await;
        }
        in_time
    }

    async fn all_ended(&self) {
        let mut ended = self.ended.lock().await;
        // All senders are gone when all workers are.
        while ended.recv().await.is_some() {}
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Stopped);
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
        self.shared.log.stop();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
