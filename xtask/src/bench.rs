//! `cargo xtask bench`: builds what is shipped and hands over to the benchmark.

use crate::cargo::{cargo, root, target, tool};
use crate::{Outcome, dist, plugins};

/// Builds the gateway as it is shipped and the stock plugins, then runs the benchmark.
pub fn bench(arguments: &[&str]) -> Outcome {
    plugins::build()?;
    let gateway = dist::build()?;
    tool(cargo().args(["build", "--profile", "dist", "-p", "weir-bench", "-p", "weir-bench-phases"]))?;
    let mut command = std::process::Command::new(target().join("dist/weir-bench"));
    tool(command.arg("--weir").arg(gateway).args(arguments).arg("--repository").arg(root()).current_dir(root()))
}
