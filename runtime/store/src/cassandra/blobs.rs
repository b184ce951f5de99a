//! Bytes by digest in Cassandra: chunks of an upload, whole or not believed.

use super::connection::Prepared;
use crate::replica::blobs::{MAX_BLOB_BYTES, digest};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use std::collections::BTreeMap;
use uuid::Uuid;
use weir_model::{Digest, Id};

/// Bytes of a chunk: what one row holds well.
const CHUNK_BYTES: usize = 512 << 10;

/// Stores bytes at QUORUM. Always written, under an upload of its own: what is there already may be about to be collected.
pub(super) async fn put(prepared: &Prepared, bytes: &[u8]) -> Result<Digest, String> {
    put_named(prepared, bytes).await.map(|(digest, _)| digest)
}

/// The same; answers the upload as well, for whoever will delete it.
pub(super) async fn put_named(prepared: &Prepared, bytes: &[u8]) -> Result<(Digest, Id), String> {
    let (digest, upload) = (digest(bytes), Uuid::new_v4());
    let size = bytes.len().cast_signed() as i64;
    // An empty blob has one empty chunk, so that it is there.
    let chunks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(CHUNK_BYTES).collect() };
    for (number, chunk) in chunks.into_iter().enumerate() {
        let number = i32::try_from(number).map_err(|_| "a blob is too large")?;
        let values = (digest.as_bytes().as_slice(), upload, number, size, chunk);
        prepared.session.execute_unpaged(&prepared.put_chunk, values).await.map_err(|error| error.to_string())?;
    }
    Ok((digest, Id::from_bytes(*upload.as_bytes())))
}

/// Deletes an upload.
pub(super) async fn forget(prepared: &Prepared, digest: Digest, upload: Id) -> Result<(), String> {
    let mut delete = Statement::new("DELETE FROM blobs WHERE digest = ? AND upload = ?");
    delete.set_consistency(Consistency::Quorum);
    let values = (digest.as_bytes().as_slice(), Uuid::from_bytes(*upload.as_bytes()));
    prepared.session.query_unpaged(delete, values).await.map(drop).map_err(|error| error.to_string())
}

/// The bytes with that digest; nothing if no upload of them is whole.
pub(super) async fn read(prepared: &Prepared, wanted: Digest) -> Result<Option<Vec<u8>>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = wanted.as_bytes().as_slice();
    let listed = prepared.session.execute_unpaged(&prepared.list_chunks, (key,)).await.map_err(|error| text(&error))?;
    let listed = listed.into_rows_result().map_err(|error| text(&error))?;
    let mut uploads = BTreeMap::<Uuid, (i64, usize)>::new();
    for row in listed.rows::<(Uuid, i32, Option<i64>)>().map_err(|error| text(&error))? {
        let (upload, _, size) = row.map_err(|error| text(&error))?;
        let entry = uploads.entry(upload).or_insert((size.unwrap_or(-1), 0));
        entry.1 += 1;
    }
    for (upload, (size, chunks)) in uploads {
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= MAX_BLOB_BYTES) else { continue };
        if chunks != size.div_ceil(CHUNK_BYTES).max(1) {
            continue;
        }
        let mut bytes = Vec::with_capacity(size);
        for number in 0..chunks {
            let number = i32::try_from(number).map_err(|_| "a blob is too large")?;
            let result =
                prepared.session.execute_unpaged(&prepared.chunk, (key, upload, number)).await.map_err(|error| text(&error))?;
            let rows = result.into_rows_result().map_err(|error| text(&error))?;
            let row = rows.maybe_first_row::<(Option<Vec<u8>>,)>().map_err(|error| text(&error))?;
            bytes.extend(row.and_then(|(chunk,)| chunk).unwrap_or_default());
        }
        // A chunk that is not what was written spoils this upload, and no other.
        if digest(&bytes) == wanted {
            return Ok(Some(bytes));
        }
        tracing::warn!(digest = %wanted, %upload, "an upload in the store does not have its digest");
    }
    Ok(None)
}
