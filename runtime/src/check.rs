//! `weir check`, after the settings: the plugins of `plugins_dir`, the store from end to end, and whether the one has what the other
//! needs. Tells all of it. Changes no configuration, and reads no store that a node has open.

use crate::control;
use crate::exit::Exit;
use crate::node::store::cassandra_options;
use crate::node::{NodeError, cluster_key, directory, own_compiler};
use crate::prefix::Prefix;
use crate::settings::{Settings, Whereabouts};
use crate::stock;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use weir_model::{Kind, Selection, View};
use weir_plugin_host::{Host, HostSettings};
use weir_store::{Cassandra, CassandraOptions, Embedded, EmbeddedOptions, OpenError, Readiness, Store, Verified, replica_folder};

/// Nobody waits for a check longer than a start may take. Each GiB of store takes a few seconds to read and to hash.
const STORE_WAIT: Duration = Duration::from_secs(120);

/// Tells what is wrong with a node that is to be started, or that runs. The settings have been found good.
pub fn check(settings: &Settings, node: &Whereabouts) -> Exit {
    println!("the settings are good (prefix {})", settings.prefix.display());
    let prefix = Prefix::new(&settings.prefix);
    // Also while a node runs: its next reload or start takes what is in the folder now.
    let (local, mut sound) = directory_names(settings.plugins_dir.as_deref());
    sound &= match prefix.running() {
        Ok(Some(running)) => {
            println!("process {} runs on it: its store is not checked while it is in use (stop it first)", running.pid);
            told_by_node(node)
        }
        Ok(None) => match cassandra_options(settings) {
            None => stored(&prefix.store(), &EmbeddedOptions { cluster_key: cluster_key(settings), ..Default::default() }, local),
            Some(options) => shared(&prefix, options),
        },
        Err(error) => wrong(&error),
    };
    if sound { Exit::Success } else { Exit::Failed }
}

/// Whether the shared store is to be had, and this node's replica of it, if there is one, is sound.
fn shared(prefix: &Prefix, options: CassandraOptions) -> bool {
    let points = options.contact_points.join(", ");
    let asked = options.clone();
    let ready = match within(STORE_WAIT, move || Cassandra::readiness(&asked)) {
        Some(Ok(Readiness::Ready)) => {
            println!("Cassandra at {points} answers, and the tables are there");
            true
        }
        Some(Ok(readiness)) => wrong(&readiness),
        Some(Err(cause)) => wrong(&cause),
        None => wrong(&format!("Cassandra at {points} has not answered within {} s", STORE_WAIT.as_secs())),
    };
    if ready {
        match Cassandra::incomplete(&options) {
            Ok(later) if !later.is_empty() => {
                println!("advice: {} came with a newer version: `weir migrations up` on one node makes them", later.join(", "));
            }
            // What keeps them from being asked keeps the next question, too, and is told there.
            Ok(_) | Err(_) => {}
        }
        match Cassandra::advice(&options) {
            Ok(advice) => advice.iter().for_each(|line| println!("advice: {line}")),
            Err(cause) => println!("what Cassandra's own settings are could not be asked: {cause}"),
        }
    }
    let folder = replica_folder(prefix.path());
    let replica = match read_through(within(STORE_WAIT, move || Cassandra::verify(folder, options.cluster_key))) {
        Found::Wrong => false,
        Found::Nothing | Found::Sound => true,
    };
    ready && replica
}

/// Says it; answers that something is wrong.
fn wrong(what: &dyn std::fmt::Display) -> bool {
    eprintln!("weir: {what}");
    false
}

/// A node that runs knows best what is wrong with it.
fn told_by_node(node: &Whereabouts) -> bool {
    let Some(trouble) = control::trouble(node) else {
        println!("what the node says of itself cannot be asked: it is still starting, or status_listen is off");
        return true;
    };
    let mut sound = true;
    for (what, told) in trouble.as_object().into_iter().flatten() {
        match told {
            Value::Null => {}
            Value::Object(each) => {
                for (name, reason) in each {
                    sound = wrong(&format!("the node says: {what}: {name}: {}", reason.as_str().unwrap_or_default()));
                }
            }
            other => sound = wrong(&format!("the node says: {what}: {}", other.as_str().unwrap_or_default())),
        }
    }
    sound
}

