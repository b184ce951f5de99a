//! The shared journal as the writer sees it: appends that only an occupied place settles, and rows in order.
//!
//! The journal is one partition. Its static columns say where it ends; a row and the new end are one conditional statement, so
//! that nobody who has missed something can append, whatever was trimmed meanwhile.

use super::connection::{Connection, Prepared, was_not_sent};
use super::partition::{End, end, rows, signed, slot};
use super::sealing::Place;
use super::turns::Turns;
use super::{blobs, checkpoint};
use crate::hash::{Hashes, hex};
use crate::local::authority::{Appended, Authority, Base, Confirmed, News, Outlook, Unread};
use crate::replica::meta::Tip;
use crate::row::{FORMAT, Row};
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;
use weir_model::{Digest, Id, Revision, TransactionId};

/// Changes that stand in the row itself, as they are stored. More make every later append pay too, because Paxos carries the last one along.
pub(super) const INLINE_BYTES: usize = 64 << 10;
/// How long an append is pursued before whoever waits is told that it is open.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// How often the tip is read so that a commit that did not reach the replica that is asked is noticed.
const CERTAIN_PERIOD: Duration = Duration::from_secs(30);

/// How a read is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Quorum,
    One,
    Serial,
}

/// An append that nobody knows the end of yet.
struct Open {
    transaction: TransactionId,
    values: AppendValues,
    /// The changes, where they do not stand in the row. Whatever nobody refers to is collected at some time, and this is not referred to.
    large: Option<Vec<u8>>,
}

/// What the statement takes, in its order.
pub(super) type AppendValues =
    (i64, Vec<u8>, Uuid, Vec<u8>, Vec<u8>, Vec<u8>, i32, i64, Option<Vec<u8>>, Option<Vec<u8>>, i64, i64, Vec<u8>);

/// The shared journal.
pub(super) struct SharedJournal {
    connection: Connection,
    runtime: Handle,
    hashes: Hashes,
    cluster: Id,
    every: Duration,
    looked_at: Option<Instant>,
    certain_at: Option<Instant>,
    /// Something did not fit together: the next look reads what is certain.
    doubt: bool,
    /// The last look found no quorum.
    no_quorum: bool,
    open: Option<Open>,
    #[cfg(test)]
    broken: Option<super::broken::Broken>,
    outlook: Arc<watch::Sender<Option<(Outlook, Revision)>>>,
    turns: Turns,
}

impl SharedJournal {
    pub(super) fn new(
        connection: Connection,
        runtime: Handle,
        hashes: Hashes,
        cluster: Id,
        every: Duration,
        outlook: Arc<watch::Sender<Option<(Outlook, Revision)>>>,
    ) -> Self {
        Self {
            connection,
            turns: Turns::new(runtime.clone()),
            runtime,
            hashes,
            cluster,
            every,
            looked_at: None,
            certain_at: None,
            doubt: true,
            no_quorum: false,
            open: None,
            #[cfg(test)]
            broken: super::broken::get(),
            outlook,
        }
    }

    /// Whether the place of an append is taken, and by whom.
    fn settle(&self, prepared: &Prepared, transaction: TransactionId) -> Result<Option<bool>, String> {
        let found = self.runtime.block_on(slot(prepared, transaction.first))?;
        Ok(found.map(|random| random == transaction.random))
    }

    /// Sends an append again that was left open. Answers whether it is settled.
    fn close_open(&mut self, prepared: &Prepared) -> Result<(), String> {
        let Some(open) = &self.open else { return Ok(()) };
        if let Some(large) = &open.large {
            self.runtime.block_on(blobs::put(prepared, large))?;
        }
        let sent = self.runtime.block_on(prepared.session.execute_unpaged(&prepared.append, &open.values));
        // Placed now, or placed before, or never to be: the tip has moved, and the statement asks for the old one.
        sent.map_err(|error| prepared.reason(&error))?;
        tracing::info!(transaction = %open.transaction, "an append that was left open is settled");
        self.open = None;
        Ok(())
    }

    /// When nothing is open, and nobody has waited for longer.
    fn may_append(&mut self) -> Result<Arc<Prepared>, String> {
        let prepared = self.connection.prepared()?;
        self.close_open(&prepared)?;
        self.turns.let_others_in(&prepared);
        // Without a quorum an append would be refused in a way that does not say whether it was begun.
        if self.no_quorum {
            self.read_end(&prepared, Level::Serial)?;
        }
        Ok(prepared)
    }

