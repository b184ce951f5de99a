//! What the writer does when the file fails: refuse early, open it anew, or hold.
//!
//! - Too little room: writes are refused before they begin, and taken again as soon as there is room.
//! - A write or read failed: `redb` has shut the file; it is opened anew at once, so that reads go on, and its tip says
//!   whether the group that failed is in it.
//! - A sync failed during a commit: what the disk holds is not known, and asking again would be answered from memory. The
//!   group's outcome is unknown, and nothing is written until the process has been started anew.

use super::attempt::{Attempt, Outcome};
use super::queue::Work;
use super::writer::Writer;
use super::{file, locked};
use crate::WriteError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use weir_model::TransactionId;

/// How soon after a failed attempt to open the file the next is made: often enough for an operator who has just made
/// room, seldom enough that refused writes cost nothing.
const REOPEN_PERIOD: Duration = Duration::from_secs(1);

/// What a failure has left behind.
#[derive(Default)]
pub(crate) struct Trouble {
    /// Why nothing is written until the process is started anew.
    held: Option<String>,
    /// Why the file is not open, and when that was last tried.
    closed: Option<(String, Instant)>,
}

/// Whether a group may begin.
pub(crate) fn ready(writer: &mut Writer, blob_bytes: u64) -> Result<(), String> {
    if let Some(cause) = &writer.trouble.held {
        return Err(cause.clone());
    }
    if writer.file.is_none() {
        if let Some((cause, tried)) = &writer.trouble.closed
            && tried.elapsed() < REOPEN_PERIOD
        {
            return Err(cause.clone());
        }
        reopen(writer);
        if let Some((cause, _)) = &writer.trouble.closed {
            return Err(cause.clone());
        }
    }
    check_room(writer, blob_bytes)
}

fn check_room(writer: &Writer, blob_bytes: u64) -> Result<(), String> {
    let folder = writer.path.parent().unwrap_or(&writer.path);
    // If the system cannot say, the write will.
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = writer.tuning.disk_reserve.saturating_add(blob_bytes.saturating_mul(2));
    if free >= needed {
        return Ok(());
    }
    Err(format!(
        "the disk of {} has {} MiB left, and a write may need {}; make room there, writes then go on by themselves",
        folder.display(),
        free >> 20,
        needed >> 20
    ))
}

/// Answers everyone who waits that nothing was done.
pub(crate) fn refuse(writer: &mut Writer, cause: &str) {
    set_holding(writer, Some(cause.to_owned()));
    let unavailable = || WriteError::Unavailable { cause: cause.to_owned() };
    answer_all(writer, unavailable);
}

fn answer_all(writer: &mut Writer, error: impl Fn() -> WriteError) {
    let outcome = |work: &Work| match work {
        Work::Write { .. } => Outcome::Write(Err(error())),
        Work::Blob { .. } => Outcome::Blob(Err(error())),
        Work::Follow | Work::Adopt { .. } | Work::Look => Outcome::Nothing,
    };
    let outcomes = writer.pending.iter().map(outcome).collect();
    writer.answer(outcomes);
}

/// Answers a group of which it is open whether it stands in the shared journal. What it refused, or found nothing to do for, was
/// judged against a state that may never have been, so that is not done either.
pub(crate) fn leave_open(writer: &mut Writer, transaction: TransactionId, cause: &str, outcomes: Vec<Outcome>) {
    set_holding(writer, Some(cause.to_owned()));
    let open = |outcome| match outcome {
        Outcome::Write(Ok(written)) if written.revision >= transaction.first => {
            Outcome::Write(Err(WriteError::Unknown { transaction: Some(transaction), cause: cause.to_owned() }))
        }
        Outcome::Write(_) => Outcome::Write(Err(WriteError::Unavailable { cause: cause.to_owned() })),
        Outcome::Blob(_) => Outcome::Blob(Err(WriteError::Unavailable { cause: cause.to_owned() })),
        Outcome::Nothing => Outcome::Nothing,
    };
    writer.answer(outcomes.into_iter().map(open).collect());
}

