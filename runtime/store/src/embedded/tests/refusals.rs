//! What opening refuses, and that each refusal names the way out.

use super::*;
use redb::ReadableTable;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn open(folder: &Path) -> Result<Arc<Embedded>, OpenError> {
    Embedded::open(folder, EmbeddedOptions::default())
}

fn refusal(folder: &Path) -> OpenError {
    match open(folder) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

// Some entities, closed properly.
fn filled() -> (tempfile::TempDir, String) {
    let (folder, store) = fresh();
    for number in 0..60 {
        let mut entity = service(number, &format!("s{number}"));
        entity.body.insert("tags".to_owned(), serde_json::json!(["a", format!("t{number}")]));
        wait(store.write(put(vec![entity]))).unwrap();
    }
    wait(store.put_blob((0..100_000u32).map(|n| n as u8).collect())).unwrap();
    let state = store.status().state;
    drop(store);
    (folder, state)
}

#[test]
fn a_second_opening_names_the_process_that_has_it() {
    let (folder, _store) = fresh();
    let error = refusal(folder.path());
    assert!(matches!(&error, OpenError::InUse { holder, .. } if *holder == format!("process {}", std::process::id())));
    assert!(error.to_string().contains("weir stop"), "{error}");
    assert!(matches!(Embedded::verify(folder.path(), EmbeddedOptions::default()), Err(OpenError::InUse { .. })));
}

#[test]
fn checking_what_is_not_there_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    assert_eq!(Embedded::verify(&path, EmbeddedOptions::default()).unwrap(), None);
    assert!(!path.exists());
}

#[test]
fn a_lost_file_is_not_a_first_start() {
    let (folder, store) = fresh();
    drop(store);
    let file = file_in(folder.path());
    let aside = folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(&error, OpenError::Missing { path, .. } if *path == file), "{error}");
    assert!(error.to_string().contains("put it back"), "{error}");
    fs::rename(&aside, &file).unwrap();
    open(folder.path()).unwrap();
}

#[test]
fn a_restored_file_alone_in_the_folder_is_taken() {
    let (folder, store) = fresh();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    drop(store);
    let file = file_in(folder.path());
    let other = tempfile::tempdir().unwrap();
    fs::copy(&file, other.path().join(file.file_name().unwrap())).unwrap();
    assert_eq!(open(other.path()).unwrap().status().revision, Revision(1));
    assert!(other.path().join("current").exists());
}

#[test]
fn a_file_of_another_cluster_is_left_alone() {
    let (folder, store) = fresh();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    drop(store);
    let (other, store) = fresh();
    drop(store);
    let foreign = file_in(other.path());
    // Beside ours: ours is continued, the other is not touched.
    let beside = folder.path().join(foreign.file_name().unwrap());
    fs::copy(&foreign, &beside).unwrap();
    let bytes = fs::read(&beside).unwrap();
    assert_eq!(open(folder.path()).unwrap().status().revision, Revision(1));
    assert!(fs::read(&beside).unwrap() == bytes);
    // Under our name: refused.
    let ours = folder.path().join(format!("{}.redb", fs::read_to_string(folder.path().join("current")).unwrap().trim()));
    fs::copy(&foreign, &ours).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    // And without a word on which is meant: refused.
    fs::remove_file(folder.path().join("current")).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::Ambiguous { .. }), "{error}");
    assert!(error.to_string().contains("move all but one away"), "{error}");
}

