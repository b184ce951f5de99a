//! Where the built gateway is, and its commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The gateway's binary: `GATEWAY_BINARY`, or the one that cargo built beside this test.
pub fn weir_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GATEWAY_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.ancestors().find(|folder| folder.join("weir").is_file() || folder.join("deps").is_dir());
    let binary = folder.map(|folder| folder.join("weir")).filter(|binary| binary.is_file());
    binary.expect("the gateway is not built: run `cargo xtask test`, or `cargo build -p weir` first")
}

/// `weir WORDS…`, in a clean environment: the settings of whoever runs the tests are not ours.
pub fn weir<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    program(&weir_binary(), words)
}

/// The same of another file than the one that was built.
pub fn program<'a>(file: &Path, words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(file);
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(variable);
    }
    command.args(words).env_remove("NOTIFY_SOCKET");
    command
}

/// `weir WORDS… -p PREFIX`, to its end.
pub fn run(words: &[&str], prefix: &Path) -> Output {
    weir(words.iter().copied()).arg("-p").arg(prefix).output().expect("the gateway's binary can be run")
}

/// What a command printed, both ways.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