/// Finds out what a failed group has come to, answers it, and brings the file back for readers.
pub(crate) fn recover(writer: &mut Writer, attempt: Attempt, cause: String) {
    let health = writer.file.as_ref().map(|file| file.health.clone()).unwrap_or_default();
    let cause = health.failed_sync().or(health.failed_write()).map_or(cause, str::to_owned);
    tracing::error!(%cause, committing = attempt.committing, "the store's file failed");
    let before = writer.meta.tip;
    reopen(writer);
    if attempt.placed {
        // It stands in the shared journal, so it is done; this node learns of it again when its file works.
        tracing::error!(%cause, "a write stands in the shared journal and could not be applied here");
        set_holding(writer, Some(format!("{} cannot be written ({cause})", writer.path.display())));
        return writer.answer(attempt.outcomes);
    }
    let path = writer.path.display().to_string();
    if attempt.committing && health.failed_sync().is_some() {
        let text = format!(
            "{path} could not be synced to the disk ({cause}), so what it holds is not known; look after the disk, then \
             restart weir"
        );
        tracing::error!("{text}");
        writer.trouble.held = Some(text);
    }
    let cause = format!("{path} cannot be written ({cause}); see to the disk, writes then go on by themselves");
    if !attempt.committing || (writer.file.is_some() && writer.meta.tip == before) {
        return refuse(writer, writer.trouble.held.clone().as_deref().unwrap_or(&cause));
    }
    // The commit had begun. If the file was opened anew, it shows the group, and a further sync makes sure of it.
    let found = writer.file.is_some() && writer.meta.tip == attempt.meta.tip;
    let synced = || std::fs::File::open(&writer.path).and_then(|file| file.sync_all()).is_ok();
    if found && writer.trouble.held.is_none() && synced() {
        return writer.settle(attempt);
    }
    let cause = writer.trouble.held.clone().unwrap_or(cause);
    set_holding(writer, Some(cause.clone()));
    answer_all(writer, || WriteError::Unknown { transaction: None, cause: cause.clone() });
}

/// Closes the file and opens it anew. Views of the newest revision go on with the new one.
pub(crate) fn reopen(writer: &mut Writer) {
    let (role, cluster) = (writer.meta.role, writer.meta.cluster);
    // The old one must be gone first, with its lock.
    writer.file = None;
    let opened = match file::open(&writer.path, role, cluster, &writer.hashes, writer.tuning.cache_bytes) {
        Ok(opened) if opened.meta.tip.revision < writer.meta.tip.revision => Err(format!(
            "{} went back from revision {} to {}; restore it from a backup",
            writer.path.display(),
            writer.meta.tip.revision,
            opened.meta.tip.revision
        )),
        Ok(opened) => Ok(opened),
        Err(error) => Err(error.to_string()),
    };
    let published = opened.and_then(|opened| {
        writer.meta = opened.meta.clone();
        writer.file = Some(opened);
        writer.publish().map_err(|error| error.to_string())
    });
    match published {
        Ok(()) => writer.trouble.closed = None,
        Err(cause) => {
            tracing::error!(%cause, "the store's file could not be opened anew");
            writer.file = None;
            set_holding(writer, Some(cause.clone()));
            writer.trouble.closed = Some((cause, Instant::now()));
        }
    }
}

/// A reader met a failure: open the file anew if it cannot be read any more.
pub(crate) fn look(writer: &mut Writer) {
    writer.shared.look_asked.store(false, Ordering::Release);
    let recent = writer.trouble.closed.as_ref().is_some_and(|(_, tried)| tried.elapsed() < REOPEN_PERIOD);
    let readable = writer.file.is_some() && writer.shared.newest().is_some_and(|view| view.is_readable());
    if !recent && !readable {
        reopen(writer);
    }
}

/// Notes for `status` why writes are refused.
pub(crate) fn set_holding(writer: &Writer, cause: Option<String>) {
    // A held store stays held, whatever else happens to go well.
    *locked(&writer.shared.holding) = writer.trouble.held.clone().or(cause);
}
