//! Processes that end with this one, and signals to them.
//!
//! `setpriv --pdeathsig KILL` (util-linux) has the kernel kill a node when the thread that started it ends; tests run on threads that
//! end with each test, so one thread of the harness, which lives as long as the process, starts them all.

use crate::HarnessError;
use std::io;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks again. A start takes seconds, so this adds nothing to it.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);
/// Of what a tool printed, the end, where the reason is.
const SAID_BYTES: usize = 2000;

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a command from the thread that lives as long as the process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: Mutex<Option<Sender<Order>>> = Mutex::new(None);
    let (answer, child) = channel();
    let gone = || io::Error::other("the thread that starts processes has ended");
    {
        let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = match spawner.take() {
            Some(orders) => orders,
            None => start_spawner()?,
        };
        orders.send((command, answer)).map_err(|_| gone())?;
        *spawner = Some(orders);
    }
    child.recv().map_err(|_| gone())?
}

fn start_spawner() -> io::Result<Sender<Order>> {
    let (orders, received) = channel::<Order>();
    thread::Builder::new().name("cassandra-spawner".to_owned()).spawn(move || {
        for (mut command, answer) in received {
            // Whoever asked is gone if this fails; then nobody owns the child.
            if let Err(unwanted) = answer.send(command.spawn())
                && let Ok(mut child) = unwanted.0
            {
                drop(child.kill());
                drop(child.wait());
            }
        }
    })?;
    Ok(orders)
}

/// `program`, to be killed when the thread that starts it ends.
pub(crate) fn tied(program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Sends a signal by its name.
pub(crate) fn signal(pid: u32, name: &str) -> Result<(), HarnessError> {
    run(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string())).map(drop)
}

/// Waits for the end of a child; `None` when it has not come in time.
pub(crate) fn wait(child: &mut Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > end {
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

/// The Java process that a child is, or has started below it: a wrapper such as `faketime` stays between.
pub(crate) fn java_of(child: u32) -> u32 {
    let mut pid = child;
    while comm(pid).is_none_or(|name| name != "java") {
        let Some(below) = child_of(pid) else { return child };
        pid = below;
    }
    pid
}

fn comm(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

fn child_of(parent: u32) -> Option<u32> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // `pid (name) state parent …`, and a name may hold anything, brackets too.
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        after_name.split_whitespace().nth(1).and_then(|word| word.parse().ok()) == Some(parent)
    })
}

/// Runs a tool to its end; answers what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, HarnessError> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    // A class path of a hundred jars tells nobody anything.
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).filter(|word| word.len() < 200).collect();
    let call = words.join(" ");
    match command.stdin(Stdio::null()).output() {
        Err(error) => Err(HarnessError::Tool { call, said: error.to_string() }),
        Ok(output) if output.status.success() => Ok(printed(&output)),
        Ok(output) => {
            let said = printed(&output);
            Err(HarnessError::Tool { call, said: format!("{}: {}", output.status, tail_bytes(&said)) })
        }
    }
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn tail_bytes(text: &str) -> &str {
    let from = (text.len().saturating_sub(SAID_BYTES)..text.len()).find(|&at| text.is_char_boundary(at));
    text.get(from.unwrap_or(0)..).unwrap_or(text).trim()
}