/// The plugins of the folder, if they are known, and whether nothing is wrong with it.
fn directory_names(folder: Option<&Path>) -> (Option<BTreeSet<String>>, bool) {
    match folder.map(plugins).transpose() {
        Ok(local) => {
            let local = local.unwrap_or_default();
            let sound = local.refused.iter().fold(true, |_, (file, reason)| wrong(&format!("plugins_dir: {file}: {reason}")));
            (Some(local.names), sound)
        }
        Err(error) => (None, wrong(&format!("plugins_dir cannot be checked: {error}"))),
    }
}

/// Reads a store that no node has open, and asks whether the plugins that it uses are there.
fn stored(store: &Path, options: &EmbeddedOptions, local: Option<BTreeSet<String>>) -> bool {
    let (folder, opened) = (store.to_path_buf(), options.clone());
    match read_through(within(STORE_WAIT, move || Embedded::verify(folder, opened))) {
        Found::Wrong => false,
        Found::Nothing => true,
        Found::Sound => match local {
            Some(names) => has_its_plugins(store, options.clone(), names),
            None => {
                println!("whether a plugin is missing that entries use was not checked, for want of plugins_dir");
                true
            }
        },
    }
}

/// What came of reading a store.
#[derive(PartialEq, Debug)]
enum Found {
    Sound,
    /// There is none, or a node has it: nothing to judge.
    Nothing,
    Wrong,
}

/// Tells it. Nothing was answered in time: who asked whether the store is good has not been told that it is.
fn read_through(answer: Option<Result<Option<Verified>, OpenError>>) -> Found {
    match answer {
        None => {
            wrong(&format!(
                "the check was not finished: the store was not read to its end within {} s; nothing was found wrong by then",
                STORE_WAIT.as_secs()
            ));
            Found::Wrong
        }
        Some(Ok(None)) => {
            println!("there is no store in the node's folder yet; the first start makes it");
            Found::Nothing
        }
        Some(Ok(Some(seen))) => {
            println!(
                "the store is sound: revision {}, {} transactions, {} entities, {} components' bytes",
                seen.revision.0, seen.transactions, seen.entities, seen.blobs
            );
            Found::Sound
        }
        Some(Err(error @ OpenError::InUse { .. })) => {
            println!("the store was not checked: {error}");
            Found::Nothing
        }
        Some(Err(error)) => {
            wrong(&error);
            Found::Wrong
        }
    }
}

fn has_its_plugins(store: &Path, options: EmbeddedOptions, local: BTreeSet<String>) -> bool {
    match missing(store, options, local) {
        Ok(missing) => missing.iter().fold(true, |_, (plugin, entries)| {
            wrong(&format!(
                "plugins_missing: {plugin}: {entries} enabled plugin entries use it, and it is neither stock nor stored nor in \
                 plugins_dir: every request that they apply to would be answered 500"
            ))
        }),
        // A node was started since the store was read.
        Err(NodeError::Open(error @ OpenError::InUse { .. })) => {
            println!("whether a plugin is missing that entries use was not checked: {error}");
            true
        }
        Err(error) => wrong(&error),
    }
}

/// Does it on a thread of its own; nothing if it takes too long. The thread then ends with the process.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Whoever waits may have given up.
    std::thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(limit).ok()
}

/// What `plugins_dir` holds.
#[derive(Default)]
struct Local {
    names: BTreeSet<String>,
    /// File and reason.
    refused: BTreeMap<String, String>,
}

