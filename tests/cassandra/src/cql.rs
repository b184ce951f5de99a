//! One exchange of the native protocol, to see whether a node answers: OPTIONS, which needs no start-up and no login.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Version 4, no flags, stream 0, OPTIONS, no body.
const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
/// A version-4 answer, and SUPPORTED.
const ANSWER: u8 = 0x84;
const SUPPORTED: u8 = 0x06;

/// Whether the node answers OPTIONS within that time.
pub(crate) fn answers(address: SocketAddr, within: Duration) -> bool {
    ask(address, within).is_ok_and(|head| head[0] == ANSWER && head[4] == SUPPORTED)
}

fn ask(address: SocketAddr, within: Duration) -> io::Result<[u8; 9]> {
    let end = Instant::now() + within;
    let mut stream = TcpStream::connect_timeout(&address, within)?;
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.write_all(&OPTIONS)?;
    let mut head = [0; 9];
    // Nine bytes of one segment: a second read happens only to a node that has answered already.
    stream.read_exact(&mut head)?;
    Ok(head)
}
