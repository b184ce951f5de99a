//! HTTP as commands speak it to a node: plain HTTP/1.0 with a connection for each request, so that an answer ends where the
//! connection does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A node that takes longer to accept is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The largest head of an answer.
const HEAD_BYTES_MOST: u64 = 64 << 10;

/// One request.
pub struct Request<'a> {
    pub address: SocketAddr,
    pub host: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    /// Whole lines, beyond those that every request has.
    pub headers: &'a str,
    pub body: &'a [u8],
    /// Between two reads, or two writes.
    pub wait: Duration,
}

/// An answer whose body has yet to be read.
pub struct Reply {
    pub status: u16,
    pub served: Option<String>,
    pub retry_after: bool,
    pub body: BufReader<TcpStream>,
}

impl Reply {
    /// The rest of it as text, without white space at its end; nothing beyond `most` bytes is read.
    pub fn text(self, most: u64) -> io::Result<String> {
        let mut text = String::new();
        self.body.take(most).read_to_string(&mut text)?;
        text.truncate(text.trim_end().len());
        Ok(text)
    }
}

/// Sends a request and reads the head of its answer.
pub fn send(request: &Request<'_>) -> io::Result<Reply> {
    let Request { address, host, method, path, headers, body, wait } = *request;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WAIT)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {host}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever refuses a body answers and closes before it has come: the answer says more than the write that failed.
    let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    read_head(stream).map_err(|error| written.err().unwrap_or(error))
}

fn read_head(stream: TcpStream) -> io::Result<Reply> {
    let malformed = || io::Error::other("the answer is cut, or not HTTP");
    let mut body = BufReader::new(stream);
    let mut head = (&mut body).take(HEAD_BYTES_MOST);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|word| word.trim().parse().ok());
    let status = status.ok_or_else(malformed)?;
    let (mut served, mut retry_after) = (None, false);
    loop {
        line.clear();
        head.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(malformed());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "weir-served" => served = Some(value.trim().to_owned()),
            "retry-after" => retry_after = true,
            _ => {}
        }
    }
    Ok(Reply { status, served, retry_after, body })
}
