//! One living instance of a component, and the calls into it.
//!
//! A call ends in what the plugin said, or in its death: then the instance must be dropped, since a trap poisons its store. Knows
//! nothing of workers, breakers or entries.

use crate::bindings::exports::weir::plugin as exports;
use crate::bindings::weir::plugin::log::Level;
use crate::bindings::weir::plugin::types;
use crate::exchange::{Exchange, Kill, Reply};
use crate::host_calls::headers;
use crate::host_calls::preparations::Preparations;
use crate::limits::*;
use crate::link::Linked;
use crate::state::{Ended, Origin, State};
use http::{HeaderMap, StatusCode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use weir_model::{Id, Phase};

/// An instance was killed, or could not be made.
#[derive(Debug)]
pub struct Death {
    pub kill: Kill,
    pub message: String,
}

/// What a plugin decided.
#[derive(Debug)]
pub enum Decision {
    Proceed,
    Respond(Reply),
}

/// Whose call it is.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub entry: Id,
    pub slot: u32,
    /// The entry's configuration in the instance.
    pub configuration: &'a Configuration,
}

/// A configuration in an instance.
#[derive(Clone, Default)]
pub struct Configuration {
    /// The guest's number of it.
    pub handle: u32,
    /// What it prepared, if it did.
    pub preparations: Option<Rc<Preparations>>,
}

/// What a call came to: a decision, the plugin's own error, or its death.
pub type Called<T> = Result<Result<T, String>, Death>;

/// A living instance.
pub struct Instance {
    store: Store<State>,
    plugin: exports::plugin::Guest,
    request: Option<exports::request_phase::Guest>,
    response: Option<exports::response_phase::Guest>,
    log: Option<exports::log_phase::Guest>,
    calls: u64,
    configurations: usize,
}

impl Instance {
    /// Makes an instance; its first call has the budgets that are left of this.
    pub fn start(linked: &Linked, origin: &Arc<Origin>, budget: Budget) -> Result<Self, Death> {
        let mut store = Store::new(&linked.engine, State::new(Arc::clone(origin), budget));
        store.limiter(|state| &mut state.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(State::at_tick);
        store.set_hostcall_fuel(CROSSING_BYTES);
        let instance = guarded(|| linked.pre.instantiate(&mut store))?;
        let instance = instance.map_err(|error| death(&store, &error))?;
        let plugin = linked.plugin.load(&mut store, &instance).map_err(|error| mistyped("plugin", &error))?;
        let request = linked.request.as_ref().map(|phase| phase.load(&mut store, &instance)).transpose();
        let response = linked.response.as_ref().map(|phase| phase.load(&mut store, &instance)).transpose();
        let log = linked.log.as_ref().map(|phase| phase.load(&mut store, &instance)).transpose();
        let request = request.map_err(|error| mistyped("request-phase", &error))?;
        let response = response.map_err(|error| mistyped("response-phase", &error))?;
        let log = log.map_err(|error| mistyped("log-phase", &error))?;
        origin.stats.instances.fetch_add(1, Ordering::Relaxed);
        Ok(Self { store, plugin, request, response, log, calls: 0, configurations: 0 })
    }

    /// Fills the budgets for one more call.
    pub fn begin(&mut self) {
        self.store.data_mut().begin();
        self.store.set_epoch_deadline(1);
    }

    /// Asks for the manifest.
    pub fn describe(&mut self) -> Result<String, Death> {
        let Self { store, plugin, .. } = self;
        let answer = guarded(|| plugin.call_describe(&mut *store))?;
        self.settle(answer)
    }

    /// Hands over a configuration.
    pub fn configure(&mut self, json: &[u8]) -> Called<Configuration> {
        let Self { store, plugin, .. } = self;
        store.data_mut().prepared.begin();
        let answer = guarded(|| plugin.call_configure(&mut *store, json))?;
        let answer = self.settle(answer)?;
        let preparations = self.store.data_mut().prepared.end();
        if answer.is_ok() {
            self.configurations += 1;
            self.store.data().origin.stats.configurations.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer.map(|handle| Configuration { handle, preparations }))
    }

    /// Takes a configuration back.
    pub fn release(&mut self, handle: u32) -> Result<(), Death> {
        self.configurations = self.configurations.saturating_sub(1);
        self.store.data().origin.stats.configurations.fetch_sub(1, Ordering::Relaxed);
        let Self { store, plugin, .. } = self;
        let answer = guarded(|| plugin.call_release(&mut *store, handle))?;
        self.settle(answer)
    }

    /// Runs a phase on the exchange, which is lent to the instance for the time of the call.
    pub fn run(&mut self, phase: Phase, caller: Caller<'_>, exchange: &mut Box<Exchange>) -> Called<Decision> {
        self.calls += 1;
        let state = self.store.data_mut();
        (state.phase, state.entry, state.entry_slot) = (Some(phase), caller.entry, caller.slot);
        state.prepared.serve(caller.configuration.preparations.clone());
        let handle = caller.configuration.handle;
        std::mem::swap(&mut state.exchange, exchange);
        let Self { store, request, response, log, .. } = self;
        // A phase that is not exported has nothing to say; the caller does not ask for it.
        let answer = guarded(|| match phase {
            Phase::Request => request.as_ref().map(|guest| guest.call_on_request(&mut *store, handle)),
            Phase::Response => response.as_ref().map(|guest| guest.call_on_response(&mut *store, handle)),
            Phase::Log => log.as_ref().map(|guest| {
                guest.call_on_log(&mut *store, handle)?;
                Ok(Ok(types::Flow::Proceed))
            }),
        });
        let state = self.store.data_mut();
        if !state.log.printed.is_empty() {
            state.flush_print(Level::Info);
        }
        // Given back before anything else is judged: whatever happened, the exchange goes on.
        std::mem::swap(&mut state.exchange, exchange);
        state.phase = None;
        match answer? {
            None => Ok(Ok(Decision::Proceed)),
            Some(answer) => match self.settle(answer)? {
                Ok(types::Flow::Proceed) => Ok(Ok(Decision::Proceed)),
                Ok(types::Flow::Respond(answer)) => Ok(Ok(Decision::Respond(reply(answer)?))),
                Err(message) => Ok(Err(message)),
            },
        }
    }

    /// Whether it should be replaced before its next call.
    pub fn is_worn(&self) -> bool {
        let memory = &self.store.data().memory;
        self.calls >= RETIRE_CALLS || memory.bytes > memory.limit / 4 * RETIRE_MEMORY_QUARTERS
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.store.data().origin.name
    }

    /// Bytes of linear memory.
    pub fn memory(&self) -> usize {
        self.store.data().memory.bytes
    }

    fn settle<T>(&self, answer: wasmtime::Result<T>) -> Result<T, Death> {
        answer.map_err(|error| death(&self.store, &error))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let stats = &self.store.data().origin.stats;
        stats.instances.fetch_sub(1, Ordering::Relaxed);
        stats.configurations.fetch_sub(self.configurations, Ordering::Relaxed);
    }
}

/// Nothing that happens in a guest's call or in a host function may unwind into the worker.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Death> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Death { kill: Kill::Host, message: format!("the host failed: {}", text.unwrap_or("a panic without a message")) }
    })
}

