//! Reads of the journal's partition: where it ends, whose append stands at a place, the rows after a revision.

use super::blobs;
use super::connection::Prepared;
use super::sealing::Place;
use crate::hash::StateSum;
use crate::local::authority::{SharedRow, Unread};
use crate::row::FORMAT;
use scylla::statement::prepared::PreparedStatement;
use uuid::Uuid;
use weir_model::{Digest, Id, Revision};

/// Bytes of rows that one look brings at most (and always one row).
const LOOK_BYTES: usize = 16 << 20;

/// Where the journal ends, and whose it is.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct End {
    pub(super) revision: Revision,
    pub(super) head: [u8; 32],
    pub(super) floor: Revision,
    pub(super) cluster: Id,
    pub(super) key_check: [u8; 32],
    /// The newest checkpoint, and its revision.
    pub(super) checkpoint: Option<(Digest, Revision)>,
}

pub(super) fn signed(revision: Revision) -> i64 {
    // A journal that is written a million times a second gets there in 292,000 years.
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> Result<Revision, String> {
    u64::try_from(revision).map(Revision).map_err(|_| "a revision in the store is negative".to_owned())
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], String> {
    bytes.try_into().map_err(|_| "a hash in the store does not have 32 bytes".to_owned())
}

/// Where the journal ends; nothing if it was never begun.
pub(super) async fn end(prepared: &Prepared, statement: &PreparedStatement) -> Result<Option<End>, String> {
    type Columns = (i32, Option<i64>, Option<Vec<u8>>, Option<i64>, Option<Uuid>, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>);
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let result = prepared.session.execute_unpaged(statement, ()).await.map_err(|error| prepared.reason(&error))?;
    let rows = result.into_rows_result().map_err(|error| text(&error))?;
    let row = rows.maybe_first_row::<Columns>().map_err(|error| text(&error))?;
    let Some((_, Some(tip), Some(head), floor, Some(cluster), Some(key_check), checkpoint, checkpoint_at)) = row else {
        return Ok(None);
    };
    let checkpoint = match (checkpoint, checkpoint_at) {
        (Some(digest), Some(at)) => Some((Digest::from_bytes(hash(&digest)?), unsigned(at)?)),
        _ => None,
    };
    Ok(Some(End {
        revision: unsigned(tip)?,
        head: hash(&head)?,
        floor: unsigned(floor.unwrap_or(0))?,
        cluster: Id::from_bytes(*cluster.as_bytes()),
        key_check: hash(&key_check)?,
        checkpoint,
    }))
}

/// Whose append stands at a place; nothing if the place is free, or was trimmed.
pub(super) async fn slot(prepared: &Prepared, place: Revision) -> Result<Option<Id>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let result =
        prepared.session.execute_unpaged(&prepared.slot, (signed(place),)).await.map_err(|error| prepared.reason(&error))?;
    let rows = result.into_rows_result().map_err(|error| text(&error))?;
    let row = rows.maybe_first_row::<(Option<Uuid>,)>().map_err(|error| text(&error))?;
    Ok(row.and_then(|(random,)| random).map(|random| Id::from_bytes(*random.as_bytes())))
}

/// The rows after a revision, as far as they follow each other and open.
pub(super) async fn rows(
    prepared: &Prepared,
    statement: &PreparedStatement,
    cluster: Id,
    after: Revision,
) -> Result<Vec<SharedRow>, Unread> {
    type Columns = (
        i64,
        Option<Uuid>,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Option<i32>,
        Option<i64>,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
    );
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let result = prepared.session.execute_unpaged(statement, (signed(after),)).await.map_err(|error| prepared.reason(&error))?;
    let result = result.into_rows_result().map_err(|error| text(&error))?;
    let mut found: Vec<SharedRow> = Vec::new();
    let (mut next, mut bytes) = (after.next(), 0);
    for row in result.rows::<Columns>().map_err(|error| text(&error))? {
        let (revision, _, previous, head, state, format, appended, ops, digest) = row.map_err(|error| text(&error))?;
        let first = unsigned(revision)?;
        let (Some(previous), Some(head), Some(state), Some(format)) = (previous, head, state, format) else { break };
        // A replica that was asked alone may have missed one.
        if first != next || bytes >= LOOK_BYTES {
            break;
        }
        let (previous, format) = (hash(&previous)?, format.cast_unsigned());
        // How the changes of another format are stored is not known; whoever applies the row says so.
        let transactions = if format == FORMAT {
            let place = Place::Row { cluster, base: Revision(first.0 - 1), head: &previous };
            match changes(prepared, first, &place, ops, digest).await {
                Ok(Some((stored, transactions))) => {
                    bytes += stored;
                    transactions
                }
                Ok(None) => break,
                Err(unread) if found.is_empty() => return Err(unread),
                // What is before it is sound. The next look begins here.
                Err(_) => break,
            }
        } else {
            Vec::new()
        };
        next = Revision(first.0 + transactions.len().max(1) as u64);
        found.push(SharedRow {
            first,
            format,
            appended: appended.unwrap_or(0).cast_unsigned(),
            previous,
            head: hash(&head)?,
            state: StateSum(hash(&state)?),
            transactions,
        });
    }
    Ok(found)
}

/// The transactions of a row, and how many bytes they are in the store; nothing if the row has none (yet).
async fn changes(
    prepared: &Prepared,
    first: Revision,
    place: &Place<'_>,
    ops: Option<Vec<u8>>,
    digest: Option<Vec<u8>>,
) -> Result<Option<(usize, Vec<Vec<u8>>)>, Unread> {
    let stored = match (ops, digest) {
        (Some(ops), _) => ops,
        (None, Some(digest)) => {
            let digest = Digest::from_bytes(hash(&digest)?);
            let read = blobs::read(prepared, digest).await?;
            read.ok_or_else(|| format!("the changes of revision {first} ({digest}) are not in the store"))?
        }
        (None, None) => return Ok(None),
    };
    let bytes = stored.len();
    let ops = prepared.sealing.open(place, stored).ok_or_else(|| {
        Unread::Altered(format!(
            "the changes of revision {first} do not open: they were altered in the store, or moved there from another place. \
             `weir cluster republish` makes this node's configuration the store's"
        ))
    })?;
    let cut = || Unread::Altered(format!("the changes of revision {first} were altered in the store: they are cut"));
    Ok(Some((bytes, split(&ops).ok_or_else(cut)?)))
}

/// Takes the changes of a row apart.
fn split(mut ops: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut transactions = Vec::new();
    while !ops.is_empty() {
        let (length, rest) = ops.split_first_chunk::<4>()?;
        let (one, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        transactions.push(one.to_vec());
        ops = rest;
    }
    Some(transactions).filter(|transactions| !transactions.is_empty())
}