    fn read_end(&self, prepared: &Prepared, level: Level) -> Result<Option<End>, String> {
        self.runtime.block_on(end(prepared, at(&prepared.tip, level)))
    }

    /// The end, as surely as can be had at the moment. Falls back to one replica, of which the chain says whether it fits.
    fn look(&mut self, prepared: &Prepared) -> Result<(Option<End>, Level), String> {
        let certain = self.doubt || self.certain_at.is_none_or(|last| last.elapsed() >= CERTAIN_PERIOD);
        if certain {
            match self.read_end(prepared, Level::Serial) {
                Ok(end) => {
                    self.certain_at = Some(Instant::now());
                    (self.doubt, self.no_quorum) = (false, false);
                    return Ok((end, Level::Serial));
                }
                Err(cause) => tracing::debug!(%cause, "the tip cannot be read for certain"),
            }
        }
        match self.read_end(prepared, Level::Quorum) {
            Ok(end) => {
                self.no_quorum = false;
                Ok((end, Level::Quorum))
            }
            Err(cause) => {
                self.no_quorum = true;
                self.read_end(prepared, Level::One).map(|end| (end, Level::One)).map_err(|_| cause)
            }
        }
    }

    fn judge(&mut self, prepared: &Prepared, tip: &Tip) -> News {
        let (end, mut level) = match self.look(prepared) {
            Ok(found) => found,
            Err(cause) => {
                self.connection.doubt();
                return News::Away(away(&cause));
            }
        };
        let mut end = end;
        // What speaks against this node is only believed when it is certain.
        if end.as_ref().is_none_or(|end| self.against(end, tip).is_some()) && level != Level::Serial {
            match self.read_end(prepared, Level::Serial) {
                Ok(certain) => (end, level) = (certain, Level::Serial),
                Err(cause) => {
                    self.doubt = true;
                    return News::Away(away(&cause));
                }
            }
        }
        let Some(end) = end else {
            return News::Hold(format!(
                "the store is empty, and this node has revision {}; it serves on. `weir cluster republish` makes its \
                 configuration the store's",
                tip.revision
            ));
        };
        if let Some(cause) = self.against(&end, tip) {
            return News::Hold(cause);
        }
        if end.revision == tip.revision {
            return News::Rows { rows: Vec::new(), up_to: end.revision };
        }
        #[cfg(test)]
        if let Some(super::broken::Broken::TimeWindow(window) | super::broken::Broken::TimeWindowBelieved(window)) = self.broken {
            let rows = self.runtime.block_on(super::broken::recent_rows(prepared, &end, tip.revision, window));
            let up_to = end.revision;
            return rows.map_or_else(|unread| News::Away(format!("{unread:?}")), |rows| News::Rows { rows, up_to });
        }
        // Too long away, or new: what the journal no longer says is in a checkpoint.
        if end.floor > tip.revision || (tip.revision == Revision(0) && end.checkpoint.is_some()) {
            return News::Reload;
        }
        match self.runtime.block_on(rows(prepared, at(&prepared.rows, level), self.cluster, tip.revision)) {
            Err(Unread::Away(cause)) => News::Away(away(&cause)),
            Err(Unread::Altered(cause)) => News::Hold(cause),
            Ok(rows) if rows.is_empty() && level == Level::Serial => News::Hold(format!(
                "the store has no revision {}, though it is at {}; `weir cluster adopt` loads the state anew",
                tip.revision.next(),
                end.revision
            )),
            Ok(rows) => {
                self.doubt |= rows.is_empty();
                News::Rows { rows, up_to: end.revision }
            }
        }
    }

    /// What the end says against following it from `tip`.
    fn against(&self, end: &End, tip: &Tip) -> Option<String> {
        const WAYS: &str =
            "`weir cluster adopt` takes the store's configuration, `weir cluster republish` makes this node's the store's";
        if end.cluster != self.cluster {
            return Some(format!("the store is of cluster {}, and this node of {}; {WAYS}", end.cluster, self.cluster));
        }
        if let Some(fault) = self.hashes.key_fault(self.cluster, &end.key_check) {
            return Some(fault.to_owned());
        }
        if end.revision < tip.revision {
            return Some(format!("the store went back to revision {}, and this node has {}; {WAYS}", end.revision, tip.revision));
        }
        if end.revision == tip.revision && end.head != tip.head {
            return Some(format!(
                "the store has another revision {} ({}) than this node ({}); {WAYS}",
                tip.revision,
                hex(&end.head),
                hex(&tip.head)
            ));
        }
        None
    }

