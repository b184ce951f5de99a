//! `cargo xtask TASK`: one word per task, and nothing needed but cargo.

mod bench;
mod cargo;
mod cassandra;
mod check;
mod dist;
mod new_plugin;
mod plugins;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

/// A task that did not succeed; the reason is told, unless the tool that failed has told it already.
pub type Outcome = Result<(), String>;

const USAGE: &str = "cargo xtask TASK

  check            formatting, lints, tidiness, links, licences
  test [ROOM]      everything, or one room: model, store, plugin-host, proxy, admin, weir, sdk, tests, cassandra
  plugins          build the stock plugins and the tests' guests into the target folder's plugins/
  run [--check]    a gateway with a sample upstream and the README's tour; --check walks the tour itself
  new-plugin NAME  a plugin under plugins/ that passes its test
  dist             the gateway as it is shipped: optimised from a profile of itself; prints where it is
  cassandra        a real Cassandra for the tests; `cassandra start N` runs a cluster of N nodes until Ctrl-C
  faults [SECONDS] every fault scenario with nodes of Cassandra (some 20 minutes), then a schedule of faults for 20 minutes
  figures          what a cluster costs: writes, the way to every node, boots; the tables of docs/benchmarks.md
  bench [ARGS]     the benchmark; see docs/benchmarks.md
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["check"] => check::check(),
        ["test"] => test::everything(),
        ["test", room] => test::room(room),
        ["plugins"] => plugins::build(),
        ["run"] => run::run(),
        ["run", "--check"] => run::check(),
        ["cassandra"] => cassandra::prepare(),
        ["cassandra", "start", nodes] => cassandra::start(nodes),
        ["faults"] => test::faults("1200"),
        ["faults", seconds] => test::faults(seconds),
        ["figures"] => test::figures(),
        ["new-plugin", name] => new_plugin::new_plugin(name),
        ["dist"] => dist::dist(),
        ["bench", rest @ ..] => bench::bench(rest),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
