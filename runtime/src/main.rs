//! `weir`: reads settings, wires the rooms together, runs the node or speaks to one that runs. No rule of the gateway is here.

mod cli;
mod control;
mod exit;
mod logs;
mod node;
mod prefix;
mod settings;
mod stock;
mod tls;

use clap::Parser;
use cli::{Cli, Command, Ending, Which};
use exit::Exit;
use rustix::process::Signal;
use settings::Settings;
use std::process::ExitCode;

/// Exchanges allocate small and often, on every worker at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Clap ends the process itself, with 2, when the words are wrong.
    match Cli::parse().command {
        // The child of a node: it has no settings, and its exit code is the plugin host's.
        Command::Compile => weir_plugin_host::compile_child(),
        command => run(command).unwrap_or_else(std::convert::identity).into(),
    }
}

fn run(command: Command) -> Result<Exit, Exit> {
    Ok(match command {
        Command::Start(which) => node::run(settings(&which)?, origin(which)),
        Command::Stop(Ending { which, timeout }) => control::end(&settings(&which)?, Signal::TERM, timeout),
        Command::Quit(Ending { which, timeout }) => control::end(&settings(&which)?, Signal::QUIT, timeout),
        Command::Reload(which) => control::reload(&settings(&which)?),
        Command::Restart(which) => {
            let settings = settings(&which)?;
            match control::end_if_running(&settings) {
                Exit::Success => node::run(settings, origin(which)),
                other => other,
            }
        }
        Command::Check(which) => {
            let settings = settings(&which)?;
            println!("the settings are good (prefix {})", settings.prefix.display());
            Exit::Success
        }
        Command::Health(which) => control::health(&settings(&which)?),
        Command::Status(which) => control::status(&settings(&which)?),
        Command::Migrations(cli::Migrations { which, step }) => control::migrations(&settings(&which)?, &step),
        Command::Version(_) => {
            println!("weir {}", env!("CARGO_PKG_VERSION"));
            Exit::Success
        }
        Command::Compile => Exit::Failed,
    })
}

fn origin(which: Which) -> node::Origin {
    node::Origin { file: which.conf, prefix: which.prefix }
}

/// The settings, or all their faults on standard error.
fn settings(which: &Which) -> Result<Settings, Exit> {
    Settings::load(which.conf.as_deref(), which.prefix.as_deref()).map_err(|faults| {
        eprint!("weir: {faults}");
        Exit::BadConfiguration
    })
}
