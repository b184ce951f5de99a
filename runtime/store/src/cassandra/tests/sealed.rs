//! What whoever reads or writes the keyspace learns and can do, with a cluster key and without one.

use super::*;
use crate::conformance::{entity, id};
use crate::replica::blobs::digest;
use crate::row::{Change, encode_changes};
use scylla::client::session::Session;
use scylla::value::{CqlValue, Row as CqlRow};
use serde_json::json;
use std::collections::BTreeMap;
use weir_model::Op;

const KEY: [u8; 32] = [5; 32];
const IN_A_ROW: &str = "a-key-that-stands-in-a-row";
const IN_A_BLOB: &str = "a-key-that-stands-in-a-large-transaction";
const IN_A_COMPONENT: &str = "a-key-that-stands-in-a-component";

/// Whatever a keyspace has, and what Cassandra keeps of conditional writes.
const TABLES: [&str; 7] = ["blobs", "journal", "layout", "nodes", "rate_counts", "system.paxos", "wishes"];
/// Checkpoints soon, and rows that stay.
const KEEPING: Keeping = Keeping { checkpoint_rows: 3, keep_rows: 10_000, keep_seconds: 86_400, ..SOON };

fn with_key(key: Option<[u8; 32]>) -> CassandraOptions {
    let options = CassandraOptions { cluster_key: key, ..options() };
    Cassandra::bootstrap(&options).unwrap();
    options
}

/// Asks Cassandra as somebody would who has the keyspace and no key.
fn raw<T>(options: &CassandraOptions, work: impl AsyncFnOnce(&Session) -> T) -> T {
    let work = async {
        let session = connection::connect(options).await?;
        session.use_keyspace(options.keyspace.as_str(), false).await.map_err(|error| error.to_string())?;
        Ok(work(&session).await)
    };
    once(work).unwrap()
}

async fn select(session: &Session, text: &str) -> Vec<CqlRow> {
    let rows = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
    rows.rows::<CqlRow>().unwrap().map(Result::unwrap).collect()
}

