//! The file fails while the store is open: what is answered, what can still be read, how it comes back.

use super::*;
use crate::local::{backend, locked};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use weir_model::{Kind, Selection};

fn health(store: &Embedded) -> Arc<backend::Health> {
    locked(&store.local.shared.health).clone().unwrap()
}

fn services(view: &dyn View) -> usize {
    view.list(Kind::Service, &Selection::All, None, 1000).unwrap().entities.len()
}

#[test]
fn a_failed_write_is_refused_and_the_next_one_goes_on() {
    let (folder, store) = fresh();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    let view = store.view().unwrap();
    let before = store.status();
    health(&store).faults.write.store(true, Ordering::SeqCst);
    let error = wait(store.write(put(vec![service(2, "b")]))).unwrap_err();
    assert!(matches!(error, WriteError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("writes then go on by themselves"), "{error}");
    assert_eq!(store.status().head, before.head, "nothing was done");
    assert!(store.status().holding.is_some());
    // A view from before the failure still answers, since no revision has passed.
    assert_eq!(services(&*view), 1);
    // The file was opened anew, and with it the fault is gone.
    assert_eq!(wait(store.write(put(vec![service(2, "b")]))).unwrap().revision, Revision(2));
    assert_eq!(store.status().holding, None);
    assert_eq!(services(&*store.view().unwrap()), 2);
    drop((view, store));
    assert_eq!(verify(folder.path()).revision, Revision(2));
}

#[test]
fn a_failed_sync_leaves_no_lie_and_stops_writing() {
    let (folder, store) = fresh();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    let view = store.view().unwrap();
    // A sync while the file grows, before the commit has begun, is no danger, and writes go on after it; so at times
    // the next one is the first in a commit.
    for round in 0.. {
        health(&store).faults.sync.store(true, Ordering::SeqCst);
        let error = wait(store.write(put(vec![service(2, "b")]))).unwrap_err();
        if error.to_string().contains("restart weir") {
            break;
        }
        assert!(round < 5 && matches!(error, WriteError::Unavailable { .. }), "{error}");
    }
    // Even though the disk would take it now.
    let error = wait(store.write(put(vec![service(3, "c")]))).unwrap_err();
    assert!(matches!(error, WriteError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("restart weir"), "{error}");
    assert!(store.status().holding.unwrap().contains("restart weir"));
    assert_eq!(services(&*view), 1, "reads go on");
    assert_eq!(services(&*store.view().unwrap()), 1);
    drop((view, store));
    let store = Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
    assert_eq!(wait(store.write(put(vec![service(4, "d")]))).unwrap().revision, Revision(2));
    drop(store);
    assert_eq!(verify(folder.path()).entities, 2);
}

#[test]
fn a_failed_read_is_an_error_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let large = |number: u32| crate::conformance::entity(Kind::Service, number, serde_json::json!({ "x": "y".repeat(100_000) }));
    wait(store.write(put((0..50).map(large).collect()))).unwrap();
    drop(store);
    // Nothing is cached, so that reads meet the file.
    let store = tuned(folder.path(), Tuning { cache_bytes: 0, ..Tuning::default() });
    let view = store.view().unwrap();
    health(&store).faults.read.store(true, Ordering::SeqCst);
    let id = crate::conformance::id(30);
    assert!(view.get(Kind::Service, id).is_err(), "the reader is told");
    // The writer thread looks at the file, which this write waits behind; then the same view answers again.
    wait(store.write(Box::new(|_| Ok(crate::Planned::default())))).unwrap();
    assert!(view.get(Kind::Service, id).unwrap().is_some());
}

#[test]
fn a_disk_with_too_little_room_takes_no_write_but_answers_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = tuned(folder.path(), Tuning { disk_reserve: u64::MAX, ..Tuning::default() });
    let error = wait(store.write(put(vec![service(1, "a")]))).unwrap_err();
    assert!(matches!(&error, WriteError::Unavailable { cause } if cause.contains("make room")), "{error}");
    assert!(wait(store.put_blob(vec![1])).is_err());
    assert_eq!(services(&*store.view().unwrap()), 0);
    drop(store);
    let store = tuned(folder.path(), Tuning::default());
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
}

/// Set for the process that meets the limit: the folder that it uses.
const LIMITED: &str = "WEIR_STORE_LIMITED";

// The child of the test below; does nothing in an ordinary run.
#[test]
fn a_process_that_meets_its_file_size_limit() {
    let Ok(folder) = std::env::var(LIMITED) else { return };
    let store = Embedded::open(folder, EmbeddedOptions::default()).unwrap();
    let large = |number: u32| {
        let text = format!("{number}{}", "x".repeat(100_000));
        put(vec![crate::conformance::entity(Kind::Service, number, serde_json::json!({ "name": text }))])
    };
    let refused = (1..1000).find_map(|number| wait(store.write(large(number))).err().map(|error| (number, error)));
    let (number, error) = refused.expect("the limit is met");
    assert!(matches!(error, WriteError::Unavailable { .. }), "{error}");
    let stands = store.status().revision;
    assert_eq!(stands.0, u64::from(number) - 1, "all before are there");
    assert_eq!(services(&*store.view().unwrap()), number as usize - 1);
    assert!(wait(store.write(large(number))).is_err(), "there still is no room");
    assert_eq!(store.status().revision, stands);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, raised).unwrap();
    // A file that could not be opened anew is tried again a second later at most.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = wait(store.write(large(number))) {
        assert!(std::time::Instant::now() < deadline, "it did not come back: {error}");
        std::thread::yield_now();
    }
    assert_eq!(store.status().holding, None);
    println!("refused at {number}");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    // The signal would end the process; ignored, the write fails as it does on a full disk.
    let script = "trap '' XFSZ; ulimit -S -f 8192; exec \"$0\" \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::file_faults::a_process_that_meets_its_file_size_limit", "--nocapture"])
        .env(LIMITED, folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && text.contains("refused at"), "{text}");
    let verified = verify(folder.path());
    assert_eq!(verified.entities, verified.revision.0);
}
