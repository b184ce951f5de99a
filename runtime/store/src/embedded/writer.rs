//! The writer thread: takes the writes that wait as a group, judges each at the tip, commits once, answers all.
//!
//! A group is one `redb` transaction with one journal row per write. Nobody is answered before it is synced; a refused
//! member has changed nothing and drops out alone. What happens when the file fails is in `recovery`.

use super::file::{self, Opened};
use super::queue::{MAX_WAITING, Queue, Work};
use super::view::{EmbeddedView, PlanView};
use super::{Shared, locked, recovery};
use crate::hash::Hashes;
use crate::replica::integrity::{self, Fault};
use crate::replica::meta::{Meta, Tip};
use crate::replica::{BLOBS, JOURNAL, ReplicaError, STATE, StateTable, blobs, fold};
use crate::row::{Change, FORMAT, Row, encode_changes};
use crate::{Plan, WriteError, Written};
use redb::{Database, ReadableTable};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use weir_model::{Digest, Refusal, Revision};

/// Writes that one commit takes together. Judging one takes some 50 µs, so a full group delays its first by 6 ms, which
/// is about what the two syncs of a commit cost.
const GROUP_WRITES: usize = 128;
/// Bytes after which a group takes no further write: one largest transaction. More would only lie in memory longer.
const GROUP_BYTES: usize = MAX_TRANSACTION_BYTES;
/// Largest transaction, as a journal row. What Cassandra's message limit bears with a small heap; the same everywhere,
/// so that what one store takes the other does too.
pub(crate) const MAX_TRANSACTION_BYTES: usize = 8 << 20;
/// Most entities of a transaction: a service with all of its 9,999 routes can be deleted at once.
pub(crate) const MAX_TRANSACTION_OPS: usize = 10_000;
/// Rows of the journal that stay whatever their size, so that a follower is not sent back to a whole reload at once.
const MIN_ROWS: u64 = 100;

/// What tests make smaller.
#[derive(Clone)]
pub(super) struct Tuning {
    /// Seconds of this machine's clock.
    pub(super) clock: fn() -> u64,
    /// Rows that stay in the journal; with `keep_seconds`, what followers of the Cassandra journal have to catch up.
    pub(super) keep_rows: u64,
    /// How long a row stays at least.
    pub(super) keep_seconds: u64,
    /// Bytes of the journal after which the oldest rows go early: a bulk import must not double the file for a day.
    pub(super) keep_bytes: u64,
    /// Room that must be free on the disk before a group is begun. Four times the largest transaction, for its row, its
    /// entities, their indexes and the pages that are copied on the way; and as much again for other writers of that disk.
    pub(super) disk_reserve: u64,
    /// How often, with a commit that is made anyway, blobs that nothing uses are looked for. They wait for a day, so
    /// an hour more does not matter.
    pub(super) collection_period: Duration,
    /// Memory for pages of the file. Holds the credentials of about half a million consumers, and the upper levels of
    /// the tree for ten million, so that a look-up reads the disk once at most.
    pub(super) cache_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            clock: || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            keep_rows: 10_000,
            keep_seconds: 24 * 60 * 60,
            keep_bytes: 1 << 30,
            disk_reserve: 8 * MAX_TRANSACTION_BYTES as u64,
            collection_period: Duration::from_secs(60 * 60),
            cache_bytes: 256 << 20,
        }
    }
}

/// The state of the writer thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) hashes: Hashes,
    pub(super) tuning: Tuning,
    moves: watch::Sender<Revision>,
    queue: mpsc::Receiver<Work>,
    sender: mpsc::WeakSender<Work>,
    blob_bytes: Arc<AtomicUsize>,
    /// What is committed.
    pub(super) meta: Meta,
    /// The open file; nothing after a failure, until it could be opened anew.
    pub(super) file: Option<Opened>,
    pub(super) path: std::path::PathBuf,
    pub(super) pending: VecDeque<Work>,
    /// What a failure of the file has left behind.
    pub(super) trouble: recovery::Trouble,
    collected: Option<Instant>,
}

/// What a group has come to so far.
pub(super) struct Attempt {
    pub(super) meta: Meta,
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the commit has begun, so that a failure leaves it open whether the group is durable.
    pub(super) committing: bool,
    changed: bool,
    bytes: usize,
    now: u64,
}

/// The answer to one piece of work, given when the group is durable.
pub(super) enum Outcome {
    Write(Result<Written, WriteError>),
    Blob(Result<Digest, WriteError>),
    Nothing,
}

/// Publishes the first view and starts the thread.
pub(super) fn start(
    shared: Arc<Shared>,
    opened: Opened,
    hashes: Hashes,
    moves: watch::Sender<Revision>,
    tuning: Tuning,
) -> std::io::Result<Queue> {
    let (sender, queue) = mpsc::channel(MAX_WAITING);
    let blob_bytes = Arc::new(AtomicUsize::new(0));
    let mut writer = Writer {
        shared,
        hashes,
        tuning,
        moves,
        queue,
        sender: sender.downgrade(),
        blob_bytes: blob_bytes.clone(),
        meta: opened.meta.clone(),
        path: opened.path.clone(),
        file: Some(opened),
        pending: VecDeque::new(),
        trouble: recovery::Trouble::default(),
        collected: None,
    };
    writer.publish().map_err(std::io::Error::other)?;
    let thread = std::thread::Builder::new().name("weir-store".to_owned()).spawn(move || writer.run())?;
    Ok(Queue::new(sender, blob_bytes, thread))
}

