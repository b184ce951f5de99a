//! One node: its files, its process, and what tests do to it.

use crate::cluster::Plan;
use crate::config::{self, NodePlan, Start};
use crate::error::HarnessError;
use crate::network::NATIVE_PORT;
use crate::process::{self, GLANCE};
use crate::proxy::FaultProxy;
use crate::{cql, log, network};
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A start takes ten seconds on two idle cores, and many times that beside a compiler.
pub(crate) const START_WAIT: Duration = Duration::from_secs(240);
/// Cassandra flushes and says goodbye in two seconds; one that does not end is told so to the test.
const STOP_WAIT: Duration = Duration::from_secs(90);
/// How often a replacement is begun.
const REPLACE_TRIES: u32 = 3;
/// One look at whether a node that starts answers already.
const PROBE: Duration = Duration::from_millis(500);
/// Of a log, the lines that an error shows.
pub(crate) const SAID_LINES: usize = 25;

/// A node of a cluster. Its address and its data stay its own over stops and starts.
pub struct Node {
    index: usize,
    folder: PathBuf,
    plan: Arc<Plan>,
    proxy: Option<FaultProxy>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    jmx_port: u16,
    /// How long the log of each node was when this one started last.
    marks: Vec<u64>,
    has_started: bool,
}

impl Node {
    pub(crate) fn new(index: usize, plan: Arc<Plan>) -> Result<Self, HarnessError> {
        let folder = plan.folder(index);
        fs::create_dir_all(&folder).map_err(HarnessError::io(format!("making {}", folder.display())))?;
        let announced = SocketAddr::from((plan.address(index), NATIVE_PORT));
        let proxy = match plan.hidden(index) {
            Some(hidden) => Some(FaultProxy::at(announced, SocketAddr::from((hidden, NATIVE_PORT)))?),
            None => None,
        };
        Ok(Self { index, folder, plan, proxy, state: Mutex::default() })
    }

