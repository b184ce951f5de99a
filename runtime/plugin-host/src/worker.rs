//! The plugins of one worker thread: which instance answers a call, and what its ending means.
//!
//! One instance for each component, reused by all of its entries and exchanges, unless its settings ask for more isolation. A
//! call runs to its end before the next begins, so one is enough, and there is nothing to lock.

use crate::breaker::{Admission, Change};
use crate::exchange::{Ending, Exchange, Kill};
use crate::figures::{LastFailure, Line};
use crate::host::Host;
use crate::host_calls::log::{cut, one_line};
use crate::host_calls::steps;
use crate::instance::{Called, Caller, Configuration, Death, Decision, Instance, guarded};
use crate::limits::*;
use crate::prepared::{Entry, Prepared};
use crate::shared::Slot;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use weir_model::Phase;
use weir_model::entity::Isolation;

/// Configurations that are looked at in one step of maintenance: a step stays below a microsecond or two.
const STEP: usize = 32;

/// A round of maintenance begins at most so often.
const ROUND: Ticks = TICKS_A_SECOND;

/// Instances of one worker thread. It must stay on its thread.
pub struct WorkerPlugins {
    host: Arc<Host>,
    /// Where this worker counts, and whether it alone does.
    number: usize,
    alone: bool,
    /// By the component's number.
    homes: Vec<Home>,
    /// By the entry's number: its configuration in the shared instance of its component.
    configured: Vec<Configured>,
    /// By the entry's number: instances of `per_configuration` components.
    isolated: HashMap<u32, Isolated>,
    last_serial: u64,
    entered: u64,
    round: Round,
    _stays_here: PhantomData<*const ()>,
}

/// Where the shared instance of a component lives.
#[derive(Default)]
struct Home {
    /// Whose it is; a number is given again, the serial is not.
    component: u64,
    instance: Option<Instance>,
    /// Tells instances of one home apart: numbers of configurations are worth nothing in the next one.
    serial: u64,
}

/// An entry's configuration in an instance. `instance` 0: none.
#[derive(Clone, Default)]
struct Configured {
    entry: u64,
    instance: u64,
    home: u32,
    configuration: Configuration,
    last_used: Ticks,
}

struct Isolated {
    entry: u64,
    instance: Instance,
    configuration: Configuration,
    last_used: Ticks,
}

/// A round of maintenance over `configured`, in steps.
#[derive(Default)]
struct Round {
    next: Option<usize>,
    began: Ticks,
}

impl WorkerPlugins {
    /// For one worker thread, to be made and used there.
    pub fn new(host: Arc<Host>) -> Self {
        let (number, alone) = host.enter_worker();
        Self {
            number,
            alone,
            host,
            homes: Vec::new(),
            configured: Vec::new(),
            isolated: HashMap::new(),
            last_serial: 0,
            entered: 0,
            round: Round::default(),
            _stays_here: PhantomData,
        }
    }

    /// Runs one phase of one entry on the exchange. Synchronous, never waits, never panics.
    pub fn call(&mut self, phase: Phase, entry: &Entry, exchange: &mut Box<Exchange>) -> Ending {
        if !entry.handles(phase) {
            return Ending::Proceed;
        }
        let prepared = &*entry.prepared;
        let now = || prepared.shared().now();
        let admission = entry.breaker.admit(now);
        if admission == Admission::Refused {
            prepared.stats().refused();
            return Ending::Killed(Kill::CircuitOpen);
        }
        prepared.stats().called(self.number, self.alone);
        self.maintenance_step(now());
        let called = match prepared.settings.isolation {
            Isolation::Shared => self.in_shared(phase, entry, exchange),
            Isolation::PerConfiguration => self.in_own(phase, entry, exchange),
            Isolation::PerRequest => {
                self.entered += 1;
                in_fresh(phase, entry, exchange)
            }
        };
        match called {
            Ok(answer) => {
                if entry.breaker.survived(admission, now) == Change::Closed {
                    prepared.stats().breaker(entry.id, false);
                    tracing::info!(plugin = &*entry.name, version = &*entry.version, entry = %entry.id, "plugin is called again");
                }
                match answer {
                    Ok(Decision::Proceed) => Ending::Proceed,
                    Ok(Decision::Respond(reply)) => Ending::Respond(reply),
                    Err(message) => {
                        let message = one_line(cut(&message, ERROR_BYTES)).into_owned();
                        report(entry, phase, exchange, None, &message);
                        Ending::Failed(message)
                    }
                }
            }
            Err(death) => {
                report(entry, phase, exchange, Some(death.kill), &death.message);
                if entry.breaker.killed(admission, death.kill, now()) == Change::Opened {
                    prepared.stats().breaker(entry.id, true);
                    let (plugin, version, kind) = (&*entry.name, &*entry.version, death.kill.name());
                    tracing::error!(plugin, version, entry = %entry.id, kind, "plugin is cut out: it keeps being killed");
                }
                Ending::Killed(death.kill)
            }
        }
    }

