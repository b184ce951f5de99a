//! Against real Cassandra nodes: what the store promises whatever happens to them.

mod caught;
mod checker;
mod closing;
mod collecting;
mod counts;
mod faults;
mod gateways;
mod keeping;
mod opening;
mod ring;
mod run;
mod schedule;
mod sealed;
mod several;
mod tls;

use super::*;
use crate::conformance::{Fresh, put, service};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use weir_cassandra_harness::{Cluster, FaultProxy, Options};
use weir_model::{Id, Kind};

/// How long anything that is waited for may take; what takes longer does not happen.
const WAIT: Duration = Duration::from_secs(60);

/// How to reach the nodes that these tests share, in a keyspace that nobody else uses.
fn options() -> CassandraOptions {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    CassandraOptions { keyspace: format!("weir_{number}"), ..options_of(weir_cassandra_harness::shared(1).unwrap()) }
}

fn options_of(cluster: &Cluster) -> CassandraOptions {
    CassandraOptions {
        contact_points: cluster.contact_points().iter().map(ToString::to_string).collect(),
        keyspace: "weir".to_owned(),
        replication: Replication::Factor(1),
        credentials: None,
        tls: None,
        local_data_center: None,
        connect_timeout: Duration::from_secs(5),
        update_frequency: Duration::from_millis(100),
        cluster_key: None,
        node: NodeIdentity::default(),
        detours: std::collections::HashMap::new(),
    }
}

/// A cluster that this test alone breaks, and a store on it with a copy on each node.
fn own(nodes: usize) -> (Cluster, CassandraOptions) {
    on(Options::default().behind_proxies(), nodes)
}

fn on(options: Options, nodes: usize) -> (Cluster, CassandraOptions) {
    let cluster = options.start(nodes).unwrap();
    let copies = Replication::Factor(u8::try_from(nodes).unwrap());
    let options = CassandraOptions { replication: copies, ..options_of(&cluster) };
    Cassandra::bootstrap(&options).unwrap();
    (cluster, options)
}

/// A gateway's own way to the nodes, which may be broken while others go on.
struct Way {
    proxies: Vec<FaultProxy>,
    options: CassandraOptions,
}

impl Way {
    fn of(cluster: &Cluster, options: &CassandraOptions) -> Self {
        let proxies = cluster.detour().unwrap();
        let ways = cluster.nodes().iter().zip(&proxies).map(|(node, proxy)| (node.address(), proxy.address()));
        let contact_points = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let options = CassandraOptions { contact_points, detours: ways.collect(), ..options.clone() };
        Self { proxies, options }
    }
    /// The same on the node that tests share.
    fn shared(options: &CassandraOptions) -> Self {
        Self::of(weir_cassandra_harness::shared(1).unwrap(), options)
    }
    fn each(&self, what: impl FnMut(&FaultProxy)) {
        self.proxies.iter().for_each(what);
    }
}

/// Options of a node that looks at the store only when it is told to, or has to for a write: asleep.
fn asleep(options: &CassandraOptions) -> CassandraOptions {
    CassandraOptions { update_frequency: Duration::from_secs(3600), ..options.clone() }
}

/// A further node that is looked after so.
fn tuned(options: &CassandraOptions, tuning: writer::Tuning, keeping: Keeping) -> (tempfile::TempDir, Arc<Cassandra>) {
    let folder = tempfile::tempdir().unwrap();
    let options = CassandraOptions { node: NodeIdentity::default(), ..options.clone() };
    let store = Cassandra::open_tuned(folder.path(), options, tuning, keeping).unwrap();
    (folder, store)
}

/// Keeps little, and looks after it all the time.
const SOON: Keeping = Keeping {
    checkpoint_rows: 10,
    keep_rows: 5,
    keep_seconds: 0,
    period: Duration::from_millis(50),
    collect_every: Duration::from_secs(1),
    // An append is pursued for ten seconds, and uploads anew after that.
    collect_after: Duration::from_secs(60),
};

fn add(store: &Cassandra, number: u32) -> Result<Written, WriteError> {
    wait(store.write(put(vec![service(number, &format!("s{number}"))])))
}

fn fill(store: &Cassandra, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| drop(add(store, number).unwrap()));
}

fn count(store: &Cassandra) -> u64 {
    store.view().unwrap().count(Kind::Service).unwrap()
}

