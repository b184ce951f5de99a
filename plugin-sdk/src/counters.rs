//! Counting against limits, as a plugin sees it. Every method is one question to the backing; nothing is computed here.

use crate::Result;
use crate::backing::{self, Handle};
use crate::header::HeaderFault;

/// Counting against limits. Counts live in the host: for the whole node, or for all nodes ([`Scope`]), apart for each plugin entry.
pub struct Counters {
    pub(crate) handle: Handle,
}

impl Counters {
    /// Takes `amount` from every window, or from none if one has no room for it. At most 6 limits, each period once.
    pub fn take(&mut self, key: &str, limits: &[Limit], amount: u64) -> Taken {
        self.handle.counters_take(key, limits, amount)
    }
    /// Prepares limits that are the same in every exchange; only in [`crate::Plugin::check`]. At most 6 windows and 20
    /// announcements, and 8 rules for one configuration. A header that cannot be written is refused.
    pub fn prepare_rule(rule: Rule) -> Result<PreparedRule, HeaderFault> {
        backing::counters_prepare_rule(rule).map(PreparedRule)
    }
    /// Takes by a rule and writes its announcements, in one call of the host. `None`: taken. Otherwise nothing was taken, and it is
    /// the seconds until the window with the least room ends.
    pub fn take_by(&mut self, rule: &PreparedRule, amount: u64) -> Option<u32> {
        self.handle.counters_take_by(&rule.0, amount)
    }
    /// As [`Counters::prepare_rule`], which is the same with [`Scope::Node`]. Rules of that scope count apart from the others.
    pub fn prepare_scoped_rule(rule: Rule, scope: Scope) -> Result<PreparedRule, HeaderFault> {
        backing::counters_prepare_scoped_rule(rule, scope).map(PreparedRule)
    }
    /// As [`Counters::take_by`], which answers a second where this says [`Verdict::Unknown`].
    pub fn try_take_by(&mut self, rule: &PreparedRule, amount: u64) -> Verdict {
        self.handle.counters_try_take_by(&rule.0, amount)
    }
}

/// Which nodes' takes count together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// This node's: exactly the limit passes.
    #[default]
    Node,
    /// Those of all nodes on the same store. Judged from memory, like the others: by what this node took and what the others had
    /// taken when that was last read, which is about once a second. So the nodes together may let more pass than the limit, by
    /// what they take in two such intervals. While the store is away, the others' takes stay what they were. With a store of its
    /// own, a node is alone, and it is as [`Scope::Node`].
    Cluster,
    /// As [`Scope::Cluster`], but nothing is taken while what the others took is not known: the store has been away for seconds.
    ClusterStrict,
}

/// What a take came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was taken.
    Taken,
    /// Nothing was: seconds until the window with the least room ends, at least 1.
    NoRoom(u32),
    /// Nothing was, and nothing is announced: what the other nodes took is not known. Only with [`Scope::ClusterStrict`].
    Unknown,
}

/// What [`Counters::take`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// False: a window had no room, and nothing was taken.
    pub taken: bool,
    /// How the windows stand now, in the order of the limits.
    pub usages: Vec<Usage>,
}

/// Length of a window, by the calendar in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// What one window allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Its length.
    pub period: Period,
    /// How much fits in.
    pub max: u64,
}

/// How one window stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// What was taken, this call included.
    pub used: u64,
    /// Seconds until the window ends.
    pub resets_in_s: u32,
}

/// Whose windows a rule counts in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The consumer.
    Consumer,
    /// The credential that let the consumer in.
    Credential,
    /// The client's address.
    ClientIp,
    /// The route's service.
    Service,
    /// The value of that request header, cut to 1,000 bytes.
    Header(String),
    /// Requests whose path is that one, as [`crate::Request::path`] gives it.
    Path(String),
}

/// A window of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// What it allows.
    pub limit: Limit,
    /// What [`Figure::Limit`] tells of it; `None`: the number.
    pub text: Option<String>,
}

/// What a header tells of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// How much the window allows.
    Limit,
    /// How much room it has left, after the call.
    Remaining,
    /// Seconds until it ends.
    Reset,
}

/// A response header that tells the client how it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// Its name.
    pub header: String,
    /// What it tells.
    pub figure: Figure,
    /// Of which of the rule's windows; `None`: of the one with the least room, of equal ones the longest.
    pub of: Option<Period>,
}

/// Limits that are the same in every exchange, for [`Counters::prepare_rule`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Whose windows. Where the exchange does not have it (nobody authenticated, no such header, another path), the client's
    /// address stands in; the two are counted apart.
    pub by: Subject,
    /// Each period at most once.
    pub windows: Vec<Window>,
    /// Written whether or not there was room.
    pub announcements: Vec<Announcement>,
}

/// A rule that the host has parsed.
#[derive(Debug)]
pub struct PreparedRule(pub(crate) backing::Rule);