    /// What an append is to say; the changes have been uploaded if they are too large for a row.
    fn begin(&self, base: &Tip, rows: &[Row], transaction: TransactionId, prepared: &Prepared) -> Result<Open, String> {
        let last = rows.last().ok_or("nothing to append")?;
        let mut ops = Vec::new();
        for row in rows {
            ops.extend(u32::try_from(row.ops.len()).map_err(|_| "a transaction is too large")?.to_le_bytes());
            ops.extend(&row.ops);
        }
        let place = Place::Row { cluster: self.cluster, base: base.revision, head: &base.head };
        let stored = prepared.sealing.seal(&place, &ops)?;
        let (inline, digest, large) = if stored.len() <= INLINE_BYTES {
            (Some(stored.into_owned()), None, None)
        } else {
            let digest = self.runtime.block_on(blobs::put(prepared, &stored))?;
            (None, Some(digest.as_bytes().to_vec()), Some(stored.into_owned()))
        };
        let values = (
            signed(Revision(base.revision.0 + rows.len() as u64)),
            last.head.to_vec(),
            Uuid::from_bytes(*transaction.random.as_bytes()),
            base.head.to_vec(),
            last.head.to_vec(),
            last.state.0.to_vec(),
            FORMAT.cast_signed(),
            last.appended.cast_signed(),
            inline,
            digest,
            signed(transaction.first),
            signed(base.revision),
            base.head.to_vec(),
        );
        Ok(Open { transaction, values, large })
    }
}

impl Authority for SharedJournal {
    fn append(&mut self, base: &Tip, rows: &[Row]) -> Appended {
        let prepared = match self.may_append() {
            Ok(prepared) => prepared,
            Err(cause) => return Appended::Away(away(&cause)),
        };
        let transaction = TransactionId { first: base.revision.next(), random: Id::random() };
        let begun = match self.begin(base, rows, transaction, &prepared) {
            Ok(begun) => begun,
            Err(cause) => return Appended::Away(away(&cause)),
        };
        let values = &begun.values;
        #[cfg(test)]
        if self.broken == Some(super::broken::Broken::FreePlace) {
            return match self.runtime.block_on(super::broken::append_where_free(&prepared, values)) {
                Ok(true) => Appended::Placed,
                Ok(false) => Appended::Behind,
                Err(cause) => Appended::Away(cause),
            };
        }
        let until = Instant::now() + SETTLE_LIMIT;
        let mut sent = false;
        loop {
            let answer = self.runtime.block_on(prepared.session.execute_unpaged(&prepared.append, values));
            let cause = match answer {
                Ok(result) => match super::schema::applied(result) {
                    Ok(true) => return Appended::Placed,
                    Ok(false) => match self.settle(&prepared, transaction) {
                        // Our own statement, sent again after it had been carried out.
                        Ok(Some(true)) => return Appended::Placed,
                        Ok(_) if !sent => return Appended::Behind,
                        Ok(Some(false)) => return Appended::Behind,
                        // Trimmed already: it cannot be told whether it was ours.
                        Ok(None) => {
                            let cause = away("others have written so much meanwhile that the place is forgotten");
                            return Appended::Unknown { transaction, cause };
                        }
                        // Not even this one: a copy of it may have come first. Whose the place is must be known.
                        Err(cause) => {
                            sent = true;
                            cause
                        }
                    },
                    Err(cause) => {
                        sent = true;
                        cause
                    }
                },
                Err(error) if was_not_sent(&error) && !sent => return Appended::Away(away(&prepared.reason(&error))),
                Err(error) => {
                    sent |= !was_not_sent(&error);
                    match self.settle(&prepared, transaction) {
                        Ok(Some(true)) => return Appended::Placed,
                        Ok(Some(false)) => return Appended::Behind,
                        #[cfg(test)]
                        Ok(None) if self.broken == Some(super::broken::Broken::ReadBack) => {
                            return Appended::Away(away("wrong on purpose"));
                        }
                        // "Absent" proves nothing: the statement may still be on its way. Only sending it again can settle it.
                        Ok(None) | Err(_) => prepared.reason(&error),
                    }
                }
            };
            if Instant::now() >= until {
                self.open = Some(begun);
                self.doubt = true;
                return Appended::Unknown { transaction, cause: away(&cause) };
            }
        }
    }

