//! The one unsafe door: turning bytes into machine code that this process runs.
//!
//! wasmtime cannot tell whether such bytes came from its compiler; whoever hands over others gives them the whole process. So
//! there is one caller (`compile`), and bytes reach it on two ways only: from the compiler that it has just run, or from the
//! cache folder, which has mode 0700, belongs to this user, and whose files carry a digest of their content. Nothing that a
//! client uploads comes here: an uploaded `.cwasm` is refused by its first bytes.

#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads code that this node's own compiler made for an engine of the same configuration.
pub fn load(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` requires bytes that `precompile_component` of a compatible engine made, unchanged. `compile::Code`,
    // the only type whose bytes are passed here, is built from the output of such a call in this process or in a child of it, or
    // from a file of the cache after its digest was compared; wasmtime itself refuses another version or configuration.
    unsafe { Component::deserialize(engine, compiled) }
}
