//! The Admin API of a node as commands ask it.
//!
//! Knows no entities. TLS is left to those who have it: commands run on the node's machine, or through a tunnel.

use crate::control;
use crate::http::{self, Reply, Request};
use crate::settings::{Secret, Settings, Whereabouts};
use serde_json::Value;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Between two reads. The slowest answer compiles a large component and asks it about every entry.
const ANSWER_WAIT: Duration = Duration::from_secs(300);
/// The largest answer that is read whole: a page of entities, of which one has at most 8 MiB and usually 500 bytes.
const ANSWER_BYTES_MOST: u64 = 128 << 20;
/// Where the Admin API is when an address has no port.
const PORT: u16 = 8001;

/// One Admin API.
pub struct AdminApi {
    address: SocketAddr,
    host: String,
    token: Option<String>,
    wait: Duration,
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
            return Some(Self { address, host: address.to_string(), token, wait: ANSWER_WAIT });
        };
        match resolve(url) {
            Ok((address, host)) => Some(Self { address, host, token, wait: ANSWER_WAIT }),
            Err(reason) => {
                eprintln!("weir: --admin {url}: {reason}");
                None
            }
        }
    }
    /// Its host and port.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// For messages.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }
    /// The same, for answers that take longer than usual.
    pub fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
    /// Sends a request and reads the head of its answer.
    pub fn open(&self, method: &str, path: &str, sent: Sent) -> io::Result<Reply> {
        let (content_type, body) = match sent {
            Sent::Nothing => ("", &[][..]),
            Sent::Json(text) => ("content-type: application/json\r\n", text.as_bytes()),
            Sent::Wasm(bytes) => ("content-type: application/wasm\r\n", bytes),
        };
        let token = self.token.as_ref().map(|token| format!("kong-admin-token: {token}\r\n")).unwrap_or_default();
        let headers = format!("{token}{content_type}");
        let (address, host, wait) = (self.address, self.host.as_str(), self.wait);
        http::send(&Request { address, host, method, path, headers: &headers, body, wait })
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
