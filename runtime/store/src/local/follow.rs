//! Applies what others have appended: only what continues this file's history, and only whole rows.

use super::authority::{News, Outlook, SharedRow, Unread};
use super::reload::reload;
use super::writer::Writer;
use super::{file, locked};
use crate::replica::meta::{Meta, Tip};
use crate::replica::{BLOBS, JOURNAL, ReplicaError, STATE, blobs, fold};
use crate::row::{Change, FORMAT, Row, decode_changes};
use redb::Database;
use std::time::Instant;
use weir_model::{Digest, Revision};

/// How often one look asks for more. A node that is far behind catches up look by look, and takes writes in between.
const ROUNDS: usize = 1000;

/// Why rows were not applied.
enum Fault {
    /// They do not continue what is here, or say something else than they are.
    Foreign(String),
    /// A component's bytes are not to be had at the moment.
    Missing(String),
    /// This machine's file.
    File(ReplicaError),
}
impl<E: Into<ReplicaError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

/// Catches up with the authority, if there is one; answers how it ended.
pub(crate) fn catch_up(writer: &mut Writer) -> Outlook {
    let Some(mut authority) = writer.authority.take() else { return Outlook::Current };
    let mut outlook = Outlook::Current;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        match authority.news(&writer.meta.tip) {
            News::Rows { rows, up_to } => {
                if !rows.is_empty()
                    && let Some(ended) = take(writer, &rows, &mut |digest| authority.blob(digest))
                {
                    outlook = ended;
                    break;
                }
                // What came while the answer was on its way is for the next look: under others' writes there would be no last one.
                if writer.meta.tip.revision >= up_to {
                    *locked(&writer.shared.confirmed) = Some(begun);
                    break;
                }
                // Whoever was asked has not got them yet.
                if rows.is_empty() {
                    break;
                }
            }
            News::Reload => {
                if let Err(unread) = reload(writer, &mut *authority) {
                    outlook = unread.into();
                    break;
                }
            }
            News::Away(cause) => {
                outlook = Outlook::Away(cause);
                break;
            }
            News::Hold(cause) => {
                outlook = Outlook::Hold(cause);
                break;
            }
        }
    }
    writer.outlook = outlook.clone();
    // Before anybody who waits for the look asks how it ended.
    writer.note_outlook();
    authority.looked(&outlook, &writer.meta.tip);
    writer.authority = Some(authority);
    outlook
}

/// Takes the authority's history, whatever it is; answers where this node stands then.
pub(crate) fn adopt(writer: &mut Writer) -> Result<Revision, String> {
    let Some(mut authority) = writer.authority.take() else { return Err("this store has no history but its own".to_owned()) };
    let adopted = authority.adopt().and_then(|cluster| {
        if cluster == writer.meta.cluster && !matches!(writer.outlook, Outlook::Hold(_)) {
            return Ok(());
        }
        reload(writer, &mut *authority).map_err(|unread| unread.to_string())
    });
    writer.authority = Some(authority);
    adopted?;
    match catch_up(writer) {
        Outlook::Current => Ok(writer.meta.tip.revision),
        Outlook::Away(cause) | Outlook::Hold(cause) => Err(cause),
    }
}

type Fetch<'f> = &'f mut dyn FnMut(Digest) -> Result<Option<Vec<u8>>, Unread>;

/// Applies rows in one commit; answers why it could not.
fn take(writer: &mut Writer, rows: &[SharedRow], fetch: Fetch<'_>) -> Option<Outlook> {
    let Some(opened) = &writer.file else { return Some(Outlook::Away("the file is not open".to_owned())) };
    let mut meta = writer.meta.clone();
    let (now, keep) = ((writer.tuning.clock)(), &writer.tuning);
    let applied = file::guarded(|| apply(&opened.database, &mut meta, rows, &writer.hashes, now, keep, fetch));
    match applied {
        Ok(Ok(())) => {
            writer.meta = meta;
            if let Err(error) = writer.publish() {
                tracing::error!(%error, "a committed state could not be read back");
                super::recovery::reopen(writer);
            }
            None
        }
        Ok(Err(Fault::Foreign(cause))) => Some(Outlook::Hold(cause)),
        Ok(Err(Fault::Missing(cause))) => Some(Outlook::Away(cause)),
        Ok(Err(Fault::File(error))) => Some(failed(writer, error.to_string())),
        Err(panic) => Some(failed(writer, format!("the file is damaged: {panic}"))),
    }
}

