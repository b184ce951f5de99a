//! A gateway as a child process: started on a prefix, waited for, asked for its addresses, stopped.
//!
//! Readiness is the message that the node sends its supervisor (`READY=1`), so nobody polls and nobody sleeps.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// The first start compiles every stock plugin; on a slow machine with other work that takes a while.
const READY_WAIT: Duration = Duration::from_secs(180);
/// How often the wait looks whether the process is still alive.
const GLANCE: Duration = Duration::from_millis(200);
/// A node that was told to stop and has not after this is killed.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// A gateway that runs. Killed when dropped.
pub struct Gateway {
    child: Child,
    prefix: PathBuf,
}

impl Gateway {
    /// Starts `command` (a `weir start …` of that prefix) and waits until it is ready.
    pub fn start(mut command: Command, prefix: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(prefix)?;
        // A socket's path has 108 bytes at most, and a prefix may be deep: the socket stands in the system's folder.
        let name = format!("weir-ready-{}-{:?}", std::process::id(), std::thread::current().id());
        let socket = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        let supervisor = UnixDatagram::bind(&socket)?;
        let started = command.env("NOTIFY_SOCKET", &socket).spawn();
        let ready = started.and_then(|child| {
            let mut gateway = Self { child, prefix: prefix.to_path_buf() };
            gateway.wait_until_ready(&supervisor).map(|()| gateway)
        });
        std::fs::remove_file(&socket)?;
        ready
    }

    fn wait_until_ready(&mut self, supervisor: &UnixDatagram) -> io::Result<()> {
        supervisor.set_read_timeout(Some(GLANCE))?;
        let deadline = Instant::now() + READY_WAIT;
        let mut message = [0; 4096];
        while Instant::now() < deadline {
            match supervisor.recv(&mut message) {
                Ok(length) if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the gateway ended before it was ready ({status})")));
            }
        }
        Err(io::Error::other(format!("the gateway was not ready within {} s", READY_WAIT.as_secs())))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// The first plain address of `proxy`, `admin` or `status`, as the node announced it.
    pub fn address(&self, room: &str) -> io::Result<SocketAddr> {
        self.addresses(room)?
            .into_iter()
            .find(|(_, tls)| !tls)
            .map(|(address, _)| address)
            .ok_or_else(|| io::Error::other("no such address"))
    }
    /// All addresses of a room, and whether each speaks TLS.
    pub fn addresses(&self, room: &str) -> io::Result<Vec<(SocketAddr, bool)>> {
        let text = std::fs::read_to_string(self.prefix.join("run/listeners.json"))?;
        let missing = || io::Error::other(format!("listeners.json says nothing of {room}: {text}"));
        let list = text.split_once(&format!("\"{room}\"")).and_then(|(_, rest)| rest.split_once(']')).ok_or_else(missing)?.0;
        let entry = |part: &str| {
            let address = part.split('"').find_map(|word| word.parse().ok())?;
            Some((address, part.contains("true")))
        };
        Ok(list.split('}').filter_map(entry).collect())
    }
    /// Sends a signal by its name: `TERM`, `QUIT`, `HUP`, `KILL`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -{name} failed"))) }
    }
    /// Waits for the end.
    pub fn wait(&mut self, deadline: Duration) -> io::Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(io::Error::other(format!("the gateway has not ended within {} s", deadline.as_secs())));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    /// Stops it at once, as `weir stop` does.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait(STOP_WAIT)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
