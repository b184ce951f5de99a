//! `cargo xtask check`: everything that can be judged without running the gateway.

use crate::Outcome;
use crate::cargo::{cargo, tool};
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

/// Licences and banned crates, by cargo-deny where it is installed. It is not installed here: that takes minutes.
fn licences() -> Outcome {
    let is_there = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        eprintln!("xtask: cargo-deny is not installed; licences and bans were NOT checked (cargo install --locked cargo-deny)");
        return Ok(());
    }
    tool(cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}