    /// How often a guest may have been entered so far; not where steps made the phase in a shared instance. Whoever reads the clock
    /// only after calls of guests asks this.
    pub fn entered(&self) -> u64 {
        self.entered
    }

    /// Gives back what is no longer used: instances of replaced components, configurations of replaced entries, what was idle.
    /// Call it about once a second from the worker's own timer; a busy worker does the same in small steps.
    pub fn maintain(&mut self) {
        let now = self.host.shared().now();
        self.begin_round(now);
        while self.round.next.is_some() {
            self.step(now);
        }
    }

    /// Instances of this worker, and the host's own bytes for its configurations.
    pub fn usage(&self) -> WorkerUsage {
        let shared = self.homes.iter().filter_map(|home| home.instance.as_ref());
        let all = shared.chain(self.isolated.values().map(|own| &own.instance));
        let configurations = self.configured.iter().map(|known| &known.configuration);
        let configurations = configurations.chain(self.isolated.values().map(|own| &own.configuration));
        let prepared = configurations.filter_map(|configuration| configuration.preparations.as_ref());
        let preparations: usize = prepared.map(|preparations| preparations.weight()).sum();
        WorkerUsage {
            instances: all.clone().count(),
            guest_bytes: all.map(Instance::memory).sum(),
            host_bytes: self.configured.capacity() * size_of::<Configured>() + preparations,
        }
    }

    fn in_shared(&mut self, phase: Phase, entry: &Entry, exchange: &mut Box<Exchange>) -> Called<Decision> {
        let prepared = &*entry.prepared;
        let home = home(&mut self.homes, prepared.slot);
        let now = prepared.shared().now();
        let known = self
            .configured
            .get_mut(entry.slot as usize)
            .filter(|known| home.instance.is_some() && (known.entry, known.instance) == (entry.serial, home.serial));
        let is_known = known.is_some();
        if let Some(known) = known {
            known.last_used = now;
            if over_by_steps(phase, entry, &known.configuration, exchange)? {
                return Ok(Ok(Decision::Proceed));
            }
        } else {
            self.entered += 1;
            let instance = match &mut home.instance {
                Some(instance) => instance,
                None => {
                    self.last_serial += 1;
                    home.serial = self.last_serial;
                    home.instance.insert(start(prepared)?)
                }
            };
            instance.begin();
            let configured = configure(instance, entry);
            // A killed instance is poisoned. A configuration that was refused harms nothing.
            if matches!(&configured, Err(death) if death.kill != Kill::Configure) {
                home.instance = None;
            }
            let configuration = configured?;
            let over = over_by_steps(phase, entry, &configuration, exchange);
            *place(&mut self.configured, entry.slot) = Configured {
                entry: entry.serial,
                instance: home.serial,
                home: prepared.slot.number,
                configuration,
                last_used: now,
            };
            if over? {
                // What `configure` took counts as well: steps may be all that this instance ever serves.
                if home.instance.as_ref().is_some_and(Instance::is_worn) {
                    home.instance = None;
                }
                return Ok(Ok(Decision::Proceed));
            }
        }
        let (Some(instance), Some(known)) = (&mut home.instance, self.configured.get(entry.slot as usize)) else {
            return Err(Death { kill: Kill::Host, message: "the configuration that was just made is gone".to_owned() });
        };
        self.entered += 1;
        // A first call has what the configuration left of the budgets: together they hold up the neighbours no longer than one call.
        if is_known {
            instance.begin();
        }
        let called = instance.run(phase, caller(entry, &known.configuration), exchange);
        // A killed instance is poisoned; a worn one is replaced between two calls.
        if called.is_err() || instance.is_worn() {
            home.instance = None;
        }
        called
    }

