//! Collects bytes that nobody refers to any more: changes of rows that went, pieces of checkpoints that were replaced, components that
//! were deleted, or never named.
//!
//! Judged by a node that has all there is. What the state, the rows that stay and the last two checkpoints refer to stays. Of the rest each
//! upload goes by itself, once it is old: somebody may just now upload the same bytes again, or be about to refer to what he uploaded.

use super::connection::{Prepared, READ_LIMIT};
use super::{blobs, checkpoint, partition};
use crate::local::authority::Unread;
use crate::local::view::LocalView;
use crate::replica::fold::blob_of;
use crate::row::{self, Change, FORMAT};
use scylla::response::PagingState;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;
use weir_model::{Digest, Id, Revision};

/// Names of one page.
const PAGE_ROWS: i32 = 1000;
/// Names that are looked at in one turn: 32 MB of them. What is beyond is for a later turn, when these are fewer.
const NAMES_MOST: usize = 1_000_000;

/// Deletes uploads that nobody refers to and that are older than `older`; answers how many. Nothing if this node is behind, or what there
/// is cannot be told for certain.
pub(super) async fn collect(prepared: &Prepared, view: &Arc<LocalView>, older: Duration) -> Result<Option<usize>, String> {
    let Some(end) = partition::end(prepared, &prepared.tip.serial).await? else { return Ok(None) };
    let meta = view.meta();
    if end.cluster != meta.cluster || end.revision != meta.tip.revision {
        return Ok(None);
    }
    // Before what is referred to: a reference that is made meanwhile is seen then, or its upload is too young.
    let there: Vec<Digest> = column(prepared, "SELECT DISTINCT digest FROM blobs", None, NAMES_MOST).await?;
    let Some(kept) = checkpoint::referred(prepared, &end).await.map_err(text)? else { return Ok(None) };
    let mut kept: HashSet<Digest> = kept.into_iter().collect();
    kept.extend(checkpoint::components(view)?.into_iter().map(|digest| prepared.sealing.name(digest)));
    let rows = "SELECT ops_digest FROM journal WHERE log = 0 AND revision > ?";
    kept.extend(column(prepared, rows, Some(end.floor), usize::MAX).await?);
    let Some(named) = named_in_rows(prepared, &end).await? else { return Ok(None) };
    kept.extend(named);
    let mut collected = 0;
    for name in there.into_iter().filter(|name| !kept.contains(name)) {
        for upload in old_uploads(prepared, name, older).await? {
            blobs::forget(prepared, name, upload).await?;
            collected += 1;
        }
    }
    if collected > 0 {
        tracing::info!(collected, "deleted uploads in the store that nothing refers to");
    }
    Ok(Some(collected))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The digests of a column, page by page.
async fn column(prepared: &Prepared, select: &str, after: Option<Revision>, most: usize) -> Result<Vec<Digest>, String> {
    let mut statement = Statement::new(select);
    statement.set_consistency(Consistency::Quorum);
    statement.set_page_size(PAGE_ROWS);
    statement.set_request_timeout(Some(READ_LIMIT * 5));
    let (mut found, mut state) = (Vec::new(), PagingState::start());
    loop {
        let page = match after {
            Some(after) => prepared.session.query_single_page(statement.clone(), (partition::signed(after),), state).await,
            None => prepared.session.query_single_page(statement.clone(), (), state).await,
        };
        let (page, next) = page.map_err(|error| prepared.reason(&error))?;
        for row in page.into_rows_result().map_err(text)?.rows::<(Option<Vec<u8>>,)>().map_err(text)? {
            let Some(digest) = row.map_err(text)?.0 else { continue };
            let digest: [u8; 32] = digest.try_into().map_err(|_| "a digest in the store does not have 32 bytes".to_owned())?;
            found.push(Digest::from_bytes(digest));
        }
        state = match next.into_paging_control_flow() {
            ControlFlow::Continue(state) if found.len() < most => state,
            ControlFlow::Continue(_) | ControlFlow::Break(()) => return Ok(found),
        };
    }
}

/// The components that rows name, by what these are called in the store: who is behind needs them, though they are deleted by now. Nothing
/// if not all rows can be read.
async fn named_in_rows(prepared: &Prepared, end: &partition::End) -> Result<Option<Vec<Digest>>, String> {
    let (mut named, mut after) = (Vec::new(), end.floor);
    while after < end.revision {
        let rows = match partition::rows(prepared, &prepared.rows.quorum, end.cluster, after).await {
            Ok(rows) => rows,
            Err(Unread::Away(cause) | Unread::Altered(cause)) => return Err(cause),
        };
        let Some(last) = rows.last() else { return Ok(None) };
        if rows.iter().any(|row| row.format != FORMAT) {
            return Ok(None);
        }
        after = Revision(last.first.0 + last.transactions.len() as u64 - 1);
        // Up to 16 MiB: not on the thread that speaks to Cassandra.
        let digests = tokio::task::spawn_blocking(move || components_in(rows.iter().flat_map(|row| &row.transactions)));
        let digests = digests.await.map_err(text)??;
        named.extend(digests.into_iter().map(|digest| prepared.sealing.name(digest)));
    }
    Ok(Some(named))
}

fn components_in<'r>(transactions: impl Iterator<Item = &'r Vec<u8>>) -> Result<Vec<Digest>, String> {
    let mut digests = Vec::new();
    for ops in transactions {
        let changes = row::decode_changes(ops).map_err(text)?;
        digests.extend(changes.iter().filter_map(|change| match change {
            Change::Put { entity, .. } => blob_of(entity),
            Change::Delete { .. } => None,
        }));
    }
    Ok(digests)
}

/// The uploads of a name whose newest chunk was written longer ago, by the clocks of Cassandra and of this node: both may be wrong by
/// less than what is waited for.
async fn old_uploads(prepared: &Prepared, name: Digest, older: Duration) -> Result<Vec<Id>, String> {
    let mut statement = Statement::new("SELECT upload, WRITETIME(bytes) FROM blobs WHERE digest = ?");
    statement.set_consistency(Consistency::Quorum);
    statement.set_request_timeout(Some(READ_LIMIT));
    let result = prepared.session.query_unpaged(statement, (name.as_bytes().as_slice(),)).await;
    let result = result.map_err(|error| prepared.reason(&error))?.into_rows_result().map_err(text)?;
    let mut newest = HashMap::<Uuid, i64>::new();
    for row in result.rows::<(Uuid, Option<i64>)>().map_err(text)? {
        let (upload, written) = row.map_err(text)?;
        let known = newest.entry(upload).or_insert(i64::MIN);
        // A chunk without bytes is being written, or was altered: nobody knows since when.
        *known = (*known).max(written.unwrap_or(i64::MAX));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let before = i64::try_from(now.saturating_sub(older.as_micros())).unwrap_or(0);
    let old = newest.into_iter().filter(|(_, written)| *written <= before);
    Ok(old.map(|(upload, _)| Id::from_bytes(*upload.as_bytes())).collect())
}
