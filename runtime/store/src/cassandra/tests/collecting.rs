//! Bytes that nobody refers to go, and no others.

use super::*;
use crate::conformance::{entity, id};
use scylla::client::session::Session;
use serde_json::json;
use std::collections::BTreeSet;
use weir_cassandra_harness::Flow;
use weir_model::Op;

/// A component that is written down, or not, with bytes of its own.
fn upload(store: &Cassandra, number: u8, named: bool) -> Digest {
    let digest = wait(store.put_blob(vec![number; 1000])).unwrap();
    if named {
        let body = json!({ "name": format!("p{number}"), "version": "1.0.0", "digest": digest.to_string() });
        wait(store.write(put(vec![entity(Kind::Component, u32::from(number), body)]))).unwrap();
    }
    digest
}

fn remove(store: &Cassandra, number: u8) {
    let op = Op::Delete { kind: Kind::Component, id: id(u32::from(number)) };
    wait(store.write(Box::new(move |_| Ok(crate::Planned { ops: vec![op.clone()], answer: json!(null) })))).unwrap();
}

/// More than stands in a row.
fn large(store: &Cassandra, number: u32) {
    let body = json!({ "name": format!("large-{number}"), "tags": ["x".repeat(100_000)] });
    wait(store.write(put(vec![entity(Kind::Service, number, body)]))).unwrap();
}

/// What the bytes in the store are called.
fn names(options: &CassandraOptions) -> BTreeSet<Vec<u8>> {
    let select = format!("SELECT DISTINCT digest FROM {}.blobs", options.keyspace);
    let rows = once(async {
        let session: Session = connection::connect(options).await?;
        session.query_unpaged(select, ()).await.map_err(|error| error.to_string())
    });
    rows.unwrap().into_rows_result().unwrap().rows::<(Vec<u8>,)>().unwrap().map(|row| row.unwrap().0).collect()
}

fn collect(store: &Cassandra, older: Duration) -> Option<usize> {
    wait(store.collect(older)).unwrap()
}

/// Nothing is looked after unless a test says so.
const BY_HAND: Keeping = Keeping { period: Duration::from_secs(86_400), ..SOON };

fn keep_house(store: &Cassandra) {
    assert!(wait(store.keep_house(SOON)).unwrap());
}

#[test]
fn what_nobody_refers_to_goes_and_everything_else_stays() {
    for key in [None, Some([7; 32])] {
        let options = CassandraOptions { cluster_key: key, ..options() };
        Cassandra::bootstrap(&options).unwrap();
        let (_first, a) = tuned(&options, writer::Tuning::default(), BY_HAND);
        let name = |digest| sealing::Sealing::new(key.as_ref()).name(digest).as_bytes().to_vec();
        // Four that stay for different reasons, and two that go: one was never named, and of one nobody knows any more.
        let [forgotten, in_a_row, in_a_checkpoint, in_use] = [1, 2, 3, 4].map(|number| upload(&a, number, true));
        let never_named = upload(&a, 5, false);
        large(&a, 100);
        remove(&a, 1);
        fill(&a, 200..210);
        keep_house(&a);
        // The third is in both checkpoints that are kept, the second in a row that stays.
        fill(&a, 210..220);
        keep_house(&a);
        fill(&a, 220..230);
        keep_house(&a);
        remove(&a, 3);
        remove(&a, 2);
        let again = wait(a.put_blob(vec![2; 1000])).unwrap();
        assert_eq!(again, in_a_row);
        upload(&a, 2, true);
        remove(&a, 2);
        large(&a, 300);
        assert!(end(&options).floor > Revision(20), "{:?}", end(&options));

        let before = names(&options);
        assert_eq!(collect(&a, Duration::from_secs(3600)), Some(0), "everything is young");
        assert_eq!(names(&options), before);
        assert!(collect(&a, Duration::ZERO).unwrap() > 0);
        let after = names(&options);
        for (digest, stays) in
            [(forgotten, false), (never_named, false), (in_a_row, true), (in_a_checkpoint, true), (in_use, true)]
        {
            assert_eq!(after.contains(&name(digest)), stays, "{digest}");
        }
        // Gone as well are the first large transaction and the manifest of the first checkpoint; its pieces went before.
        assert_eq!(before.difference(&after).count(), 4);
        assert_eq!(collect(&a, Duration::ZERO), Some(0), "all that could go has gone");

        // A node that has nothing, and one that follows from before, have what they need.
        let (_second, b) = node(&options);
        same(&a, &b);
        assert!(wait(b.local.blob(in_use)).unwrap().is_some());
    }
}

#[test]
fn a_node_that_is_behind_judges_nothing() {
    let (options, _first, a) = begun();
    upload(&a, 1, false);
    let (_second, b) = node(&asleep(&options));
    upload(&a, 2, true);
    assert_eq!(collect(&b, Duration::ZERO), None);
    b.follow_now();
    until_at(&b, a.status().revision);
    assert_eq!(collect(&b, Duration::ZERO), Some(1));
    assert_eq!(names(&options).len(), 1);
}

#[test]
fn an_append_that_was_left_open_uploads_anew() {
    let (options, _first, a) = begun();
    add(&a, 1).unwrap();
    let way = Way::shared(&options);
    let (_second, b) = node(&asleep(&way.options));
    until_at(&b, Revision(1));
    // That the changes have arrived is not answered until what would say where they are is lost.
    way.each(|proxy| proxy.set(Flow::Pass, Flow::Hold));
    let body = json!({ "name": "large", "tags": ["x".repeat(100_000)] });
    let (store, written) = (b.clone(), put(vec![entity(Kind::Service, 7, body)]));
    let asked = std::thread::spawn(move || wait(store.write(written)));
    until(|| names(&options).len() == 1);
    way.each(|proxy| proxy.set(Flow::Drop, Flow::Pass));
    let error = asked.join().unwrap().unwrap_err();
    assert!(matches!(error, WriteError::Unknown { .. }), "{error}");
    // Another node finds nothing that refers to them.
    assert_eq!(collect(&a, Duration::ZERO), Some(1));
    assert!(names(&options).is_empty());
    way.each(FaultProxy::cut);
    way.each(FaultProxy::pass);
    until_written(&b, 8);
    a.follow_now();
    until_same(&[&a, &b]);
    assert_eq!(count(&a), 3, "what was open is done");
    let (_third, c) = node(&options);
    same(&a, &c);
}
