//! The writer thread: takes the writes that wait as a group, judges each at the tip, commits once, answers all.
//!
//! A group is one `redb` transaction with one journal row per write. Nobody is answered before it is synced; a refused
//! member has changed nothing and drops out alone. With an authority, the group is placed in the shared journal before it
//! is committed here; a group that comes too late is judged again. What happens when the file fails is in `recovery`.

use super::attempt::{Attempt, Ended, MAX_TRANSACTION_BYTES, Outcome};
use super::authority::{Authority, Outlook};
use super::file::{self, Opened};
use super::queue::{MAX_WAITING, Queue, Running, Work};
use super::view::LocalView;
use super::{Shared, follow, locked, recovery};
use crate::WriteError;
use crate::hash::Hashes;
use crate::replica::ReplicaError;
use crate::replica::meta::Meta;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use weir_model::Revision;

/// Writes that one commit takes together. Judging one takes some 50 µs, so a full group delays its first by 6 ms, which
/// is about what the two syncs of a commit cost.
const GROUP_WRITES: usize = 128;
/// How long a group is judged again and again because other nodes are faster.
const PLACING_LIMIT: Duration = Duration::from_secs(10);
/// The longest wait of a winner.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// What tests make smaller.
#[derive(Clone)]
pub(crate) struct Tuning {
    /// Seconds of this machine's clock.
    pub(crate) clock: fn() -> u64,
    /// Rows that stay in the journal; with `keep_seconds`, what followers of the Cassandra journal have to catch up.
    pub(crate) keep_rows: u64,
    /// How long a row stays at least.
    pub(crate) keep_seconds: u64,
    /// Bytes of the journal after which the oldest rows go early: a bulk import must not double the file for a day.
    pub(crate) keep_bytes: u64,
    /// Room that must be free on the disk before a group is begun. Four times the largest transaction, for its row, its
    /// entities, their indexes and the pages that are copied on the way; and as much again for other writers of that disk.
    pub(crate) disk_reserve: u64,
    /// How often, with a commit that is made anyway, blobs that nothing uses are looked for. They wait for a day, so
    /// an hour more does not matter.
    pub(crate) collection_period: Duration,
    /// Memory for pages of the file. Holds the credentials of about half a million consumers, and the upper levels of
    /// the tree for ten million, so that a look-up reads the disk once at most.
    pub(crate) cache_bytes: usize,
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
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hashes: Hashes,
    pub(crate) tuning: Tuning,
    moves: watch::Sender<Revision>,
    queue: mpsc::Receiver<Work>,
    sender: mpsc::WeakSender<Work>,
    blob_bytes: Arc<AtomicUsize>,
    /// What is committed.
    pub(crate) meta: Meta,
    /// The open file; nothing after a failure, until it could be opened anew.
    pub(crate) file: Option<Opened>,
    pub(crate) path: std::path::PathBuf,
    pub(crate) pending: VecDeque<Work>,
    /// What a failure of the file has left behind.
    pub(crate) trouble: recovery::Trouble,
    /// Who decides what comes next, if not this writer. Away for as long as it is asked.
    pub(crate) authority: Option<Box<dyn Authority>>,
    /// How the last look at the authority has ended.
    pub(crate) outlook: Outlook,
    collected: Option<Instant>,
}

/// Publishes the first view and starts the thread.
pub(crate) fn start(
    shared: Arc<Shared>,
    opened: Opened,
    hashes: Hashes,
    moves: watch::Sender<Revision>,
    tuning: Tuning,
    authority: Option<Box<dyn Authority>>,
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
        authority,
        outlook: Outlook::Current,
        collected: None,
    };
    writer.publish().map_err(std::io::Error::other)?;
    let (running, ended) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("weir-store".to_owned()).spawn(move || {
        let _running: std::sync::mpsc::Sender<()> = running;
        writer.run();
    })?;
    Ok(Queue::new(sender, blob_bytes, Running { thread, ended }))
}

impl Writer {
    fn run(mut self) {
        if self.authority.is_some() {
            follow::catch_up(&mut self);
        }
        loop {
            if self.pending.is_empty() {
                match self.wait() {
                    Waited::Work(work) => self.take(work),
                    Waited::Look => {
                        follow::catch_up(&mut self);
                    }
                    Waited::Closed => break,
                }
            }
            while self.pending.len() < GROUP_WRITES {
                let Ok(work) = self.queue.try_recv() else { break };
                self.take(work);
            }
            self.serve_group();
        }
    }

    /// Until there is work, or it is time to look at what others have written.
    fn wait(&mut self) -> Waited {
        let Some(authority) = &self.authority else {
            return self.queue.blocking_recv().map_or(Waited::Closed, Waited::Work);
        };
        let (due, runtime) = (authority.next_look(), authority.runtime());
        match runtime.block_on(async { tokio::time::timeout_at(due.into(), self.queue.recv()).await }) {
            Ok(Some(work)) => Waited::Work(work),
            Ok(None) => Waited::Closed,
            Err(_) => Waited::Look,
        }
    }

    fn take(&mut self, work: Work) {
        match &work {
            // A caller that has left before its turn is not written for.
            Work::Write { reply, .. } if reply.is_closed() => {}
            Work::Write { .. } => self.pending.push_back(work),
            Work::Blob { .. } => self.pending.push_back(work),
            Work::Follow => {
                follow::catch_up(self);
            }
            Work::Adopt { .. } => {
                let adopted = follow::adopt(self);
                if let Work::Adopt { reply } = work {
                    // Who has left does not hear it.
                    drop(reply.send(adopted.map_err(|cause| WriteError::Unavailable { cause })));
                }
            }
            Work::Look => recovery::look(self),
        }
    }