    fn in_own(&mut self, phase: Phase, entry: &Entry, exchange: &mut Box<Exchange>) -> Called<Decision> {
        let now = entry.prepared.shared().now();
        self.entered += 1;
        let mut own = match self.isolated.remove(&entry.slot).filter(|own| own.entry == entry.serial) {
            Some(mut own) => {
                own.instance.begin();
                own.last_used = now;
                own
            }
            None => {
                self.make_room();
                let mut instance = start(&entry.prepared)?;
                let configuration = configure(&mut instance, entry)?;
                Isolated { entry: entry.serial, instance, configuration, last_used: now }
            }
        };
        let called = run(&mut own.instance, phase, entry, &own.configuration, exchange);
        if called.is_ok() && !own.instance.is_worn() {
            self.isolated.insert(entry.slot, own);
        }
        called
    }

    /// Makes room for one more instance of its own.
    fn make_room(&mut self) {
        if self.isolated.len() >= ISOLATED_INSTANCES
            && let Some(oldest) = self.isolated.iter().min_by_key(|(_, own)| own.last_used).map(|(slot, _)| *slot)
        {
            self.isolated.remove(&oldest);
        }
    }

    fn maintenance_step(&mut self, now: Ticks) {
        if self.round.next.is_none() {
            if now < self.round.began + ROUND {
                return;
            }
            self.begin_round(now);
        }
        self.step(now);
    }

    /// Components first: what their instances held needs no release.
    fn begin_round(&mut self, now: Ticks) {
        let shared = self.host.shared();
        self.round = Round { next: Some(0), began: now };
        for (number, home) in (0u32..).zip(&mut self.homes) {
            if home.instance.is_some() && !shared.components.lives(Slot { number, serial: home.component }) {
                home.instance = None;
            }
        }
        self.isolated.retain(|number, own| {
            now < own.last_used + IDLE_CONFIGURATION && shared.entries.lives(Slot { number: *number, serial: own.entry })
        });
    }

    fn step(&mut self, now: Ticks) {
        let Some(first) = self.round.next else { return };
        let shared = self.host.shared();
        for (number, known) in (0u32..).zip(&mut self.configured).skip(first).take(STEP) {
            if known.instance == 0 {
                continue;
            }
            let used = now < known.last_used + IDLE_CONFIGURATION;
            if used && shared.entries.lives(Slot { number, serial: known.entry }) {
                continue;
            }
            let gone = std::mem::take(known);
            let Some(home) = self.homes.get_mut(gone.home as usize).filter(|home| home.serial == gone.instance) else { continue };
            let Some(instance) = &mut home.instance else { continue };
            instance.begin();
            if let Err(death) = instance.release(gone.configuration.handle) {
                // Nobody's exchange: so only told. The instance is poisoned now.
                let (plugin, kind) = (instance.name(), death.kill.name());
                tracing::warn!(plugin, kind, "plugin failed to release a configuration: {}", death.message);
                home.instance = None;
            }
        }
        let next = first + STEP;
        self.round.next = (next < self.configured.len()).then_some(next);
    }
}

/// What one worker's plugins take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerUsage {
    /// Instances alive.
    pub instances: usize,
    /// Their linear memory.
    pub guest_bytes: usize,
    /// The host's own table of configurations.
    pub host_bytes: usize,
}

fn in_fresh(phase: Phase, entry: &Entry, exchange: &mut Box<Exchange>) -> Called<Decision> {
    let mut instance = start(&entry.prepared)?;
    let configuration = configure(&mut instance, entry)?;
    run(&mut instance, phase, entry, &configuration, exchange)
}

/// The phase: by its steps, or by a call.
fn run(
    instance: &mut Instance,
    phase: Phase,
    entry: &Entry,
    configuration: &Configuration,
    exchange: &mut Box<Exchange>,
) -> Called<Decision> {
    if over_by_steps(phase, entry, configuration, exchange)? {
        return Ok(Ok(Decision::Proceed));
    }
    instance.run(phase, caller(entry, configuration), exchange)
}

/// Takes the steps that were prepared for the phase. False: the guest is to be called.
fn over_by_steps(
    phase: Phase,
    entry: &Entry,
    configuration: &Configuration,
    exchange: &mut Box<Exchange>,
) -> Result<bool, Death> {
    let Some(preparations) = &configuration.preparations else { return Ok(false) };
    guarded(|| steps::take(preparations, phase, entry.id, entry.prepared.shared(), exchange))
}

fn start(prepared: &Prepared) -> Result<Instance, Death> {
    Instance::start(&prepared.linked, &prepared.common, prepared.budget)
}

/// The guest judged this configuration when it was written; that it refuses it now ends this exchange only.
fn configure(instance: &mut Instance, entry: &Entry) -> Result<Configuration, Death> {
    instance
        .configure(&entry.config)?
        .map_err(|message| Death { kill: Kill::Configure, message: one_line(cut(&message, ERROR_BYTES)).into_owned() })
}

