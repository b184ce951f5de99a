//! A blocking HTTP/1.1 client for probes and for the Admin API: one request, one connection, one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{BenchError, Result};
use crate::response;

/// An Admin API write answers after the proxy serves it; compiling a component is the longest part of that.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    head: Vec<u8>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        response::header(&self.head, name)
    }
}

/// Sends `bytes` and reads one response.
pub fn exchange(target: SocketAddr, bytes: &[u8]) -> Result<Answer> {
    let doing = || BenchError::io(format!("asking {target}"));
    let mut stream = TcpStream::connect(target).map_err(doing())?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(doing())?;
    stream.write_all(bytes).map_err(doing())?;
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(framed) = response::frame(&buffer)?.filter(|framed| buffer.len() >= framed.len()) {
            let body = buffer.get(framed.head..framed.len()).unwrap_or_default();
            let body = String::from_utf8_lossy(body).into_owned();
            let head = buffer.get(..framed.head).unwrap_or_default().to_owned();
            return Ok(Answer { status: framed.status, head, body });
        }
        let read = stream.read(&mut chunk).map_err(doing())?;
        if read == 0 {
            return Err(BenchError::Response(format!("{target} closed after {:?}", String::from_utf8_lossy(&buffer))));
        }
        buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
}

/// Sends JSON to an Admin API and wants a 2xx.
pub fn send_json(target: SocketAddr, method: &str, path: &str, body: &serde_json::Value) -> Result<Answer> {
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {target}\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = exchange(target, format!("{head}{body}").as_bytes())?;
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    Err(BenchError::Admin { call: format!("{method} {path}"), status: answer.status, body: answer.body })
}
