//! The Admin API of a node as commands ask it: plain HTTP/1.0 with a connection for each request, so that an answer ends where
//! the connection does.
//!
//! Knows no entities. TLS is left to those who have it: commands run on the node's machine, or through a tunnel.

use crate::control;
use crate::settings::{Secret, Settings, Whereabouts};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A gateway that takes longer to accept is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Between two reads. The slowest answer compiles a large component and asks it about every entry.
const ANSWER_WAIT: Duration = Duration::from_secs(300);
/// The largest head of an answer.
const HEAD_BYTES_MOST: u64 = 64 << 10;
/// The largest answer that is read whole: a page of entities, of which one has at most 8 MiB and usually 500 bytes.
const ANSWER_BYTES_MOST: u64 = 128 << 20;
/// Where the Admin API is when an address has no port.
const PORT: u16 = 8001;

/// One Admin API.
pub struct AdminApi {
    address: SocketAddr,
    host: String,
    token: Option<String>,
}

/// An answer whose body has yet to be read.
pub struct Reply {
    pub status: u16,
    pub served: Option<String>,
    pub retry_after: bool,
    pub body: BufReader<TcpStream>,
}

/// A JSON answer, whole.
pub struct Answer {
    pub status: u16,
    pub served: Option<String>,
    pub retry_after: bool,
    pub body: Value,
}

/// What a request carries.
#[derive(Clone, Copy)]
pub enum Sent<'a> {
    Nothing,
    Json(&'a str),
    Wasm(&'a [u8]),
}

impl AdminApi {
    /// The one at `url`, or that of the node that runs here; says why there is none.
    pub fn find(settings: &Settings, node: &Whereabouts, url: Option<&str>) -> Option<Self> {
        let token = settings.admin_token.as_ref().map(|Secret(token)| token.clone());
        let Some(url) = url else {
            let address = control::admin_address(node)?;
            return Some(Self { address, host: address.to_string(), token });
        };
        match resolve(url) {
            Ok((address, host)) => Some(Self { address, host, token }),
            Err(reason) => {
                eprintln!("weir: --admin {url}: {reason}");
                None
            }
        }
    }
    /// For messages.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }
    /// Sends a request and reads the head of its answer.
    pub fn open(&self, method: &str, path: &str, sent: Sent) -> io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&self.address, CONNECT_WAIT)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        let (content_type, body) = match sent {
            Sent::Nothing => ("", &[][..]),
            Sent::Json(text) => ("content-type: application/json\r\n", text.as_bytes()),
            Sent::Wasm(bytes) => ("content-type: application/wasm\r\n", bytes),
        };
        let token = self.token.as_ref().map(|token| format!("kong-admin-token: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\n{token}{content_type}content-length: {}\r\nconnection: close\r\n\r\n",
            self.host,
            body.len()
        );
        // Whoever refuses a body answers and closes before it has come: the answer says more than the write that failed.
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        read_head(stream).map_err(|error| written.err().unwrap_or(error))
    }
    /// Sends a request and reads all of its answer, which is JSON if it is anything.
    pub fn ask(&self, method: &str, path: &str, sent: Sent) -> io::Result<Answer> {
        let Reply { status, served, retry_after, body } = self.open(method, path, sent)?;
        let mut text = Vec::new();
        body.take(ANSWER_BYTES_MOST).read_to_end(&mut text)?;
        let body = match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&text).map_err(|_| io::Error::other("the answer is cut, or no JSON"))?,
        };
        Ok(Answer { status, served, retry_after, body })
    }
}

impl Answer {
    /// What it says is wrong.
    pub fn message(&self) -> String {
        let message = self.body.get("message").and_then(Value::as_str).unwrap_or("no message");
        format!("{message} (status {})", self.status)
    }
}

fn resolve(url: &str) -> Result<(SocketAddr, String), String> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(match url.starts_with("https://") {
            true => "commands speak plain HTTP only: run it on the node's machine, or through a tunnel to it".to_owned(),
            false => "expected http://HOST:PORT".to_owned(),
        });
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ', '\r', '\n']) {
        return Err("expected http://HOST:PORT".to_owned());
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    // Of an address of IPv6 the last group is no port.
    let has_port = has_port && !(host.starts_with('[') && host.ends_with(']'));
    let host = if has_port { host.to_owned() } else { format!("{host}:{PORT}") };
    let address = host.to_socket_addrs().map_err(|error| error.to_string())?.next();
    address.map(|address| (address, host)).ok_or_else(|| "the name has no address".to_owned())
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

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn an_address_is_plain_http_with_a_host() {
        assert_eq!(resolve("http://127.0.0.1:9/").unwrap(), ("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".to_owned()));
        assert_eq!(resolve("http://127.0.0.1").unwrap().1, "127.0.0.1:8001");
        assert_eq!(resolve("http://[::1]").unwrap().0, "[::1]:8001".parse().unwrap());
        assert_eq!(resolve("http://[::1]:9").unwrap().0, "[::1]:9".parse().unwrap());
        assert!(resolve("https://127.0.0.1").unwrap_err().contains("plain HTTP"));
        for wrong in ["", "127.0.0.1:8001", "http://", "http://127.0.0.1/x", "http://a:b@127.0.0.1", "http://127.0.0.1:99999"] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
    }
}
