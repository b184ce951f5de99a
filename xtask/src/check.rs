//! `cargo xtask check`: everything that can be judged without running the gateway.

use crate::Outcome;
use crate::cargo::{cargo, root, target, tool};
use crate::tidy;
use std::process::{Command, Stdio};

/// Cheap checks first: a misplaced edge is told before a minute of lints.
pub fn check() -> Outcome {
    tidy::tidy()?;
    tool(cargo().args(["fmt", "--all", "--check"]))?;
    tool(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    tool(
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    licences()
}

/// Licences and banned crates, by cargo-deny: the one on the path, else one of our own below the target folder, built once.
fn licences() -> Outcome {
    let own = target().join("tools");
    let built = own.join("bin/cargo-deny");
    let is_there = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let program = if is_there.is_ok_and(|status| status.success()) {
        "cargo-deny".into()
    } else {
        if !built.exists() {
            eprintln!("xtask: cargo-deny is not installed; building it once, for the check of licences and bans");
            // Without optimisation: it runs for a second, and builds in a third of the time.
            tool(cargo().args(["install", "--locked", "--debug", "--quiet", "cargo-deny", "--root"]).arg(&own))?;
        }
        built
    };
    tool(Command::new(program).current_dir(root()).args(["check", "licenses", "bans", "sources"]))
}
