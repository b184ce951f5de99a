//! What a phase answers: go on, reply, or "I failed".

use crate::header::HeaderFault;
use std::borrow::Cow;
use std::fmt;

/// What a plugin decides about the exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The next plugin; after the last one the upstream or the client.
    Proceed,
    /// This is the reply.
    Respond(Reply),
}

/// A reply that a plugin makes. At most 100 headers and 64 KiB of body; the gateway sets `content-length`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Lower-case names and their values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An empty reply.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }
    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
    /// The gateway's form of an error: `{"message": …, "request_id": …}`. `request_id` is [`crate::Exchange::id`].
    pub fn error(status: u16, message: &str, request_id: &str) -> Self {
        let body = serde_json::json!({ "message": message, "request_id": request_id });
        Self::new(status).header("content-type", "application/json; charset=utf-8").body(body.to_string())
    }
}

impl From<Reply> for Flow {
    fn from(reply: Reply) -> Self {
        Flow::Respond(reply)
    }
}

/// What a phase answers. `Err` means that the plugin failed, not that it denies.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a plugin failed: goes to the node's log, never to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error(Cow<'static, str>);

impl Error {
    /// With these words.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }
    /// The words.
    pub fn message(&self) -> &str {
        &self.0
    }
    /// The words, owned, for the host.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_message(self) -> String {
        self.0.into_owned()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}

impl From<HeaderFault> for Error {
    fn from(fault: HeaderFault) -> Self {
        Self(Cow::Borrowed(fault.as_str()))
    }
}
