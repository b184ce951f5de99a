//! As much HTTP/1.1 as the sample and the tour need: one request a connection, and an upstream that says what it got.
//!
//! Only the standard library, so that `cargo xtask` is built in seconds. Not for the gateway's tests of framing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Whoever takes longer to answer on loopback hangs.
const WAIT: Duration = Duration::from_secs(30);
/// Larger than any answer of the tour.
const BYTES_MOST: u64 = 4 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// `host:port`.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Without host, content-length and connection.
    pub headers: Vec<(String, String)>,
    /// Empty: none.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The number.
    pub status: u16,
    /// Status line and headers as they came.
    pub head: String,
    /// Without chunk framing.
    pub body: String,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head.lines().skip(1), name)
    }
}

fn header<'a>(mut lines: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    lines.find_map(|line| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
}

/// Sends a request and reads the whole answer.
pub fn send(request: &Request) -> io::Result<Response> {
    let address: SocketAddr = request.authority.replace("localhost", "127.0.0.1").parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let mut head =
        format!("{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", request.method, request.target, request.authority);
    for (name, value) in &request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !request.body.is_empty() {
        head += &format!("content-length: {}\r\n", request.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&request.body)?;
    read_response(&mut BufReader::new(stream.take(BYTES_MOST)))
}

fn read_response(stream: &mut impl BufRead) -> io::Result<Response> {
    let head = read_head(stream)?;
    let malformed = || io::Error::other(format!("not an answer: {head:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
    let mut body = Vec::new();
    if header(head.lines(), "transfer-encoding").is_some() {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = header(head.lines(), "content-length") {
        stream.take(length.parse().map_err(io::Error::other)?).read_to_end(&mut body)?;
    } else if status != 204 && status != 304 {
        stream.read_to_end(&mut body)?;
    }
    Ok(Response { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

fn read_head(stream: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while stream.read_line(&mut head)? > 2 && !head.ends_with("\r\n\r\n") {}
    Ok(head)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut size = String::new();
        stream.read_line(&mut size)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        stream.take(size).read_to_end(body)?;
        stream.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// An upstream that answers every request with what it got, as JSON. Lives as long as the process; returns its address.
pub fn start_echo(address: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    Ok(bound)
}

/// Serves one connection to its end. What goes wrong there is the client's.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let head = read_head(&mut reader)?;
        if head.trim().is_empty() {
            return Ok(());
        }
        let length = header(head.lines(), "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        io::copy(&mut Read::by_ref(&mut reader).take(length), &mut io::sink())?;
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| format!("    {}: {}", quoted(&name.to_ascii_lowercase()), quoted(value.trim())))
            .collect();
        let (method, path, headers) = (quoted(method), quoted(path), headers.join(",\n"));
        let body = format!("{{\n  \"method\": {method},\n  \"path\": {path},\n  \"headers\": {{\n{headers}\n  }}\n}}\n");
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}

fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_says_what_it_got() {
        let address = start_echo("127.0.0.1:0").unwrap();
        let request = Request {
            method: "POST".into(),
            authority: address.to_string(),
            target: "/a?b=c".into(),
            headers: vec![("X-Odd".into(), "say \"hi\"".into())],
            body: b"ignored".to_vec(),
        };
        let response = send(&request).unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        assert!(
            response.body.contains(r#""x-odd": "say \"hi\"""#) && response.body.contains(r#""path": "/a?b=c""#),
            "{}",
            response.body
        );
    }

    #[test]
    fn chunked_answers_are_joined() {
        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(read_response(&mut text.as_bytes()).unwrap().body, "abcde");
    }
}
