//! What a node begins with: a replica that is whole, another's, none, or one that cannot be read.

use super::*;
use std::fs;

fn open(folder: &Path, options: &CassandraOptions) -> Result<Arc<Cassandra>, OpenError> {
    Cassandra::open(folder, options.clone())
}

fn file_in(folder: &Path) -> PathBuf {
    let named = fs::read_to_string(folder.join("current")).unwrap();
    folder.join(format!("{}.redb", named.trim()))
}

fn damaged_in(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".damaged-")).count()
}

#[test]
fn a_replica_that_cannot_be_read_is_set_aside_and_loaded_anew() {
    let (options, _first, a) = begun();
    fill(&a, 1..30);
    let (folder, b) = node(&options);
    until_same(&[&a, &b]);
    drop(b);
    let file = file_in(folder.path());
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[0] ^= 0x55;
    let ways: [&dyn Fn(); 5] = [
        &|| fs::write(&file, b"").unwrap(),
        &|| fs::write(&file, b"not a database").unwrap(),
        &|| fs::write(&file, &whole[..whole.len() / 2]).unwrap(),
        &|| fs::write(&file, &flipped).unwrap(),
        &|| fs::write(folder.path().join("current"), "nonsense").unwrap(),
    ];
    for (at, damage) in ways.iter().enumerate() {
        damage();
        let b = open(folder.path(), &options).unwrap();
        until_same(&[&a, &b]);
        add(&b, 100 + u32::try_from(at).unwrap()).unwrap();
        // Of a lost pointer two things are set aside: itself, and the file that it may have meant.
        assert_eq!(damaged_in(folder.path()), at + 1 + usize::from(at == 4));
    }
    // Nor is one that is gone missed.
    fs::remove_file(&file).unwrap();
    until_same(&[&a, &open(folder.path(), &options).unwrap()]);
}

#[test]
fn a_damaged_replica_stays_where_it_is_while_the_store_is_away() {
    let (options, _first, a) = begun();
    fill(&a, 1..3);
    let way = Way::shared(&options);
    let (folder, b) = node(&way.options);
    until_same(&[&a, &b]);
    drop(b);
    let file = file_in(folder.path());
    fs::write(&file, b"not a database").unwrap();
    way.each(FaultProxy::cut);
    let Err(error) = open(folder.path(), &way.options) else { panic!("it was opened") };
    let said = error.to_string();
    assert!(matches!(error, OpenError::ReplicaLost { .. }), "{said}");
    assert!(said.contains("is damaged") && said.contains("start this node when the store answers"), "{said}");
    assert_eq!((fs::read(&file).unwrap().as_slice(), damaged_in(folder.path())), (b"not a database".as_slice(), 0));
    way.each(FaultProxy::pass);
    until_same(&[&a, &open(folder.path(), &way.options).unwrap()]);
}

#[test]
fn the_file_of_an_embedded_store_and_a_copy_of_a_running_nodes_are_told_apart() {
    let (options, _first, a) = begun();
    fill(&a, 1..3);
    let embedded = tempfile::tempdir().unwrap();
    let store = crate::Embedded::open(embedded.path(), crate::EmbeddedOptions::default()).unwrap();
    wait(store.write(put(vec![service(1, "a")]))).unwrap();
    drop(store);
    let Err(error) = open(embedded.path(), &options) else { panic!("it was opened") };
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    let store = crate::Embedded::open(embedded.path(), crate::EmbeddedOptions::default()).unwrap();
    assert_eq!(store.status().revision, Revision(1), "and nothing of it is lost");
    // A copy of another node's folder is as good as one's own; what the store has in common is not lost.
    let (folder, b) = node(&options);
    until_same(&[&a, &b]);
    drop(b);
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap().flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let (b, c) = (open(folder.path(), &options).unwrap(), open(copy.path(), &options).unwrap());
    add(&b, 10).unwrap();
    add(&c, 11).unwrap();
    until_same(&[&a, &b, &c]);
}

#[test]
fn two_processes_with_one_node_id_are_both_shown_and_a_restarted_one_is_not() {
    let (options, _first, a) = begun();
    let twin = CassandraOptions { node: NodeIdentity { name: "twin".to_owned(), ..NodeIdentity::default() }, ..options.clone() };
    let open = || {
        let folder = tempfile::tempdir().unwrap();
        let store = Cassandra::open(folder.path(), twin.clone()).unwrap();
        (folder, store)
    };
    let twins = |store: &Cassandra| store.nodes().iter().filter(|node| node.name == "twin" && node.live).count();
    let told =
        |store: &Cassandra| store.nodes().iter().any(|node| node.trouble.as_ref().is_some_and(|said| said.contains("node_id")));
    let ((_b, b), (_c, c)) = (open(), open());
    for store in [&a, &b, &c] {
        until(|| twins(store) == 2 && told(store));
    }
    // One of them ends, and another takes its place: what is left are not three.
    drop(c);
    for store in [&a, &b] {
        until(|| twins(store) == 1 && !told(store));
    }
    drop(b);
    let (_d, d) = open();
    until(|| twins(&a) == 1);
    assert!(!told(&a) && !told(&d), "{:?}", a.nodes());
}

#[test]
fn nodes_of_other_versions_are_named_while_they_live() {
    let (options, _first, _a) = begun();
    let version = |name: &str, version: &str| NodeIdentity {
        name: name.to_owned(),
        version: version.to_owned(),
        ..NodeIdentity::default()
    };
    assert_eq!(Cassandra::of_other_versions(&options).unwrap(), Vec::<String>::new());
    let folder = tempfile::tempdir().unwrap();
    let old = CassandraOptions { node: version("old", "0.0.1"), ..options.clone() };
    let b = Cassandra::open(folder.path(), old).unwrap();
    assert_eq!(Cassandra::of_other_versions(&options).unwrap(), ["old (0.0.1)"]);
    drop(b);
    assert_eq!(Cassandra::of_other_versions(&options).unwrap(), Vec::<String>::new());
}
