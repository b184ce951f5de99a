//! `weir`: reads settings, wires the rooms together, runs the node or speaks to one that runs. No rule of the gateway is here.

mod admin_api;
mod check;
mod cli;
mod control;
mod exit;
mod http;
mod logs;
mod migrations;
mod moving;
mod node;
mod parent;
mod prefix;
mod settings;
mod stock;
mod tls;

use admin_api::AdminApi;
use clap::Parser;
use cli::{Cli, Command, Config, ConfigExport, ConfigImport, Ending, Which};
use exit::Exit;
use rustix::process::Signal;
use settings::faults::Faults;
use settings::{Settings, Whereabouts};
use std::process::ExitCode;

/// Exchanges allocate small and often, on every worker at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Clap ends the process itself, with 2, when the words are wrong.
    run(Cli::parse().command).unwrap_or_else(std::convert::identity)
}

/// Both sides are how the process ends; `Err` is for those who leave early.
fn run(command: Command) -> Result<ExitCode, ExitCode> {
    let exit = match command {
        Command::Start(cli::Start { which, exit_with_parent }) => {
            if let Some(Err(reason)) = exit_with_parent.map(parent::end_with) {
                eprintln!("weir: {reason}");
                return Ok(Exit::Failed.into());
            }
            node::run(settings(&which)?, origin(which))
        }
        Command::Stop(Ending { which, timeout }) => control::end(&whereabouts(&which)?, Signal::TERM, timeout),
        Command::Quit(Ending { which, timeout }) => control::end(&whereabouts(&which)?, Signal::QUIT, timeout),
        Command::Reload(which) => {
            // Judged here as well as by the node, so that whoever types it is told at once.
            settings(&which)?;
            control::reload(&whereabouts(&which)?)
        }
        Command::Restart(which) => {
            let settings = settings(&which)?;
            match control::end_if_running(&whereabouts(&which)?) {
                Exit::Success => node::run(settings, origin(which)),
                other => other,
            }
        }
        Command::Check(which) => {
            let settings = settings(&which)?;
            check::check(&settings, &whereabouts(&which)?)
        }
        Command::Health(which) => control::health(&whereabouts(&which)?),
        Command::Status(which) => control::status(&whereabouts(&which)?),
        Command::Migrations(cli::Migrations { which, step, yes }) => migrations::run(&settings(&which)?, &step, yes),
        Command::Cluster(cli::Cluster { which, step }) => AdminApi::find(&settings(&which)?, &whereabouts(&which)?, None)
            .map_or(Exit::Failed, |api| control::cluster(api, &step)),
        Command::Config(config) => moved(config)?,
        Command::Version(_) => {
            println!("weir {}", env!("CARGO_PKG_VERSION"));
            Exit::Success
        }
        // The child of a node: it has no settings, and its exit code is the plugin host's.
        Command::Compile => return Ok(weir_plugin_host::compile_child()),
    };
    Ok(exit.into())
}

fn moved(config: Config) -> Result<Exit, ExitCode> {
    let (which, admin) = match &config {
        Config::Export(ConfigExport { which, admin, .. }) | Config::Import(ConfigImport { which, admin, .. }) => (which, admin),
    };
    let Some(api) = AdminApi::find(&settings(which)?, &whereabouts(which)?, admin.as_deref()) else {
        return Ok(Exit::Failed);
    };
    Ok(match config {
        Config::Export(ConfigExport { out, .. }) => moving::export(&api, out.as_deref()),
        Config::Import(ConfigImport { file, dry_run, overwrite, .. }) => {
            moving::import(&api, &file, moving::Options { overwrite, dry_run })
        }
    })
}

fn origin(which: Which) -> node::Origin {
    node::Origin { file: which.conf, prefix: which.prefix }
}

/// Where the node is, or why that cannot be known.
fn whereabouts(which: &Which) -> Result<Whereabouts, ExitCode> {
    Whereabouts::load(which.conf.as_deref(), which.prefix.as_deref()).map_err(refused)
}

/// The settings, or all their faults on standard error.
fn settings(which: &Which) -> Result<Settings, ExitCode> {
    Settings::load(which.conf.as_deref(), which.prefix.as_deref()).map_err(refused)
}

fn refused(faults: Faults) -> ExitCode {
    eprint!("weir: {faults}");
    Exit::BadConfiguration.into()
}