/// Writes until one is done: what was away comes back.
fn until_written(store: &Cassandra, number: u32) -> Written {
    let deadline = Instant::now() + WAIT;
    loop {
        match add(store, number) {
            Ok(written) => return written,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

/// Waits until a node holds, or cannot follow; answers why.
fn until_held(store: &Cassandra, by: &str) -> String {
    let mut said = None;
    until(|| {
        store.follow_now();
        said = store.trouble();
        said.as_ref().is_some_and(|said| said.contains(by))
    });
    said.unwrap_or_default()
}

/// Waits until something is so that is asked for again and again.
fn until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !reached() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a node has applied a revision.
fn until_at(store: &Cassandra, revision: Revision) {
    let mut moves = store.revisions();
    let reached = async { tokio::time::timeout(WAIT, moves.wait_for(|at| *at >= revision)).await.map(drop) };
    assert!(wait(reached).is_ok(), "at {}: {:?}", store.status().revision, store.trouble());
}

/// Waits until all have what the furthest has, which is the same then.
fn until_same(stores: &[&Cassandra]) {
    let newest = stores.iter().map(|store| store.status().revision).max().unwrap_or_default();
    for store in stores {
        store.follow_now();
        until_at(store, newest);
        same(stores[0], store);
    }
}

fn same(a: &Cassandra, b: &Cassandra) {
    let (a, b) = (a.status(), b.status());
    assert_eq!((a.cluster, a.revision, a.head, a.state), (b.cluster, b.revision, b.head, b.state));
}

/// The end of the journal, as it certainly is.
fn end(options: &CassandraOptions) -> partition::End {
    with(options, async |prepared| partition::end(&prepared, &prepared.tip.serial).await.unwrap().unwrap())
}

/// Does something with the store as no node would.
fn with<T>(options: &CassandraOptions, what: impl AsyncFnOnce(Arc<connection::Prepared>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut connection = Connection::begin(Arc::new(options.clone()), runtime.handle());
    runtime.block_on(async {
        drop(connection.known().await);
        what(connection.prepared().unwrap()).await
    })
}

/// What somebody with cqlsh does to the keyspace.
fn by_hand(options: &CassandraOptions, text: &str) {
    with(options, async |prepared| {
        let mut statement = scylla::statement::unprepared::Statement::new(text);
        statement.set_consistency(scylla::statement::Consistency::Quorum);
        statement.set_serial_consistency(Some(scylla::statement::SerialConsistency::Serial));
        prepared.session.query_unpaged(statement, ()).await.unwrap();
    });
}

/// A store that has just been begun, and one node on it.
fn begun() -> (CassandraOptions, tempfile::TempDir, Arc<Cassandra>) {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (folder, store) = node(&options);
    (options, folder, store)
}

/// A further node.
fn node(options: &CassandraOptions) -> (tempfile::TempDir, Arc<Cassandra>) {
    let folder = tempfile::tempdir().unwrap();
    let options = CassandraOptions { node: NodeIdentity::default(), ..options.clone() };
    let store = Cassandra::open(folder.path(), options).unwrap();
    (folder, store)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn it_keeps_every_promise_of_the_trait() {
    crate::conformance::run(|| {
        let (_, folder, store) = begun();
        Fresh { store, guard: Box::new(folder) }
    });
}

#[test]
fn it_keeps_every_promise_with_a_cluster_key() {
    crate::conformance::run(|| {
        let options = CassandraOptions { cluster_key: Some([9; 32]), ..options() };
        Cassandra::bootstrap(&options).unwrap();
        let (folder, store) = node(&options);
        Fresh { store, guard: Box::new(folder) }
    });
}

#[test]
fn without_tables_a_node_says_which_command_makes_them() {
    let options = options();
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = Cassandra::open(folder.path(), options.clone()) else { panic!("it started without tables") };
    assert!(error.to_string().contains("weir migrations bootstrap"), "{error}");
    assert_eq!(Cassandra::readiness(&options), Ok(Readiness::Missing));
    Cassandra::bootstrap(&options).unwrap();
    assert_eq!(Cassandra::readiness(&options), Ok(Readiness::Ready));
    Cassandra::open(folder.path(), options).unwrap();
}

#[test]
fn bootstrapping_again_or_at_once_changes_nothing() {
    let options = options();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| Cassandra::bootstrap(&options))).collect();
        all.into_iter().for_each(|one| drop(one.join().unwrap().unwrap()));
    });
    let (_folder, store) = node(&options);
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    let cluster = store.status().cluster;
    let said = Cassandra::bootstrap(&options).unwrap();
    assert!(said.iter().any(|line| line.contains("already")), "{said:?}");
    wait(store.write(put(vec![service(2, "b")]))).unwrap();
    assert_eq!((store.status().cluster, store.status().revision), (cluster, Revision(2)));
}

#[test]
fn a_node_with_another_cluster_key_is_refused_or_holds() {
    let (options, _folder, store) = begun();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    let other = CassandraOptions { cluster_key: Some([1; 32]), ..options };
    let folder = tempfile::tempdir().unwrap();
    let Err(error) = Cassandra::open(folder.path(), other) else { panic!("it started") };
    assert!(error.to_string().contains("cluster_key"), "{error}");
}

#[test]
fn every_test_that_the_page_of_faults_names_is_there() {
    let page = std::fs::read_to_string("../../docs/faults.md").unwrap();
    let names: Vec<_> =
        page.split('`').filter_map(|word| word.split_once("::")).filter(|(module, _)| *module != "cassandra").collect();
    assert!(names.len() > 20, "{names:?}");
    for (module, name) in names {
        let text = ["src/cassandra/tests", "../../tests/tests/cluster"].map(|folder| format!("{folder}/{module}.rs"));
        let text = text.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap();
        assert!(text.contains(&format!("fn {}", name.trim_end_matches('…'))), "{module}::{name}");
    }
}
