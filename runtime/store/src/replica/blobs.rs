//! Immutable bytes by digest, in chunks, and when they may go.
//!
//! A blob is put before the transaction that refers to it, so for a while nothing does; it is kept for a day then, and
//! for a day after the last reference is gone, because a writer may have been told that it is there already.

use super::{ReplicaError, State, StateTable, keys, query};
use crate::row::{Malformed, malformed, take_array};
use redb::ReadableTable;
use weir_model::Digest;

/// Largest blob. The largest component that the Admin API takes; a JavaScript one with its engine has 12 MiB.
pub(crate) const MAX_BLOB_BYTES: usize = 32 << 20;
/// Bytes of a chunk. What Cassandra writes well in one row; here it keeps the file from needing one long free stretch.
const CHUNK_BYTES: usize = 512 << 10;
/// How long an unused blob is kept, in seconds.
pub(crate) const KEEP_UNUSED_SECONDS: u64 = 24 * 60 * 60;

/// A table of chunks.
pub(crate) type ChunkTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// What is known of a blob.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Info {
    pub(crate) size: u64,
    /// Since when nothing uses it, in seconds of this machine's clock; without meaning while something does.
    pub(crate) unused_since: u64,
}
impl Info {
    fn encode(self) -> Vec<u8> {
        [self.size.to_le_bytes(), self.unused_since.to_le_bytes()].concat()
    }
    fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = &mut bytes;
        let (size, unused_since) = (take_array(bytes)?, take_array(bytes)?);
        Ok(Self { size: u64::from_le_bytes(size), unused_since: u64::from_le_bytes(unused_since) })
    }
}

/// The digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// What is known of a blob; nothing if it is not stored.
pub(crate) fn info(state: &impl State, digest: Digest) -> Result<Option<Info>, ReplicaError> {
    match state.get(keys::blob(digest).as_slice())? {
        Some(row) => Ok(Some(Info::decode(row.value())?)),
        None => Ok(None),
    }
}

/// Stores a blob, or makes one that is stored wait anew for its first use.
pub(crate) fn put(
    state: &mut StateTable<'_>,
    chunks: &mut ChunkTable<'_>,
    digest: Digest,
    bytes: &[u8],
    now: u64,
) -> Result<(), ReplicaError> {
    // The bytes are written again even if they are known: uploading anew mends a damaged copy.
    for (number, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
        chunks.insert(chunk_key(digest, number).as_slice(), chunk)?;
    }
    let info = Info { size: bytes.len() as u64, unused_since: now };
    state.insert(keys::blob(digest).as_slice(), info.encode().as_slice())?;
    Ok(())
}

/// The bytes as they are stored, which the caller checks against the digest; nothing if it is not stored.
pub(crate) fn read(
    state: &impl State,
    chunks: &impl ReadableTable<&'static [u8], &'static [u8]>,
    digest: Digest,
) -> Result<Option<Vec<u8>>, ReplicaError> {
    let Some(info) = info(state, digest)? else { return Ok(None) };
    let size = usize::try_from(info.size).ok().filter(|size| *size <= MAX_BLOB_BYTES);
    let size = size.ok_or_else(|| malformed(format!("the size of blob {digest}")))?;
    let mut bytes = Vec::with_capacity(size);
    for number in 0..size.div_ceil(CHUNK_BYTES) {
        // A missing chunk shows as a wrong digest, like any other damage.
        if let Some(chunk) = chunks.get(chunk_key(digest, number).as_slice())? {
            bytes.extend(chunk.value());
        }
    }
    Ok(Some(bytes))
}

/// Notes that a use of a blob has ended.
pub(crate) fn note_release(state: &mut StateTable<'_>, digest: Digest, now: u64) -> Result<(), ReplicaError> {
    let Some(info) = info(state, digest)? else { return Ok(()) };
    let info = Info { unused_since: now, ..info };
    state.insert(keys::blob(digest).as_slice(), info.encode().as_slice())?;
    Ok(())
}

/// Removes the blobs that nothing has used for a day; answers how many.
pub(crate) fn collect(state: &mut StateTable<'_>, chunks: &mut ChunkTable<'_>, now: u64) -> Result<usize, ReplicaError> {
    let mut stale = Vec::new();
    for row in query::rows_under(state, keys::BLOBS, None)? {
        let (key, value) = row?;
        let digest = key.value().last_chunk::<32>().map(|digest| Digest::from_bytes(*digest));
        let (Some(digest), info) = (digest, Info::decode(value.value())?) else { continue };
        if now.saturating_sub(info.unused_since) >= KEEP_UNUSED_SECONDS {
            stale.push((digest, info.size));
        }
    }
    let mut collected = 0;
    for (digest, size) in stale {
        if query::rows_under(state, &keys::blob_uses(digest), None)?.next().is_some() {
            continue;
        }
        state.remove(keys::blob(digest).as_slice())?;
        for number in 0..size.div_ceil(CHUNK_BYTES as u64) {
            chunks.remove(chunk_key(digest, usize::try_from(number).unwrap_or(usize::MAX)).as_slice())?;
        }
        collected += 1;
    }
    Ok(collected)
}

fn chunk_key(digest: Digest, number: usize) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(digest.as_bytes());
    // At most 64 chunks make a blob; big-endian, so that chunks lie in their order.
    key[32..].copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    key
}
