//! Reads an export: line by line, with the memory of one line, and nothing that is not whole and in order.

use super::lines::{self, End, LINE_BYTES_MOST, Line, ORDER, Read};
use std::io::{BufRead, Read as _};
use weir_model::{Digest, Entity, Id, Kind};

/// What is wrong with an export, and where.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FileFault {
    /// From 1.
    pub line: u64,
    /// For people.
    pub what: String,
}

/// Reads the lines of an export. What it answers is in order and whole as far as that can be known yet: whether all of it is, is
/// known at [`Line::End`].
pub struct Reader<R> {
    input: R,
    raw: Vec<u8>,
    number: u64,
    hasher: blake3::Hasher,
    begun: bool,
    ended: bool,
    last: Option<(usize, Id)>,
    open: Option<OpenBytes>,
}

/// The bytes of a component, of which some are to come.
struct OpenBytes {
    digest: Digest,
    size: u64,
    came: u64,
    hasher: blake3::Hasher,
}

impl<R: BufRead> Reader<R> {
    /// Of that text.
    pub fn new(input: R) -> Self {
        let hasher = blake3::Hasher::new();
        Self { input, raw: Vec::new(), number: 0, hasher, begun: false, ended: false, last: None, open: None }
    }
    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// The text of the line that was read last, with its line feed.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
    /// The next line; nothing after the last one.
    pub fn next_line(&mut self) -> Result<Option<Line>, FileFault> {
        if self.ended {
            return Ok(None);
        }
        self.fetch()?;
        let read = lines::read(&self.raw, self.number)?;
        if self.begun == matches!(read, Read::Header(_)) {
            return Err(self.fault(if self.begun { "a second header" } else { "an export of Weir begins with a header" }));
        }
        self.begun = true;
        if let (Some(open), false) = (&self.open, matches!(read, Read::Bytes { .. })) {
            let (came, size) = (open.came, open.size);
            return Err(self.fault(format!("{came} of {size} bytes of the component before it are there")));
        }
        let line = match read {
            Read::Header(header) => Line::Header(header),
            Read::Entity(entity) => self.entity(entity)?,
            Read::Bytes { digest, offset, bytes } => self.bytes(digest, offset, bytes)?,
            Read::End(end) => return self.end(end).map(Some),
        };
        self.hasher.update(&self.raw);
        Ok(Some(line))
    }

    fn fault(&self, what: impl Into<String>) -> FileFault {
        FileFault { line: self.number, what: what.into() }
    }

    /// Reads one line.
    fn fetch(&mut self) -> Result<(), FileFault> {
        self.raw.clear();
        let read = (&mut self.input).take(LINE_BYTES_MOST as u64 + 1).read_until(b'\n', &mut self.raw);
        let before = self.number;
        self.number += 1;
        read.map_err(|error| self.fault(format!("cannot be read: {error}")))?;
        if self.raw.len() > LINE_BYTES_MOST {
            return Err(self.fault(format!("longer than {LINE_BYTES_MOST} bytes")));
        }
        if self.raw.last() != Some(&b'\n') {
            return Err(self.fault(match before {
                0 if self.raw.is_empty() => "it is empty".to_owned(),
                _ => "it ends here, before its last line: it was cut".to_owned(),
            }));
        }
        Ok(())
    }

    fn entity(&mut self, entity: Entity) -> Result<Line, FileFault> {
        let place = (ORDER.iter().position(|kind| *kind == entity.kind).unwrap_or(ORDER.len()), entity.id);
        if self.last.is_some_and(|last| last >= place) {
            return Err(self.fault("not in order: entities come by kind, and within a kind by id"));
        }
        self.last = Some(place);
        if entity.kind == Kind::Component {
            let digest = entity.text("digest").and_then(|digest| digest.parse().ok());
            let size = entity.body.get("size").and_then(serde_json::Value::as_u64);
            let (Some(digest), Some(size)) = (digest, size) else {
                return Err(self.fault("a component has a 'digest' and a 'size'"));
            };
            self.open = Some(OpenBytes { digest, size, came: 0, hasher: blake3::Hasher::new() });
        }
        Ok(Line::Entity(entity))
    }

    fn bytes(&mut self, digest: Digest, offset: u64, bytes: Vec<u8>) -> Result<Line, FileFault> {
        let fault = |what: &str| FileFault { line: self.number, what: what.to_owned() };
        let open = self.open.as_mut().ok_or_else(|| fault("bytes without a component before them"))?;
        if open.digest != digest || open.came != offset || bytes.is_empty() {
            return Err(fault("not the bytes that come next"));
        }
        open.came += bytes.len() as u64;
        open.hasher.update(&bytes);
        if open.came > open.size {
            return Err(fault("more bytes than the component has"));
        }
        if open.came == open.size {
            if open.hasher.finalize().as_bytes() != digest.as_bytes() {
                return Err(fault("the bytes of the component do not have its digest: the file was changed or damaged"));
            }
            self.open = None;
        }
        Ok(Line::Bytes(bytes))
    }

    fn end(&mut self, end: End) -> Result<Line, FileFault> {
        let before = self.number - 1;
        if end.lines != before {
            return Err(self.fault(format!("{} lines should come before the last one, and {before} do", end.lines)));
        }
        if self.hasher.finalize().as_bytes() != end.digest.as_bytes() {
            return Err(self.fault("the lines do not have the digest of the export: the file was changed or damaged"));
        }
        self.ended = true;
        match self.input.fill_buf() {
            Ok([]) => Ok(Line::End(end)),
            Ok(_) => Err(self.fault("something comes after the last line")),
            Err(error) => Err(self.fault(format!("cannot be read: {error}"))),
        }
    }
}