    /// Where drivers find it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.ip(), NATIVE_PORT))
    }
    /// The proxy at that address, if the cluster was started [`crate::Options::behind_proxies`].
    pub fn proxy(&self) -> Option<&FaultProxy> {
        self.proxy.as_ref()
    }
    /// The `cassandra.yaml` that it was started with.
    pub fn settings_file(&self) -> PathBuf {
        self.folder.join("cassandra.yaml")
    }
    /// Its Java process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.state().child.as_ref().map(|child| process::java_of(child.id()))
    }
    /// The last lines of its log, over all its starts.
    pub fn log_tail(&self, lines: usize) -> String {
        log::tail(&self.log_path(), lines)
    }
    /// Whether it answers a client within that time, proxy or not.
    pub fn answers(&self, within: Duration) -> bool {
        let address = self.listener();
        if self.plan.options.tls { TcpStream::connect_timeout(&address, within).is_ok() } else { cql::answers(address, within) }
    }

    /// Stops it in its tracks: connections stay open, nothing is answered.
    pub fn pause(&self) -> Result<(), HarnessError> {
        process::signal(self.running()?, "STOP")
    }
    /// Lets it go on.
    pub fn resume(&self) -> Result<(), HarnessError> {
        process::signal(self.running()?, "CONT")
    }
    /// Ends it at once, as a crash does.
    pub fn kill(&self) -> Result<(), HarnessError> {
        process::signal(self.running()?, "KILL")?;
        self.wait_for_end()
    }
    /// Ends it as an operator does, and waits.
    pub fn stop(&self) -> Result<(), HarnessError> {
        process::signal(self.running()?, "TERM")?;
        self.wait_for_end()
    }
    /// Starts it on the data that it has, and waits until it answers.
    pub fn start_again(&self) -> Result<(), HarnessError> {
        self.launch(Start::Usual)?;
        self.wait_until_answering(Instant::now() + START_WAIT)
    }
    /// Starts it as its own only seed: the others are not asked whether its address is somebody's already, which is how a node that lost
    /// its data comes back without a word. Waits until it answers.
    pub fn start_alone(&self) -> Result<(), HarnessError> {
        self.launch(Start::Alone)?;
        self.wait_until_answering(Instant::now() + START_WAIT)
    }
    /// Removes all its data, once it is stopped.
    pub fn wipe(&self) -> Result<(), HarnessError> {
        self.must_be_stopped(&self.state())?;
        let data = self.folder.join("data");
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(HarnessError::io(format!("removing {}", data.display()))(error))
            }
            _ => Ok(()),
        }
    }
    /// Copies all its data, once it is stopped, as a backup does.
    pub fn save(&self, to: &Path) -> Result<(), HarnessError> {
        self.must_be_stopped(&self.state())?;
        copy(&self.folder.join("data"), to)
    }
    /// Puts such a copy in the place of its data, once it is stopped.
    pub fn restore(&self, from: &Path) -> Result<(), HarnessError> {
        self.wipe()?;
        copy(from, &self.folder.join("data"))
    }
    /// Starts it for the first time, as one that joins the others ([`crate::Options::joining`]); waits until it has streamed what
    /// belongs to it, and answers.
    pub fn join(&self) -> Result<(), HarnessError> {
        self.launch(Start::Joining)?;
        self.wait_until_answering(Instant::now() + START_WAIT)
    }
    /// Puts a new node without data in its place, once it is stopped and the others see it down; waits until it has streamed what
    /// belongs to it, and answers.
    pub fn replace(&self) -> Result<(), HarnessError> {
        let mut tries = 0;
        loop {
            self.wipe()?;
            self.launch(Start::Replacing)?;
            tries += 1;
            match self.wait_until_answering(Instant::now() + START_WAIT) {
                // It gives up if it hears of the one that is gone as if it lived, which others say for a while. Whoever operates it tries again.
                Err(error) if tries < REPLACE_TRIES && !self.is_running() => eprintln!("a replacement is tried again: {error}"),
                outcome => return outcome,
            }
        }
    }
    /// `nodetool WORDS…` on this node; answers what it printed.
    pub fn nodetool(&self, words: &[&str]) -> Result<String, HarnessError> {
        self.running()?;
        let port = self.state().jmx_port;
        process::run(&mut self.plan.java.nodetool(port, words))
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.plan.address(self.index)
    }
    pub(crate) fn is_running(&self) -> bool {
        self.state().child.is_some()
    }
    pub(crate) fn mark(&self, of: usize) -> u64 {
        self.state().marks.get(of).copied().unwrap_or(0)
    }
    pub(crate) fn log_path(&self) -> PathBuf {
        self.plan.log(self.index)
    }

    /// Where it listens itself.
    fn listener(&self) -> SocketAddr {
        SocketAddr::from((self.plan.hidden(self.index).unwrap_or_else(|| self.ip()), NATIVE_PORT))
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn running(&self) -> Result<u32, HarnessError> {
        self.pid().ok_or(HarnessError::State { node: self.index, must: "running" })
    }
    fn must_be_stopped(&self, state: &State) -> Result<(), HarnessError> {
        if state.child.is_some() { Err(HarnessError::State { node: self.index, must: "stopped" }) } else { Ok(()) }
    }

    /// Starts the process; does not wait for anything.
    pub(crate) fn launch(&self, start: Start) -> Result<(), HarnessError> {
        let mut state = self.state();
        self.must_be_stopped(&state)?;
        let plan = NodePlan {
            index: self.index,
            cluster_name: &self.plan.name,
            addresses: &self.plan.addresses,
            hidden: self.plan.hidden(self.index),
            folder: &self.folder,
            options: &self.plan.options,
        };
        self.write("cassandra.yaml", &plan.yaml(start))?;
        self.write("rackdc.properties", &plan.rack())?;
        self.write("logback.xml", config::LOGBACK)?;
        state.jmx_port = network::free_port()?;
        state.marks = (0..self.plan.addresses.len()).map(|node| log::length(&self.plan.log(node))).collect();
        let words = plan.arguments(&self.plan.java, start, state.jmx_port, !state.has_started);
        state.has_started = true;
        state.child = Some(self.spawn(words)?);
        Ok(())
    }

    fn spawn(&self, words: Vec<std::ffi::OsString>) -> Result<Child, HarnessError> {
        let path = self.log_path();
        let doing = || HarnessError::io(format!("opening {}", path.display()));
        let output = OpenOptions::new().create(true).append(true).open(&path).map_err(doing())?;
        let errors = output.try_clone().map_err(doing())?;
        let java = self.plan.java.installation.java();
        let wrapper = self.plan.options.wrappers.iter().find(|(node, _)| *node == self.index).map(|(_, words)| words.as_slice());
        let mut command = match wrapper {
            // Tied twice: the wrapper to us, and Java to the wrapper, which may wait for it or become it.
            Some([program, rest @ ..]) => {
                let mut command = process::tied(program.as_ref());
                command.args(rest).args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(java);
                command
            }
            _ => process::tied(java.as_os_str()),
        };
        command.args(words).current_dir(&self.folder).stdin(Stdio::null()).stdout(output).stderr(errors);
        config::without_java_settings(&mut command);
        process::spawn(command).map_err(HarnessError::io("starting Cassandra with setpriv (of util-linux)"))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), HarnessError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(HarnessError::io(format!("writing {}", path.display())))
    }

    /// Fails at once when the process ends, and says how.
    pub(crate) fn wait_until_answering(&self, end: Instant) -> Result<(), HarnessError> {
        while !self.answers(PROBE) {
            let failed = |what: &str| HarnessError::Deadline {
                what: format!("node {} answers on {} ({what})", self.index, self.listener()),
                said: self.log_tail(SAID_LINES),
            };
            let mut state = self.state();
            let ended =
                state.child.as_mut().map(Child::try_wait).transpose().map_err(HarnessError::io("waiting for Cassandra"))?;
            if let Some(status) = ended.flatten() {
                state.child = None;
                return Err(failed(&format!("it ended: {status}")));
            }
            drop(state);
            if Instant::now() > end {
                return Err(failed("its time is over"));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn wait_for_end(&self) -> Result<(), HarnessError> {
        let mut state = self.state();
        let Some(child) = state.child.as_mut() else { return Ok(()) };
        match process::wait(child, STOP_WAIT).map_err(HarnessError::io("waiting for Cassandra"))? {
            Some(_) => {
                state.child = None;
                Ok(())
            }
            None => Err(HarnessError::Deadline { what: format!("node {} ends", self.index), said: self.log_tail(SAID_LINES) }),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(mut child) = self.state().child.take() else { return };
        // All fail only if it has ended already. Below a wrapper, Java dies first: its own id is found through the wrapper.
        drop(process::signal(process::java_of(child.id()), "KILL"));
        drop(child.kill());
        drop(child.wait());
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("address", &self.address()).field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), HarnessError> {
    fs::create_dir_all(to).map_err(HarnessError::io(format!("making {}", to.display())))?;
    let doing = || HarnessError::io(format!("copying {}", from.display()));
    for entry in fs::read_dir(from).map_err(doing())? {
        let path = entry.map_err(doing())?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).map_err(doing())?;
        }
    }
    Ok(())
}

/// The folder of a node below its cluster's.
pub(crate) fn folder_of(cluster: &Path, index: usize) -> PathBuf {
    cluster.join(format!("node-{index}"))
}