impl Writer {
    fn run(mut self) {
        loop {
            if self.pending.is_empty() {
                let Some(work) = self.queue.blocking_recv() else { break };
                self.take(work);
            }
            while self.pending.len() < GROUP_WRITES {
                let Ok(work) = self.queue.try_recv() else { break };
                self.take(work);
            }
            self.serve_group();
        }
    }

    fn take(&mut self, work: Work) {
        match &work {
            // A caller that has left before its turn is not written for.
            Work::Write { reply, .. } if reply.is_closed() => {}
            Work::Write { .. } => self.pending.push_back(work),
            Work::Blob { .. } => self.pending.push_back(work),
            Work::Look => recovery::look(self),
        }
    }

    fn serve_group(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let blob_bytes = self.blob_bytes.load(Ordering::Relaxed) as u64;
        if let Err(cause) = recovery::ready(self, blob_bytes) {
            return recovery::refuse(self, &cause);
        }
        let Some(file) = &self.file else { return recovery::refuse(self, "the store's file is not open") };
        let mut attempt = Attempt {
            meta: self.meta.clone(),
            outcomes: Vec::new(),
            committing: false,
            changed: false,
            bytes: 0,
            now: (self.tuning.clock)(),
        };
        let collect = self.collected.is_none_or(|last| last.elapsed() >= self.tuning.collection_period);
        let (pending, hashes, tuning) = (&mut self.pending, &self.hashes, &self.tuning);
        let done = file::guarded(|| attempt.run(&file.database, pending, hashes, tuning, collect));
        match done {
            Ok(Ok(())) => {
                if collect && attempt.changed {
                    self.collected = Some(Instant::now());
                }
                self.settle(attempt);
            }
            Ok(Err(error)) => recovery::recover(self, attempt, error.to_string()),
            Err(panic) => recovery::recover(self, attempt, format!("the file is damaged: {panic}")),
        }
    }

    /// Makes a durable group visible and answers it.
    pub(super) fn settle(&mut self, attempt: Attempt) {
        if attempt.changed {
            self.meta = attempt.meta;
            if let Err(error) = self.publish() {
                // It is committed, so it is answered; the next look at the file opens it anew.
                tracing::error!(%error, "a committed state could not be read back");
                recovery::reopen(self);
            }
        }
        recovery::set_holding(self, None);
        self.answer(attempt.outcomes);
    }

    /// Gives everyone the view of what is committed.
    pub(super) fn publish(&mut self) -> Result<(), ReplicaError> {
        let Some(file) = &self.file else { return Ok(()) };
        let view = EmbeddedView::of(&file.database, &self.shared, &self.sender)?;
        *locked(&self.shared.newest) = Some(Arc::new(view));
        #[cfg(test)]
        locked(&self.shared.health).clone_from(&Some(file.health.clone()));
        let revision = self.meta.tip.revision;
        self.moves.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        Ok(())
    }

    /// Answers the first of those who wait.
    pub(super) fn answer(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            let Some(work) = self.pending.pop_front() else { return };
            if let Work::Blob { bytes, .. } = &work {
                self.blob_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            // Who has left does not hear it.
            match (work, outcome) {
                (Work::Write { reply, .. }, Outcome::Write(answer)) => drop(reply.send(answer)),
                (Work::Blob { reply, .. }, Outcome::Blob(answer)) => drop(reply.send(answer)),
                (Work::Write { .. } | Work::Blob { .. } | Work::Look, _) => {}
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Also after a panic: who waits for a view learns that there is none.
        *locked(&self.shared.newest) = None;
    }
}

impl Attempt {
    fn run(
        &mut self,
        database: &Database,
        pending: &mut VecDeque<Work>,
        hashes: &Hashes,
        tuning: &Tuning,
        collect: bool,
    ) -> Result<(), ReplicaError> {
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
                let outcome = self.run_one(work, &mut tables, hashes)?;
                self.outcomes.push(outcome);
                if self.bytes >= GROUP_BYTES {
                    break;
                }
            }
            if self.changed {
                self.trim(&mut tables.journal, tuning)?;
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
        Ok(())
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
            Work::Look => Outcome::Nothing,
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
        let row = Row { format: FORMAT, appended: self.now, previous: previous.head, head, state, ops }.encode();
        tables.journal.insert(revision.0, row.as_slice())?;
        self.meta.journal_bytes += row.len() as u64;
        self.meta.tip = Tip { revision, head, state };
        self.changed = true;
        Ok(())
    }

    // A few rows more than were appended, so that a long journal shrinks without one commit paying for all of it.
    fn trim(&mut self, journal: &mut redb::Table<u64, &'static [u8]>, tuning: &Tuning) -> Result<(), ReplicaError> {
        for _ in 0..2 * self.outcomes.len() + 16 {
            let kept = self.meta.tip.revision.0 - self.meta.floor.0;
            let heavy = self.meta.journal_bytes > tuning.keep_bytes && kept > MIN_ROWS;
            if kept <= tuning.keep_rows && !heavy {
                break;
            }
            let Some((key, value)) = journal.first()? else { break };
            let (revision, bytes) = (key.value(), value.value().len() as u64);
            let row = Row::decode_head(value.value())?;
            drop((key, value));
            if !heavy && self.now.saturating_sub(row.appended) < tuning.keep_seconds {
                break;
            }
            journal.remove(revision)?;
            self.meta.floor = Revision(revision);
            self.meta.floor_head = row.head;
            self.meta.journal_bytes = self.meta.journal_bytes.saturating_sub(bytes);
        }
        Ok(())
    }
}

struct WriteTables<'t> {
    state: StateTable<'t>,
    journal: redb::Table<'t, u64, &'static [u8]>,
    chunks: blobs::ChunkTable<'t>,
}
