//! What the writer asks of whoever decides which transaction comes next, when that is not the writer itself.
//!
//! All calls come from the writer's thread, one at a time, and may wait: seconds at most, for the writer follows nobody meanwhile.

use crate::hash::StateSum;
use crate::replica::meta::Tip;
use crate::row::Row;
use std::time::Instant;
use tokio::runtime::Handle;
use weir_model::{Digest, Id, Revision, TransactionId};

/// A journal that several nodes share.
pub(crate) trait Authority: Send {
    /// Asks for the places after `base` for all of `rows`, which continue it: all or none of them get in.
    fn append(&mut self, base: &Tip, rows: &[Row]) -> Appended;
    /// Whether `base` was the tip at some moment after the call began: what was judged there may be answered.
    fn confirm(&mut self, base: &Tip) -> Confirmed;
    /// What comes after `tip`. May be less than there is.
    fn news(&mut self, tip: &Tip) -> News;
    /// A group of writes is going to be placed; answers whether others have probably written since `tip`.
    fn begin_turn(&mut self, tip: &Tip) -> bool;
    /// Others came first, up to `tip`.
    fn lose_turn(&mut self, tip: &Tip);
    /// No place is sought for the group any longer, whatever became of it.
    fn end_turn(&mut self);
    /// The bytes of a blob that a transaction refers to. `Ok(None)`: there are none, or not yet.
    fn blob(&mut self, digest: Digest) -> Result<Option<Vec<u8>>, Unread>;
    /// When it wants to be asked for news again.
    fn next_look(&self) -> Instant;
    /// A state to begin anew from: the newest checkpoint, or the beginning of the history.
    fn base(&mut self) -> Result<Base, Unread>;
    /// A piece of it.
    fn part(&mut self, base: &Base, number: usize) -> Result<Vec<u8>, Unread>;
    /// Follows whatever history the store has from now on; answers which.
    fn adopt(&mut self) -> Result<Id, String>;
    /// Told once the first look has ended, whatever it found, and after each later one: why nothing can be known, or why
    /// this node holds.
    fn looked(&mut self, outcome: &Outlook, tip: &Tip);
    /// Where waiting for work and for the next look is done.
    fn runtime(&self) -> Handle;
}

/// What became of an append.
#[derive(Debug)]
pub(crate) enum Appended {
    /// The rows have their places.
    Placed,
    /// They do not, and never will: something else has come after `base`. Catch up and judge again.
    Behind,
    /// Certainly nothing was done.
    Away(String),
    /// They have their places or will, or never will; who asks for the transaction is told as soon as it is known.
    Unknown { transaction: TransactionId, cause: String },
}

/// Whether the base of what was judged is the tip.
#[derive(Debug)]
pub(crate) enum Confirmed {
    Tip,
    Behind,
    Away(String),
}

/// What comes after a tip.
#[derive(Debug)]
pub(crate) enum News {
    /// Rows that follow, and the revision at which the journal was when it was asked: there may be more to fetch up to there.
    Rows { rows: Vec<SharedRow>, up_to: Revision },
    /// Nobody could be asked.
    Away(String),
    /// The journal no longer reaches back to the tip: begin anew from the base.
    Reload,
    /// What is there does not continue what this node has. It goes on serving that, and writes nothing.
    Hold(String),
}

/// Why something that the authority has could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unread {
    /// Not at the moment.
    Away(String),
    /// It is not what a node wrote there.
    Altered(String),
}
impl From<String> for Unread {
    fn from(cause: String) -> Self {
        Self::Away(cause)
    }
}
impl From<Unread> for Outlook {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Away(cause) => Self::Away(cause),
            Unread::Altered(cause) => Self::Hold(cause),
        }
    }
}
impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Away(cause) | Self::Altered(cause)) = self;
        f.write_str(cause)
    }
}

/// A state that can be loaded.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Base {
    pub(crate) cluster: Id,
    /// Where it stands.
    pub(crate) tip: Tip,
    /// Its entities, in pieces (see `replica::image`): what each is stored under.
    pub(crate) parts: Vec<Digest>,
}

/// How a look has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outlook {
    /// The tip is known and applied.
    Current,
    Away(String),
    Hold(String),
}

/// A row of the shared journal: one or more transactions that got their places together.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SharedRow {
    /// The place of its first transaction.
    pub(crate) first: Revision,
    pub(crate) format: u32,
    pub(crate) appended: u64,
    /// The head that it continues.
    pub(crate) previous: [u8; 32],
    /// Head and state after its last transaction.
    pub(crate) head: [u8; 32],
    pub(crate) state: StateSum,
    /// Each transaction's changes, encoded.
    pub(crate) transactions: Vec<Vec<u8>>,
}
