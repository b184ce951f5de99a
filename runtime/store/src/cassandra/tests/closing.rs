//! What an end waits for.

use super::*;
use weir_cassandra_harness::Options;

#[test]
fn an_end_does_not_wait_for_an_append_that_hangs() {
    let cluster = Options::default().behind_proxies().start(1).unwrap();
    let options = options_of(&cluster);
    Cassandra::bootstrap(&options).unwrap();
    let (folder, store) = node(&options);
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    cluster.node(0).proxy().unwrap().hold();
    let writing = store.clone();
    let (begun, begins) = std::sync::mpsc::channel();
    let plan: Plan = Box::new(move |_| {
        // Judged once more if others have written; nobody asks then.
        let _ = begun.send(());
        Ok(crate::Planned { ops: vec![weir_model::Op::Put(service(2, "b"))], answer: serde_json::json!(null) })
    });
    let writer = std::thread::spawn(move || wait(writing.write(plan)));
    begins.recv_timeout(Duration::from_secs(60)).unwrap();
    store.close();
    assert!(!writer.is_finished(), "it was closed before the append had come to its end");
    assert!(store.view().is_err());
    // Who comes meanwhile does not get the file that the writer still has.
    let Err(error) = Cassandra::open(folder.path(), options.clone()) else { panic!("it was opened twice") };
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    // Whoever waits for the write is told in the end what became of it.
    cluster.node(0).proxy().unwrap().pass();
    let written = writer.join().unwrap();
    assert!(matches!(written, Ok(_) | Err(WriteError::Unknown { .. } | WriteError::Unavailable { .. })), "{written:?}");
}

#[test]
fn an_end_waits_for_a_write_that_is_answered_and_gives_the_replica_free() {
    let (options, folder, store) = begun();
    let writing = store.clone();
    let writer = std::thread::spawn(move || wait(writing.write(put(vec![service(1, "a")]))));
    writer.join().unwrap().unwrap();
    store.close();
    drop(store);
    assert_eq!(Cassandra::open(folder.path(), options).unwrap().status().revision, Revision(1));
}
