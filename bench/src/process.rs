//! A program under test: started with its output in a file, waited for, ended with all its children.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cpu;
use crate::error::{BenchError, Result};

/// Longest wait for a proxy to accept connections; a first start of Weir compiles its stock plugins.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for a proxy to end by itself after the signal.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at something that is being waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What is shown of a program's output when it fails: the end, where the reason is.
const SAID_BYTES: usize = 2000;

/// A running program; ended when dropped.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command`, its output going to `<directory>/output.txt`.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let output = directory.join("output.txt");
        let doing = || format!("starting {name}");
        let file = File::create(&output).map_err(BenchError::io(doing()))?;
        let copy = file.try_clone().map_err(BenchError::io(doing()))?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn().map_err(BenchError::io(doing()))?;
        Ok(Self { name: name.to_owned(), child, output })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something accepts connections at `address`.
    pub fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        self.wait_until("it accepts connections", || TcpStream::connect_timeout(&address, LOOK_AGAIN).is_ok())
    }

    /// Waits until `ready`, as long as the program runs.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + START_LIMIT;
        while !ready() {
            let ended = self.child.try_wait().map_err(BenchError::io(format!("waiting for {}", self.name)))?;
            if ended.is_some() || Instant::now() > until {
                let how = ended.map_or_else(|| format!("not within {START_LIMIT:?} until {what}"), |status| status.to_string());
                return Err(BenchError::NotUp { program: self.name.clone(), said: format!("{how}: {}", self.said()) });
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn said(&self) -> String {
        let text = fs::read(&self.output).unwrap_or_default();
        let from = text.len().saturating_sub(SAID_BYTES);
        String::from_utf8_lossy(text.get(from..).unwrap_or_default()).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing here may fail loudly: the run is over, and what does not end by itself is killed.
        let family = cpu::family(self.child.id()).unwrap_or_default();
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + STOP_LIMIT;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(LOOK_AGAIN);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            // Children first: after their parent they could no longer be found.
            for pid in family.into_iter().rev().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
                let _ = kill_process(pid, Signal::KILL);
            }
            drop(self.child.wait());
        }
    }
}

/// An address nobody listens on at the moment.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BenchError::io("looking for a free port"))?;
    listener.local_addr().map_err(BenchError::io("looking for a free port"))
}

/// Runs a command to its end and gives what it printed (stdout, then stderr).
pub fn output_of(command: &mut Command) -> Result<String> {
    let doing = format!("running {}", command.get_program().to_string_lossy());
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::io(doing.clone()))?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Ok(text);
    }
    let from = text.len().saturating_sub(SAID_BYTES);
    let end = text.get(from..).unwrap_or(&text).trim();
    Err(BenchError::Missing(format!("{doing}: {}: {end}", output.status)))
}

/// Writes a file into an arm's directory.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(BenchError::io(format!("writing {}", path.display())))
}
