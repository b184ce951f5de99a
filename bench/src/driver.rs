//! One thread with the origin and the load on it, on a processor of its own.
//!
//! One thread for both: they never run at the same moment on the one processor that is left for them anyway, and two threads would
//! add the scheduler's time slices to every latency.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;

use tokio::net::TcpListener;

use crate::cpu::Cpus;
use crate::error::{BenchError, Result};
use crate::load::{self, Load, Served};
use crate::origin;

type Job = (Load, mpsc::SyncSender<Result<Served>>);

/// The running thread.
pub struct Driver {
    jobs: tokio::sync::mpsc::UnboundedSender<Job>,
    /// Where the origin listens.
    pub origin: SocketAddr,
}

impl Driver {
    /// Starts the thread and the origin.
    pub fn start(cpus: &Cpus) -> Result<Self> {
        let (jobs, inbox) = tokio::sync::mpsc::unbounded_channel();
        let (ready, started) = mpsc::sync_channel(1);
        let cpus = cpus.clone();
        thread::Builder::new()
            .name("driver".to_owned())
            .spawn(move || {
                let outcome = cpus.use_driver_cpu().and_then(|()| runtime());
                match outcome {
                    Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, work(inbox, ready)),
                    // The receiver is waiting; if it is gone, so is the process.
                    Err(fault) => drop(ready.send(Err(fault))),
                }
            })
            .map_err(BenchError::io("starting the driver thread"))?;
        let origin = started.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { jobs, origin })
    }

    /// Runs one load to its end.
    pub fn run(&self, load: Load) -> Result<Served> {
        let (answer, result) = mpsc::sync_channel(1);
        self.jobs.send((load, answer)).map_err(|_| gone())?;
        result.recv().unwrap_or_else(|_| Err(gone()))
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::io("starting the driver's runtime"))
}

async fn work(mut inbox: tokio::sync::mpsc::UnboundedReceiver<Job>, ready: mpsc::SyncSender<Result<SocketAddr>>) {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
        Ok(listener) => listener,
        Err(source) => return drop(ready.send(Err(BenchError::io("binding the origin")(source)))),
    };
    drop(ready.send(listener.local_addr().map_err(BenchError::io("asking for the origin's address"))));
    tokio::task::spawn_local(origin::serve(listener));
    while let Some((load, answer)) = inbox.recv().await {
        drop(answer.send(load::run(load).await));
    }
}

fn gone() -> BenchError {
    BenchError::io("talking to the driver thread")(std::io::Error::other("it ended"))
}
