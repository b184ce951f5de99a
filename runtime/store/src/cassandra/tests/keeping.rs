//! Checkpoints, old rows that go, and histories that are taken from the store or given to it.

use super::*;
use crate::conformance::{entity, id};
use serde_json::json;
use weir_model::Op;

fn keeping(options: &CassandraOptions, folder: &Path, keeping: Keeping) -> Arc<Cassandra> {
    let options = CassandraOptions { node: NodeIdentity::default(), ..options.clone() };
    Cassandra::open_tuned(folder, options, writer::Tuning::default(), keeping).unwrap()
}

#[test]
fn old_rows_go_and_a_new_node_has_everything_all_the_same() {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let a = keeping(&options, folder.path(), SOON);
    let digest = wait(a.put_blob(vec![7; 600_000])).unwrap();
    let component = entity(Kind::Component, 99, json!({ "name": "p", "version": "1.0.0", "digest": digest.to_string() }));
    wait(a.write(put(vec![component]))).unwrap();
    fill(&a, 0..30);
    wait(a.write(Box::new(|_| {
        Ok(crate::Planned { ops: vec![Op::Delete { kind: Kind::Service, id: id(3) }], answer: json!(null) })
    })))
    .unwrap();
    until(|| end(&options).floor > Revision(0));
    let found = end(&options);
    assert!(found.floor <= found.checkpoint.unwrap().1 && found.floor <= Revision(32 - 5), "{found:?}");
    let (_second, b) = node(&options);
    same(&a, &b);
    assert_eq!(b.view().unwrap().count(Kind::Service).unwrap(), 29);
    assert!(wait(b.local.blob(digest)).unwrap().is_some());
    // It goes on from there like any other.
    fill(&b, 40..45);
    let view = b.view().unwrap();
    until(|| a.status().revision == b.status().revision);
    same(&a, &b);
    assert_eq!(view.get(Kind::Service, id(5)).unwrap(), a.view().unwrap().get(Kind::Service, id(5)).unwrap());
}

#[test]
fn a_node_that_was_away_too_long_loads_what_it_missed() {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = keeping(&options, first.path(), SOON);
    fill(&a, 0..3);
    let away = CassandraOptions { update_frequency: Duration::from_secs(3600), ..options.clone() };
    let b = keeping(&away, second.path(), Keeping::default());
    let held = b.view().unwrap();
    fill(&a, 10..50);
    until(|| end(&options).floor > Revision(10));
    // Its first word is a write: nothing of it may be judged at what it has.
    let written = wait(b.write(put(vec![service(99, "late")]))).unwrap();
    assert_eq!(written.revision, Revision(44));
    assert_eq!(b.view().unwrap().count(Kind::Service).unwrap(), 44);
    assert_eq!(held.count(Kind::Service).unwrap(), 3, "who holds a view keeps it");
    assert!(matches!(b.transactions(Revision(3), 10), Err(StoreError::Trimmed { .. })), "its followers are told to begin anew");
    until(|| a.status().revision == Revision(44));
    same(&a, &b);
}

