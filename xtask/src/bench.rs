//! `cargo xtask bench`: builds what is shipped (fat LTO) and hands over to the benchmark.

use crate::Outcome;
use crate::cargo::{cargo, target, tool};
use crate::plugins;

/// Builds the gateway as it is shipped and the stock plugins, then runs the benchmark, which finds them in the target folder.
pub fn bench(arguments: &[&str]) -> Outcome {
    eprintln!("xtask: building the gateway with fat LTO; the first time this takes many minutes");
    plugins::build()?;
    tool(cargo().args(["build", "--profile", "dist", "-p", "weir", "-p", "weir-bench", "-p", "weir-bench-phases"]))?;
    let mut command = std::process::Command::new(target().join("dist/weir-bench"));
    tool(command.args(arguments).arg("--repository").arg(crate::cargo::root()).current_dir(crate::cargo::root()))
}
