//! `weir migrations`: makes the tables of a shared store, says whether they are there, takes them away.

use crate::exit::Exit;
use crate::node::store::cassandra_options;
use crate::prefix::Prefix;
use crate::settings::Settings;
use weir_store::{Cassandra, CassandraOptions, Readiness};

/// The steps that there are.
const STEPS: &[&str] = &["bootstrap", "up", "finish", "list", "status", "reset"];

/// Runs a step. With the embedded store there is nothing to do, and that is said rather than pretended.
pub fn run(settings: &Settings, step: &str, sure: bool) -> Exit {
    if !STEPS.contains(&step) {
        eprintln!("weir: `{step}` is not a step; there are {}", STEPS.join(", "));
        return Exit::BadConfiguration;
    }
    let Some(options) = cassandra_options(settings) else { return embedded(settings, step) };
    match step {
        "bootstrap" => said(Cassandra::bootstrap(&options)),
        "reset" if !sure => {
            eprintln!(
                "weir: this deletes keyspace {} with the whole configuration; say `weir migrations reset --yes` if you mean it. Nodes \
                 that run go on serving what they have, and hold",
                options.keyspace
            );
            Exit::Failed
        }
        "reset" => said(Cassandra::reset(&options).map(|()| vec![format!("keyspace {} is gone", options.keyspace)])),
        _ => look(&options, step),
    }
}

/// The steps that look before they do something.
fn look(options: &CassandraOptions, step: &str) -> Exit {
    let readiness = match Cassandra::readiness(options) {
        Ok(readiness) => readiness,
        Err(cause) => return failed(&cause),
    };
    let later = match readiness {
        Readiness::Ready => match Cassandra::incomplete(options) {
            Ok(later) => later,
            Err(cause) => return failed(&cause),
        },
        _ => Vec::new(),
    };
    match (step, readiness) {
        ("list", readiness) => {
            let is = |done| if done { "done" } else { "to do" };
            println!("bootstrap: keyspace, tables and an empty journal: {}", is(readiness != Readiness::Missing));
            if readiness == Readiness::Ready {
                println!("up: tables that came later: {}{}", is(later.is_empty()), named(&later));
            }
            Exit::Success
        }
        ("up", Readiness::Ready) if !later.is_empty() => said(Cassandra::complete(options).map(|made| {
            let line = |name| format!("table {name} is there now");
            made.into_iter().map(line).collect()
        })),
        ("finish", Readiness::Ready) if !later.is_empty() => {
            failed(&format!("tables that came later are not there{}; run `weir migrations up` first", named(&later)))
        }
        ("finish", Readiness::Ready) => finish(options),
        ("up", Readiness::Ready) => {
            println!("nothing to do: {readiness}");
            Exit::Success
        }
        (_, Readiness::Ready) => {
            println!("{readiness}");
            if !later.is_empty() {
                println!(
                    "some came with a newer version and are not there{}: `weir migrations up` on one node makes them",
                    named(&later)
                );
            }
            Exit::Success
        }
        (_, readiness) => failed(&readiness),
    }
}

/// Says that all is as this version wants it, unless a node still runs another.
fn finish(options: &CassandraOptions) -> Exit {
    match Cassandra::of_other_versions(options) {
        Ok(others) if others.is_empty() => {
            println!("nothing to do: {}, and every node that lives runs version {}", Readiness::Ready, options.node.version);
            Exit::Success
        }
        Ok(others) => failed(&format!(
            "not every node runs version {} yet: {}; upgrade or stop those, and say `weir migrations finish` again",
            options.node.version,
            others.join(", ")
        )),
        Err(cause) => failed(&cause),
    }
}

fn named(tables: &[&str]) -> String {
    if tables.is_empty() { String::new() } else { format!(" ({})", tables.join(", ")) }
}

fn embedded(settings: &Settings, step: &str) -> Exit {
    let store = Prefix::new(&settings.prefix).store();
    if step == "reset" {
        eprintln!(
            "weir: the embedded store is a folder: stop the node and move {} away to begin with an empty configuration",
            store.display()
        );
        return Exit::Failed;
    }
    println!(
        "database = embedded: nothing to migrate. The store in {} is made at the first start and carries its own format.",
        store.display()
    );
    Exit::Success
}

fn said(outcome: Result<Vec<String>, String>) -> Exit {
    match outcome {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            Exit::Success
        }
        Err(cause) => failed(&cause),
    }
}

fn failed(cause: &dyn std::fmt::Display) -> Exit {
    eprintln!("weir: {cause}");
    Exit::Failed
}
