//! A row of the journal as bytes, and the changes in it.
//!
//! The bytes are what the chain of heads covers, so a body travels as the text that was hashed and is never written
//! anew from its parsed form. Reading is total: any bytes give changes or an error, never a panic.

use crate::canonical::object_text;
use crate::hash::StateSum;
use weir_model::{Entity, Id, Kind, Op};

/// The layout of rows and of the state that this version writes. A reader that meets another number stops there: a
/// field that it does not know could change what the fold should do.
pub(crate) const FORMAT: u32 = 1;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// An op together with the canonical text of its body.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    Put { entity: Entity, body: Vec<u8> },
    Delete { kind: Kind, id: Id },
}

impl Change {
    pub(crate) fn of(op: Op) -> Self {
        match op {
            Op::Put(entity) => {
                let body = object_text(&entity.body);
                Self::Put { entity, body }
            }
            Op::Delete { kind, id } => Self::Delete { kind, id },
        }
    }
    pub(crate) fn into_op(self) -> Op {
        match self {
            Self::Put { entity, .. } => Op::Put(entity),
            Self::Delete { kind, id } => Op::Delete { kind, id },
        }
    }
    pub(crate) fn key(&self) -> (Kind, Id) {
        match self {
            Self::Put { entity, .. } => (entity.kind, entity.id),
            Self::Delete { kind, id } => (*kind, *id),
        }
    }
}

/// Bytes that are not what this version writes.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

pub(crate) fn malformed(what: impl Into<String>) -> Malformed {
    Malformed(what.into())
}

/// Parses the text of a body.
pub(crate) fn parse_entity(kind: Kind, id: Id, body: &[u8]) -> Result<Entity, Malformed> {
    let body = serde_json::from_slice(body).map_err(|error| malformed(format!("the body of {kind:?} {id}: {error}")))?;
    Ok(Entity { kind, id, body })
}

/// The changes as bytes: per change its tag, kind and id, and for a put the length and text of the body.
pub(crate) fn encode_changes(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    for change in changes {
        let (kind, id) = change.key();
        let tag = if matches!(change, Change::Put { .. }) { PUT } else { DELETE };
        out.extend([tag, kind.number()]);
        out.extend(id.as_bytes());
        if let Change::Put { body, .. } = change {
            // A transaction is at most 8 MiB, so the length fits; a longer one would fail to decode, not be cut.
            out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(body);
        }
    }
    out
}

/// Reads what `encode_changes` wrote.
pub(crate) fn decode_changes(mut bytes: &[u8]) -> Result<Vec<Change>, Malformed> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let [tag, kind] = take_array(&mut bytes)?;
        let kind = Kind::from_number(kind).ok_or_else(|| malformed(format!("kind {kind} is not known")))?;
        let id = Id::from_bytes(take_array(&mut bytes)?);
        changes.push(match tag {
            PUT => {
                let length = u32::from_le_bytes(take_array(&mut bytes)?) as usize;
                let body = take(&mut bytes, length)?.to_vec();
                Change::Put { entity: parse_entity(kind, id, &body)?, body }
            }
            DELETE => Change::Delete { kind, id },
            other => return Err(malformed(format!("operation {other} is not known"))),
        });
    }
    Ok(changes)
}

/// One row of the journal.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) format: u32,
    /// Seconds of this machine's clock when it was appended. Only used to keep rows for a while; not part of the chain.
    pub(crate) appended: u64,
    pub(crate) previous: [u8; 32],
    pub(crate) head: [u8; 32],
    pub(crate) state: StateSum,
    /// The changes, encoded.
    pub(crate) ops: Vec<u8>,
}

impl Row {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(108 + self.ops.len());
        out.extend(self.format.to_le_bytes());
        out.extend(self.appended.to_le_bytes());
        out.extend(self.previous);
        out.extend(self.head);
        out.extend(self.state.0);
        out.extend(&self.ops);
        out
    }
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let row = Self::take_head(&mut bytes)?;
        Ok(Self { ops: bytes.to_vec(), ..row })
    }
    /// Everything but the ops.
    pub(crate) fn decode_head(mut bytes: &[u8]) -> Result<Self, Malformed> {
        Self::take_head(&mut bytes)
    }
    fn take_head(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let format = u32::from_le_bytes(take_array(bytes)?);
        if format != FORMAT {
            return Err(malformed(format!("a row of the journal has format {format}; this version knows {FORMAT}")));
        }
        Ok(Self {
            format,
            appended: u64::from_le_bytes(take_array(bytes)?),
            previous: take_array(bytes)?,
            head: take_array(bytes)?,
            state: StateSum(take_array(bytes)?),
            ops: Vec::new(),
        })
    }
}

/// Takes the first `N` bytes.
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or_else(|| malformed("a row ends too early"))?;
    *bytes = rest;
    Ok(*first)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (first, rest) = bytes.split_at_checked(length).ok_or_else(|| malformed("a row ends too early"))?;
    *bytes = rest;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes() -> Vec<Change> {
        let id = Id::from_bytes([3; 16]);
        let body = json!({"name": "a", "id": id.to_string(), "port": 80.5}).as_object().unwrap().clone();
        vec![
            Change::of(Op::Put(Entity { kind: Kind::Service, id, body })),
            Change::Delete { kind: Kind::Route, id: Id::from_bytes([4; 16]) },
        ]
    }

    #[test]
    fn a_cut_row_is_an_error_and_never_a_panic() {
        let bytes = encode_changes(&changes());
        let whole: Vec<usize> = (0..=bytes.len()).filter(|&length| decode_changes(&bytes[..length]).is_ok()).collect();
        // Only the borders between changes read well.
        assert_eq!(whole, [0, bytes.len() - 18, bytes.len()]);
    }

    #[test]
    fn rows_and_changes_come_back_as_written() {
        let ops = encode_changes(&changes());
        let row = Row { format: FORMAT, appended: 9, previous: [1; 32], head: [2; 32], state: StateSum([3; 32]), ops };
        let read = Row::decode(&row.encode()).unwrap();
        assert_eq!(read, row);
        assert_eq!(decode_changes(&read.ops).unwrap(), changes());
    }

    #[test]
    fn a_newer_format_is_refused() {
        let row = Row {
            format: FORMAT + 1,
            appended: 0,
            previous: [0; 32],
            head: [0; 32],
            state: StateSum::default(),
            ops: Vec::new(),
        };
        assert!(Row::decode(&row.encode()).unwrap_err().to_string().contains("format 2"));
    }
}
