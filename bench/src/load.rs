//! The load: a fixed number of keep-alive connections, each with one request in flight, for a fixed number of requests.
//!
//! Closed loop: it measures what a request costs and how long it takes at the proxy's full speed, not behaviour under a given rate.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{BenchError, Result};
use crate::histogram::Histogram;
use crate::response;

/// What to send and how much of it.
#[derive(Debug, Clone)]
pub struct Load {
    /// The proxy.
    pub target: SocketAddr,
    /// Request heads; each connection walks through all of them.
    pub heads: std::sync::Arc<Vec<Vec<u8>>>,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Requests in all.
    pub requests: u64,
    /// Whether to look for work again and again instead of sleeping until there is some.
    pub stay_awake: bool,
    /// The round ends here even if not all requests were made.
    pub at_most: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Served {
    /// Requests answered with 200.
    pub requests: u64,
    /// Wall time.
    pub took: Duration,
    /// Their latencies.
    pub latencies: Histogram,
    /// Connections that the proxy closed between two requests.
    pub reconnects: u64,
}

struct Tally {
    left: Cell<u64>,
    until: Instant,
    served: Cell<u64>,
    reconnects: Cell<u64>,
    latencies: RefCell<Histogram>,
}

/// Runs it; must be called inside a `LocalSet`. The first fault ends the round: a round with faults has no figure.
pub async fn run(load: Load) -> Result<Served> {
    let started = Instant::now();
    // Waking a sleeping processor costs whoever wakes it several microseconds in a virtual machine, and a slow proxy would find this
    // thread asleep more often than a fast one: so it never sleeps while it has a processor of its own.
    let awake = load.stay_awake.then(|| tokio::task::spawn_local(stay_awake()));
    let tally = Rc::new(Tally {
        left: Cell::new(load.requests),
        until: started + load.at_most,
        served: Cell::new(0),
        reconnects: Cell::new(0),
        latencies: RefCell::new(Histogram::new()),
    });
    let tasks: Vec<_> = (0..load.connections)
        .map(|number| tokio::task::spawn_local(connection(load.clone(), number, Rc::clone(&tally))))
        .collect();
    let mut outcome = Ok(());
    for task in tasks {
        let ended = task.await.unwrap_or_else(|e| Err(BenchError::io("running a connection")(std::io::Error::other(e))));
        if outcome.is_ok() && ended.is_err() {
            // The others stop at their next request.
            tally.left.set(0);
            outcome = ended;
        }
    }
    if let Some(awake) = awake {
        awake.abort();
    }
    outcome?;
    let latencies = tally.latencies.borrow().clone();
    Ok(Served { requests: tally.served.get(), took: started.elapsed(), latencies, reconnects: tally.reconnects.get() })
}

async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn connection(load: Load, number: usize, tally: Rc<Tally>) -> Result<()> {
    let mut stream = open(load.target).await?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    // Each connection starts elsewhere in the list, so that all callers are busy at any moment.
    let mut heads = load.heads.iter().cycle().skip(number * 7 % load.heads.len().max(1));
    loop {
        let left = tally.left.get();
        if left == 0 || Instant::now() >= tally.until {
            return Ok(());
        }
        tally.left.set(left - 1);
        let Some(head) = heads.next() else { return Ok(()) };
        let asked = Instant::now();
        let closes = loop {
            if let Some(closes) = ask(&mut stream, head, &mut buffer).await? {
                break closes;
            }
            tally.reconnects.set(tally.reconnects.get() + 1);
            stream = open(load.target).await?;
        };
        tally.latencies.borrow_mut().record(asked.elapsed());
        tally.served.set(tally.served.get() + 1);
        if closes {
            tally.reconnects.set(tally.reconnects.get() + 1);
            stream = open(load.target).await?;
        }
    }
}

/// One request and its response: `Some(the proxy will close)`, or `None` when the proxy had already closed the connection.
async fn ask(stream: &mut TcpStream, head: &[u8], buffer: &mut Vec<u8>) -> Result<Option<bool>> {
    buffer.clear();
    if stream.write_all(head).await.is_err() {
        return Ok(None);
    }
    let mut framed = None;
    loop {
        match stream.read_buf(buffer).await {
            Ok(0) | Err(_) if buffer.is_empty() => return Ok(None),
            Ok(0) => return Err(BenchError::Response("the connection ended in the middle of a response".to_owned())),
            Ok(_) => {}
            Err(source) => return Err(BenchError::io("reading a response")(source)),
        }
        if framed.is_none() {
            framed = response::frame(buffer)?;
        }
        match &framed {
            Some(framed) if buffer.len() > framed.len() => {
                return Err(BenchError::Response("more bytes than the response has".to_owned()));
            }
            Some(framed) if buffer.len() == framed.len() => {
                if framed.status != 200 {
                    return Err(BenchError::Response(format!("status {} under load", framed.status)));
                }
                return Ok(Some(framed.closes));
            }
            _ => {}
        }
    }
}

async fn open(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(target).await.map_err(BenchError::io(format!("connecting to {target}")))?;
    stream.set_nodelay(true).map_err(BenchError::io("setting TCP_NODELAY"))?;
    Ok(stream)
}
