//! Builds snapshots: the first from a whole view, the others from what changed.
//!
//! Whole or not at all: a build works on a copy of its state (a few pointers, since everything in it is persistent) and keeps
//! the copy only if nothing failed. Knows neither the store nor the journal; the caller brings the view and the ops.

use super::plugins::{Chains, Placed, PluginTable, Stale};
use super::{IdMap, ServiceRecord, Snapshot, SnapshotError};
use crate::chain::{Candidate, PhaseSet, SchemeSet};
use crate::route::{RouteRecord, Router};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_model::chain::Scope;
use weir_model::{Directory, Entity, Id, Kind, Op, Phase, Plugin, Route, Selection, Service, View};
use weir_plugin_host::{Entry, EntryError, Host};

/// See the module's head.
pub struct SnapshotBuilder<E = Entry> {
    source: EntrySource<E>,
    state: State<E>,
    /// Of the last snapshot built; unset before the first, and after a failure: the next build then reads the whole view.
    directory: Option<Directory>,
}

/// Where entries come from: the plugin host, or in tests something that needs no wasm.
pub(crate) struct EntrySource<E> {
    /// Makes the entry of a plugin.
    pub(crate) make: MakeEntry<E>,
    /// Its priority and the phases that it handles.
    pub(crate) describe: fn(&E) -> (i64, PhaseSet),
}

type MakeEntry<E> = Box<dyn Fn(&Plugin) -> Result<Arc<E>, EntryError> + Send>;

/// What the next change builds on. Cheap to clone. Maps that requests ask are by hash, the others sorted: they take a fifth of
/// the memory.
struct State<E> {
    router: Router,
    routes: imbl::OrdMap<Id, Arc<RouteRecord>>,
    /// Enabled ones.
    services: IdMap<Arc<ServiceRecord>>,
    /// Disabled ones: their routes are not in the router.
    disabled: IdMap<()>,
    plugins: PluginTable<E>,
    /// The plugin names of components, because a deletion only says the id.
    components: imbl::OrdMap<Id, Arc<str>>,
    chains: Chains<E>,
}

impl<E> Clone for State<E> {
    fn clone(&self) -> Self {
        let Self { router, routes, services, disabled, plugins, components, chains } = self;
        Self {
            router: router.clone(),
            routes: routes.clone(),
            services: services.clone(),
            disabled: disabled.clone(),
            plugins: plugins.clone(),
            components: components.clone(),
            chains: chains.clone(),
        }
    }
}

impl<E> Default for State<E> {
    fn default() -> Self {
        Self {
            router: Router::default(),
            routes: imbl::OrdMap::default(),
            services: IdMap::default(),
            disabled: IdMap::default(),
            plugins: PluginTable::default(),
            components: imbl::OrdMap::default(),
            chains: Chains::default(),
        }
    }
}

impl SnapshotBuilder<Entry> {
    /// A builder whose plugin entries come from this host. Nothing is built yet: `load` comes first.
    pub fn new(host: Arc<Host>) -> Self {
        let describe = |entry: &Entry| {
            let phases = [Phase::Request, Phase::Response, Phase::Log].into_iter().filter(|phase| entry.handles(*phase));
            (entry.priority, PhaseSet::of(phases))
        };
        Self::with_source(EntrySource { make: Box::new(move |plugin| host.entry(plugin)), describe })
    }
}

