//! Against real Cassandra nodes: what the store promises whatever happens to them.

mod faults;
mod keeping;
mod schedule;
mod several;

use super::*;
use crate::conformance::{Fresh, put, service};
use std::sync::atomic::{AtomicU32, Ordering};

/// How to reach the nodes that these tests share, in a keyspace that nobody else uses.
fn options() -> CassandraOptions {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    CassandraOptions { keyspace: format!("weir_{number}"), ..options_of(weir_cassandra_harness::shared(1).unwrap()) }
}

fn options_of(cluster: &weir_cassandra_harness::Cluster) -> CassandraOptions {
    CassandraOptions {
        contact_points: cluster.contact_points().iter().map(ToString::to_string).collect(),
        keyspace: "weir".to_owned(),
        replication: Replication::Factor(1),
        credentials: None,
        local_data_center: None,
        connect_timeout: Duration::from_secs(5),
        update_frequency: Duration::from_millis(100),
        cluster_key: None,
        node: NodeIdentity::default(),
    }
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
