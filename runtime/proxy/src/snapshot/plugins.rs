//! Plugin entries by where they apply, and the chains that follow from them.
//!
//! A chain exists for each route and each service that has entries of its own, and one for everything else, so a change of a
//! global entry costs as many chains as there are, however many routes share them.

use super::IdMap;
use crate::chain::{Candidate, Chain, Link, PhaseSet, Tier};
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_model::Id;
use weir_model::chain::Scope;

/// An enabled entry, as it was put into its place.
pub(crate) struct Placed<E> {
    pub(crate) plugin: Arc<str>,
    pub(crate) scope: Scope,
    pub(crate) priority: i64,
    pub(crate) phases: PhaseSet,
    pub(crate) candidate: Candidate<E>,
}

impl<E> Clone for Placed<E> {
    fn clone(&self) -> Self {
        let Self { plugin, scope, priority, phases, candidate } = self;
        Self { plugin: plugin.clone(), scope: *scope, priority: *priority, phases: *phases, candidate: candidate.clone() }
    }
}

/// A scope without its consumer: the routes that its entries are on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Place {
    route: Option<Id>,
    service: Option<Id>,
}

/// The entries of one plugin at one place.
struct Slot<E> {
    plugin: Arc<str>,
    priority: i64,
    /// Of all that ever were in here since it was empty: too much costs a look, too little would skip a plugin.
    phases: PhaseSet,
    /// As `phases`: whether one of them lacks its component.
    missing: bool,
    anyone: Option<Candidate<E>>,
    by_consumer: IdMap<Candidate<E>>,
}

impl<E> Clone for Slot<E> {
    fn clone(&self) -> Self {
        let Self { plugin, priority, phases, missing, anyone, by_consumer } = self;
        let (anyone, by_consumer) = (anyone.clone(), by_consumer.clone());
        Self { plugin: plugin.clone(), priority: *priority, phases: *phases, missing: *missing, anyone, by_consumer }
    }
}

/// The plugins that have entries at one place; few, so a list.
type Group<E> = Vec<Slot<E>>;

/// All enabled entries. Cheap to clone.
pub(crate) struct PluginTable<E> {
    entries: imbl::OrdMap<Id, Placed<E>>,
    places: imbl::HashMap<Place, Arc<Group<E>>>,
    /// Plugins with entries and no component, and how many entries.
    missing: imbl::OrdMap<Arc<str>, usize>,
}

impl<E> Clone for PluginTable<E> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), places: self.places.clone(), missing: self.missing.clone() }
    }
}

impl<E> Default for PluginTable<E> {
    fn default() -> Self {
        Self { entries: imbl::OrdMap::default(), places: imbl::HashMap::default(), missing: imbl::OrdMap::default() }
    }
}

/// Which chains no longer say what the entries say.
#[derive(Default)]
pub(crate) struct Stale {
    pub(crate) everything: bool,
    pub(crate) services: BTreeSet<Id>,
    pub(crate) routes: BTreeSet<Id>,
}

impl Stale {
    fn add(&mut self, scope: &Scope) {
        match (scope.route, scope.service) {
            (Some(route), _) => drop(self.routes.insert(route)),
            (None, Some(service)) => drop(self.services.insert(service)),
            (None, None) => self.everything = true,
        }
    }
}