fn caller<'a>(entry: &Entry, configuration: &'a Configuration) -> Caller<'a> {
    Caller { entry: entry.id, slot: entry.slot, configuration }
}

/// The home of a component, emptied if another one lived there.
fn home(homes: &mut Vec<Home>, slot: Slot) -> &mut Home {
    let home = place(homes, slot.number);
    if home.component != slot.serial {
        *home = Home { component: slot.serial, ..Home::default() };
    }
    home
}

fn place<T: Default>(table: &mut Vec<T>, number: u32) -> &mut T {
    let index = number as usize;
    if table.len() <= index {
        table.resize_with(index + 1, T::default);
    }
    &mut table[index]
}

/// Counts a failure, and writes its one line unless there were many.
#[cold]
fn report(entry: &Entry, phase: Phase, exchange: &Exchange, kill: Option<Kill>, message: &str) {
    let (plugin, version) = (&*entry.name, &*entry.version);
    let phase = match phase {
        Phase::Request => "request",
        Phase::Response => "response",
        Phase::Log => "log",
    };
    let kind = kill.map_or("failed", Kill::name);
    let mut failure = LastFailure::now(entry.id, version, phase, kind, message.to_owned());
    failure.route = exchange.route.as_ref().map(|route| route.name.clone().unwrap_or_else(|| route.id_text.clone()));
    let route = failure.route.clone();
    let stats = entry.prepared.stats();
    if let Line::Write { suppressed } = stats.failed(kill, failure, entry.prepared.shared().now()) {
        let exchange = exchange.id.as_str();
        tracing::warn!(plugin, version, entry = %entry.id, route, exchange, phase, kind, suppressed, "plugin failed: {message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{World, exchange, guest, world};
    use weir_model::entity::ComponentSettings;

    fn call(plugins: &mut WorkerPlugins, entry: &Entry) {
        assert!(matches!(plugins.call(Phase::Request, entry, &mut exchange()), Ending::Proceed));
    }

    fn round(plugins: &mut WorkerPlugins, now: Ticks) {
        plugins.begin_round(now);
        while plugins.round.next.is_some() {
            plugins.step(now);
        }
    }

    fn installed(name: &str, isolation: Isolation) -> World {
        let world = world();
        world.install_with(&guest(name), ComponentSettings { isolation, ..ComponentSettings::default() });
        world
    }

    #[test]
    fn idle_configurations_are_released_and_made_again_when_they_are_needed() {
        let world = installed("idle", Isolation::Shared);
        let entries: Vec<_> = (0..3 * STEP).map(|_| world.entry("idle")).collect();
        let mut plugins = WorkerPlugins::new(world.host.clone());
        entries.iter().for_each(|entry| call(&mut plugins, entry));
        let now = world.host.shared().now();
        round(&mut plugins, now);
        assert_eq!(world.figures("idle").configurations, entries.len(), "they were used a moment ago");
        round(&mut plugins, now + IDLE_CONFIGURATION);
        assert_eq!(world.figures("idle").configurations, 0);
        call(&mut plugins, &entries[0]);
        assert_eq!((world.figures("idle").configurations, world.figures("idle").instances), (1, 1));
    }

    #[test]
    fn instances_of_their_own_are_bounded_and_the_least_recently_used_goes() {
        let world = installed("own", Isolation::PerConfiguration);
        let entries: Vec<_> = (0..=ISOLATED_INSTANCES).map(|_| world.entry("own")).collect();
        let mut plugins = WorkerPlugins::new(world.host.clone());
        entries.iter().for_each(|entry| call(&mut plugins, entry));
        assert_eq!(world.figures("own").instances, ISOLATED_INSTANCES);
        assert!(plugins.isolated.contains_key(&entries[ISOLATED_INSTANCES].slot));
        let now = world.host.shared().now();
        round(&mut plugins, now + IDLE_CONFIGURATION);
        assert_eq!(world.figures("own").instances, 0);
    }

    #[test]
    fn a_guest_that_cannot_release_loses_its_instance_and_nothing_else() {
        let world = world();
        world.install(&crate::support::Guest { release: "unreachable".into(), ..guest("stuck") });
        let (gone, stays) = (world.entry("stuck"), world.entry("stuck"));
        let mut plugins = WorkerPlugins::new(world.host.clone());
        call(&mut plugins, &gone);
        call(&mut plugins, &stays);
        drop(gone);
        plugins.maintain();
        assert_eq!(world.figures("stuck").instances, 0);
        call(&mut plugins, &stays);
    }
}
