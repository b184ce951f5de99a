//! `cargo xtask run`: a gateway on the embedded store, a sample upstream, the sample configuration, and the lines to try.

use crate::Outcome;
use crate::cargo::{cargo, root, target, tool};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use xtask::gateway::Gateway;
use xtask::tour::{self, Step};
use xtask::{http, sample};

/// The addresses that the README's tour names.
const PROXY: &str = "localhost:8000";
const ADMIN: &str = "localhost:8001";
/// Whoever tries the tour may take a long break.
const A_DAY: Duration = Duration::from_secs(86_400);

/// Serves until Ctrl-C. The configuration stays in the prefix: the next `run` finds it.
pub fn run() -> Outcome {
    build()?;
    let prefix = target().join("run");
    let ports = [("proxy_listen", "127.0.0.1:8000"), ("admin_listen", "127.0.0.1:8001"), ("status_listen", "127.0.0.1:8007")];
    let mut gateway = start(&prefix, &ports).map_err(say)?;
    set_up(&gateway).map_err(say)?;
    println!("\nWeir serves on {PROXY}, its Admin API is on {ADMIN}; everything it keeps is in {}", prefix.display());
    println!("The tour (each line ends with what it shows):\n");
    readme_steps()?.iter().for_each(|step| println!("  {}", step.line));
    println!("\nCtrl-C stops everything; the next `cargo xtask run` goes on where this one ended.");
    gateway.wait(A_DAY).map(drop).map_err(say)
}

/// Walks the tour on free ports, restarts the gateway, and walks it again: what was configured must still be there.
pub fn check() -> Outcome {
    build()?;
    let prefix = target().join("run-check");
    match std::fs::remove_dir_all(&prefix) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(say(error)),
        _ => {}
    }
    let ports = ["proxy_listen", "admin_listen", "status_listen"].map(|key| (key, "127.0.0.1:0"));
    let steps = readme_steps()?;
    for round in ["first start", "after a restart"] {
        println!("{round}:");
        let gateway = start(&prefix, &ports).map_err(say)?;
        set_up(&gateway)?;
        walk(&gateway, &steps)?;
        gateway.stop().map_err(say)?;
    }
    println!("the tour works as printed");
    Ok(())
}

fn build() -> Outcome {
    eprintln!("xtask: building the gateway; the first time this takes some minutes (it holds a compiler for plugins)");
    tool(cargo().args(["build", "-p", "weir"]))
}

fn start(prefix: &Path, ports: &[(&str, &str)]) -> io::Result<Gateway> {
    std::fs::create_dir_all(prefix)?;
    let settings = prefix.join("weir.toml");
    let lines: String = ports.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    std::fs::write(&settings, format!("{lines}log_level = \"warn\"\n"))?;
    Gateway::start(weir("start", &settings, prefix), prefix)
}

fn weir(word: &str, settings: &Path, prefix: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg(word).arg("-c").arg(settings).arg("-p").arg(prefix);
    // However this task ends, also by a signal to it alone: its gateway must not stay behind with the ports.
    command.arg("--exit-with-parent").arg(std::process::id().to_string());
    command
}

fn binary() -> PathBuf {
    target().join("debug/weir")
}

fn set_up(gateway: &Gateway) -> Outcome {
    let upstream = http::start_echo("127.0.0.1:0").map_err(say)?;
    sample::set_up(gateway.address("admin").map_err(say)?, upstream)
}

fn readme_steps() -> Result<Vec<Step>, String> {
    tour::steps(&std::fs::read_to_string(root().join("README.md")).map_err(say)?)
}

fn walk(gateway: &Gateway, steps: &[Step]) -> Outcome {
    let (proxy, admin) = (gateway.address("proxy").map_err(say)?, gateway.address("admin").map_err(say)?);
    let moved = |authority: &str| authority.replace(PROXY, &proxy.to_string()).replace(ADMIN, &admin.to_string());
    for step in steps {
        let response = tour::carry_out(step, &moved)?;
        println!("  {} {}", response.status, step.line);
    }
    Ok(())
}

fn say(error: impl std::fmt::Display) -> String {
    format!("xtask: {error}")
}
