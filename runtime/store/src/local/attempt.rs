//! One attempt at a group of writes: each is judged with those before it in sight, all are committed once or not at all.

use super::authority::{Appended, Authority, Confirmed};
use super::file;
use super::queue::Work;
use super::view::PlanView;
use super::writer::Tuning;
use crate::hash::Hashes;
use crate::replica::integrity::{self, Fault};
use crate::replica::meta::{Meta, Tip};
use crate::replica::{BLOBS, JOURNAL, ReplicaError, STATE, StateTable, blobs, fold};
use crate::row::{Change, FORMAT, Row, encode_changes};
use crate::{Plan, WriteError, Written};
use redb::{Database, ReadableTable};
use std::collections::VecDeque;
use weir_model::{Digest, Refusal, Revision, TransactionId};

/// Bytes after which a group takes no further write: one largest transaction. More would only lie in memory longer.
const GROUP_BYTES: usize = MAX_TRANSACTION_BYTES;
/// Largest transaction, as a journal row. What Cassandra's message limit bears with a small heap; the same everywhere,
/// so that what one store takes the other does too.
pub(crate) const MAX_TRANSACTION_BYTES: usize = 8 << 20;
/// Most entities of a transaction: a service with all of its 9,999 routes can be deleted at once.
pub(crate) const MAX_TRANSACTION_OPS: usize = 10_000;
/// The same for a group that many nodes shall learn of: what one row of the shared journal holds well.
const SHARED_GROUP_BYTES: usize = 64 << 10;
/// Rows of the journal that stay whatever their size, so that a follower is not sent back to a whole reload at once.
const MIN_ROWS: u64 = 100;

/// What a group has come to so far.
pub(crate) struct Attempt {
    pub(crate) meta: Meta,
    pub(crate) outcomes: Vec<Outcome>,
    /// Whether the commit has begun, so that a failure leaves it open whether the group is durable.
    pub(crate) committing: bool,
    pub(crate) changed: bool,
    pub(crate) bytes: usize,
    pub(crate) now: u64,
    pub(crate) base: Tip,
    /// Whether the shared journal has it, so that it is done whatever becomes of the file here.
    pub(crate) placed: bool,
    /// What the group appends, in order. Kept for the authority only.
    pub(crate) rows: Vec<Row>,
}

/// How an attempt has ended that met no failure of the file.
pub(crate) enum Ended {
    /// What was to be committed is, and may be answered.
    Done,
    /// Something else has come after the tip that it was judged at. Nothing was kept.
    Behind,
    /// The authority could not be asked. Nothing was kept.
    Away(String),
    /// Nothing was kept here; whether it stands in the shared journal is open.
    Unknown { transaction: TransactionId, cause: String, outcomes: Vec<Outcome> },
}

/// The answer to one piece of work, given when the group is durable.
pub(crate) enum Outcome {
    Write(Result<Written, WriteError>),
    Blob(Result<Digest, WriteError>),
    Nothing,
}

