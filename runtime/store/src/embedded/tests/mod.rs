//! The embedded store's own tests: what is promised of the file, beyond the conformance suite.

mod figures;
mod file_faults;
mod journal;
mod kill;
mod model;
mod refusals;

use super::writer::Tuning;
use super::*;
use crate::conformance::{Fresh, put, service};
use std::future::Future;
use std::path::PathBuf;

/// A store in a folder of its own.
fn fresh() -> (tempfile::TempDir, Arc<Embedded>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
    (folder, store)
}

fn tuned(folder: &Path, tuning: Tuning) -> Arc<Embedded> {
    Embedded::open_tuned(folder, EmbeddedOptions::default(), tuning).unwrap()
}

/// Runs one future; the store's own thread does the rest.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn verify(folder: &Path) -> Verified {
    Embedded::verify(folder, EmbeddedOptions::default()).unwrap().unwrap()
}

/// The one file with the configuration.
fn file_in(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "redb")).unwrap()
}

#[test]
fn it_keeps_every_promise_of_the_trait() {
    crate::conformance::run(|| {
        let (folder, store) = fresh();
        Fresh { store, guard: Box::new(folder) }
    });
}

#[test]
fn it_keeps_every_promise_with_a_cluster_key() {
    crate::conformance::run(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path(), EmbeddedOptions { cluster_key: Some([9; 32]), ..Default::default() }).unwrap();
        Fresh { store, guard: Box::new(folder) }
    });
}

#[test]
fn everything_is_still_there_after_a_restart() {
    let (folder, store) = fresh();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    let digest = wait(store.put_blob(vec![7; 1000])).unwrap();
    let before = store.status();
    drop(store);
    let store = Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let after = store.status();
    assert_eq!((after.revision, after.head, after.state), (before.revision, before.head, before.state));
    assert_eq!(after.cluster, before.cluster);
    assert_eq!(wait(store.blob(digest)).unwrap(), Some(vec![7; 1000]));
    drop(store);
    let expected = Verified { revision: Revision(1), transactions: 1, entities: 1, blobs: 1 };
    assert_eq!(verify(folder.path()), expected);
}

#[test]
fn closing_finishes_what_waits_and_ends_the_watch() {
    let (folder, store) = fresh();
    let mut moves = store.revisions();
    let waiting = store.write(put(vec![service(1, "a")]));
    store.close();
    assert_eq!(wait(waiting).unwrap().revision, Revision(1));
    assert!(wait(async { moves.changed().await.and(moves.changed().await) }).is_err());
    assert!(matches!(wait(store.write(put(vec![]))), Err(WriteError::Unavailable { .. })));
    assert!(store.view().is_err());
    assert_eq!(store.status().holding.as_deref(), Some("the store is closed"));
    // The file is free while the closed store is still held.
    assert_eq!(verify(folder.path()).revision, Revision(1));
}

#[test]
fn a_write_whose_caller_has_left_is_done_or_not_begun() {
    let (folder, store) = fresh();
    for number in 0..50 {
        drop(store.write(put(vec![service(number, &format!("s{number}"))])));
    }
    wait(store.write(put(vec![service(99, "last")]))).unwrap();
    let (revision, entities) = (store.status().revision.0, store.view().unwrap().count(weir_model::Kind::Service).unwrap());
    assert_eq!(revision, entities);
    drop(store);
    assert_eq!(verify(folder.path()).entities, entities);
}

#[test]
fn a_plan_that_holds_the_last_handle_does_not_stop_the_world() {
    let (folder, store) = fresh();
    let inner = store.clone();
    let answer = store.write(Box::new(move |_| {
        let _ = &inner;
        Ok(crate::Planned::default())
    }));
    wait(answer).unwrap();
    drop(store);
    // The writer thread drops it in its own time, and the folder is free then.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while Embedded::verify(folder.path(), EmbeddedOptions::default()).is_err() {
        assert!(std::time::Instant::now() < deadline, "the folder was not given free");
        std::thread::yield_now();
    }
}
