//! What an export is made of: lines of JSON, each an object with one key that says what it is.
//!
//! ```text
//! {"header":{"format":1,"weir":"0.1.0","cluster":"…","revision":57,"counts":{"services":1,…}}}
//! {"services":{"id":"…","name":"orders",…}}
//! {"components":{…}}
//! {"bytes":{"digest":"…","offset":0,"base64":"…"}}
//! {"end":{"lines":4,"digest":"…"}}
//! ```
//!
//! Entities come by kind in [`ORDER`], within a kind by id; behind a component come its bytes. Knows nothing of where lines go.

use super::FileFault;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use weir_model::{Digest, Entity, Id, Kind, Revision, Schema};

/// The form of the lines. A reader takes its own and no later one.
pub const FORMAT: u64 = 1;
/// The media type of an export.
pub const MEDIA_TYPE: &str = "application/x-ndjson";
/// Kinds in an order in which each points to earlier ones only. Components go before entries of plugins, which they judge.
pub const ORDER: [Kind; 6] = [Kind::Service, Kind::Route, Kind::Consumer, Kind::KeyAuth, Kind::Component, Kind::Plugin];
/// The longest line: the store takes 8 MiB in a transaction, so no entity is larger than that.
pub const LINE_BYTES_MOST: usize = 16 << 20;
/// Bytes of a component in one line: a line of 700 KiB, which is much smaller than the longest.
pub const CHUNK_BYTES: usize = 512 << 10;

/// A line.
#[derive(Clone, PartialEq, Debug)]
pub enum Line {
    /// The first one.
    Header(Header),
    /// An entity as the store has it: a ttl counts from `created_at`.
    Entity(Entity),
    /// A part of the bytes of the component before it.
    Bytes(Vec<u8>),
    /// The last one.
    End(End),
}

/// What the export is of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The form of what follows.
    pub format: u64,
    /// The version of weir that has written it.
    pub weir: String,
    /// Whose history it was.
    pub cluster: String,
    /// Of the state that all entities are of.
    pub revision: Revision,
    /// Entities of each kind, by the name of its path. Those that have expired are counted, and left out.
    pub counts: BTreeMap<String, u64>,
}

/// What tells a whole export from one that was cut or changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// Lines before this one.
    pub lines: u64,
    /// BLAKE3 of those lines, each with its line feed.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct Bytes {
    digest: Digest,
    offset: u64,
    base64: String,
}

/// A line as it is read: a part of a component with its place.
pub(super) enum Read {
    Header(Header),
    Entity(Entity),
    Bytes { digest: Digest, offset: u64, bytes: Vec<u8> },
    End(End),
}

/// Makes lines, and the last one of them.
#[derive(Default)]
pub struct Writer {
    lines: u64,
    hasher: blake3::Hasher,
}

impl Writer {
    fn line(&mut self, line: &Value) -> String {
        let mut text = line.to_string();
        text.push('\n');
        self.lines += 1;
        self.hasher.update(text.as_bytes());
        text
    }
    /// The first line.
    pub fn header(&mut self, header: &Header) -> String {
        self.line(&json!({ "header": header }))
    }
    /// An entity.
    pub fn entity(&mut self, entity: &Entity) -> String {
        self.line(&json!({ Schema::of(entity.kind).path: entity.body }))
    }
    /// At most [`CHUNK_BYTES`] of a component.
    pub fn bytes(&mut self, digest: Digest, offset: usize, bytes: &[u8]) -> String {
        self.line(&json!({ "bytes": Bytes { digest, offset: offset as u64, base64: STANDARD.encode(bytes) } }))
    }
    /// The last line.
    pub fn end(self) -> String {
        let end = End { lines: self.lines, digest: Digest::from_bytes(*self.hasher.finalize().as_bytes()) };
        format!("{}\n", json!({ "end": end }))
    }
    /// In place of the last line: why there is no more.
    pub fn failed(reason: &str) -> String {
        format!("{}\n", json!({ "failed": reason }))
    }
}

pub(super) fn read(line: &[u8], number: u64) -> Result<Read, FileFault> {
    let fault = |what: String| FileFault { line: number, what };
    let not_ours = || fault("this is no line of an export of Weir".to_owned());
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| fault(format!("no JSON object: {error}")))?;
    let mut fields = object.into_iter();
    let (Some((name, value)), None) = (fields.next(), fields.next()) else { return Err(not_ours()) };
    fn part<T: DeserializeOwned>(value: Value, number: u64) -> Result<T, FileFault> {
        serde_json::from_value(value).map_err(|error| FileFault { line: number, what: error.to_string() })
    }
    Ok(match (name.as_str(), value) {
        ("header", value) => {
            // Before anything else of it: a later format may have another form.
            let format = value.get("format").and_then(Value::as_u64).ok_or_else(not_ours)?;
            if format != FORMAT {
                let weir = value.get("weir").and_then(Value::as_str).unwrap_or("another version");
                return Err(fault(format!(
                    "the export has format {format}, made by weir {weir}; this version reads format {FORMAT}: use that one"
                )));
            }
            Read::Header(part(value, number)?)
        }
        ("bytes", value) => {
            let Bytes { digest, offset, base64 } = part(value, number)?;
            let bytes = STANDARD.decode(base64).map_err(|error| fault(format!("'base64' cannot be read: {error}")))?;
            Read::Bytes { digest, offset, bytes }
        }
        ("end", value) => Read::End(part(value, number)?),
        ("failed", Value::String(reason)) => {
            return Err(fault(format!("the node could not finish this export: {reason}")));
        }
        (path, Value::Object(body)) => {
            let kind = Schema::at_path(path).ok_or_else(|| fault(format!("there is no kind of entity '{path}'")))?.kind;
            let id = body.get("id").and_then(Value::as_str).and_then(Id::parse);
            Read::Entity(Entity { kind, id: id.ok_or_else(|| fault("the entity has no 'id'".to_owned()))?, body })
        }
        _ => return Err(not_ours()),
    })
}