fn death(store: &Store<State>, error: &wasmtime::Error) -> Death {
    if error.is::<PoolConcurrencyLimitError>() {
        return Death { kill: Kill::Host, message: format!("no instance is free: {error}") };
    }
    let kill = store.data().judge(error);
    let cause = match (error.downcast_ref::<Trap>(), error.downcast_ref::<Ended>()) {
        (_, Some(ended)) => ended.to_string(),
        (Some(trap), None) => trap.to_string(),
        (None, None) => error.root_cause().to_string(),
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    // The innermost frames are often the guest's own panic machinery: a few of them are what tells where.
    let names: Vec<&str> = frames.iter().filter_map(|frame| frame.func_name()).take(4).collect();
    let place = if names.is_empty() { String::new() } else { format!(", in {}", names.join(" < ")) };
    Death { kill, message: format!("{cause}{place}") }
}

/// An export has another type than the interface says. Found when the component is inspected, so never while it serves.
fn mistyped(interface: &str, error: &wasmtime::Error) -> Death {
    Death { kill: Kill::Host, message: format!("its export `{interface}` does not have the type of the interface: {error:#}") }
}

/// Judges a plugin's reply.
fn reply(answer: types::Reply) -> Result<Reply, Death> {
    let wrong = |message: String| Death { kill: Kill::Limit, message };
    let status = (200..=599).contains(&answer.status).then(|| StatusCode::from_u16(answer.status).ok()).flatten();
    let status = status.ok_or_else(|| wrong(format!("a reply with status {}: 200 to 599 are allowed", answer.status)))?;
    if answer.headers.len() > HEADERS {
        return Err(wrong(format!("a reply with {} headers: {HEADERS} are allowed", answer.headers.len())));
    }
    if answer.body.len() > REPLY_BODY_BYTES {
        return Err(wrong(format!("a reply with {} bytes of body: {REPLY_BODY_BYTES} are allowed", answer.body.len())));
    }
    let mut head = HeaderMap::with_capacity(answer.headers.len());
    for field in answer.headers {
        if field.name.eq_ignore_ascii_case("content-length") {
            // The host sets it; a plugin that sets it too means no harm.
            continue;
        }
        let name = headers::writable(&field.name);
        let added = name.and_then(|name| headers::add(&mut head, name, headers::value(field.value)?));
        added.map_err(|fault| wrong(format!("a reply with the header '{}': {fault}", cut_name(&field.name))))?;
    }
    Ok(Reply { status, headers: head, body: answer.body.into() })
}

fn cut_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(HEADER_NAME_BYTES)]
}
