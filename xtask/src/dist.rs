//! `cargo xtask dist`: the gateway as it is shipped, laid out by the compiler after a profile of itself at work.
//!
//! Two builds with fat LTO: the first counts which ways are taken while the benchmark's load runs through it, the second is made
//! from those counts. Why: `docs/decisions/built-from-a-profile.md`.

use crate::Outcome;
use crate::cargo::{cargo, root, target, tool};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Requests and rounds of the load: every way is taken often enough after a second; this is some seconds of work.
const LOAD: &[&str] = &["--only", "weir,weir-chain", "--no-phases", "--rounds", "3", "--requests", "20000"];

/// Builds it and says where it is.
pub fn dist() -> Outcome {
    let program = build()?;
    println!("{}", program.display());
    Ok(())
}

/// Builds it; answers where it is.
pub fn build() -> Result<PathBuf, String> {
    let host = host()?;
    let profile = target().join("profile");
    let (raw, merged) = (profile.join("raw"), profile.join("weir.profdata"));
    eprintln!("xtask: building the gateway twice with fat LTO; the first time this takes half an hour on two cores");
    let counting = gateway(&host, &target().join("counting"), &format!("-Cprofile-generate={}", raw.display()))?;
    if is_older(&merged, &counting) {
        tool(cargo().args(["build", "--profile", "dist", "-p", "weir-bench"]))?;
        // What an earlier build has counted does not fit this one.
        match std::fs::remove_dir_all(&raw) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("xtask: {}: {error}", raw.display()));
            }
            _ => {}
        }
        let mut load = Command::new(target().join("dist/weir-bench"));
        tool(load.args(LOAD).arg("--weir").arg(&counting).arg("--repository").arg(root()).current_dir(root()))?;
        let merge = profdata(&host)?;
        tool(Command::new(merge).arg("merge").arg("-o").arg(&merged).arg(&raw))?;
    }
    gateway(&host, &target().join("shipped"), &format!("-Cprofile-use={}", merged.display()))
}

/// Builds the gateway into a folder of its own: with other flags everything below it is another build.
fn gateway(host: &str, folder: &Path, flag: &str) -> Result<PathBuf, String> {
    let mut command = cargo();
    // By this name and not by RUSTFLAGS, which would count build scripts and the plugins inside the gateway as well.
    let flags = format!("target.{host}.rustflags=[{flag:?}]");
    command.args(["build", "--profile", "dist", "-p", "weir", "--target", host, "--config", &flags, "--target-dir"]).arg(folder);
    tool(command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join(host).join("dist/weir"))
}

fn is_older(file: &Path, than: &Path) -> bool {
    let when = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    when(file).is_none_or(|file| when(than).is_some_and(|than| file < than))
}

/// The name of this machine's kind, as the compiler calls it.
fn host() -> Result<String, String> {
    let said = rustc(&["-vV"])?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "xtask: rustc does not say what it builds for".to_owned())
}

/// The tool that adds counts up. It is the compiler's own, because the form of the counts is.
fn profdata(host: &str) -> Result<PathBuf, String> {
    let tool_path = || {
        rustc(&["--print", "sysroot"]).map(|root| Path::new(root.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata"))
    };
    if !tool_path()?.exists() {
        tool(Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
    }
    tool_path()
}

fn rustc(arguments: &[&str]) -> Result<String, String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(program).args(arguments).current_dir(root()).output().map_err(|error| format!("xtask: rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
