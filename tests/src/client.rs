//! A client that speaks HTTP/1.1 over sockets of its own: blocking calls for tests that read as a list, and raw bytes.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Every wait for an answer ends here: the gateway's own time-outs are shorter, or set by the test.
const ANSWER_WAIT: Duration = Duration::from_secs(90);

/// Opens a connection for each request, unless a [`Connection`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    address: SocketAddr,
}

/// A request that is being put together.
pub struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The number.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without framing.
    pub body: Vec<u8>,
}

/// One connection, kept, and opened anew after an answer that announced its end.
pub struct Connection {
    reader: BufReader<TcpStream>,
    host: SocketAddr,
    is_over: bool,
}

impl Client {
    /// Of that address.
    pub fn of(address: SocketAddr) -> Self {
        Self { address }
    }
    /// Any request.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let (method, target) = (method.to_owned(), target.to_owned());
        Request { address: self.address, method, target, headers: Vec::new(), body: Vec::new() }
    }
    /// A GET.
    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }
    /// A connection for several requests.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address).unwrap_or_else(|error| panic!("{}: {error}", self.address))
    }
    /// Sends bytes as they are and reads until the other side closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the address listens");
        stream.set_read_timeout(Some(ANSWER_WAIT)).expect("a socket takes a time-out");
        stream.write_all(bytes).expect("the gateway reads");
        let mut answer = Vec::new();
        // A reset after the answer is as good an end as any.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Request {
    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
    /// On a connection of its own; an answer must come.
    pub fn send(self) -> Reply {
        let what = format!("{} {}{}", self.method, self.address, self.target);
        self.try_send().unwrap_or_else(|error| panic!("{what}: {error}"))
    }
    /// On a connection of its own.
    pub fn try_send(self) -> std::io::Result<Reply> {
        Connection::open(self.address)?.send(&self.header("connection", "close"))
    }
    /// On a kept connection.
    pub fn send_on(self, connection: &mut Connection) -> std::io::Result<Reply> {
        connection.send(&self)
    }
}

impl Connection {
    /// Opens one.
    pub fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream), host: address, is_over: false })
    }
    fn send(&mut self, request: &Request) -> std::io::Result<Reply> {
        if self.is_over {
            *self = Self::open(self.host)?;
        }
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("host: {}\r\n", self.host);
        }
        request.headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        if !request.body.is_empty() {
            text += &format!("content-length: {}\r\n", request.body.len());
        }
        let bytes = [format!("{text}\r\n").as_bytes(), &request.body].concat();
        self.reader.get_mut().write_all(&bytes)?;
        let reply = self.read(request.method == "HEAD")?;
        self.is_over = reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(reply)
    }
    /// `UnexpectedEof`: closed before the answer began, as a server may do with an idle connection. Any other error: cut.
    fn read(&mut self, head_only: bool) -> std::io::Result<Reply> {
        let status_line = self.line()?;
        self.rest(&status_line, head_only)
            .map_err(|error| std::io::Error::other(format!("cut in the middle of an answer: {error}")))
    }
    fn rest(&mut self, status_line: &str, head_only: bool) -> std::io::Result<Reply> {
        let bad = || std::io::Error::other(format!("not a status line: {status_line:?}"));
        let status = status_line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
        let mut reply = Reply { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                Some((name, value)) => reply.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        if head_only || status == 204 || status == 304 {
        } else if let Some(length) = reply.header("content-length") {
            let length = length.parse().map_err(std::io::Error::other)?;
            reply.body.resize(length, 0);
            self.reader.read_exact(&mut reply.body)?;
        } else if reply.header("transfer-encoding").is_some() {
            self.chunks(&mut reply.body)?;
        } else {
            self.reader.read_to_end(&mut reply.body)?;
        }
        Ok(reply)
    }
    fn chunks(&mut self, body: &mut Vec<u8>) -> std::io::Result<()> {
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16).map_err(std::io::Error::other)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.reader.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Reply {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// As JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
    /// The same, if it has that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
}