impl Attempt {
    /// Judges what waits in one transaction of the file, has it placed if an authority decides, and commits.
    pub(crate) fn run(
        &mut self,
        database: &Database,
        pending: &mut VecDeque<Work>,
        hashes: &Hashes,
        tuning: &Tuning,
        collect: bool,
        authority: Option<&mut (dyn Authority + 'static)>,
    ) -> Result<Ended, ReplicaError> {
        let most = if authority.is_some() { SHARED_GROUP_BYTES } else { GROUP_BYTES };
        let mut writes = false;
        let mut transaction = database.begin_write()?;
        // Opening after a crash must not walk the whole file.
        transaction.set_quick_repair(true);
        {
            let mut tables = WriteTables {
                state: transaction.open_table(STATE)?,
                journal: transaction.open_table(JOURNAL)?,
                chunks: transaction.open_table(BLOBS)?,
            };
            for work in pending.iter_mut() {
                writes |= matches!(work, Work::Write { .. });
                let outcome = self.run_one(work, &mut tables, hashes)?;
                self.outcomes.push(outcome);
                if self.bytes >= most {
                    break;
                }
            }
            if let Some(authority) = authority.filter(|_| writes) {
                let ended = self.place(authority);
                if !matches!(ended, Ended::Done) {
                    drop(tables);
                    transaction.abort()?;
                    return Ok(ended);
                }
            }
            if self.changed {
                trim(&mut self.meta, &mut tables.journal, tuning, self.now, self.outcomes.len())?;
                if collect {
                    blobs::collect(&mut tables.state, &mut tables.chunks, self.now)?;
                }
                self.meta.write(&mut tables.state)?;
            }
        }
        if self.changed {
            self.committing = true;
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(Ended::Done)
    }

    /// Asks the authority: for places, or, if nothing is to be appended, whether what was judged may be answered.
    fn place(&mut self, authority: &mut dyn Authority) -> Ended {
        if self.rows.is_empty() {
            return match authority.confirm(&self.base) {
                Confirmed::Tip => Ended::Done,
                Confirmed::Behind => Ended::Behind,
                Confirmed::Away(cause) => Ended::Away(cause),
            };
        }
        match authority.append(&self.base, &self.rows) {
            Appended::Placed => {
                self.placed = true;
                Ended::Done
            }
            Appended::Behind => Ended::Behind,
            Appended::Away(cause) => Ended::Away(cause),
            Appended::Unknown { transaction, cause } => {
                Ended::Unknown { transaction, cause, outcomes: std::mem::take(&mut self.outcomes) }
            }
        }
    }

    fn run_one(&mut self, work: &mut Work, tables: &mut WriteTables, hashes: &Hashes) -> Result<Outcome, ReplicaError> {
        Ok(match work {
            Work::Write { plan, .. } => Outcome::Write(self.run_plan(plan, tables, hashes)?),
            Work::Blob { digest, bytes, .. } => {
                blobs::put(&mut tables.state, &mut tables.chunks, *digest, bytes, self.now)?;
                self.changed = true;
                self.bytes += bytes.len();
                Outcome::Blob(Ok(*digest))
            }
            Work::Follow | Work::Adopt { .. } | Work::Look => Outcome::Nothing,
        })
    }

    fn run_plan(
        &mut self,
        plan: &mut Plan,
        tables: &mut WriteTables,
        hashes: &Hashes,
    ) -> Result<Result<Written, WriteError>, ReplicaError> {
        let view = PlanView { state: &tables.state, revision: self.meta.tip.revision };
        let planned = match file::guarded(|| plan(&view)) {
            Ok(Ok(planned)) => planned,
            // Not the writer's to mend: the file failed, and with it the group.
            Ok(Err(Refusal::View(error))) => return Err(ReplicaError::Read(error.0)),
            Ok(Err(refusal)) => return Ok(Err(WriteError::Refused(refusal))),
            Err(panic) => {
                tracing::error!(%panic, "a plan panicked");
                return Ok(Err(WriteError::Panicked(panic)));
            }
        };
        if planned.ops.is_empty() {
            return Ok(Ok(Written { revision: self.meta.tip.revision, answer: planned.answer }));
        }
        let too_large = |unit, size, limit| Ok(Err(WriteError::TooLarge { unit, size, limit }));
        if planned.ops.len() > MAX_TRANSACTION_OPS {
            return too_large("entities", planned.ops.len(), MAX_TRANSACTION_OPS);
        }
        let changes: Vec<Change> = planned.ops.into_iter().map(Change::of).collect();
        let ops = encode_changes(&changes);
        if ops.len() > MAX_TRANSACTION_BYTES {
            return too_large("bytes", ops.len(), MAX_TRANSACTION_BYTES);
        }
        match integrity::check(&tables.state, &changes) {
            Ok(()) => {}
            #[cfg(test)]
            Err(Fault::Breach(_)) if crate::cassandra::broken::is_unchecked() => {}
            Err(Fault::Breach(breach)) => {
                tracing::error!(%breach, "a plan would have broken the state");
                return Ok(Err(WriteError::Unsound(breach)));
            }
            Err(Fault::Replica(error)) => return Err(error),
        }
        self.append(tables, hashes, &changes, ops)?;
        Ok(Ok(Written { revision: self.meta.tip.revision, answer: planned.answer }))
    }

    // From here on nothing refuses any more: an error fails the whole group.
    fn append(
        &mut self,
        tables: &mut WriteTables,
        hashes: &Hashes,
        changes: &[Change],
        ops: Vec<u8>,
    ) -> Result<(), ReplicaError> {
        let previous = self.meta.tip;
        let revision = previous.revision.next();
        let mut state = previous.state;
        fold::apply(&mut tables.state, hashes, &mut state, revision, changes, self.now)?;
        let head = hashes.head(&previous.head, revision, FORMAT, &ops, &state);
        self.bytes += ops.len();
        let row = Row { format: FORMAT, appended: self.now, previous: previous.head, head, state, ops };
        let bytes = row.encode();
        tables.journal.insert(revision.0, bytes.as_slice())?;
        self.meta.journal_bytes += bytes.len() as u64;
        self.rows.push(row);
        self.meta.tip = Tip { revision, head, state };
        self.changed = true;
        Ok(())
    }
}

/// Lets the oldest rows go that nobody needs: a few more than were appended, so that a long journal shrinks without one commit
/// paying for all of it.
pub(crate) fn trim(
    meta: &mut Meta,
    journal: &mut redb::Table<u64, &'static [u8]>,
    tuning: &Tuning,
    now: u64,
    appended: usize,
) -> Result<(), ReplicaError> {
    for _ in 0..2 * appended + 16 {
        let kept = meta.tip.revision.0 - meta.floor.0;
        let heavy = meta.journal_bytes > tuning.keep_bytes && kept > MIN_ROWS;
        if kept <= tuning.keep_rows && !heavy {
            break;
        }
        let Some((key, value)) = journal.first()? else { break };
        let (revision, bytes) = (key.value(), value.value().len() as u64);
        let row = Row::decode_head(value.value())?;
        drop((key, value));
        if !heavy && now.saturating_sub(row.appended) < tuning.keep_seconds {
            break;
        }
        journal.remove(revision)?;
        meta.floor = Revision(revision);
        meta.floor_head = row.head;
        meta.journal_bytes = meta.journal_bytes.saturating_sub(bytes);
    }
    Ok(())
}

struct WriteTables<'t> {
    state: StateTable<'t>,
    journal: redb::Table<'t, u64, &'static [u8]>,
    chunks: blobs::ChunkTable<'t>,
}
