//! The wasm targets, and making sure that their standard libraries are there.

use crate::BuildError;
use std::path::Path;
use std::process::Command;

/// What a package is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// No system at all: small components that import only what Weir offers.
    Unknown,
    /// WASI 0.2: for components that ask for a system, as those of other languages do.
    Wasip2,
}

impl Target {
    /// The compiler's name of it.
    pub fn triple(self) -> &'static str {
        match self {
            Target::Unknown => "wasm32-unknown-unknown",
            Target::Wasip2 => "wasm32-wasip2",
        }
    }
}

/// Adds the target with rustup if the compiler does not have it.
pub(crate) fn ensure(target: Target) -> Result<(), BuildError> {
    if is_installed(target)? {
        return Ok(());
    }
    eprintln!("adding the target {} (once)", target.triple());
    let missing = |reason: String| BuildError::TargetMissing { target: target.triple(), reason };
    let output = Command::new("rustup")
        .args(["target", "add", target.triple()])
        .output()
        .map_err(|error| missing(format!("rustup did not run: {error}")))?;
    if !output.status.success() {
        return Err(missing(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    if is_installed(target)? {
        Ok(())
    } else {
        Err(missing("rustup added it to another toolchain than the one in use".to_owned()))
    }
}

fn is_installed(target: Target) -> Result<bool, BuildError> {
    // Cargo tells build scripts which compiler it uses.
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", target.triple()])
        .output()
        .map_err(|source| BuildError::NotStarted { program: rustc, source })?;
    let folder = String::from_utf8_lossy(&output.stdout);
    let holds_core = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libcore-");
    Ok(std::fs::read_dir(Path::new(folder.trim())).is_ok_and(|mut files| files.any(|entry| entry.is_ok_and(holds_core))))
}
