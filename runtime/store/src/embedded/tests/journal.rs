//! How long rows and blobs are kept.

use super::*;
use crate::StoreError;
use crate::conformance::{append, entity, id};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use weir_model::{Kind, Op};

fn write(store: &Embedded, number: u32) {
    wait(store.write(put(vec![service(number, &format!("s{number}"))]))).unwrap();
}

#[test]
fn rows_stay_for_their_number_and_their_time() {
    static CLOCK: AtomicU64 = AtomicU64::new(1000);
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { clock: || CLOCK.load(Ordering::SeqCst), keep_rows: 10, keep_seconds: 100, ..Tuning::default() };
    let store = tuned(folder.path(), tuning.clone());
    (1..=40).for_each(|number| write(&store, number));
    assert_eq!(store.status().floor, Revision(0), "more than ten, but young");
    CLOCK.store(1100, Ordering::SeqCst);
    (41..=44).for_each(|number| write(&store, number));
    assert_eq!(store.status().floor, Revision(34), "the old ones go, but ten stay");
    assert!(matches!(store.transactions(Revision(33), 5), Err(StoreError::Trimmed { floor: Revision(34) })));
    assert_eq!(store.transactions(Revision(34), 100).unwrap().len(), 10);
    drop(store);
    assert_eq!(verify(folder.path()).transactions, 10);
    let store = tuned(folder.path(), tuning);
    assert_eq!(store.status().floor, Revision(34));
    assert!(matches!(store.transactions(Revision(0), 5), Err(StoreError::Trimmed { .. })));
}

#[test]
fn a_heavy_journal_shrinks_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = tuned(folder.path(), Tuning { keep_bytes: 20_000, ..Tuning::default() });
    for number in 0..300 {
        let body = json!({ "text": "x".repeat(400) });
        wait(store.write(put(vec![entity(Kind::Service, number, body)]))).unwrap();
    }
    let status = store.status();
    assert_eq!(status.revision.0 - status.floor.0, 100, "no fewer than a hundred");
    drop(store);
    verify(folder.path());
}

#[test]
fn an_altered_row_is_found_by_the_chain() {
    let (folder, store) = fresh();
    (1..=300).for_each(|number| write(&store, number));
    drop(store);
    let file = file_in(folder.path());
    let alter = |revision: u64| {
        let database = redb::Database::create(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut journal = transaction.open_table(crate::replica::JOURNAL).unwrap();
        let mut row = journal.remove(revision).unwrap().unwrap().value().to_vec();
        *row.last_mut().unwrap() ^= 1;
        journal.insert(revision, row.as_slice()).unwrap();
        drop(journal);
        transaction.commit().unwrap();
    };
    let open = || Embedded::open(folder.path(), EmbeddedOptions::default()).map(drop);
    // An old row is left to the whole check, a young one is met at the start.
    alter(20);
    open().unwrap();
    let error = Embedded::verify(folder.path(), EmbeddedOptions::default()).unwrap_err();
    assert!(error.to_string().contains("revision 20 was altered"), "{error}");
    alter(20);
    verify(folder.path());
    alter(290);
    let error = open().unwrap_err();
    assert!(error.to_string().contains("revision 290 was altered"), "{error}");
}

#[test]
fn an_answer_of_the_journal_is_bounded_in_bytes() {
    let (_folder, store) = fresh();
    for number in 0..5 {
        let body = json!({ "text": "x".repeat(6 << 20) });
        wait(store.write(put(vec![entity(Kind::Service, number, body)]))).unwrap();
    }
    let first = store.transactions(Revision(0), 100).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(store.transactions(Revision(4), 100).unwrap().len(), 1);
}

#[test]
fn a_blob_goes_a_day_after_its_last_use() {
    static CLOCK: AtomicU64 = AtomicU64::new(1_000_000);
    const DAY: u64 = 24 * 60 * 60;
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { clock: || CLOCK.load(Ordering::SeqCst), collection_period: Duration::ZERO, ..Tuning::default() };
    let store = tuned(folder.path(), tuning);
    let used = wait(store.put_blob(vec![1; 700_000])).unwrap();
    let unused = wait(store.put_blob(vec![2; 10])).unwrap();
    let is_there = |digest| wait(store.blob(digest)).unwrap().is_some();
    let component = entity(Kind::Component, 1, json!({ "name": "c", "version": "1", "digest": used.to_string() }));
    wait(store.write(put(vec![component]))).unwrap();
    CLOCK.fetch_add(DAY - 1, Ordering::SeqCst);
    write(&store, 1);
    assert!(is_there(used) && is_there(unused));
    CLOCK.fetch_add(1, Ordering::SeqCst);
    write(&store, 2);
    assert!(is_there(used) && !is_there(unused), "a day old, and nothing uses it");
    CLOCK.fetch_add(10 * DAY, Ordering::SeqCst);
    wait(store.write(append(vec![Op::Delete { kind: Kind::Component, id: id(1) }]))).unwrap();
    assert!(is_there(used), "its day begins with the end of its use");
    CLOCK.fetch_add(DAY, Ordering::SeqCst);
    // Somebody was told that it is there, and says so again: it waits anew.
    wait(store.put_blob(vec![1; 700_000])).unwrap();
    write(&store, 3);
    assert!(is_there(used));
    CLOCK.fetch_add(DAY, Ordering::SeqCst);
    write(&store, 4);
    assert!(!is_there(used));
    drop(store);
    assert_eq!(verify(folder.path()).blobs, 0);
}