impl<E> SnapshotBuilder<E> {
    pub(crate) fn with_source(source: EntrySource<E>) -> Self {
        Self { source, state: State::default(), directory: None }
    }
    /// Builds from the whole view. On error the builder is as it was.
    pub fn load(&mut self, view: Arc<dyn View>) -> Result<Arc<Snapshot<E>>, SnapshotError> {
        let mut ops = Vec::new();
        for kind in [Kind::Service, Kind::Route, Kind::Plugin, Kind::Component] {
            view.each(kind, &Selection::All, &mut |entity| ops.push(Op::Put(entity)))?;
        }
        let mut state = State::default();
        state.apply(&ops, &*view, &self.source, &[])?;
        self.state = state;
        let directory = Directory::new(Arc::clone(&view));
        Ok(self.publish(&*view, directory))
    }
    /// Builds from what changed since the last snapshot: `ops` lead exactly from there to `view`, one transaction or several in
    /// order. On error the last snapshot's state is kept, and the next call reads its view from the beginning, so nothing
    /// has to be brought again. Without a first `load` this is one.
    pub fn apply(&mut self, ops: &[Op], view: Arc<dyn View>) -> Result<Arc<Snapshot<E>>, SnapshotError> {
        let Some(directory) = self.directory.take() else { return self.load(view) };
        let mut state = self.state.clone();
        state.apply(ops, &*view, &self.source, &[])?;
        self.state = state;
        let directory = directory.succeeded_by(Arc::clone(&view), ops);
        Ok(self.publish(&*view, directory))
    }
    /// Makes the entries of these plugins again, after the host got other components for them without a transaction (a
    /// reload of `plugins_dir`). `view` is the one of the last snapshot, or newer with nothing but other components.
    pub fn refresh(&mut self, plugins: &[&str], view: Arc<dyn View>) -> Result<Arc<Snapshot<E>>, SnapshotError> {
        let Some(directory) = self.directory.take() else { return self.load(view) };
        let mut state = self.state.clone();
        state.apply(&[], &*view, &self.source, plugins)?;
        self.state = state;
        let directory = directory.succeeded_by(Arc::clone(&view), &[]);
        Ok(self.publish(&*view, directory))
    }
    fn publish(&mut self, view: &dyn View, directory: Directory) -> Arc<Snapshot<E>> {
        self.directory = Some(directory.clone());
        Arc::new(Snapshot {
            revision: view.revision(),
            router: self.state.router.clone(),
            services: self.state.services.clone(),
            chains: self.state.chains.clone(),
            directory,
            routes: self.state.routes.len(),
            missing: self.state.plugins.missing().clone(),
        })
    }
}

impl<E> State<E> {
    /// `replaced` names plugins whose component changed without an op.
    fn apply(&mut self, ops: &[Op], view: &dyn View, source: &EntrySource<E>, replaced: &[&str]) -> Result<(), SnapshotError> {
        // Only the last op of each entity counts: of several transactions, what one puts a later one may delete.
        let ops: BTreeMap<(Kind, Id), &Op> = ops.iter().map(|op| (op.key(), op)).collect();
        let ops: Vec<&Op> = ops.into_values().collect();
        let ops = ops.as_slice();
        let mut stale = Stale::default();
        self.apply_routing(ops, &mut stale)?;
        self.apply_plugins(ops, view, source, replaced, &mut stale)?;
        let routes = &self.routes;
        self.chains.refresh(&self.plugins, stale, |id| routes.get(&id).map(|route| route.service));
        Ok(())
    }

    fn apply_routing(&mut self, ops: &[&Op], stale: &mut Stale) -> Result<(), SnapshotError> {
        // What leaves the router leaves it by the old state, what enters it enters by the new one.
        let touched = self.touched_routes(ops);
        for id in &touched {
            if let Some(route) = self.routes.get(id)
                && self.is_served(route)
            {
                self.router.remove(route);
            }
        }
        for op in ops {
            self.apply_service_or_route(op)?;
        }
        for id in &touched {
            if let Some(route) = self.routes.get(id)
                && self.is_served(route)
            {
                self.router.insert(route);
            }
        }
        stale.routes.extend(touched);
        Ok(())
    }

    /// The routes that the ops are about, and those of services that the ops switch on or off.
    fn touched_routes(&self, ops: &[&Op]) -> BTreeSet<Id> {
        let mut touched = BTreeSet::new();
        let mut switched = BTreeSet::new();
        for op in ops {
            match op.key() {
                (Kind::Route, id) => drop(touched.insert(id)),
                (Kind::Service, id) if self.disabled.contains_key(&id) != is_disabled(op) => drop(switched.insert(id)),
                _ => {}
            }
        }
        if !switched.is_empty() {
            let of_switched = self.routes.values().filter(|route| route.service.is_some_and(|id| switched.contains(&id)));
            touched.extend(of_switched.map(|route| route.id()));
        }
        touched
    }

    fn is_served(&self, route: &RouteRecord) -> bool {
        route.service.is_none_or(|service| !self.disabled.contains_key(&service))
    }

