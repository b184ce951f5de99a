//! The command line: which words there are and what each takes. What they do is elsewhere.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// An API gateway whose request and response policies are WebAssembly components.
#[derive(Parser, Debug)]
#[command(name = "weir", version, propagate_version = false, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which node is meant. Every command takes both.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// The settings file [default: /etc/weir/weir.toml, if it is there]
    #[arg(short = 'c', long = "conf", value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// The folder of the node, instead of the file's `prefix`
    #[arg(short = 'p', long = "prefix", value_name = "FOLDER")]
    pub prefix: Option<PathBuf>,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a node in the foreground until it is stopped
    Start(Start),
    /// Stop the node at once; exchanges in flight are cut
    Stop(Ending),
    /// Stop the node when the exchanges in flight have ended
    Quit(Ending),
    /// Make the node read its settings and its plugins_dir again
    Reload(Which),
    /// Quit the node if it runs, then run it here in the foreground
    Restart(Which),
    /// Tell what is wrong with settings, plugins and store, all of it
    Check(Which),
    /// Tell whether the node runs and is ready to serve
    Health(Which),
    /// Show the node's figures
    Status(Which),
    /// Prepare the store for this version
    Migrations(Migrations),
    /// For a node whose history is not the store's: show the nodes, or say which of the two is right
    Cluster(Cluster),
    /// Export the configuration to a file, or import one
    #[command(subcommand)]
    Config(Config),
    /// Print the version
    Version(Which),
    /// Compile one component from standard input to standard output; what a node runs for each of its plugins
    #[command(hide = true)]
    Compile,
}

/// `weir start`.
#[derive(Args, Debug)]
pub struct Start {
    /// Which node.
    #[command(flatten)]
    pub which: Which,
    /// Stop when this process, which must be the one that started the node, ends
    #[arg(long, value_name = "PROCESS")]
    pub exit_with_parent: Option<u32>,
}

/// A command that ends the node.
#[derive(Args, Debug)]
pub struct Ending {
    /// Which node.
    #[command(flatten)]
    pub which: Which,
    /// Seconds to wait for the end before saying that it did not come [default: what the node itself takes at most, and a little more]
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// `weir cluster …`.
#[derive(Args, Debug)]
pub struct Cluster {
    /// Which node.
    #[command(flatten)]
    pub which: Which,
    /// nodes: who is on this store and serves what; adopt: take the store's history; republish: make this node's the store's
    #[arg(value_name = "STEP", default_value = "nodes", value_parser = ["nodes", "adopt", "republish"])]
    pub step: String,
}

/// `weir config …`.
#[derive(Subcommand, Debug)]
pub enum Config {
    /// Write the whole configuration, of one revision and with its components, to a file
    ///
    /// Keys and other secrets are in it in the clear; the file can be read by its owner only (0600).
    Export(ConfigExport),
    /// Bring the configuration of a file into a gateway; what the gateway has besides stays
    ///
    /// The file is read and compared to its end before anything is written. It is written in transactions of up to 1,000 entities, not as
    /// a whole: an import that ends early leaves those that were written, and the same command goes on. Exit code 0: all of it is there;
    /// 1: the same command may go on later; 2: something has to be changed first.
    Import(ConfigImport),
}

/// `weir config export`.
#[derive(Args, Debug)]
pub struct ConfigExport {
    /// Which node.
    #[command(flatten)]
    pub which: Which,
    /// The Admin API to ask, http://HOST:PORT, instead of that of the node which runs here
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// The file, which is there only when it is whole [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `weir config import`.
#[derive(Args, Debug)]
pub struct ConfigImport {
    /// Which node.
    #[command(flatten)]
    pub which: Which,
    /// The file that `weir config export` has written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The Admin API to write to, http://HOST:PORT, instead of that of the node which runs here
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Compare and tell, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Replace entities that have the same id and differ, instead of refusing
    #[arg(long)]
    pub overwrite: bool,
}

/// `weir migrations …`.
#[derive(Args, Debug)]
pub struct Migrations {
    /// Which node.
    #[command(flatten)]
    pub which: Which,
    /// bootstrap, up, finish, list, status or reset
    #[arg(value_name = "STEP", default_value = "status")]
    pub step: String,
    /// For `reset`: that everything in the store is to be deleted
    #[arg(long)]
    pub yes: bool,
}
