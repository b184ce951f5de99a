//! What a node's log says: its end for people, and whom it sees up for the harness.
//!
//! Asking `nodetool` takes seconds of two cores for each look; the log has the same events as they happen.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::Path;

/// How many lines that speak of errors are shown before the end: a node goes on to say much while it ends for one.
const ERRORS: usize = 5;

/// The last lines, and before them the last that speak of an error.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = since(path, 0);
    let all: Vec<&str> = text.lines().collect();
    let (before, last) = all.split_at(all.len().saturating_sub(lines));
    let errors: Vec<&str> = before.iter().filter(|line| line.contains("ERROR") || line.contains("Exception")).copied().collect();
    [&errors[errors.len().saturating_sub(ERRORS)..], last].concat().join("\n")
}

/// What came after that many bytes; nothing if it cannot be read.
pub(crate) fn since(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut bytes)
    });
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// How long it is now.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Whether the node that wrote this sees the other one up; `None` if it says nothing of it.
pub(crate) fn sees_up(log: &str, other: Ipv4Addr) -> Option<bool> {
    // With the port, or 127.1.1.1 would be found in 127.1.1.11.
    let (up, down) = (format!("/{other}:7000 is now UP"), format!("/{other}:7000 is now DOWN"));
    log.lines().rev().find_map(|line| {
        if line.contains(&up) {
            Some(true)
        } else if line.contains(&down) {
            Some(false)
        } else {
            None
        }
    })
}

/// Whether the node that wrote this, at that address, has joined the ring.
pub(crate) fn has_joined(log: &str, own: Ipv4Addr) -> bool {
    log.contains(&format!("/{own}:7000 state jump to NORMAL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_node_counts() {
        let other = Ipv4Addr::new(127, 1, 1, 1);
        assert_eq!(sees_up("InetAddress /127.1.1.11:7000 is now UP", other), None);
        let log = "InetAddress /127.1.1.1:7000 is now UP\nInetAddress /127.1.1.1:7000 is now DOWN\nInetAddress /127.1.1.2:7000 is now UP";
        assert_eq!(sees_up(log, other), Some(false));
        assert_eq!(sees_up(&format!("{log}\nNode /127.1.1.1:7000 has restarted, now UP"), other), Some(false));
        assert_eq!(sees_up(&format!("{log}\nInetAddress /127.1.1.1:7000 is now UP"), other), Some(true));
    }
}
