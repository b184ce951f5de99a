//! The status address: `/status` and `/status/ready` for load balancers, monitoring and `weir status`. Reads, never changes.
//!
//! So small a part of HTTP that it needs no library: one GET a connection, answered and closed, whatever else is on the line.

use super::facts::Facts;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// A probe's request head has some hundred bytes.
const HEAD_BYTES_MOST: usize = 8 << 10;
/// A probe that takes longer than this to ask or to read is not helped by an answer.
const PROBE_WAIT: Duration = Duration::from_secs(5);
/// Probes at once; more would be an attack, and wait.
const PROBES_MOST: usize = 64;

/// Answers until `ending` says true.
pub async fn serve(listener: TcpListener, facts: Arc<Facts>, mut ending: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(PROBES_MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let facts = Arc::clone(&facts);
                tokio::spawn(async move {
                    let _place = place;
                    // A probe that went away or is too slow is its own trouble.
                    drop(tokio::time::timeout(PROBE_WAIT, answer(stream, &facts)).await);
                });
            }
            // Out of file descriptors, most likely: a moment later there may be some.
            Err(error) => {
                tracing::warn!(%error, "status: a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, facts: &Facts) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MOST || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = judge(method, target.split('?').next().unwrap_or_default(), facts);
    let body = format!("{body:#}\n");
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

/// A node that shares its store says how old its configuration may be; it is ready whatever that is.
fn ready(facts: &Facts) -> Value {
    let store = facts.store.status();
    let serving = *facts.serving.borrow();
    match store.kind {
        "embedded" => json!({ "message": "ready" }),
        _ => json!({ "message": "ready", "configuration": { "serving": serving, "confirmed_ms": store.confirmed_ms } }),
    }
}

fn judge(method: &str, path: &str, facts: &Facts) -> (&'static str, Value) {
    match (method, path) {
        ("GET" | "HEAD", "/status") => ("200 OK", facts.figures()),
        ("GET" | "HEAD", "/status/ready") => match facts.unready() {
            None => ("200 OK", ready(facts)),
            Some(reason) => ("503 Service Unavailable", json!({ "message": reason })),
        },
        (_, "/status" | "/status/ready") => ("405 Method Not Allowed", json!({ "message": "Method not allowed" })),
        _ => ("404 Not Found", json!({ "message": "Not found" })),
    }
}