// What was committed elsewhere is not lost by this: the next look asks for it again.
fn failed(writer: &mut Writer, cause: String) -> Outlook {
    tracing::error!(%cause, "what others have written could not be applied");
    super::recovery::reopen(writer);
    Outlook::Away(format!("{} cannot be written ({cause}); see to the disk, this node then catches up", writer.path.display()))
}

fn apply(
    database: &Database,
    meta: &mut Meta,
    rows: &[SharedRow],
    hashes: &crate::hash::Hashes,
    now: u64,
    tuning: &super::writer::Tuning,
    fetch: Fetch<'_>,
) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut state = transaction.open_table(STATE)?;
        let mut journal = transaction.open_table(JOURNAL)?;
        let mut chunks = transaction.open_table(BLOBS)?;
        for row in rows {
            #[cfg(test)]
            if crate::cassandra::broken::believes() {
                crate::cassandra::broken::jump(&mut meta.tip, row);
            }
            continues(&meta.tip, row)?;
            for ops in &row.transactions {
                let at = meta.tip.revision.next();
                let changes = decode_changes(ops).map_err(|error| Fault::Foreign(format!("revision {at}: {error}")))?;
                bring_blobs(&mut state, &mut chunks, &changes, now, fetch)?;
                let mut sum = meta.tip.state;
                fold::apply(&mut state, hashes, &mut sum, at, &changes, now)?;
                let head = hashes.head(&meta.tip.head, at, row.format, ops, &sum);
                let kept = Row {
                    format: row.format,
                    appended: row.appended,
                    previous: meta.tip.head,
                    head,
                    state: sum,
                    ops: ops.clone(),
                };
                let kept = kept.encode();
                journal.insert(at.0, kept.as_slice())?;
                meta.journal_bytes += kept.len() as u64;
                meta.tip = Tip { revision: at, head, state: sum };
            }
            #[cfg(test)]
            if crate::cassandra::broken::believes() {
                (meta.tip.head, meta.tip.state) = (row.head, row.state);
            }
            ends_as_said(&meta.tip, row)?;
        }
        super::attempt::trim(meta, &mut journal, tuning, now, rows.len())?;
        meta.write(&mut state)?;
    }
    transaction.commit()?;
    Ok(())
}

fn continues(tip: &Tip, row: &SharedRow) -> Result<(), Fault> {
    if row.format != FORMAT {
        return Err(Fault::Foreign(format!(
            "revision {} has format {}, and this version of weir knows {FORMAT}; upgrade this node",
            row.first, row.format
        )));
    }
    if row.first != tip.revision.next() || row.previous != tip.head {
        return Err(Fault::Foreign(format!(
            "revision {} of the store does not continue revision {} of this node: they are two histories. \
             `weir cluster adopt` takes the store's, `weir cluster republish` makes this node's the store's",
            row.first, tip.revision
        )));
    }
    Ok(())
}

fn ends_as_said(tip: &Tip, row: &SharedRow) -> Result<(), Fault> {
    if tip.state != row.state {
        return Err(Fault::Foreign(format!(
            "revision {} leads to another state here than where it was written; `weir cluster adopt` loads the state anew",
            tip.revision
        )));
    }
    if tip.head != row.head {
        return Err(Fault::Foreign(format!(
            "revision {} was altered in the store, or written with another cluster_key",
            tip.revision
        )));
    }
    Ok(())
}

/// Stores what components need before the transaction that brings them: a node that has applied it can serve it alone.
fn bring_blobs(
    state: &mut crate::replica::StateTable<'_>,
    chunks: &mut blobs::ChunkTable<'_>,
    changes: &[Change],
    now: u64,
    fetch: Fetch<'_>,
) -> Result<(), Fault> {
    for change in changes {
        let Change::Put { entity, .. } = change else { continue };
        let Some(digest) = fold::blob_of(entity) else { continue };
        if blobs::info(state, digest)?.is_some() {
            continue;
        }
        match fetch(digest) {
            Ok(Some(bytes)) => blobs::put(state, chunks, digest, &bytes, now)?,
            Ok(None) => {
                return Err(Fault::Missing(format!("the bytes of component {} ({digest}) are not in the store", entity.id)));
            }
            Err(Unread::Away(cause)) => return Err(Fault::Missing(cause)),
            Err(Unread::Altered(cause)) => return Err(Fault::Foreign(cause)),
        }
    }
    Ok(())
}