    fn confirm(&mut self, base: &Tip) -> Confirmed {
        #[cfg(test)]
        if self.broken == Some(super::broken::Broken::Unconfirmed) {
            return Confirmed::Tip;
        }
        let prepared = match self.connection.prepared() {
            Ok(prepared) => prepared,
            Err(cause) => return Confirmed::Away(away(&cause)),
        };
        match self.read_end(&prepared, Level::Serial) {
            Ok(Some(end)) if end.revision == base.revision && end.head == base.head && end.cluster == self.cluster => {
                Confirmed::Tip
            }
            // Catching up finds out what it is.
            Ok(_) => {
                self.doubt = true;
                Confirmed::Behind
            }
            Err(cause) => Confirmed::Away(away(&cause)),
        }
    }

    fn news(&mut self, tip: &Tip) -> News {
        self.looked_at = Some(Instant::now());
        // What the writer itself is to do wrong it asks on its own thread, which is this one.
        #[cfg(test)]
        super::broken::set(self.broken);
        let prepared = match self.connection.prepared() {
            Ok(prepared) => prepared,
            Err(cause) => return News::Away(away(&cause)),
        };
        if let Err(cause) = self.close_open(&prepared) {
            tracing::debug!(%cause, "an append is still open");
        }
        self.judge(&prepared, tip)
    }

    fn begin_turn(&mut self, tip: &Tip) -> bool {
        let wishes = self.turns.begin(tip.revision);
        if wishes && let Ok(prepared) = self.connection.prepared() {
            // What they write meanwhile is caught up with then, once.
            self.turns.let_others_in(&prepared);
        }
        wishes
    }
    fn lose_turn(&mut self, tip: &Tip) {
        self.turns.lose(tip.revision);
    }
    fn end_turn(&mut self) {
        let prepared = self.connection.prepared().ok();
        self.turns.end(prepared);
    }

    fn blob(&mut self, digest: Digest) -> Result<Option<Vec<u8>>, Unread> {
        let prepared = self.connection.prepared()?;
        self.runtime.block_on(blobs::component(&prepared, digest)).map_err(unread)
    }

    fn base(&mut self) -> Result<Base, Unread> {
        let prepared = self.connection.prepared()?;
        self.runtime.block_on(checkpoint::base(&prepared, &self.hashes)).map_err(unread)
    }

    fn part(&mut self, base: &Base, number: usize) -> Result<Vec<u8>, Unread> {
        let prepared = self.connection.prepared()?;
        self.runtime.block_on(checkpoint::part(&prepared, base, number)).map_err(unread)
    }

    fn adopt(&mut self) -> Result<Id, String> {
        let prepared = self.connection.prepared()?;
        let end = self.read_end(&prepared, Level::Serial).map_err(|cause| away(&cause))?;
        let end = end.ok_or("the store is empty, and an empty store empties no node")?;
        if let Some(fault) = self.hashes.key_fault(end.cluster, &end.key_check) {
            return Err(fault.to_owned());
        }
        self.cluster = end.cluster;
        Ok(end.cluster)
    }

    fn next_look(&self) -> Instant {
        self.looked_at.map_or_else(Instant::now, |last| last + self.every)
    }

    fn looked(&mut self, outcome: &Outlook, tip: &Tip) {
        self.outlook.send_replace(Some((outcome.clone(), tip.revision)));
    }

    fn runtime(&self) -> Handle {
        self.runtime.clone()
    }
}

fn away(cause: &str) -> String {
    format!("the store cannot be asked ({cause}); traffic is served as before, and this node goes on trying")
}

fn unread(unread: Unread) -> Unread {
    match unread {
        Unread::Away(cause) => Unread::Away(away(&cause)),
        altered @ Unread::Altered(_) => altered,
    }
}

fn at(read: &super::connection::Leveled, level: Level) -> &PreparedStatement {
    match level {
        Level::Quorum => &read.quorum,
        Level::One => &read.one,
        Level::Serial => &read.serial,
    }
}
