//! `random`: bytes from the system's generator.

use crate::bindings::weir::plugin::random::Host;
use crate::exchange::Kill;
use crate::limits::RANDOM_BYTES;
use crate::state::State;
use wasmtime::Result;

impl Host for State {
    fn bytes(&mut self, len: u32) -> Result<Vec<u8>> {
        self.charge(len as usize)?;
        if len > RANDOM_BYTES {
            return Err(self.end(Kill::Limit, "`random.bytes` gives 1 KiB"));
        }
        self.random(len as usize)
    }
}

impl State {
    /// That many random bytes.
    pub fn random(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match getrandom::fill(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(self.end(Kill::Host, "the system gives no random bytes")),
        }
    }
}
