//! Turns components into machine code: in a child with limits of its own, and remembered on disk.
//!
//! Knows bytes and digests; not what a component is for.

mod cache;
mod child;

pub use child::compile_child;

use crate::error::HostError;
use crate::settings::Compiler;
use crate::trusted_code;
use cache::Cache;
use std::path::Path;
use wasmtime::Engine;
use wasmtime::component::Component;
use weir_model::Digest;

/// Why there is no machine code for a component.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refuses the component.
    #[error("it does not compile: {0}")]
    Refused(String),
    /// The compiler exceeded its limits.
    #[error("compiling it took more than {0}")]
    Limit(&'static str),
    /// The compiler could not be run.
    #[error("the compiler cannot be run: {0}")]
    Process(#[source] std::io::Error),
}

/// Machine code from this node's own compiler. Made nowhere but in this module.
pub struct Code {
    bytes: Vec<u8>,
    remembered: bool,
}

impl Code {
    /// Loads it into an engine; an error means that the engine's pool has no slot that it fits into.
    pub fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        trusted_code::load(engine, &self.bytes)
    }
    /// Whether it comes from the cache: if it cannot be loaded, compiling again may help.
    pub fn is_remembered(&self) -> bool {
        self.remembered
    }
}

/// Compiles, or remembers.
pub struct Compilation {
    compiler: Compiler,
    cache: Cache,
}

impl Compilation {
    pub fn new(compiler: Compiler, cache_dir: &Path, engine: &Engine) -> Result<Self, HostError> {
        Ok(Self { compiler, cache: Cache::open(cache_dir, engine)? })
    }

    /// The machine code of a component, from the cache if it is there.
    pub fn code(&self, engine: &Engine, bytes: &[u8], digest: Digest) -> Result<Code, CompileError> {
        match self.cache.get(digest) {
            Some(bytes) => Ok(Code { bytes, remembered: true }),
            None => self.compile(engine, bytes, digest),
        }
    }

    /// Compiles, whatever the cache has. May take seconds.
    pub fn compile(&self, engine: &Engine, bytes: &[u8], digest: Digest) -> Result<Code, CompileError> {
        let compiled = match &self.compiler {
            Compiler::InProcess => {
                engine.precompile_component(bytes).map_err(|error| CompileError::Refused(format!("{error:#}")))?
            }
            Compiler::Child { program, args } => child::compile(program, args, bytes)?,
        };
        // Without the cache everything works, only the next start is slow.
        if let Err(error) = self.cache.put(digest, &compiled) {
            tracing::warn!(%digest, %error, "compiled plugin code could not be kept on disk");
        }
        Ok(Code { bytes: compiled, remembered: false })
    }
}
