//! Several nodes on one journal.

use super::*;
use crate::conformance::{entity, id};
use serde_json::json;
use weir_model::Op;

#[test]
fn what_one_writes_the_other_has() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&options);
    let written = wait(a.write(put(vec![service(1, "a"), service(2, "b")]))).unwrap();
    until_at(&b, written.revision);
    assert_eq!(b.view().unwrap().count(Kind::Service).unwrap(), 2);
    let written = wait(b.write(put(vec![service(3, "c")]))).unwrap();
    until_at(&a, written.revision);
    let (a, b) = (a.status(), b.status());
    assert_eq!((a.revision, a.head, a.state), (b.revision, b.head, b.state));
}

#[test]
fn a_refusal_holds_at_the_tip_though_the_node_has_not_looked() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&CassandraOptions { update_frequency: Duration::from_secs(3600), ..options });
    wait(a.write(put(vec![service(1, "a")]))).unwrap();
    // It depends on what only the other has written.
    let route = entity(Kind::Route, 2, json!({ "name": "r", "paths": ["/"], "service": { "id": id(1).to_string() } }));
    let depends: Plan = Box::new(move |view: &dyn View| match view.get(Kind::Service, id(1))? {
        Some(_) => Ok(crate::Planned { ops: vec![Op::Put(route.clone())], answer: json!(null) }),
        None => Err(weir_model::Refusal::NotFound),
    });
    wait(b.write(depends)).unwrap();
    wait(a.write(put(vec![service(3, "late")]))).unwrap();
    // Nothing to do, or not: it must have seen the other's write to know.
    let delete: Plan = Box::new(move |view: &dyn View| {
        let found = view.get(Kind::Service, id(3))?.is_some();
        let ops = if found { vec![Op::Delete { kind: Kind::Service, id: id(3) }] } else { Vec::new() };
        Ok(crate::Planned { ops, answer: json!(found) })
    });
    assert_eq!(wait(b.write(delete)).unwrap().answer, json!(true));
}

#[test]
fn writers_on_several_nodes_lose_nothing() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&options);
    let (_third, c) = node(&options);
    let increment = || -> Plan {
        Box::new(|view: &dyn View| {
            let old = view.get(Kind::Service, id(1))?;
            let count = old.and_then(|entity| entity.body.get("count")?.as_u64()).unwrap_or(0) + 1;
            let ops = vec![Op::Put(entity(Kind::Service, 1, json!({ "count": count })))];
            Ok(crate::Planned { ops, answer: json!(count) })
        })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut answers: Vec<(u64, u64)> = runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for store in [&a, &b, &c] {
            for _ in 0..4 {
                let store = store.clone();
                writers.spawn(async move {
                    let mut answers = Vec::new();
                    for _ in 0..10 {
                        let written = store.write(increment()).await.unwrap();
                        answers.push((written.revision.0, written.answer.as_u64().unwrap()));
                    }
                    answers
                });
            }
        }
        writers.join_all().await.into_iter().flatten().collect()
    });
    answers.sort_unstable();
    assert_eq!(answers, (1..=120).map(|number| (number, number)).collect::<Vec<_>>());
    for store in [&a, &b, &c] {
        until_at(store, Revision(120));
    }
    let heads: Vec<_> = [a, b, c].iter().map(|store| (store.status().head, store.status().state)).collect();
    assert!(heads.iter().all(|head| *head == heads[0]));
}

#[test]
fn a_new_node_and_a_restarted_one_come_to_the_same() {
    let (options, first, a) = begun();
    for number in 0..30 {
        wait(a.write(put(vec![service(number, &format!("s{number}"))]))).unwrap();
    }
    let digest = wait(a.put_blob(vec![7; 600_000])).unwrap();
    let component = entity(Kind::Component, 99, json!({ "name": "p", "version": "1.0.0", "digest": digest.to_string() }));
    wait(a.write(put(vec![component]))).unwrap();
    let (second, b) = node(&options);
    assert_eq!(b.status().revision, Revision(31));
    assert_eq!(b.status().head, a.status().head);
    // The bytes came with the transaction that needs them, so they are here.
    assert!(wait(b.local.blob(digest)).unwrap().is_some());
    drop((a, b));
    wait(async { drop(second) });
    let again = Cassandra::open(first.path(), options).unwrap();
    assert_eq!(again.status().revision, Revision(31));
}

#[test]
fn a_large_transaction_reaches_the_others() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&options);
    let text = "x".repeat(1000);
    let many =
        (0..5000).map(|number| entity(Kind::Consumer, number, json!({ "username": format!("{number}-{text}") }))).collect();
    let written = wait(a.write(put(many))).unwrap();
    until_at(&b, written.revision);
    assert_eq!(b.view().unwrap().count(Kind::Consumer).unwrap(), 5000);
}
