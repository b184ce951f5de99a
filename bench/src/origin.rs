//! The server behind every proxy: one fixed response, as cheap as possible, so that the machine's time goes to the proxies.
//!
//! It does not speak all of HTTP: requests without a body, answered in order. `work::ECHO_PATH` is answered with the head
//! that arrived.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::response::find;
use crate::work::ECHO_PATH;

/// A request head longer than this is not from this benchmark.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// A body as an API sends it; larger ones would measure copying, which every arm does alike.
const BODY_BYTES: usize = 1024;

/// Answers until the listener's runtime ends.
pub async fn serve(listener: TcpListener) {
    let answer: Arc<[u8]> = answer(&body()).into();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A proxy that goes away breaks its connections; that is not the origin's business.
                drop(tokio::task::spawn_local(connection(stream, Arc::clone(&answer))));
            }
            // Out of descriptors: the connections that exist go on, and some of them will end.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn connection(mut stream: TcpStream, answer: Arc<[u8]>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut from = 0;
        while let Some(end) = buffer.get(from..).and_then(|rest| find(rest, b"\r\n\r\n")) {
            let head = buffer.get(from..from + end + 4).unwrap_or_default();
            from += end + 4;
            if is_echo(head) {
                stream.write_all(&self::answer(head)).await?;
            } else {
                stream.write_all(&answer).await?;
            }
        }
        buffer.drain(..from);
        if buffer.len() > HEAD_LIMIT_BYTES {
            return Ok(());
        }
    }
}

fn is_echo(head: &[u8]) -> bool {
    head.strip_prefix(b"GET ").is_some_and(|rest| rest.starts_with(ECHO_PATH.as_bytes()))
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n\
         Server: origin\r\n\
         Date: Mon, 02 Nov 2026 08:12:31 GMT\r\n\
         Content-Type: application/json\r\n\
         Cache-Control: private, max-age=0\r\n\
         ETag: \"5d8c72a5edda8\"\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn body() -> Vec<u8> {
    let mut body = b"{\"order\":4711,\"lines\":\"".to_vec();
    body.resize(BODY_BYTES - 2, b'x');
    body.extend_from_slice(b"\"}");
    body
}
