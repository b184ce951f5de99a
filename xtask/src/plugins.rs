//! `cargo xtask plugins`: the plugins, the SDK's examples and the tests' guests as components, in the target folder's `plugins/`.
//!
//! How a component is made is known by `tools/componentize` alone.

use crate::Outcome;
use crate::cargo::{cargo, root, target, tool};

/// Builds all of them. What has not changed is not built again.
pub fn build() -> Outcome {
    let out = target().join("plugins");
    let mut command = cargo();
    command.args(["run", "-p", "weir-componentize", "--", "--plugins", "--examples", "--guests", "--out"]).arg(&out);
    tool(command.arg("--target-dir").arg(target().join("components")))?;
    // What is no component is there to be refused: it is taken as it is.
    let scrap = root().join("tests/guests/not-wasm.wasm");
    std::fs::copy(scrap, out.join("not-wasm.wasm")).map(drop).map_err(|error| format!("xtask: not-wasm.wasm: {error}"))
}