#[test]
fn an_altered_checkpoint_is_not_taken() {
    let options = CassandraOptions { cluster_key: Some([3; 32]), ..options() };
    Cassandra::bootstrap(&options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let a = keeping(&options, folder.path(), SOON);
    fill(&a, 0..30);
    until(|| end(&options).floor > Revision(0));
    drop(a);
    let found = end(&options);
    // Somebody points to a list of pieces of his own.
    once(async {
        let session = connection::connect(&options).await?;
        session.use_keyspace(options.keyspace.as_str(), false).await.map_err(|error| error.to_string())?;
        let list = json!({
            "format": 1, "cluster": found.cluster.to_string(), "revision": found.revision, "head": "0".repeat(64),
            "state": "0".repeat(64), "parts": [], "previous": null, "seal": "0".repeat(64)
        });
        let bytes = serde_json::to_vec(&list).unwrap();
        let digest = crate::replica::blobs::digest(&bytes).as_bytes().to_vec();
        let size = i64::try_from(bytes.len()).unwrap();
        let insert = "INSERT INTO blobs (digest, upload, chunk, size, bytes) VALUES (?, uuid(), 0, ?, ?)";
        session.query_unpaged(insert, (digest.clone(), size, bytes)).await.map_err(|error| error.to_string())?;
        let update =
            scylla::statement::unprepared::Statement::new("UPDATE journal SET checkpoint = ? WHERE log = 0 IF floor > 0");
        session.query_unpaged(update, (digest,)).await.map(drop).map_err(|error| error.to_string())
    })
    .unwrap();
    let (_folder, b) = node(&options);
    assert_eq!(b.status().revision, Revision(0));
    assert!(b.trouble().is_some_and(|trouble| trouble.contains("altered")), "{:?}", b.trouble());
}

#[test]
fn a_store_that_was_emptied_is_given_a_nodes_configuration_again() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&options);
    // Bytes that are in the keyspace and in each replica, and that a new node needs.
    let digest = wait(a.put_blob(b"a component".to_vec())).unwrap();
    let component = entity(Kind::Component, 99, json!({ "name": "p", "version": "1.0.0", "digest": digest.to_string() }));
    wait(a.write(put(vec![component]))).unwrap();
    fill(&a, 1..20);
    until(|| b.status().revision == Revision(20));
    Cassandra::reset(&options).unwrap();
    Cassandra::bootstrap(&options).unwrap();
    until(|| a.trouble().is_some_and(|trouble| trouble.contains("republish")));
    until(|| b.trouble().is_some_and(|trouble| trouble.contains("republish")));
    // It does not become empty by being asked to take what is there: that is a history, and it is empty. So b is asked for its own.
    let revision = wait(b.republish()).unwrap();
    assert_eq!(revision, Revision(21), "above every revision that was seen");
    assert_eq!(b.view().unwrap().count(Kind::Service).unwrap(), 19);
    fill(&b, 50..51);
    // The other one holds until it is told.
    assert!(a.trouble().is_some_and(|trouble| trouble.contains("adopt")), "{:?}", a.trouble());
    assert_eq!(wait(a.adopt()).unwrap(), Revision(22));
    same(&a, &b);
    fill(&a, 60..61);
    let (_third, c) = node(&options);
    same(&a, &c);
    assert_eq!(c.view().unwrap().count(Kind::Service).unwrap(), 21);
    assert_eq!(wait(c.local.blob(digest)).unwrap().as_deref(), Some(b"a component".as_slice()));
}

#[test]
fn a_node_that_restarts_serves_though_the_tables_are_gone() {
    let (options, folder, store) = begun();
    fill(&store, 0..5);
    drop(store);
    Cassandra::reset(&options).unwrap();
    let store = Cassandra::open(folder.path(), options).unwrap();
    assert_eq!(store.view().unwrap().count(Kind::Service).unwrap(), 5);
    until(|| store.trouble().is_some_and(|trouble| trouble.contains("weir migrations bootstrap")));
    let refused = wait(store.write(put(vec![service(9, "late")]))).unwrap_err();
    assert!(matches!(refused, WriteError::Unavailable { .. }), "{refused}");
}

#[test]
fn a_restored_backup_is_adopted_or_overruled() {
    let (options, _first, a) = begun();
    fill(&a, 0..10);
    let other = CassandraOptions { keyspace: format!("{}_other", options.keyspace), ..options.clone() };
    Cassandra::bootstrap(&other).unwrap();
    let (_second, b) = node(&other);
    fill(&b, 0..3);
    // The keyspace is now what another cluster's was.
    Cassandra::reset(&options).unwrap();
    let found = end(&other);
    Cassandra::bootstrap(&options).unwrap();
    until(|| a.trouble().is_some());
    until(|| wait(a.adopt()).is_ok_and(|taken| taken == Revision(0)));
    assert_eq!(a.view().unwrap().count(Kind::Service).unwrap(), 0, "the operator has said so");
    assert_ne!(a.status().cluster, found.cluster.to_string());
    assert!(a.status().path.ends_with(&format!("{}.redb", a.status().cluster)));
    // Nothing is gone: the old file stands beside the new one.
    let files = std::fs::read_dir(_first.path())
        .unwrap()
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|end| end == "redb"));
    assert_eq!(files.count(), 2);
}
