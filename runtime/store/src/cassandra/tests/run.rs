//! Gateways under clients whose wishes collide, while something is done to them or to their store; then a checker reads the history.

use super::checker::{Asked, History, Journal, NAMES, Told, ask, judge, plan};
use super::*;
use crate::conformance::entity;
use crate::local::writer::Tuning;
use serde_json::json;
use std::sync::atomic::AtomicBool;

/// How often what the gateways have applied is noted: before it can be trimmed there.
const NOTED: Duration = Duration::from_millis(20);

/// A small generator of numbers; the same seed gives the same ones.
pub(super) struct Lots(pub(super) u64);

impl Lots {
    /// One of `0..most`.
    pub(super) fn below(&mut self, most: u64) -> u64 {
        // splitmix64: any sequence that is not the same each time would do.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % most
    }
}

/// Asks for this and that until it is over.
async fn client(store: Arc<Cassandra>, history: Arc<History>, over: Arc<AtomicBool>, number: u64) {
    let mut lots = Lots(number);
    let mut count = 0u32;
    while !over.load(Ordering::Relaxed) {
        count += 1;
        let wanted = u32::try_from(lots.below(u64::from(NAMES))).unwrap();
        let unique = u32::try_from(number).unwrap() * 1_000_000 + count;
        let asked = match lots.below(5) {
            0 | 1 => Asked::Create { name: wanted, id: unique },
            2 => Asked::Remove { name: wanted },
            _ => Asked::Say { name: wanted, what: u64::from(unique) },
        };
        let told = ask(&store, &history, asked.clone(), plan(asked)).await;
        if matches!(told, Told::NotDone) {
            // Nobody to ask: not as fast as the processor can.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A gateway, and its own way to the nodes.
pub(super) struct Gateway {
    _folder: tempfile::TempDir,
    pub(super) store: Arc<Cassandra>,
    pub(super) way: Way,
}

/// How many gateways there are.
pub(super) const GATEWAYS: usize = 3;

/// A cluster of Cassandra with gateways on it, and all that their clients asked and were told.
pub(super) struct Run {
    pub(super) cluster: Cluster,
    pub(super) options: CassandraOptions,
    pub(super) gateways: Vec<Gateway>,
    journal: Arc<Journal>,
    history: Arc<History>,
    clients: u64,
}

impl Run {
    /// Gateways on a cluster that was begun.
    pub(super) fn on((cluster, options): (Cluster, CassandraOptions), keeping: Keeping) -> Self {
        Self::with((cluster, options), keeping, [Tuning::default(), Tuning::default(), Tuning::default()])
    }
    /// The same, each gateway with its own settings.
    pub(super) fn with((cluster, options): (Cluster, CassandraOptions), keeping: Keeping, tunings: [Tuning; GATEWAYS]) -> Self {
        let gateways = tunings.into_iter().map(|tuning| {
            let way = Way::of(&cluster, &options);
            let (folder, store) = tuned(&way.options, tuning, keeping);
            Gateway { _folder: folder, store, way }
        });
        let gateways = gateways.collect();
        Self { cluster, options, gateways, journal: Arc::default(), history: Arc::default(), clients: 0 }
    }

    /// Their stores.
    pub(super) fn stores(&self) -> Vec<&Cassandra> {
        self.gateways.iter().map(|gateway| &*gateway.store).collect()
    }

    /// Does something while clients of all gateways ask for this and that.
    pub(super) fn under_clients<T>(&mut self, what: impl FnOnce(&Self) -> T) -> T {
        let over = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut clients = tokio::task::JoinSet::new();
        for (at, gateway) in self.gateways.iter().enumerate() {
            for _ in 0..2 {
                self.clients += 1;
                let client = client(gateway.store.clone(), self.history.clone(), over.clone(), self.clients);
                clients.spawn_on(client, runtime.handle());
            }
            let (store, journal, over) = (gateway.store.clone(), self.journal.clone(), over.clone());
            clients.spawn_on(note(at, store, journal, over), runtime.handle());
        }
        let done = what(self);
        over.store(true, Ordering::Relaxed);
        runtime.block_on(clients.join_all());
        done
    }

    /// How many questions the clients were answered for certain so far.
    pub(super) fn answered(&self) -> usize {
        self.history.answered()
    }

    /// Waits until the clients of an [`Run::under_clients`] that is going on have been answered so many more.
    pub(super) fn until_answered(&self, more: usize) {
        let wanted = self.answered() + more;
        until(|| self.answered() >= wanted);
    }

    /// When all is well again: settles what is open, waits until all have everything, and answers what is wrong with the history.
    pub(super) fn judged(&self) -> Vec<String> {
        self.cluster.until_all_up().unwrap();
        self.settle();
        judge(&self.history, &self.journal, &self.stores())
    }

    /// One write through each gateway when all is well again: it settles what is open; then all have everything.
    fn settle(&self) {
        let mut newest = Revision(0);
        for (at, gateway) in self.gateways.iter().enumerate() {
            let deadline = Instant::now() + Duration::from_secs(90);
            let number = u32::try_from(at).unwrap() + 900;
            loop {
                let last = entity(Kind::Consumer, number, json!({ "username": format!("end-{number}"), "custom_id": null }));
                match wait(gateway.store.write(put(vec![last]))) {
                    Ok(written) => break newest = newest.max(written.revision),
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            }
        }
        self.gateways.iter().for_each(|gateway| until_at(&gateway.store, newest));
    }
}

async fn note(at: usize, store: Arc<Cassandra>, journal: Arc<Journal>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        journal.read(at, &store);
        tokio::time::sleep(NOTED).await;
    }
}

/// Fails with what is wrong.
pub(super) fn must_be_right(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} faults in the history, such as\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
}