#[test]
fn a_replaced_file_is_not_a_store() {
    let (folder, store) = fresh();
    drop(store);
    let file = file_in(folder.path());
    for bytes in [&b""[..], b"not a database", &[0; 100_000]] {
        fs::write(&file, bytes).unwrap();
        let error = refusal(folder.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
    }
    // A database of something else.
    fs::remove_file(&file).unwrap();
    drop(redb::Database::create(&file).unwrap());
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_newer_format_and_another_key_are_told_apart_from_damage() {
    let (folder, store) = fresh();
    drop(store);
    let keyed = Embedded::open(folder.path(), EmbeddedOptions { cluster_key: Some([1; 32]), ..Default::default() });
    assert!(matches!(keyed, Err(OpenError::WrongKey { .. })));
    let file = file_in(folder.path());
    let database = redb::Database::create(&file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(crate::replica::STATE).unwrap();
    let mut meta = table.get(b"m".as_slice()).unwrap().unwrap().value().to_vec();
    meta[0] = 2;
    table.insert(b"m".as_slice(), meta.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
    drop(database);
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_cut_file_is_damaged() {
    let (folder, _) = filled();
    let file = file_in(folder.path());
    let whole = fs::read(&file).unwrap();
    for part in [1, 63, 4096, whole.len() / 4, whole.len() / 2, whole.len() - 4096] {
        fs::write(&file, &whole[..part]).unwrap();
        let error = refusal(folder.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{part} bytes: {error}");
    }
    fs::write(&file, &whole).unwrap();
    open(folder.path()).unwrap();
}

#[test]
fn a_flipped_byte_is_refused_or_found_or_did_no_harm() {
    let (folder, state) = filled();
    let file = file_in(folder.path());
    let whole = fs::read(&file).unwrap();
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    // Every part of the header, and then the whole file in steps that meet every page at another place.
    let places = (0..320).step_by(5).chain((320..whole.len()).step_by(whole.len() / 200 + 1));
    for place in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        fs::write(&file, &bytes).unwrap();
        let opened = open(folder.path()).map(|store| {
            // Reading what is damaged may fail, but does not take the process along.
            let read = store.view().unwrap().list(weir_model::Kind::Service, &weir_model::Selection::All, None, 100);
            (read.is_ok(), store.status().state)
        });
        // What opening wrote must not help the check.
        fs::write(&file, &bytes).unwrap();
        match (opened, Embedded::verify(folder.path(), EmbeddedOptions::default())) {
            (_, Ok(verified)) => {
                assert_eq!(verified.unwrap().entities, 60, "byte {place}");
                assert_eq!(open(folder.path()).unwrap().status().state, state, "byte {place}");
                harmless += 1;
            }
            (Ok(_), Err(error)) => {
                assert!(matches!(error, OpenError::Damaged { .. }), "byte {place}: {error}");
                found += 1;
            }
            (Err(error), Err(_)) => {
                let text = error.to_string();
                assert!(text.contains("backup") || text.contains("start the version"), "byte {place}: {text}");
                refused += 1;
            }
        }
    }
    println!("flipped bytes: {refused} refused at the opening, {found} found by the check, {harmless} without effect");
    assert!(refused > 0 && found > 0);
}

#[test]
fn nobody_else_may_read_the_file() {
    let (folder, store) = fresh();
    drop(store);
    let file = file_in(folder.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    open(folder.path()).unwrap();
    assert_eq!(mode(&file), 0o600);
    let folder = tempfile::tempdir().unwrap();
    open(&folder.path().join("prefix/store")).unwrap();
    assert_eq!(mode(&folder.path().join("prefix/store")), 0o700);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    use crate::local::folder::io_error;
    let path = Path::new("/store");
    for errno in [rustix::io::Errno::ACCESS, rustix::io::Errno::ROFS, rustix::io::Errno::PERM] {
        let error = io_error(path, errno.into());
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
        assert!(error.to_string().contains("make it writable"), "{error}");
    }
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::FBIG] {
        assert!(matches!(io_error(path, errno.into()), OpenError::DiskFull { .. }));
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store"), b"").unwrap();
    assert!(open(&folder.path().join("store")).is_err(), "a file is not a folder");
}

#[test]
fn an_interrupted_first_start_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let id = weir_model::Id::random();
    fs::write(folder.path().join(format!("{id}.redb.new")), b"half").unwrap();
    drop(open(folder.path()).unwrap());
    // The file was there, the pointer not yet.
    fs::remove_file(folder.path().join("current")).unwrap();
    let file = file_in(folder.path());
    assert_eq!(open(folder.path()).unwrap().status().path, file.display().to_string());
}