impl<E> PluginTable<E> {
    /// The entries of a plugin.
    pub(crate) fn of_plugin(&self, plugin: &str) -> impl Iterator<Item = Id> {
        self.entries.iter().filter(move |(_, placed)| &*placed.plugin == plugin).map(|(id, _)| *id)
    }
    /// Plugins with entries that lack their component, and how many entries.
    pub(crate) fn missing(&self) -> &imbl::OrdMap<Arc<str>, usize> {
        &self.missing
    }
    /// Puts an entry into its place. The one of that id must have been removed.
    pub(crate) fn insert(&mut self, id: Id, placed: Placed<E>, stale: &mut Stale) {
        stale.add(&placed.scope);
        self.change(&placed.scope, |group| {
            let at = group.iter().position(|slot| slot.plugin == placed.plugin).unwrap_or_else(|| {
                let (anyone, by_consumer) = (None, IdMap::default());
                let (plugin, phases) = (placed.plugin.clone(), PhaseSet::default());
                group.push(Slot { plugin, priority: 0, phases, missing: false, anyone, by_consumer });
                group.len() - 1
            });
            let slot = &mut group[at];
            // Entries of one plugin are made by one component and agree; on a change of version all of them are made again.
            slot.priority = placed.priority;
            slot.phases = slot.phases.union(placed.phases);
            slot.missing |= placed.candidate.entry.is_none();
            match placed.scope.consumer {
                None => slot.anyone = Some(placed.candidate.clone()),
                Some(consumer) => drop(slot.by_consumer.insert(consumer, placed.candidate.clone())),
            }
        });
        if placed.candidate.entry.is_none() {
            *self.missing.entry(placed.plugin.clone()).or_insert(0) += 1;
        }
        self.entries.insert(id, placed);
    }
    /// Takes an entry out, if it is in here.
    pub(crate) fn remove(&mut self, id: Id, stale: &mut Stale) {
        let Some(placed) = self.entries.remove(&id) else { return };
        stale.add(&placed.scope);
        if placed.candidate.entry.is_none() {
            self.missing = self.missing.alter(|count| count?.checked_sub(1).filter(|left| *left > 0), placed.plugin.clone());
        }
        self.change(&placed.scope, |group| {
            let Some(slot) = group.iter_mut().find(|slot| slot.plugin == placed.plugin) else { return };
            match placed.scope.consumer {
                None => slot.anyone = None,
                Some(consumer) => drop(slot.by_consumer.remove(&consumer)),
            }
            group.retain(|slot| slot.anyone.is_some() || !slot.by_consumer.is_empty());
        });
    }
    fn change(&mut self, scope: &Scope, change: impl FnOnce(&mut Group<E>)) {
        let place = Place { route: scope.route, service: scope.service };
        let mut group = self.places.remove(&place).unwrap_or_default();
        change(Arc::make_mut(&mut group));
        if !group.is_empty() {
            self.places.insert(place, group);
        }
    }
    fn group(&self, route: Option<Id>, service: Option<Id>) -> &[Slot<E>] {
        self.places.get(&Place { route, service }).map_or(&[], |group| group)
    }
}

/// All chains. Cheap to clone.
pub(crate) struct Chains<E> {
    global: Arc<Chain<E>>,
    by_service: IdMap<Arc<Chain<E>>>,
    by_route: IdMap<Arc<Chain<E>>>,
}

impl<E> Clone for Chains<E> {
    fn clone(&self) -> Self {
        Self { global: self.global.clone(), by_service: self.by_service.clone(), by_route: self.by_route.clone() }
    }
}

impl<E> Default for Chains<E> {
    fn default() -> Self {
        Self { global: Arc::default(), by_service: IdMap::default(), by_route: IdMap::default() }
    }
}

