//! What the node decides about its plugin host, once, at start.

use std::path::PathBuf;

/// How many different components may be ready at once. Beyond it an installation is refused: each takes instance slots on every
/// worker, and address space is what they cost.
pub const MAX_COMPONENTS: u32 = 128;

/// Settings of the host.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Worker threads that call plugins: there are up to `workers` x components instances.
    pub workers: usize,
    /// Where precompiled code is kept; created with mode 0700.
    pub cache_dir: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// How many components may be ready at once.
    pub max_components: u32,
}

impl HostSettings {
    /// The settings that fit most nodes.
    pub fn new(workers: usize, cache_dir: PathBuf, compiler: Compiler) -> Self {
        Self { workers: workers.max(1), cache_dir, compiler, max_components: MAX_COMPONENTS }
    }
}

/// Who turns a component into machine code.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// A child process with limits of its own: a component that makes the compiler run away takes the child with it, not the
    /// node.
    Child {
        /// The program, usually this node's own binary.
        program: PathBuf,
        /// Its arguments, usually `compile`; the child calls [`crate::compile_child`].
        args: Vec<String>,
    },
    /// This process. For tests and tools that trust their components.
    InProcess,
}
