//! Tests of snapshots, and the view and entries that stand in for the store and the plugin host.

mod accepted;
mod building;
mod chains;
mod properties;
mod scale;

use super::builder::EntrySource;
use super::{Found, RouteMatch, Snapshot, SnapshotBuilder};
use crate::chain::PhaseSet;
use crate::route::Scheme;
use crate::route::tests::{Request, get};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use weir_model::{Entity, Id, Kind, Op, Page, Phase, Plugin, Revision, Selection, View, ViewError};
use weir_plugin_host::EntryError;

/// A view of entities that stand in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryView {
    pub(crate) revision: u64,
    pub(crate) entities: imbl::OrdMap<(Kind, Id), Entity>,
}

impl MemoryView {
    /// The next view: with these ops done.
    pub(crate) fn after(&self, ops: &[Op]) -> Self {
        let mut next = Self { revision: self.revision + 1, entities: self.entities.clone() };
        for op in ops {
            match op {
                Op::Put(entity) => drop(next.entities.insert(op.key(), entity.clone())),
                Op::Delete { .. } => drop(next.entities.remove(&op.key())),
            }
        }
        next
    }
}

impl View for MemoryView {
    fn revision(&self) -> Revision {
        Revision(self.revision)
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(self.entities.get(&(kind, id)).cloned())
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        let holds = |entity: &&Entity| entity.unique_keys().iter().any(|(held, text)| *held == index && text == key);
        Ok(self.entities.values().filter(|entity| entity.kind == kind).find(holds).map(|entity| entity.id))
    }
    fn list(&self, kind: Kind, _: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        let mut rest = self.entities.iter().filter(|((of, id), _)| *of == kind && after.is_none_or(|after| *id > after));
        let entities: Vec<Entity> = rest.by_ref().take(limit).map(|(_, entity)| entity.clone()).collect();
        let next = rest.next().and(entities.last()).map(|entity| entity.id);
        Ok(Page { entities, next })
    }
    fn tags(&self, _: Option<&str>, _: Option<(String, Kind, Id)>, _: usize) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        Err(ViewError("snapshots do not read tags".to_owned()))
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        Ok(self.entities.keys().filter(|(of, _)| *of == kind).count() as u64)
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(self.get(kind, id)?.map(|_| self.revision()))
    }
}

/// An entry that runs nothing: what it was made of.
#[derive(Debug, PartialEq)]
pub(crate) struct FakeEntry {
    pub(crate) id: Id,
    pub(crate) version: u64,
    priority: i64,
    phases: Vec<Phase>,
}

/// Version, priority and phases of a component.
type Installed = (u64, i64, Vec<Phase>);

/// The components that are installed, by plugin name.
#[derive(Clone, Default)]
pub(crate) struct FakeHost {
    pub(crate) installed: Arc<Mutex<BTreeMap<String, Installed>>>,
    /// How many entries were made.
    pub(crate) made: Arc<Mutex<usize>>,
}

impl FakeHost {
    pub(crate) fn install(&self, name: &str, version: u64, priority: i64) {
        self.install_with(name, version, priority, &[Phase::Request]);
    }
    pub(crate) fn install_with(&self, name: &str, version: u64, priority: i64, phases: &[Phase]) {
        self.installed.lock().unwrap().insert(name.to_owned(), (version, priority, phases.to_vec()));
    }
    pub(crate) fn builder(&self) -> SnapshotBuilder<FakeEntry> {
        let host = self.clone();
        let make = move |plugin: &Plugin| {
            let installed = host.installed.lock().unwrap();
            let Some((version, priority, phases)) = installed.get(&plugin.name).cloned() else {
                return Err(EntryError::NotInstalled { name: plugin.name.clone() });
            };
            *host.made.lock().unwrap() += 1;
            Ok(Arc::new(FakeEntry { id: plugin.id, version, priority, phases }))
        };
        let describe = |entry: &FakeEntry| (entry.priority, PhaseSet::of(entry.phases.iter().copied()));
        SnapshotBuilder::with_source(EntrySource { make: Box::new(make), describe })
    }
}

