//! `cargo xtask test`: brings what the tests need, builds it, runs them. Nothing but rustup is expected to be there.

use crate::Outcome;
use crate::cargo::{cargo, root, tool};
use crate::{cassandra, plugins};

/// The crate of each room.
const ROOMS: &[(&str, &str)] = &[
    ("model", "weir-model"),
    ("store", "weir-store"),
    ("plugin-host", "weir-plugin-host"),
    ("proxy", "weir-proxy"),
    ("admin", "weir-admin"),
    ("weir", "weir"),
    ("sdk", "plugin-sdk"),
    ("tests", "weir-tests"),
    ("cassandra", "weir-cassandra-harness"),
    ("bench", "weir-bench"),
    ("xtask", "xtask"),
];

/// Everything: plugins and rooms natively, and the gateway as a whole.
pub fn everything() -> Outcome {
    eprintln!("xtask: the first build takes about ten minutes on two cores: the gateway holds a compiler for plugins");
    // First: what cannot be had is told before minutes of building.
    cassandra::prepare()?;
    cassandra::prepare_shell()?;
    plugins::build()?;
    // All of the workspace in one command: every crate is built once, with one set of features, and the gateway's binary,
    // which the end-to-end tests start, is built before the first test runs.
    tool(cargo().args(["test", "--workspace", "--no-fail-fast"]))
}

/// The random schedule of faults, which `faults` plays for as long as it is told.
const SCHEDULE: &str = "cassandra::tests::schedule::no_answered_write_is_lost_whatever_happens_to_the_nodes";

/// Every fault scenario with real nodes, one after the other, those as well that `test` leaves out; then a schedule of faults for that
/// long, in an order that the printed seed gives again. A checker reads the history of each.
pub fn faults(seconds: &str) -> Outcome {
    if seconds.parse::<u64>().is_err() {
        return Err(format!("xtask: `{seconds}` is no number of seconds"));
    }
    cassandra::prepare()?;
    cassandra::prepare_clocks()?;
    let store = || {
        let mut command = cargo();
        command.args(["test", "-p", "weir-store", "--lib", "--", "--nocapture", "--test-threads=1"]);
        command
    };
    let alone = tool(store().args(["--include-ignored", "cassandra::tests::", "--skip", SCHEDULE]));
    // The gateway as a process, which the tests start, is not built by their own build.
    plugins::build()?;
    tool(cargo().args(["build", "--workspace", "--bin", "weir"]))?;
    let kills = tool(cargo().args([
        "test",
        "--workspace",
        "--test",
        "cluster",
        "--",
        "--nocapture",
        "--test-threads=1",
        "--include-ignored",
        "kills::",
    ]));
    // It takes the better part of an hour: whoever comes back to it finds all that there is to know.
    let schedule = tool(store().args(["--exact", SCHEDULE]).env("WEIR_FAULTS_SECONDS", seconds));
    let failed: Vec<_> = [alone, kills, schedule].into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Measures what a cluster costs, with real nodes, and prints tables.
pub fn figures() -> Outcome {
    cassandra::prepare()?;
    plugins::build()?;
    tool(cargo().args(["build", "--workspace", "--bin", "weir"]))?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--test", "cluster", "--", "--ignored", "--nocapture", "--test-threads=1", "figures::"]);
    tool(&mut command)
}

/// One room. For the end-to-end tests the gateway is built first.
pub fn room(name: &str) -> Outcome {
    let Some((_, package)) = ROOMS.iter().find(|(room, _)| *room == name) else {
        let names: Vec<_> = ROOMS.iter().map(|(room, _)| *room).collect();
        return Err(format!("xtask: `{name}` is not a room; there are {}", names.join(", ")));
    };
    if ["store", "tests", "cassandra"].contains(&name) {
        cassandra::prepare()?;
    }
    if ["plugin-host", "tests"].contains(&name) {
        plugins::build()?;
    }
    if name == "tests" {
        cassandra::prepare_shell()?;
        tool(cargo().args(["build", "-p", "weir"]))?;
    }
    tool(cargo().args(["test", "-p", package]).current_dir(root()))
}