/// All that stands in each table, one value after the other; and what Paxos keeps of them.
fn everything(options: &CassandraOptions) -> BTreeMap<String, Vec<u8>> {
    raw(options, async |session| {
        let text = format!("SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = '{}'", options.keyspace);
        let mut texts = Vec::new();
        for row in select(session, &text).await {
            let [name, id] = [0, 1].map(|at| row.columns[at].clone().unwrap());
            let (name, id) = (name.into_string().unwrap(), id.as_uuid().unwrap());
            texts.push(("system.paxos".to_owned(), format!("SELECT * FROM system.paxos WHERE cf_id = {id} ALLOW FILTERING")));
            texts.push((name.clone(), format!("SELECT * FROM {name}")));
        }
        let mut all = BTreeMap::new();
        for (name, text) in texts {
            let bytes: &mut Vec<u8> = all.entry(name).or_default();
            for value in select(session, &text).await.into_iter().flat_map(|row| row.columns).flatten() {
                match value {
                    CqlValue::Blob(blob) => bytes.extend(blob),
                    other => bytes.extend(format!("{other:?}").into_bytes()),
                }
                bytes.push(0);
            }
        }
        all
    })
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn key_auth(number: u32, key: &str) -> weir_model::Entity {
    let consumer = json!({ "id": id(number).to_string() });
    entity(Kind::KeyAuth, number + 1000, json!({ "key": key, "consumer": consumer }))
}

fn consumer(number: u32) -> weir_model::Entity {
    entity(Kind::Consumer, number, json!({ "username": format!("consumer {number}") }))
}

/// Bytes of a component with a secret in it.
fn component_bytes() -> Vec<u8> {
    [vec![7; 600_000].as_slice(), IN_A_COMPONENT.as_bytes(), &[7; 1000]].concat()
}

/// A node that has written a secret in each way that there is, and a checkpoint of them.
fn secrets(options: &CassandraOptions) -> (tempfile::TempDir, Arc<Cassandra>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Cassandra::open_tuned(folder.path(), options.clone(), writer::Tuning::default(), KEEPING).unwrap();
    let digest = wait(store.put_blob(component_bytes())).unwrap();
    let component = entity(Kind::Component, 99, json!({ "name": "p", "version": "1.0.0", "digest": digest.to_string() }));
    wait(store.write(put(vec![component]))).unwrap();
    wait(store.write(put(vec![consumer(1), key_auth(1, IN_A_ROW)]))).unwrap();
    let mut many = vec![consumer(2), key_auth(2, IN_A_BLOB)];
    many.extend((10..100).map(|number| service(number, &"x".repeat(1000 + number as usize))));
    wait(store.write(put(many))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let pointed = "SELECT DISTINCT checkpoint FROM journal WHERE log = 0";
    while raw(options, async |session| select(session, pointed).await)[0].columns[0].is_none() {
        assert!(Instant::now() < deadline, "no checkpoint was written");
    }
    (folder, store)
}

#[test]
fn without_a_key_whoever_reads_the_keyspace_reads_every_secret() {
    let options = with_key(None);
    let (_folder, _store) = secrets(&options);
    let tables = everything(&options);
    assert_eq!(tables.keys().collect::<Vec<_>>(), TABLES);
    assert!(holds(&tables["journal"], IN_A_ROW.as_bytes()));
    assert!(holds(&tables["blobs"], IN_A_ROW.as_bytes()), "it is in the checkpoint");
    assert!(holds(&tables["blobs"], IN_A_BLOB.as_bytes()));
    assert!(holds(&tables["blobs"], IN_A_COMPONENT.as_bytes()));
    assert!(holds(&tables["blobs"], digest(&component_bytes()).as_bytes()));
}

#[test]
fn with_a_key_no_secret_stands_anywhere_in_the_keyspace() {
    let options = with_key(Some(KEY));
    let (_folder, a) = secrets(&options);
    let tables = everything(&options);
    assert_eq!(tables.keys().collect::<Vec<_>>(), TABLES);
    assert!(tables["journal"].len() > 500 && tables["blobs"].len() > 700_000, "it was looked at");
    let component = digest(&component_bytes());
    for (name, bytes) in &tables {
        for secret in [IN_A_ROW, IN_A_BLOB, IN_A_COMPONENT, "consumer 1", "username"] {
            assert!(!holds(bytes, secret.as_bytes()), "{secret} is in {name}");
        }
        // Nor what would prove a guess: the digest of what is sealed.
        assert!(!holds(bytes, component.as_bytes()) && !holds(bytes, component.to_string().as_bytes()), "{name}");
    }
    // Who has the key reads all of it, from the rows and from the checkpoint alike.
    let (_second, b) = node(&options);
    assert_eq!((b.status().revision, b.status().state), (a.status().revision, a.status().state));
    let found = b.view().unwrap().get(Kind::KeyAuth, id(1001)).unwrap().unwrap();
    assert_eq!(found.text("key"), Some(IN_A_ROW));
    assert_eq!(wait(b.local.blob(component)).unwrap(), Some(component_bytes()));
}

#[test]
fn an_altered_or_moved_row_makes_a_node_hold() {
    for (alter, at) in [("altered", 2), ("moved", 3), ("in the clear", 2)] {
        let options = with_key(Some(KEY));
        let (_first, a) = node(&options);
        wait(a.write(put(vec![service(1, "a")]))).unwrap();
        let (_second, b) = node(&asleep(&options));
        for number in 2..=4 {
            wait(a.write(put(vec![service(number, &format!("s{number}"))]))).unwrap();
        }
        raw(&options, async |session| {
            let row = select(session, "SELECT ops FROM journal WHERE log = 0 AND revision = 2").await.remove(0);
            let mut ops = row.columns[0].clone().unwrap().into_blob().unwrap();
            match alter {
                "altered" => *ops.last_mut().unwrap() ^= 1,
                "in the clear" => {
                    let forged = encode_changes(&[Change::of(Op::Delete { kind: Kind::Service, id: id(1) })]);
                    ops = [u32::try_from(forged.len()).unwrap().to_le_bytes().as_slice(), &forged].concat();
                }
                _ => {}
            }
            let text = format!("UPDATE journal SET ops = ? WHERE log = 0 AND revision = {at} IF tip = 4");
            session.query_unpaged(text, (ops,)).await.unwrap();
        });
        let held = until_held(&b, "altered in the store");
        assert!(held.contains(&format!("revision {at} do not open")), "{alter}: {held}");
        // What comes before it is sound, and served.
        assert_eq!(b.status().revision, Revision(at - 1), "{alter}");
        assert_eq!(b.view().unwrap().count(Kind::Service).unwrap(), at - 1, "{alter}");
    }
}

#[test]
fn an_altered_or_replaced_large_transaction_makes_a_node_hold() {
    for replaced in [false, true] {
        let options = with_key(Some(KEY));
        let (_first, a) = node(&options);
        wait(a.write(put(vec![service(1, "a")]))).unwrap();
        let (_second, b) = node(&asleep(&options));
        wait(a.write(put((10..100).map(|number| service(number, &"x".repeat(1000 + number as usize))).collect()))).unwrap();
        raw(&options, async |session| {
            let bytes = vec![9; 100_000];
            if replaced {
                let (name, size) = (digest(&bytes).as_bytes().to_vec(), 100_000_i64);
                let insert = "INSERT INTO blobs (digest, upload, chunk, size, bytes) VALUES (?, uuid(), 0, ?, ?)";
                session.query_unpaged(insert, (name.clone(), size, bytes)).await.unwrap();
                let update = "UPDATE journal SET ops_digest = ? WHERE log = 0 AND revision = 2 IF tip = 2";
                session.query_unpaged(update, (name,)).await.unwrap();
            } else {
                let row = select(session, "SELECT digest, upload FROM blobs").await.remove(0);
                let (name, upload) = (row.columns[0].clone(), row.columns[1].clone());
                let update = "UPDATE blobs SET bytes = ? WHERE digest = ? AND upload = ? AND chunk = 0";
                session.query_unpaged(update, (bytes, name, upload)).await.unwrap();
            }
        });
        let held = until_held(&b, "altered in the store");
        assert_eq!(held.contains("revision 2 do not open"), replaced, "{held}");
        assert_eq!(b.status().revision, Revision(1));
    }
}

#[test]
fn an_altered_piece_or_a_component_of_another_name_is_not_taken() {
    for piece in [true, false] {
        let options = with_key(Some(KEY));
        let (_first, _a) = secrets(&options);
        raw(&options, async |session| {
            let rows = select(session, "SELECT digest, upload, chunk, bytes FROM blobs").await;
            let component = sealing::Sealing::new(Some(&KEY)).name(digest(&component_bytes())).as_bytes().to_vec();
            let blob = |value: &Option<CqlValue>| value.clone().unwrap().into_blob().unwrap();
            for row in rows {
                let bytes = blob(&row.columns[3]);
                // The list of pieces stands in the clear; the pieces do not.
                let is_wanted = match piece {
                    true => blob(&row.columns[0]) != component && !bytes.starts_with(b"{"),
                    false => blob(&row.columns[0]) == component,
                };
                if is_wanted {
                    let altered: Vec<u8> = bytes.iter().rev().copied().collect();
                    let [name, upload, chunk] = [0, 1, 2].map(|at| row.columns[at].clone());
                    let update = "UPDATE blobs SET bytes = ? WHERE digest = ? AND upload = ? AND chunk = ?";
                    session.query_unpaged(update, (altered, name, upload, chunk)).await.unwrap();
                }
            }
        });
        let (_second, b) = node(&options);
        until_held(&b, "altered in the store");
        assert_eq!(b.status().revision, Revision(0), "nothing of it was taken");
    }
}

#[test]
fn what_stands_in_the_row_has_its_limit_with_what_sealing_adds() {
    let options = with_key(Some(KEY));
    let (_first, a) = node(&options);
    let (_second, b) = node(&options);
    let filled = |number, length: usize| service(number, &"n".repeat(length));
    let bare = encode_changes(&[Change::of(Op::Put(filled(1, 0)))]).len() + 4;
    let most = journal::INLINE_BYTES - sealing::OVERHEAD_BYTES - bare;
    for (number, length, inline) in [(1, most, true), (2, most + 1, false)] {
        let written = wait(a.write(put(vec![filled(number, length)]))).unwrap();
        let text = format!("SELECT ops, ops_digest FROM journal WHERE log = 0 AND revision = {}", written.revision.0);
        let row = raw(&options, async |session| select(session, &text).await.remove(0));
        let stored = row.columns[0].clone().map(|ops| ops.into_blob().unwrap().len());
        assert_eq!(stored, inline.then_some(journal::INLINE_BYTES));
        assert_eq!(row.columns[1].is_some(), !inline);
    }
    until_at(&b, Revision(2));
    assert_eq!(b.status().state, a.status().state);
}

#[test]
fn a_largest_component_is_sealed_and_comes_back() {
    let options = with_key(Some(KEY));
    let (_first, a) = node(&options);
    let (_second, b) = node(&options);
    let largest: Vec<u8> = (0..MAX_BLOB_BYTES).map(|at| (at % 251) as u8).collect();
    let stored = wait(a.put_blob(largest.clone())).unwrap();
    // The other has it from the store alone.
    assert_eq!(wait(b.local.blob(stored)).unwrap(), None);
    assert!(wait(b.blob(stored)).unwrap() == Some(largest));
}

#[test]
fn who_has_not_the_key_of_the_store_is_told_which_of_both_has_one() {
    for (store, node, said) in [
        (None, Some(KEY), "begun without a cluster_key, and this node has one"),
        (Some(KEY), None, "begun with a cluster_key, and this node has none"),
        (Some(KEY), Some([6; 32]), "another cluster_key than the store"),
    ] {
        let options = with_key(store);
        let other = CassandraOptions { cluster_key: node, ..options.clone() };
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = Cassandra::open(folder.path(), other.clone()) else { panic!("{said}: it started") };
        assert!(error.to_string().contains(said), "{error}");
        // `weir check` and `weir migrations bootstrap` say it before a start does.
        let [checked, made] = [Cassandra::readiness(&other).unwrap_err(), Cassandra::bootstrap(&other).unwrap_err()];
        assert!(checked.contains(said) && made.contains(said), "{checked}; {made}");
        assert_eq!(Cassandra::readiness(&options), Ok(Readiness::Ready), "nothing was changed");
    }
}
