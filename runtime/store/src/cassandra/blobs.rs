//! Bytes by digest in Cassandra: chunks of an upload, whole or not believed.

use super::connection::Prepared;
use super::sealing::{OVERHEAD_BYTES, Place};
use crate::local::authority::Unread;
use crate::replica::blobs::{MAX_BLOB_BYTES, digest};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use std::collections::BTreeMap;
use uuid::Uuid;
use weir_model::{Digest, Id};

/// Bytes of a chunk: what one row holds well.
const CHUNK_BYTES: usize = 512 << 10;
/// Largest blob as it is stored: a largest component, sealed.
const STORED_MOST: usize = MAX_BLOB_BYTES + OVERHEAD_BYTES;

/// Stores bytes at QUORUM. Always written, under an upload of its own: what is there already may be about to be collected.
pub(super) async fn put(prepared: &Prepared, bytes: &[u8]) -> Result<Digest, String> {
    put_named(prepared, bytes).await.map(|(digest, _)| digest)
}

/// The same; answers the upload as well, for whoever will delete it.
pub(super) async fn put_named(prepared: &Prepared, bytes: &[u8]) -> Result<(Digest, Id), String> {
    let digest = digest(bytes);
    Ok((digest, upload(prepared, digest, bytes).await?))
}

async fn upload(prepared: &Prepared, name: Digest, bytes: &[u8]) -> Result<Id, String> {
    let upload = Uuid::new_v4();
    let size = bytes.len().cast_signed() as i64;
    // An empty blob has one empty chunk, so that it is there.
    let chunks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(CHUNK_BYTES).collect() };
    for (number, chunk) in chunks.into_iter().enumerate() {
        let number = i32::try_from(number).map_err(|_| "a blob is too large")?;
        let values = (name.as_bytes().as_slice(), upload, number, size, chunk);
        prepared.session.execute_unpaged(&prepared.put_chunk, values).await.map_err(|error| prepared.reason(&error))?;
    }
    Ok(Id::from_bytes(*upload.as_bytes()))
}

/// Deletes an upload.
pub(super) async fn forget(prepared: &Prepared, digest: Digest, upload: Id) -> Result<(), String> {
    let mut delete = Statement::new("DELETE FROM blobs WHERE digest = ? AND upload = ?");
    delete.set_consistency(Consistency::Quorum);
    let values = (digest.as_bytes().as_slice(), Uuid::from_bytes(*upload.as_bytes()));
    prepared.session.query_unpaged(delete, values).await.map(drop).map_err(|error| error.to_string())
}

/// The bytes with that digest; nothing if no upload of them is whole.
pub(super) async fn read(prepared: &Prepared, wanted: Digest) -> Result<Option<Vec<u8>>, Unread> {
    find(prepared, wanted, |bytes| Some(bytes).filter(|bytes| digest(bytes) == wanted)).await
}

/// Stores a component, sealed, for [`component`].
pub(super) async fn put_component(prepared: &Prepared, bytes: &[u8]) -> Result<(), String> {
    let digest = digest(bytes);
    let stored = prepared.sealing.seal(&Place::Component(digest), bytes)?;
    upload(prepared, prepared.sealing.name(digest), &stored).await.map(drop)
}

/// The component with that digest; nothing if no upload of it is whole.
pub(super) async fn component(prepared: &Prepared, wanted: Digest) -> Result<Option<Vec<u8>>, Unread> {
    let open = |stored| prepared.sealing.open(&Place::Component(wanted), stored).filter(|bytes| digest(bytes) == wanted);
    find(prepared, prepared.sealing.name(wanted), open).await
}

/// The first upload under that name that is whole, and what `open` makes of it.
async fn find(prepared: &Prepared, name: Digest, open: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Unread> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = name.as_bytes().as_slice();
    let listed =
        prepared.session.execute_unpaged(&prepared.list_chunks, (key,)).await.map_err(|error| prepared.reason(&error))?;
    let listed = listed.into_rows_result().map_err(|error| text(&error))?;
    let mut uploads = BTreeMap::<Uuid, (i64, usize)>::new();
    for row in listed.rows::<(Uuid, i32, Option<i64>)>().map_err(|error| text(&error))? {
        let (upload, _, size) = row.map_err(|error| text(&error))?;
        let entry = uploads.entry(upload).or_insert((size.unwrap_or(-1), 0));
        entry.1 += 1;
    }
    let mut altered = false;
    'uploads: for (upload, (size, chunks)) in uploads {
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= STORED_MOST) else { continue };
        if chunks != size.div_ceil(CHUNK_BYTES).max(1) {
            continue;
        }
        let mut bytes = Vec::with_capacity(size);
        for number in 0..chunks {
            let number = i32::try_from(number).map_err(|_| "a blob is too large".to_owned())?;
            let result = prepared
                .session
                .execute_unpaged(&prepared.chunk, (key, upload, number))
                .await
                .map_err(|error| prepared.reason(&error))?;
            let rows = result.into_rows_result().map_err(|error| text(&error))?;
            let row = rows.maybe_first_row::<(Option<Vec<u8>>,)>().map_err(|error| text(&error))?;
            // Somebody is deleting it.
            let Some((Some(chunk),)) = row else { continue 'uploads };
            bytes.extend(chunk);
        }
        // A chunk that is not what was written spoils this upload, and no other.
        if let Some(bytes) = open(bytes) {
            return Ok(Some(bytes));
        }
        altered = true;
        tracing::warn!(digest = %name, %upload, "an upload in the store is not what its digest says");
    }
    match altered {
        true => Err(Unread::Altered(format!("what the table blobs has under {name} was altered in the store"))),
        false => Ok(None),
    }
}
