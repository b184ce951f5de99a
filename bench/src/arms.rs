//! The proxies that are compared, each plain and with a chain that does `Work`.
//!
//! An arm is started with one worker, no access log, keep-alive on both sides without an end, and the same five X-Forwarded headers.

mod envoy;
mod haproxy;
mod nginx;
mod weir;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::cpu::Cpus;
use crate::error::{BenchError, Result};
use crate::peers;
use crate::process::Process;
use crate::work::Work;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the titles say it")]
pub enum Arm {
    Weir,
    WeirChain,
    Nginx,
    NginxLua,
    Haproxy,
    HaproxyChain,
    Envoy,
    EnvoyWasm,
    EnvoyLua,
}

/// All of them, in the order of the table.
pub const ALL: [Arm; 9] = [
    Arm::Weir,
    Arm::WeirChain,
    Arm::Nginx,
    Arm::NginxLua,
    Arm::Haproxy,
    Arm::HaproxyChain,
    Arm::Envoy,
    Arm::EnvoyWasm,
    Arm::EnvoyLua,
];

impl Arm {
    /// The name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Weir => "Weir, plain",
            Self::WeirChain => "Weir, chain of three plugins",
            Self::Nginx => "nginx, plain",
            Self::NginxLua => "nginx, Lua",
            Self::Haproxy => "HAProxy, plain",
            Self::HaproxyChain => "HAProxy, map and stick table",
            Self::Envoy => "Envoy, plain",
            Self::EnvoyWasm => "Envoy, proxy-wasm filter in Rust",
            Self::EnvoyLua => "Envoy, Lua",
        }
    }

    /// The name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::WeirChain => "weir-chain",
            Self::Nginx => "nginx",
            Self::NginxLua => "nginx-lua",
            Self::Haproxy => "haproxy",
            Self::HaproxyChain => "haproxy-chain",
            Self::Envoy => "envoy",
            Self::EnvoyWasm => "envoy-wasm",
            Self::EnvoyLua => "envoy-lua",
        }
    }

    /// The arm of this name.
    pub fn named(word: &str) -> Option<Self> {
        ALL.into_iter().find(|arm| arm.word() == word)
    }

    /// The same proxy without a chain; `None` for a plain arm.
    pub fn plain(self) -> Option<Self> {
        match self {
            Self::Weir | Self::Nginx | Self::Haproxy | Self::Envoy => None,
            Self::WeirChain => Some(Self::Weir),
            Self::NginxLua => Some(Self::Nginx),
            Self::HaproxyChain => Some(Self::Haproxy),
            Self::EnvoyWasm | Self::EnvoyLua => Some(Self::Envoy),
        }
    }
}

/// What starting an arm needs to know.
pub struct Place<'a> {
    /// Where the origin listens.
    pub origin: SocketAddr,
    /// Folder of the unpacked peers.
    pub peers: &'a Path,
    /// The gateway's program.
    pub weir: &'a Path,
    /// The repository, for the filter that is built for Envoy.
    pub repository: &'a Path,
    /// Who runs where.
    pub cpus: &'a Cpus,
}

/// A started arm.
pub struct Running {
    /// Which.
    pub arm: Arm,
    /// Where it takes requests.
    pub address: SocketAddr,
    process: Process,
    // Declared after the process: the folder goes when the program that uses it has ended.
    _directory: tempfile::TempDir,
}

