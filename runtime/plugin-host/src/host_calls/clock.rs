//! `clock`: time.

use crate::bindings::weir::plugin::clock::Host;
use crate::shared::unix_millis;
use crate::state::State;
use wasmtime::Result;

impl Host for State {
    fn now_ms(&mut self) -> Result<u64> {
        self.charge(8)?;
        Ok(unix_millis())
    }
    fn monotonic_ns(&mut self) -> Result<u64> {
        self.charge(8)?;
        Ok(self.origin.shared.monotonic_ns())
    }
}