pub(crate) fn id(number: u128) -> Id {
    Id::from_bytes(number.to_be_bytes())
}

fn entity(kind: Kind, number: u128, base: Value, changes: Value) -> Op {
    let (Value::Object(mut body), Value::Object(changes)) = (base, changes) else { panic!("entities are objects") };
    body.insert("id".to_owned(), json!(id(number)));
    body.extend(changes);
    Op::Put(Entity { kind, id: id(number), body })
}

pub(crate) fn service(number: u128, changes: Value) -> Op {
    let base = json!({
        "name": null, "protocol": "http", "host": "upstream.example", "port": 80, "path": null, "retries": 5,
        "connect_timeout": 60_000, "write_timeout": 60_000, "read_timeout": 60_000, "enabled": true, "tls_verify": null,
    });
    entity(Kind::Service, number, base, changes)
}

pub(crate) fn route(number: u128, changes: Value) -> Op {
    let base = json!({
        "name": null, "protocols": ["http", "https"], "methods": null, "hosts": null, "paths": null, "headers": null,
        "https_redirect_status_code": 426, "regex_priority": 0, "strip_path": true, "path_handling": "v0",
        "preserve_host": false, "service": null, "created_at": 1,
    });
    entity(Kind::Route, number, base, changes)
}

pub(crate) fn plugin(number: u128, name: &str, changes: Value) -> Op {
    let base = json!({
        "name": name, "instance_name": null, "route": null, "service": null, "consumer": null, "config": {},
        "protocols": ["http", "https"], "enabled": true,
    });
    entity(Kind::Plugin, number, base, changes)
}

pub(crate) fn component(number: u128, name: &str) -> Op {
    entity(Kind::Component, number, json!({}), json!({ "name": name }))
}

pub(crate) fn delete(kind: Kind, number: u128) -> Op {
    Op::Delete { kind, id: id(number) }
}

/// `{"id": …}`.
pub(crate) fn to(number: u128) -> Value {
    json!({ "id": id(number) })
}

/// A view and the builder that follows it.
pub(crate) struct Node {
    pub(crate) host: FakeHost,
    pub(crate) view: MemoryView,
    pub(crate) builder: SnapshotBuilder<FakeEntry>,
}

impl Node {
    /// With three plugins, in the order `first`, `second`, `third`.
    pub(crate) fn new() -> Self {
        let host = FakeHost::default();
        host.install("first", 1, 300);
        host.install("second", 1, 200);
        host.install("third", 1, 100);
        let mut builder = host.builder();
        let view = MemoryView::default();
        builder.load(Arc::new(view.clone())).expect("an empty view is a configuration");
        Self { host, view, builder }
    }
    pub(crate) fn commit(&mut self, ops: &[Op]) -> Result<Arc<Snapshot<FakeEntry>>, super::SnapshotError> {
        self.view = self.view.after(ops);
        self.builder.apply(ops, Arc::new(self.view.clone()))
    }
    pub(crate) fn write(&mut self, ops: &[Op]) -> Arc<Snapshot<FakeEntry>> {
        self.commit(ops).expect("the configuration is right")
    }
}

impl Snapshot<FakeEntry> {
    pub(crate) fn at(&self, path: &str) -> Option<RouteMatch<FakeEntry>> {
        match get("any.example", path).ask(|request| self.find(request)) {
            Found::Route(found) => Some(found),
            Found::NeedsHttps { .. } | Found::None => None,
        }
    }
    pub(crate) fn ask(&self, request: &Request) -> Found<FakeEntry> {
        request.ask(|request| self.find(request))
    }
}

impl RouteMatch<FakeEntry> {
    /// The numbers of the entries that run for that consumer, in order.
    pub(crate) fn runs(&self, scheme: Scheme, consumer: Option<u128>) -> Vec<u128> {
        let picked = self.chain.walk(Phase::Request).filter_map(|(_, link)| link.pick(scheme, consumer.map(id)));
        picked.map(|entry| u128::from_be_bytes(*entry.id.as_bytes())).collect()
    }
}
