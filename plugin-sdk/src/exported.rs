//! What `export!` expands to calls this. Not for authors.

use crate::{Findings, Phase, Plugin};

/// Implemented by `export!`.
pub trait Exported: Plugin {
    /// The phases that were listed.
    const PHASES: &'static [Phase];
    /// Of the plugin's crate.
    const PACKAGE_NAME: &'static str;
    /// Of the plugin's crate.
    const PACKAGE_VERSION: &'static str;
}

/// Decodes and checks a configuration.
pub fn decode<P: Plugin>(json: &[u8]) -> Result<P, Findings> {
    let mut findings = Findings::default();
    match serde_json::from_slice::<P>(json) {
        Ok(mut plugin) => {
            plugin.check(&mut findings);
            if findings.is_empty() { Ok(plugin) } else { Err(findings) }
        }
        Err(error) => {
            findings.add_general(error.to_string());
            Err(findings)
        }
    }
}

#[cfg(target_arch = "wasm32")]
pub use guest::{Configurations, describe};

#[cfg(target_arch = "wasm32")]
mod guest {
    use super::{Exported, decode};
    use crate::bindings::{Field, Flow as HostFlow, Reply as HostReply};
    use crate::{Error, Exchange, Flow, Plugin, log};
    use std::cell::{Cell, RefCell};

    /// The manifest as JSON.
    pub fn describe<P: Exported>() -> String {
        tell_panics();
        crate::manifest::manifest::<P>(P::PACKAGE_NAME, P::PACKAGE_VERSION).to_string()
    }

    /// The configurations of this instance; a handle is a position. The host never enters an instance twice at a time, so a
    /// borrow is never refused.
    pub struct Configurations<P> {
        slots: RefCell<Vec<Option<P>>>,
        free: RefCell<Vec<u32>>,
    }

    impl<P: Plugin> Configurations<P> {
        /// None yet.
        pub const fn new() -> Self {
            Self { slots: RefCell::new(Vec::new()), free: RefCell::new(Vec::new()) }
        }
        /// Decodes, checks, and keeps.
        pub fn configure(&self, json: &[u8]) -> Result<u32, String> {
            tell_panics();
            let plugin = decode::<P>(json).map_err(|findings| findings.to_string())?;
            let mut slots = self.slots.borrow_mut();
            if let Some(config) = self.free.borrow_mut().pop() {
                slots[config as usize] = Some(plugin);
                return Ok(config);
            }
            slots.push(Some(plugin));
            u32::try_from(slots.len() - 1).map_err(|_| "too many configurations".to_owned())
        }
        /// Forgets.
        pub fn release(&self, config: u32) {
            if let Some(slot) = self.slots.borrow_mut().get_mut(config as usize)
                && slot.take().is_some()
            {
                self.free.borrow_mut().push(config);
            }
        }
        /// The phase.
        pub fn on_request(&self, config: u32) -> Result<HostFlow, String> {
            self.with(config, |plugin| answer(plugin.on_request(&mut Exchange::current())))
        }
        /// The phase.
        pub fn on_response(&self, config: u32) -> Result<HostFlow, String> {
            self.with(config, |plugin| answer(plugin.on_response(&mut Exchange::current())))
        }
        /// The phase.
        pub fn on_log(&self, config: u32) {
            self.with(config, |plugin| plugin.on_log(&Exchange::current()));
        }
        #[allow(clippy::panic, reason = "a trap is the right end for a call that the host should never have made")]
        fn with<T>(&self, config: u32, call: impl FnOnce(&P) -> T) -> T {
            match self.slots.borrow().get(config as usize) {
                Some(Some(plugin)) => call(plugin),
                // The host hands out only what `configure` returned and `release` did not take back.
                _ => panic!("no configuration {config}"),
            }
        }
    }

    fn answer(result: Result<Flow, Error>) -> Result<HostFlow, String> {
        match result {
            Ok(Flow::Proceed) => Ok(HostFlow::Proceed),
            Ok(Flow::Respond(reply)) => {
                let headers = reply.headers.into_iter().map(|(name, value)| Field { name, value }).collect();
                Ok(HostFlow::Respond(HostReply { status: reply.status, headers, body: reply.body }))
            }
            Err(error) => Err(error.into_message()),
        }
    }

    /// A panic ends in a trap, of which the host learns only that it happened: the words go to its log first.
    fn tell_panics() {
        thread_local! { static TOLD: Cell<bool> = const { Cell::new(false) }; }
        if !TOLD.replace(true) {
            std::panic::set_hook(Box::new(|info| log::error(&info.to_string())));
        }
    }
}
