//! The nested cargo build.

use crate::{BuildError, Target};
use std::path::Path;
use std::process::Command;

/// The profile in the workspace's manifest that plugins are built with.
pub(crate) const PROFILE: &str = "plugin";

/// The guest's stack instead of Rust's 1 MiB, which every instance would reserve. Plugins hardly recurse: what goes deepest is
/// decoding a configuration, and serde_json stops at 128 levels.
const STACK_BYTES: u32 = 128 << 10;

/// Settings of the outer build that must not reach the inner one: they name another target, another folder, flags for another
/// machine, or a compiler wrapper (clippy's, a coverage tool's) that does not fit. `RUSTFLAGS` is set by us.
const NOT_FOR_THE_INNER_BUILD: [&str; 11] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "CLIPPY_ARGS",
    "OUT_DIR",
    "PROFILE",
    "TARGET",
];

/// What cargo tells build scripts about the package that they belong to; the inner build has packages of its own.
const FACTS_OF_THE_OUTER_PACKAGE: [&str; 6] =
    ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_ENCODED_", "DEP_"];

pub(crate) fn build(workspace_root: &Path, names: &[&str], target: Target, target_dir: &Path) -> Result<(), BuildError> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if NOT_FOR_THE_INNER_BUILD.contains(&text.as_ref())
            || FACTS_OF_THE_OUTER_PACKAGE.iter().any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(workspace_root).args(["build", "--profile", PROFILE, "--lib", "--target", target.triple()]);
    command.arg("--target-dir").arg(target_dir);
    for name in names {
        command.args(["-p", name]);
    }
    // Set even when empty: flags of the outer build are for another machine.
    let flags = if target == Target::Unknown { format!("-Clink-arg=-zstack-size={STACK_BYTES}") } else { String::new() };
    command.env("RUSTFLAGS", flags);
    eprintln!("building {} for {} (the first time takes a few minutes)", names.join(", "), target.triple());
    // Build scripts speak to cargo on standard output, so the inner build's must not get there; cargo's progress is on the other.
    let status = command.stdout(std::process::Stdio::null()).status();
    let status = status.map_err(|source| BuildError::NotStarted { program, source })?;
    if status.success() { Ok(()) } else { Err(BuildError::Compile { packages: names.join(", "), target: target.triple() }) }
}