/// Compiles the components of the folder to ask each who it is, as a start does.
fn plugins(folder: &Path) -> Result<Local, Box<dyn std::error::Error>> {
    // Not the node's own cache: who checks may be another user, whose files the node could not read.
    let cache = Scratch::new()?;
    let host = Host::new(HostSettings::new(1, cache.0.join("cache"), own_compiler()?))?;
    let mut local = Local::default();
    for (file, inspected) in directory::inspect(&host, folder)? {
        let fresh = inspected.and_then(|name| match stock::components().iter().any(|(stock, _)| *stock == name) {
            true => Err(format!("'{name}' is the name of a stock plugin; give it another name")),
            false if !local.names.insert(name.clone()) => Err(format!("another file is called `{name}` too; keep one of them")),
            false => Ok(()),
        });
        if let Err(reason) = fresh {
            local.refused.insert(file.display().to_string(), reason);
        }
    }
    Ok(local)
}

/// Plugins that enabled entries use and that the node would not have, and how many entries.
fn missing(store: &Path, options: EmbeddedOptions, mut known: BTreeSet<String>) -> Result<BTreeMap<String, usize>, NodeError> {
    known.extend(stock::components().iter().map(|(name, _)| (*name).to_owned()));
    let store = Embedded::open(store, options)?;
    let view = store.view()?;
    each_with(&*view, Kind::Component, "active", |name| {
        known.insert(name);
    })?;
    let mut missing = BTreeMap::new();
    each_with(&*view, Kind::Plugin, "enabled", |name| {
        if !known.contains(&name) {
            *missing.entry(name).or_insert(0) += 1;
        }
    })?;
    Ok(missing)
}

/// The names of the entities in which that switch is on.
fn each_with(view: &dyn View, kind: Kind, switch: &str, mut with: impl FnMut(String)) -> Result<(), NodeError> {
    view.each(kind, &Selection::All, &mut |entity| {
        if let (Some(Value::Bool(true)), Some(name)) = (entity.body.get(switch), entity.text("name")) {
            with(name.to_owned());
        }
    })?;
    Ok(())
}

/// A folder that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("weir-check-{}", std::process::id()));
        // Fails if something of that name is there: it would be somebody else's.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("weir: {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_given_up() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let (_held, wait) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(1), move || wait.recv().is_ok()), None);
    }

    #[test]
    fn a_store_that_was_not_read_to_its_end_is_not_called_good() {
        assert_eq!(read_through(None), Found::Wrong);
        assert_eq!(read_through(Some(Ok(None))), Found::Nothing);
        let in_use = OpenError::InUse { path: PathBuf::from("store"), holder: "process 1".to_owned() };
        assert_eq!(read_through(Some(Err(in_use))), Found::Nothing);
        let damaged = OpenError::Damaged { path: PathBuf::from("store"), cause: "a bit".to_owned() };
        assert_eq!(read_through(Some(Err(damaged))), Found::Wrong);
    }

    #[test]
    fn a_store_that_a_node_has_taken_meanwhile_is_no_fault() {
        let folder = std::env::temp_dir().join(format!("weir-check-in-use-{}", std::process::id()));
        let open = Embedded::open(&folder, EmbeddedOptions::default()).unwrap();
        let refused = missing(&folder, EmbeddedOptions::default(), BTreeSet::new()).unwrap_err();
        assert!(matches!(refused, NodeError::Open(OpenError::InUse { .. })), "{refused}");
        assert!(has_its_plugins(&folder, EmbeddedOptions::default(), BTreeSet::new()));
        open.close();
        assert!(has_its_plugins(&folder, EmbeddedOptions::default(), BTreeSet::new()));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_told_and_does_not_keep_the_store_from_being_read() {
        let nowhere = std::env::temp_dir().join(format!("weir-check-nowhere-{}", std::process::id()));
        assert_eq!(directory_names(None), (Some(BTreeSet::new()), true));
        assert_eq!(directory_names(Some(&nowhere)), (None, false));
        assert!(stored(&nowhere, &EmbeddedOptions::default(), None));
        let damaged = nowhere.join("store");
        std::fs::create_dir_all(&nowhere).unwrap();
        std::fs::write(&damaged, "no folder").unwrap();
        assert!(!stored(&damaged, &EmbeddedOptions::default(), None));
        std::fs::remove_dir_all(nowhere).unwrap();
    }
}