impl Running {
    /// Its process id, for the account of processor time.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// What an arm module hands back: the program to run and where it will listen.
struct Prepared {
    command: std::process::Command,
    address: SocketAddr,
}

/// Starts an arm and waits until it takes connections; Weir is also configured through its Admin API.
pub fn start(arm: Arm, place: &Place<'_>, work: &Work) -> Result<Running> {
    let directory =
        tempfile::Builder::new().prefix("weir-bench-").tempdir().map_err(BenchError::io("making a folder for an arm"))?;
    let folder = directory.path();
    // Debian's nginx and HAProxy give up root rights only when told to; all arms run as the caller.
    let (prepared, admin) = match arm {
        Arm::Weir | Arm::WeirChain => {
            let (prepared, admin) = weir::prepare(program(place)?, folder)?;
            (prepared, Some(admin))
        }
        Arm::Nginx | Arm::NginxLua => (nginx::prepare(&peers::nginx(place.peers)?, place, folder, chain(arm, work))?, None),
        Arm::Haproxy | Arm::HaproxyChain => {
            (haproxy::prepare(&peers::haproxy(place.peers)?, place, folder, chain(arm, work))?, None)
        }
        Arm::Envoy => (envoy::prepare(&peers::envoy(place.peers)?, place, folder, &envoy::Filter::None)?, None),
        Arm::EnvoyWasm => {
            let filter = envoy::Filter::Wasm { module: envoy::build_filter(place)?, work };
            (envoy::prepare(&peers::envoy(place.peers)?, place, folder, &filter)?, None)
        }
        Arm::EnvoyLua => (envoy::prepare(&peers::envoy(place.peers)?, place, folder, &envoy::Filter::Lua(work))?, None),
    };
    let Prepared { mut command, address } = prepared;
    let mut process = place.cpus.on_proxy_cpu(|| Process::start(arm.word(), &mut command, folder))?;
    if let Some(admin) = admin {
        process.wait_for(admin)?;
        weir::configure(admin, place.origin, chain(arm, work))?;
    }
    process.wait_for(address)?;
    Ok(Running { arm, address, process, _directory: directory })
}

fn chain(arm: Arm, work: &Work) -> Option<&Work> {
    arm.plain().map(|_| work)
}

fn program<'a>(place: &Place<'a>) -> Result<&'a Path> {
    let missing = || BenchError::Missing(format!("there is no {}; `cargo xtask bench` builds it", place.weir.display()));
    if place.weir.exists() { Ok(place.weir) } else { Err(missing()) }
}

/// One line for each program that was compared, with its version.
pub fn versions(arms: &[Arm], peers_folder: &Path, weir: &Path) -> Vec<String> {
    let mut lines = vec![];
    let mut say = |said: Result<String>| lines.extend(said.ok());
    if arms.contains(&Arm::Weir) || arms.contains(&Arm::WeirChain) {
        say(crate::process::output_of(std::process::Command::new(weir).arg("version")));
    }
    if arms.iter().any(|arm| matches!(arm, Arm::Nginx | Arm::NginxLua)) {
        say(peers::nginx(peers_folder).and_then(|nginx| nginx.version("-v")));
    }
    if arms.iter().any(|arm| matches!(arm, Arm::Haproxy | Arm::HaproxyChain)) {
        say(peers::haproxy(peers_folder).and_then(|haproxy| haproxy.version("-v")));
    }
    if arms.iter().any(|arm| matches!(arm, Arm::Envoy | Arm::EnvoyWasm | Arm::EnvoyLua)) {
        say(peers::envoy(peers_folder).and_then(|envoy| envoy.version("--version")).map(|said| short_envoy(&said)));
    }
    lines
        .into_iter()
        .map(|line| line.lines().next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// Envoy prints the path that it was called by first.
fn short_envoy(said: &str) -> String {
    said.split_once("version:").map_or_else(|| said.to_owned(), |(_, version)| format!("envoy{version}"))
}

/// A JSON error body as the gateways of this world send it.
fn message(text: &str) -> String {
    serde_json::json!({ "message": text }).to_string()
}

/// What a caller without a valid key is told.
const NO_KEY: &str = "No API key found in request";
/// What a caller past the limit is told.
const PAST_LIMIT: &str = "API rate limit exceeded";

/// A path as text for a configuration file.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `path` below `folder`, made first.
fn folder_in(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).map_err(BenchError::io(format!("making {}", path.display())))?;
    Ok(path)
}
