//! Counts that nodes tell each other through the store that they share: how much each took from windows that all of them count.
//!
//! Knows windows as bytes and numbers; not what is limited, nor why.

use crate::BoxFuture;
use std::time::Duration;

/// How long an exchange may take. What is not answered by then is asked for again in the next one.
pub const EXCHANGE_LIMIT: Duration = Duration::from_secs(3);

/// What this process counted in one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WindowCount {
    /// Whose window: the same bytes on every node.
    pub key: Box<[u8]>,
    /// Which kind of window, so that an hour and a day that begin together are two.
    pub period: u8,
    /// Its first second on the Unix clock.
    pub start: i64,
    /// Seconds until it ends.
    pub left_s: u32,
    /// Tells this count from others that this process made of the same window.
    pub part: u32,
    /// All that it took; it only grows.
    pub count: u64,
    /// Whether it is more than was told before. If not, only what the others took is asked for.
    pub grown: bool,
}

/// What an exchange came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchanged {
    /// What all others took from each window, in the order in which they were asked for; unset where that could not be learnt.
    pub others: Vec<Option<u64>>,
    /// Why something could not be learnt, the first reason; unset if everything was, and the store was there.
    pub trouble: Option<String>,
}

/// Where nodes tell each other their counts.
pub trait SharedCounts: Send + Sync {
    /// Tells what has grown, and asks what the others took; without windows, only whether the store is there. Answers within
    /// [`EXCHANGE_LIMIT`]. It may be dropped, repeated and late: what it told then counts once. One at a time, on a runtime of tokio.
    fn exchange(&self, own: Vec<WindowCount>) -> BoxFuture<'_, Exchanged>;
}
