//! What goes wrong between a node and Cassandra: hangs, crashes, lost answers, histories that were replaced.

use super::*;
use crate::conformance::id;
use weir_model::Op;

#[test]
fn an_append_whose_answer_is_lost_is_open_and_then_known() {
    let (cluster, options) = own(1);
    let (_folder, store) = node(&options);
    add(&store, 1).unwrap();
    let proxy = cluster.node(0).proxy().unwrap();
    proxy.drop_answers();
    let Err(WriteError::Unknown { transaction: Some(transaction), cause }) = add(&store, 2) else { panic!("it was answered") };
    assert!(cause.contains("goes on trying"), "{cause}");
    assert_eq!(TransactionId::parse(&transaction.to_string()), Some(transaction));
    // Reads and the state are what they were.
    assert_eq!(count(&store), 1);
    let refused = add(&store, 3).unwrap_err();
    assert!(matches!(refused, WriteError::Unavailable { .. }), "{refused}");
    proxy.pass();
    until_written(&store, 4);
    assert_eq!(wait(store.outcome(transaction)).unwrap(), Outcome::Done);
    assert_eq!(store.status().revision, Revision(3), "once, and not once for each time that it was sent");
    assert_eq!(count(&store), 3);
    let other = TransactionId { random: Id::random(), ..transaction };
    assert_eq!(wait(store.outcome(other)).unwrap(), Outcome::NotDone);
    let later = TransactionId { first: Revision(99), random: Id::random() };
    assert_eq!(wait(store.outcome(later)).unwrap(), Outcome::Open);
}

#[test]
fn a_held_request_is_never_denied_and_then_done() {
    let (cluster, options) = own(1);
    let (_folder, a) = node(&options);
    add(&a, 1).unwrap();
    let proxy = cluster.node(0).proxy().unwrap();
    proxy.hold();
    let held = add(&a, 2);
    // Whatever it was told, it was not that it is not done: it may be on its way.
    let Err(WriteError::Unknown { transaction: Some(transaction), .. }) = held else { panic!("{held:?}") };
    proxy.pass();
    until_written(&a, 3);
    let there = a.view().unwrap().get(Kind::Service, id(2)).unwrap().is_some();
    let outcome = wait(a.outcome(transaction)).unwrap();
    assert_eq!(there, outcome == Outcome::Done, "{outcome:?}");
    assert_ne!(outcome, Outcome::Open);
}

#[test]
fn while_the_store_hangs_or_is_gone_reads_go_on_and_a_restart_serves() {
    let (cluster, options) = own(1);
    let (folder, store) = node(&options);
    add(&store, 1).unwrap();
    for gone in [false, true] {
        if gone {
            cluster.node(0).kill().unwrap()
        } else {
            cluster.node(0).pause().unwrap()
        }
        assert_eq!(count(&store), 1);
        let error = until_refused(&store);
        assert!(error.contains("traffic is served as before"), "{error}");
        assert!(store.status().holding.is_some());
        // A node that starts now has its replica.
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let begun = Instant::now();
        let restarted = Cassandra::open(copy.path(), options.clone()).unwrap();
        println!("opened without the store in {:.1?}", begun.elapsed());
        assert_eq!(count(&restarted), 1);
        drop(restarted);
        if gone { cluster.node(0).start_again().unwrap() } else { cluster.node(0).resume().unwrap() }
    }
    until_written(&store, 2);
    assert_eq!(store.trouble(), None);
    let empty = tempfile::tempdir().unwrap();
    cluster.node(0).kill().unwrap();
    let Err(error) = Cassandra::open(empty.path(), CassandraOptions { connect_timeout: Duration::from_secs(1), ..options })
    else {
        panic!("a node with nothing to serve has started")
    };
    assert!(error.to_string().contains("no replica yet"), "{error}");
}