impl<E> Chains<E> {
    /// The chain of a route.
    pub(crate) fn get(&self, route: Id, service: Option<Id>) -> &Arc<Chain<E>> {
        // An empty map is the usual case and costs no hash.
        let own = if self.by_route.is_empty() { None } else { self.by_route.get(&route) };
        own.unwrap_or_else(|| self.of_service(service))
    }
    /// The chain of everything that has no entries of its own.
    pub(crate) fn global(&self) -> &Arc<Chain<E>> {
        &self.global
    }
    fn of_service(&self, service: Option<Id>) -> &Arc<Chain<E>> {
        let service = if self.by_service.is_empty() { None } else { service };
        service.and_then(|id| self.by_service.get(&id)).unwrap_or(&self.global)
    }
    /// Makes the stale chains again. `service_of` says whether a route exists, and its service. Answers how many were made.
    pub(crate) fn refresh(
        &mut self,
        table: &PluginTable<E>,
        mut stale: Stale,
        service_of: impl Fn(Id) -> Option<Option<Id>>,
    ) -> usize {
        let mut made = 0;
        if stale.everything {
            self.global = Arc::new(compile(&Chain::default(), 4, [&[], &[], &[], table.group(None, None)]));
            made += 1;
            stale.services.extend(table.places.keys().filter(|place| place.route.is_none()).filter_map(|place| place.service));
            stale.routes.extend(table.places.keys().filter_map(|place| place.route));
        }
        if !stale.services.is_empty() {
            let of_stale = |route: &&Id| service_of(**route).flatten().is_some_and(|id| stale.services.contains(&id));
            stale.routes.extend(self.by_route.keys().filter(of_stale));
        }
        for service in stale.services {
            made += usize::from(self.refresh_service(table, service));
        }
        for route in stale.routes {
            made += usize::from(self.refresh_route(table, route, service_of(route)));
        }
        made
    }
    fn refresh_service(&mut self, table: &PluginTable<E>, id: Id) -> bool {
        let own = table.group(None, Some(id));
        if own.is_empty() {
            self.by_service.remove(&id);
            return false;
        }
        let chain = compile(&self.global, 3, [&[], &[], own, table.group(None, None)]);
        self.by_service.insert(id, Arc::new(chain));
        true
    }
    /// `service` is unset if the route does not exist.
    fn refresh_route(&mut self, table: &PluginTable<E>, id: Id, service: Option<Option<Id>>) -> bool {
        let of_service = |route| service.flatten().map_or(&[] as &[_], |service| table.group(route, Some(service)));
        let own = [of_service(Some(id)), table.group(Some(id), None)];
        if service.is_none() || own.iter().all(|group| group.is_empty()) {
            self.by_route.remove(&id);
            return false;
        }
        let layers = [own[0], own[1], of_service(None), table.group(None, None)];
        let chain = compile(self.of_service(service.flatten()), 2, layers);
        self.by_route.insert(id, Arc::new(chain));
        true
    }
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        1 + self.by_service.len() + self.by_route.len()
    }
}

/// The chain of a place. `layers` are the entries that apply there: of route and service, of the route, of the service, and
/// everywhere. A plugin that has entries in the first `own` of them gets a new link; the other links are those of `base`.
fn compile<E>(base: &Chain<E>, own: usize, layers: [&[Slot<E>]; 4]) -> Chain<E> {
    let names: BTreeSet<&Arc<str>> = layers.iter().take(own).copied().flatten().map(|slot| &slot.plugin).collect();
    let shared = base.links().iter().filter(|link| !names.contains(&link.plugin)).cloned();
    let new = names.iter().map(|name| Arc::new(link(layers.map(|group| group.iter().find(|slot| &slot.plugin == *name)))));
    Chain::new(shared.chain(new).collect())
}

/// The link of one plugin, from its slots in the four layers of [`compile`].
fn link<E>([both, route, service, global]: [Option<&Slot<E>>; 4]) -> Link<E> {
    let anyone = |slot: Option<&Slot<E>>| slot.and_then(|slot| slot.anyone.clone()).map(Tier::Anyone);
    let by_consumer = |slot: Option<&Slot<E>>| {
        slot.filter(|slot| !slot.by_consumer.is_empty()).map(|slot| Tier::ByConsumer(slot.by_consumer.clone()))
    };
    // Kong's precedence of scopes, as `Scope::specificity` counts it.
    let tiers = [
        by_consumer(both),
        by_consumer(route),
        by_consumer(service),
        anyone(both),
        by_consumer(global),
        anyone(route),
        anyone(service),
        anyone(global),
    ];
    let slots = || [both, route, service, global].into_iter().flatten();
    Link {
        plugin: slots().next().map_or_else(|| "".into(), |slot| slot.plugin.clone()),
        priority: slots().next().map_or(0, |slot| slot.priority),
        phases: slots().fold(PhaseSet::default(), |all, slot| all.union(slot.phases)),
        missing: slots().any(|slot| slot.missing),
        tiers: tiers.into_iter().flatten().collect(),
    }
}
