//! A gateway of a test: its folder, its process, its addresses.

use crate::admin::Admin;
use crate::binary::{printed, program, run, weir_binary};
use crate::client::Client;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A node that drains has this long at most.
const END_WAIT: Duration = Duration::from_secs(90);

/// What a test wants of its gateway.
pub struct GatewayBuilder {
    lines: Vec<String>,
    prefix: Option<TempDir>,
    program: PathBuf,
}

/// A gateway that runs, in a folder of its own. Both go with it.
pub struct Gateway {
    process: xtask::gateway::Gateway,
    prefix: TempDir,
}

impl Default for GatewayBuilder {
    fn default() -> Self {
        let mut builder = Self { lines: Vec::new(), prefix: None, program: weir_binary() };
        for key in ["proxy_listen", "admin_listen", "status_listen"] {
            builder = builder.with(key, "\"127.0.0.1:0\"");
        }
        builder.with("worker_threads", "2")
    }
}

impl GatewayBuilder {
    /// A setting, written as in `weir.toml`. A later one of the same key replaces the earlier.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.lines.retain(|line| !line.starts_with(&format!("{key} =")));
        self.lines.push(format!("{key} = {value}"));
        self
    }
    /// On those nodes of Cassandra, in a keyspace with that many copies, looking at it ten times a second.
    #[must_use]
    pub fn on_cassandra(self, nodes: &[SocketAddr], keyspace: &str, copies: usize) -> Self {
        let points: Vec<String> = nodes.iter().map(|point| format!("\"{point}\"")).collect();
        self.with("database", "\"cassandra\"")
            .with("cassandra_contact_points", &format!("[{}]", points.join(", ")))
            .with("cassandra_keyspace", &format!("\"{keyspace}\""))
            .with("cassandra_repl_factor", &copies.to_string())
            .with("db_update_frequency", "0.1")
    }
    /// In the folder that another gateway has left.
    #[must_use]
    pub fn in_folder_of(mut self, stopped: TempDir) -> Self {
        self.prefix = Some(stopped);
        self
    }
    /// In the folder that another gateway has left, by its settings.
    #[must_use]
    pub fn settings_of(mut self, stopped: TempDir) -> Self {
        let text = std::fs::read_to_string(stopped.path().join("weir.toml")).expect("the settings can be read");
        self.lines = text.lines().map(str::to_owned).collect();
        self.in_folder_of(stopped)
    }
    /// A copy of the gateway's binary, of its own.
    #[must_use]
    pub fn program(mut self, file: &Path) -> Self {
        file.clone_into(&mut self.program);
        self
    }
    /// Writes the settings; answers the folder.
    fn write(&mut self) -> TempDir {
        let prefix = self.prefix.take().unwrap_or_else(|| tempfile::tempdir().expect("a temporary folder"));
        std::fs::write(prefix.path().join("weir.toml"), self.lines.join("\n")).expect("settings can be written");
        prefix
    }
    /// Starts it and waits until it is ready.
    pub fn start(mut self) -> Gateway {
        let prefix = self.write();
        match launch(&self.program, prefix.path()) {
            Ok(process) => Gateway { process, prefix },
            Err(error) => panic!("{error}\n{}", std::fs::read_to_string(prefix.path().join("node.log")).unwrap_or_default()),
        }
    }
    /// Starts it and kills it after that time, ready or not; answers what it leaves.
    pub fn start_and_kill(mut self, after: Duration) -> TempDir {
        let prefix = self.write();
        let mut child =
            command(&self.program, prefix.path()).and_then(|mut command| command.spawn()).expect("weir can be started");
        // When it dies is the fault; nothing is waited for.
        std::thread::sleep(after);
        child.kill().and_then(|()| child.wait()).expect("it can be killed");
        prefix
    }
    /// `weir WORDS… -c …` in a folder of its own, with no node in it: exit code and what it printed.
    pub fn command(mut self, words: &[&str]) -> (i32, String) {
        let prefix = self.write();
        let file = prefix.path().join("weir.toml");
        let output = run(&[words, &["-c", &file.to_string_lossy()]].concat(), prefix.path());
        (output.status.code().unwrap_or(-1), printed(&output))
    }
    /// `weir start` that is expected to fail: exit code and what it said.
    pub fn start_refused(mut self) -> (i32, String) {
        let prefix = self.write();
        let file = prefix.path().join("weir.toml");
        let output = run(&["start", "-c", &file.to_string_lossy()], prefix.path());
        (output.status.code().unwrap_or(-1), printed(&output))
    }
}

fn launch(file: &Path, prefix: &Path) -> std::io::Result<xtask::gateway::Gateway> {
    xtask::gateway::Gateway::start(command(file, prefix)?, prefix)
}

/// `weir start` in that folder, with its log there.
fn command(file: &Path, prefix: &Path) -> std::io::Result<Command> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(prefix.join("node.log"))?;
    let mut command = program(file, ["start", "-c"]);
    command.arg(prefix.join("weir.toml")).arg("-p").arg(prefix).stdout(Stdio::null()).stderr(log);
    Ok(command)
}

impl Gateway {
    /// What a test asks for before `start`.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::default()
    }
    /// With the harness's own settings.
    pub fn start() -> Self {
        Self::builder().start()
    }
    /// Where clients come in.
    pub fn proxy(&self) -> SocketAddr {
        self.process.address("proxy").expect("the proxy listens")
    }
    /// The status address.
    pub fn status_address(&self) -> SocketAddr {
        self.process.address("status").expect("the status address listens")
    }
    /// All addresses of a room, and whether each speaks TLS.
    pub fn addresses(&self, room: &str) -> Vec<(SocketAddr, bool)> {
        self.process.addresses(room).expect("the node announces its addresses")
    }
    /// A client of the proxy.
    pub fn client(&self) -> Client {
        Client::of(self.proxy())
    }
    /// A client of the Admin API.
    pub fn admin(&self) -> Admin {
        Admin::of(self.process.address("admin").expect("the Admin API listens"))
    }
    /// Its folder.
    pub fn prefix(&self) -> &Path {
        self.prefix.path()
    }
    /// Its settings file.
    pub fn settings_file(&self) -> PathBuf {
        self.prefix().join("weir.toml")
    }
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.prefix().join("node.log")).unwrap_or_default()
    }
    /// Its access log so far, one object a line.
    pub fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.prefix().join("logs/access.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("the access log is JSON")).collect()
    }
    /// `weir WORDS… -c … -p …`: exit code and what it printed.
    pub fn weir(&self, words: &[&str]) -> (i32, String) {
        let file = self.settings_file();
        let file = file.to_string_lossy();
        let output = run(&[words, &["-c", &file]].concat(), self.prefix());
        (output.status.code().unwrap_or(-1), printed(&output))
    }
    /// Sends a signal: `TERM`, `QUIT`, `HUP`, `KILL`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name).expect("the node lives");
    }
    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait(END_WAIT).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }
    /// Ends it with a signal and waits; answers the folder, for a next gateway in it.
    pub fn end(mut self, signal: &str) -> TempDir {
        self.signal(signal);
        self.wait();
        self.prefix
    }
    /// Ends it and starts it anew, with the same folder and settings.
    #[must_use]
    pub fn restarted_by(self, signal: &str) -> Self {
        let prefix = self.end(signal);
        let process = launch(&weir_binary(), prefix.path()).unwrap_or_else(|error| panic!("{error}"));
        Self { process, prefix }
    }
}