/// The first write after the store went may be open; those that follow are refused outright.
fn until_refused(store: &Cassandra) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match wait(store.write(Box::new(|_| Err(weir_model::Refusal::NotFound)))) {
            Err(WriteError::Unavailable { cause }) => return cause,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn another_history_makes_a_node_hold_and_not_forget() {
    let (options, _folder, store) = begun();
    for number in 1..=3 {
        add(&store, number).unwrap();
    }
    Cassandra::reset(&options).unwrap();
    Cassandra::bootstrap(&options).unwrap();
    until_held(&store, "weir cluster adopt");
    assert_eq!(count(&store), 3);
    let error = add(&store, 4).unwrap_err();
    assert!(matches!(&error, WriteError::Unavailable { cause } if cause.contains("weir cluster republish")), "{error}");
}

#[test]
fn a_forged_row_is_not_believed() {
    let options = CassandraOptions { cluster_key: Some([5; 32]), ..options() };
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = node(&options);
    add(&a, 1).unwrap();
    let (_second, b) = node(&CassandraOptions { update_frequency: Duration::from_secs(3600), ..options.clone() });
    add(&a, 2).unwrap();
    // Somebody with access to the keyspace turns a change into a deletion, which is well formed.
    let forged = crate::row::encode_changes(&[crate::row::Change::of(Op::Delete { kind: Kind::Service, id: id(1) })]);
    let forged = [u32::try_from(forged.len()).unwrap().to_le_bytes().as_slice(), &forged].concat();
    once(async {
        let session = connection::connect(&options).await?;
        let update = format!("UPDATE {}.journal SET ops = ? WHERE log = 0 AND revision = 2 IF tip = 2", options.keyspace);
        let mut update = scylla::statement::unprepared::Statement::new(update);
        update.set_serial_consistency(Some(scylla::statement::SerialConsistency::Serial));
        session.query_unpaged(update, (forged,)).await.map(drop).map_err(|error| error.to_string())
    })
    .unwrap();
    until_held(&b, "altered in the store");
    assert_eq!(count(&b), 1);
}

#[test]
fn an_unknown_format_makes_a_node_hold() {
    let (options, _first, a) = begun();
    add(&a, 1).unwrap();
    let (_second, b) = node(&CassandraOptions { update_frequency: Duration::from_secs(3600), ..options.clone() });
    add(&a, 2).unwrap();
    once(async {
        let session = connection::connect(&options).await?;
        let update = format!("UPDATE {}.journal SET format = 99 WHERE log = 0 AND revision = 2 IF tip = 2", options.keyspace);
        let mut update = scylla::statement::unprepared::Statement::new(update);
        update.set_serial_consistency(Some(scylla::statement::SerialConsistency::Serial));
        session.query_unpaged(update, ()).await.map(drop).map_err(|error| error.to_string())
    })
    .unwrap();
    until_held(&b, "upgrade this node");
    assert_eq!(count(&b), 1);
}

#[test]
fn a_full_disk_here_does_not_undo_what_the_store_has() {
    let (options, _first, a) = begun();
    add(&a, 1).unwrap();
    let (_second, b) = node(&options);
    let health = crate::local::locked(&b.local.shared.health).clone().unwrap();
    health.faults.write.store(true, Ordering::SeqCst);
    // It has its place before the file here fails, so it is done.
    let written = add(&b, 2);
    assert!(written.is_ok(), "{written:?}");
    health.faults.write.store(false, Ordering::SeqCst);
    until_written(&b, 3);
    assert_eq!(count(&b), 3);
}

#[test]
fn nodes_are_seen_to_live_and_to_end() {
    let (options, _first, a) = begun();
    a.tell(&OwnState { serving: Revision(7), trouble: None });
    let mut moves = a.nodes_moved();
    let (_second, b) = node(&options);
    b.tell(&OwnState { serving: Revision(5), trouble: Some("no room".to_owned()) });
    let mut until = |wanted: &dyn Fn(&[NodeState]) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wanted(&a.nodes()) {
            assert!(Instant::now() < deadline, "{:?}", a.nodes());
            drop(wait(async { tokio::time::timeout(Duration::from_secs(1), moves.changed()).await }));
        }
    };
    until(&|nodes| nodes.len() == 2 && nodes[1].serving == Revision(5) && nodes[1].live);
    let nodes = a.nodes();
    assert!(nodes[0].own && nodes[0].serving == Revision(7), "{nodes:?}");
    assert_eq!(nodes[1].trouble.as_deref(), Some("no room"));
    drop(b);
    // It has said that it ends, so nobody looks for it.
    until(&|nodes| nodes.len() == 1);
}

#[test]
fn nothing_is_lost_while_one_of_three_is_away() {
    let (cluster, options) = own(3);
    let (_first, a) = node(&options);
    let (_second, b) = node(&options);
    add(&a, 1).unwrap();
    cluster.node(2).kill().unwrap();
    until_written(&a, 2);
    until_written(&b, 3);
    cluster.node(2).start_again().unwrap();
    cluster.until_all_up().unwrap();
    cluster.node(1).pause().unwrap();
    until_written(&b, 4);
    cluster.node(1).resume().unwrap();
    until_written(&a, 5);
    let mut moves = b.revisions();
    let tip = a.status().revision;
    wait(async { tokio::time::timeout(Duration::from_secs(20), moves.wait_for(|at| *at >= tip)).await.unwrap().map(drop) })
        .unwrap();
    assert_eq!((a.status().head, a.status().state), (b.status().head, b.status().state));
    assert_eq!(count(&b), 5);
}