    /// Tells whoever asks for the status how the last look at the authority has ended.
    pub(crate) fn note_outlook(&self) {
        let cause = match &self.outlook {
            Outlook::Current => None,
            Outlook::Away(cause) | Outlook::Hold(cause) => Some(cause.clone()),
        };
        recovery::set_holding(self, cause);
    }

    fn serve_group(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let blob_bytes = self.blob_bytes.load(Ordering::Relaxed) as u64;
        if let Err(cause) = recovery::ready(self, blob_bytes) {
            return recovery::refuse(self, &cause);
        }
        let tip = self.meta.tip;
        if self.authority.as_mut().is_some_and(|authority| authority.begin_turn(&tip)) {
            // How it ends is seen below.
            follow::catch_up(self);
        }
        self.place_group();
        if let Some(authority) = &mut self.authority {
            authority.end_turn();
        }
    }

    /// Tries until what waits is placed, or until it is known why it will not be.
    fn place_group(&mut self) {
        let until = Instant::now() + PLACING_LIMIT;
        let mut competitors = false;
        loop {
            // A node that holds, or looked in vain, may find that the cause is gone.
            if self.outlook != Outlook::Current
                && let Outlook::Away(cause) | Outlook::Hold(cause) = follow::catch_up(self)
            {
                return recovery::refuse(self, &cause);
            }
            let begun = Instant::now();
            match self.attempt() {
                None => return,
                Some(Ended::Done) => {
                    if competitors {
                        self.let_others_in(begun.elapsed());
                    }
                    return;
                }
                Some(Ended::Behind) if Instant::now() < until => {
                    competitors = true;
                    if let Outlook::Away(cause) | Outlook::Hold(cause) = follow::catch_up(self) {
                        return recovery::refuse(self, &cause);
                    }
                    if let Some(authority) = &mut self.authority {
                        authority.lose_turn(&self.meta.tip);
                    }
                }
                Some(Ended::Behind) => {
                    return recovery::refuse(self, "other nodes were faster for ten seconds; try again");
                }
                Some(Ended::Away(cause)) => {
                    self.outlook = Outlook::Away(cause.clone());
                    return recovery::refuse(self, &cause);
                }
                Some(Ended::Unknown { transaction, cause, outcomes }) => {
                    return recovery::leave_open(self, transaction, &cause, outcomes);
                }
            }
        }
    }

    /// Judges, places and commits what waits; nothing if a failure of the file has been dealt with.
    fn attempt(&mut self) -> Option<Ended> {
        let Some(file) = &self.file else {
            recovery::refuse(self, "the store's file is not open");
            return None;
        };
        let mut attempt = Attempt {
            meta: self.meta.clone(),
            outcomes: Vec::new(),
            committing: false,
            changed: false,
            bytes: 0,
            now: (self.tuning.clock)(),
            base: self.meta.tip,
            placed: false,
            rows: Vec::new(),
        };
        let collect = self.collected.is_none_or(|last| last.elapsed() >= self.tuning.collection_period);
        let (pending, hashes, tuning, authority) = (&mut self.pending, &self.hashes, &self.tuning, &mut self.authority);
        let done = file::guarded(|| attempt.run(&file.database, pending, hashes, tuning, collect, authority.as_deref_mut()));
        match done {
            Ok(Ok(Ended::Done)) => {
                if collect && attempt.changed {
                    self.collected = Some(Instant::now());
                }
                self.settle(attempt);
                Some(Ended::Done)
            }
            Ok(Ok(ended)) => Some(ended),
            Ok(Err(error)) => {
                recovery::recover(self, attempt, error.to_string());
                None
            }
            Err(panic) => {
                recovery::recover(self, attempt, format!("the file is damaged: {panic}"));
                None
            }
        }
    }

    /// Who has just won against others waits a little, up to twice as long as its append took, so that they get in too: the
    /// winner knows the tip already, and would win again and again.
    fn let_others_in(&self, took: Duration) {
        let mut random = [0];
        // Without a random number the longest wait is as good.
        let share = getrandom::fill(&mut random).map_or(u8::MAX, |()| random[0]);
        std::thread::sleep((took * u32::from(share) / 128).min(LONGEST_PAUSE));
    }

    /// Makes a durable group visible and answers it.
    pub(crate) fn settle(&mut self, attempt: Attempt) {
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
    pub(crate) fn publish(&mut self) -> Result<(), ReplicaError> {
        let Some(file) = &self.file else { return Ok(()) };
        let view = LocalView::of(&file.database, &self.shared, &self.sender)?;
        *locked(&self.shared.newest) = Some(Arc::new(view));
        #[cfg(test)]
        locked(&self.shared.health).clone_from(&Some(file.health.clone()));
        let revision = self.meta.tip.revision;
        self.moves.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        Ok(())
    }

    /// Answers the first of those who wait.
    pub(crate) fn answer(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            let Some(work) = self.pending.pop_front() else { return };
            if let Work::Blob { bytes, .. } = &work {
                self.blob_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            // Who has left does not hear it.
            match (work, outcome) {
                (Work::Write { reply, .. }, Outcome::Write(answer)) => drop(reply.send(answer)),
                (Work::Blob { reply, .. }, Outcome::Blob(answer)) => drop(reply.send(answer)),
                (Work::Write { .. } | Work::Blob { .. } | Work::Follow | Work::Adopt { .. } | Work::Look, _) => {}
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

/// What the writer waited for.
enum Waited {
    Work(Work),
    Look,
    Closed,
}