    fn apply_service_or_route(&mut self, op: &Op) -> Result<(), SnapshotError> {
        match op {
            Op::Put(entity) if entity.kind == Kind::Service => {
                let service: Service = entity.parse().map_err(malformed(entity))?;
                let id = entity.id;
                // A disabled service is judged too: it must not become unusable by being enabled.
                let record = ServiceRecord::new(&service).map_err(|fault| SnapshotError::Service { id, fault })?;
                if service.enabled {
                    self.disabled.remove(&id);
                    self.services.insert(id, Arc::new(record));
                } else {
                    self.services.remove(&id);
                    self.disabled.insert(id, ());
                }
            }
            Op::Put(entity) if entity.kind == Kind::Route => {
                let route: Route = entity.parse().map_err(malformed(entity))?;
                let id = entity.id;
                let record = RouteRecord::new(&route).map_err(|fault| SnapshotError::Route { id, fault })?;
                self.routes.insert(id, Arc::new(record));
            }
            Op::Delete { kind: Kind::Service, id } => {
                self.services.remove(id);
                self.disabled.remove(id);
            }
            Op::Delete { kind: Kind::Route, id } => drop(self.routes.remove(id)),
            Op::Put(_) | Op::Delete { .. } => {}
        }
        Ok(())
    }

    fn apply_plugins(
        &mut self,
        ops: &[&Op],
        view: &dyn View,
        source: &EntrySource<E>,
        replaced: &[&str],
        stale: &mut Stale,
    ) -> Result<(), SnapshotError> {
        let replaced = self.apply_components(ops, replaced);
        let mut made: BTreeSet<Id> = replaced.iter().flat_map(|name| self.plugins.of_plugin(name)).collect();
        // All out before any goes in: two entries of one transaction may change places.
        for op in ops {
            if let (Kind::Plugin, id) = op.key() {
                made.remove(&id);
                self.plugins.remove(id, stale);
            }
        }
        for id in &made {
            self.plugins.remove(*id, stale);
        }
        for op in ops {
            if let Op::Put(entity) = op
                && entity.kind == Kind::Plugin
            {
                self.put_plugin(entity, source, stale)?;
            }
        }
        for id in made {
            // Its configuration is not kept here: it is read again where a component changed, which is rare.
            if let Some(entity) = view.get(Kind::Plugin, id)? {
                self.put_plugin(&entity, source, stale)?;
            }
        }
        Ok(())
    }

    /// Notes the ops about components; answers the names of all plugins whose component changed.
    fn apply_components(&mut self, ops: &[&Op], replaced: &[&str]) -> BTreeSet<Arc<str>> {
        let mut names: BTreeSet<Arc<str>> = replaced.iter().map(|name| Arc::from(*name)).collect();
        for op in ops {
            let (Kind::Component, id) = op.key() else { continue };
            names.extend(self.components.remove(&id));
            if let Op::Put(entity) = op
                && let Some(name) = entity.text("name")
            {
                let name: Arc<str> = name.into();
                self.components.insert(id, Arc::clone(&name));
                names.insert(name);
            }
        }
        names
    }

    fn put_plugin(&mut self, entity: &Entity, source: &EntrySource<E>, stale: &mut Stale) -> Result<(), SnapshotError> {
        let plugin: Plugin = entity.parse().map_err(malformed(entity))?;
        if !plugin.enabled {
            return Ok(());
        }
        let id = entity.id;
        // No reason to serve nothing: what the entry applies to is refused until the component is back, the rest is served.
        let entry = (source.make)(&plugin).map_err(|EntryError::NotInstalled { .. }| ()).ok();
        let (priority, phases) = entry.as_deref().map(source.describe).unwrap_or_default();
        let scope = Scope {
            route: plugin.route.map(|route| route.id),
            service: plugin.service.map(|service| service.id),
            consumer: plugin.consumer.map(|consumer| consumer.id),
        };
        let schemes = SchemeSet::from_names(plugin.protocols.iter().map(String::as_str));
        let candidate = Candidate { entry, schemes };
        self.plugins.insert(id, Placed { plugin: plugin.name.into(), scope, priority, phases, candidate }, stale);
        Ok(())
    }
}

fn is_disabled(op: &Op) -> bool {
    match op {
        Op::Put(entity) => entity.body.get("enabled") == Some(&serde_json::Value::Bool(false)),
        Op::Delete { .. } => false,
    }
}

fn malformed(entity: &Entity) -> impl FnOnce(serde_json::Error) -> SnapshotError {
    let (kind, id) = (entity.kind, entity.id);
    move |error| SnapshotError::Malformed { kind, id, reason: error.to_string() }
}
