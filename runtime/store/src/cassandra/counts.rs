//! Counts in Cassandra: a partition for each window, in it a row for each process, which only that process writes and which only grows.
//!
//! A row is written with its count as timestamp: whichever of two writes arrives later, the larger count stays, so nothing is read
//! before it is written, no write waits for another, and one that is lost, repeated or late does no harm. Cassandra's own counters could
//! not be asked whether a write that timed out was counted.

use super::connection::{Connection, Prepared, READ_LIMIT};
use crate::BoxFuture;
use crate::counts::{EXCHANGE_LIMIT, Exchanged, SharedCounts, WindowCount};
use crate::hash::Hashes;
use crate::local::locked;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use uuid::Uuid;
use weir_model::Id;

/// Windows of one exchange that are asked for at once: a millisecond each makes 30,000 a second, and 32 of the 32,768 requests that a
/// connection carries leave the others their place.
const AT_ONCE: usize = 32;
/// Rows of a window that are read: one for each process that took from it. A year in which ten nodes start anew every day has 3,650.
/// 10,000 are 400 kB; what is beyond them is not counted.
const ROWS_MOST: i32 = 10_000;
/// How much longer than its window a row is kept: for nodes whose clocks are behind, by whom the window has not ended. When a row lapses
/// is reckoned by the clock of the node of Cassandra that takes it, and held against that of the one that is asked: so far they may differ.
pub(super) const KEPT_AFTER_S: u32 = 15 * 60;
/// How long a row is kept at most: a year and some days, by a clock that is wrong too.
const KEPT_MOST_S: u32 = 400 * 86_400;
/// A window that nobody counts, to see whether the store is there: hashes are not zero.
const NOBODYS: [u8; 32] = [0; 32];

const PUT: &str = "INSERT INTO rate_counts (window, process, part, count) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
const READ: &str = "SELECT process, part, count FROM rate_counts WHERE window = ? LIMIT ?";

/// The statements. Both at LOCAL_QUORUM, so that within a data centre whoever reads sees every write that was answered before.
pub(super) struct Statements {
    put: PreparedStatement,
    read: PreparedStatement,
}

impl Statements {
    async fn new(session: &Session) -> Result<Self, PrepareError> {
        let (mut put, mut read) = (session.prepare(PUT).await?, session.prepare(READ).await?);
        for statement in [&mut put, &mut read] {
            statement.set_consistency(Consistency::LocalQuorum);
            statement.set_is_idempotent(true);
            statement.set_request_timeout(Some(READ_LIMIT));
        }
        Ok(Self { put, read })
    }
}

/// The counts of one process.
pub(super) struct Counts {
    connection: Connection,
    hashes: Hashes,
    /// Anew at each start: a process that begins at zero again must not write over what it took before.
    process: Uuid,
}

impl Counts {
    pub(super) fn new(connection: Connection, hashes: Hashes) -> Self {
        Self { connection, hashes, process: Uuid::from_bytes(*Id::random().as_bytes()) }
    }

    async fn told(&self, own: Vec<WindowCount>) -> Exchanged {
        let others = vec![None; own.len()];
        let prepared = match self.ready().await {
            Ok(prepared) => prepared,
            Err(cause) => return Exchanged { others, trouble: Some(cause) },
        };
        let windows = own.iter().map(|own| self.hashes.window(&own.key, own.period, own.start)).collect();
        let exchange = Arc::new(Exchange {
            process: self.process,
            prepared,
            own,
            windows,
            next: AtomicUsize::new(0),
            outcome: Mutex::new(Exchanged { others, trouble: None }),
        });
        let mut lanes = JoinSet::new();
        for _ in 0..AT_ONCE.min(exchange.own.len()) {
            lanes.spawn(exchange.clone().lane());
        }
        if exchange.own.is_empty() {
            lanes.spawn(exchange.clone().look());
        }
        let all = async { while lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(EXCHANGE_LIMIT, all).await.is_err() {
            exchange.fail(format!("not everything was answered within {} s", EXCHANGE_LIMIT.as_secs()));
        }
        // Lanes that hang end with their set.
        locked(&exchange.outcome).clone()
    }

    /// The session with the statements, which are prepared when they are first needed: tables of an older version do not have this one,
    /// and everything else works without it.
    async fn ready(&self) -> Result<Arc<Prepared>, String> {
        let prepared = self.connection.prepared()?;
        let made =
            tokio::time::timeout(EXCHANGE_LIMIT, prepared.counts.get_or_try_init(|| Statements::new(&prepared.session))).await;
        match made {
            Ok(Ok(_)) => Ok(prepared),
            Ok(Err(error)) => {
                Err(format!("{error}; if the table rate_counts is not there, `weir migrations up` on one node makes it"))
            }
            Err(_) => Err("Cassandra does not answer".to_owned()),
        }
    }
}

impl SharedCounts for Counts {
    fn exchange(&self, own: Vec<WindowCount>) -> BoxFuture<'_, Exchanged> {
        Box::pin(self.told(own))
    }
}

/// One exchange, which several lanes work off.
struct Exchange {
    process: Uuid,
    prepared: Arc<Prepared>,
    own: Vec<WindowCount>,
    windows: Vec<[u8; 32]>,
    /// The window that the next free lane takes.
    next: AtomicUsize,
    outcome: Mutex<Exchanged>,
}

impl Exchange {
    /// Takes window after window, whatever became of the one before: the nodes that have one may be away, and those of others not.
    async fn lane(self: Arc<Self>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some(own), Some(window)) = (self.own.get(at), self.windows.get(at)) else { return };
            match self.window(own, window).await {
                Ok(others) => {
                    if let Some(place) = locked(&self.outcome).others.get_mut(at) {
                        *place = Some(others);
                    }
                }
                Err(cause) => self.fail(cause),
            }
        }
    }

    async fn look(self: Arc<Self>) {
        if let Err(cause) = self.rows(&NOBODYS).await {
            self.fail(cause);
        }
    }

    fn fail(&self, cause: String) {
        locked(&self.outcome).trouble.get_or_insert(cause);
    }

    /// Writes before it reads: of two processes that do so at once, one at least learns of the other.
    async fn window(&self, own: &WindowCount, window: &[u8; 32]) -> Result<u64, String> {
        let part = own.part.cast_signed();
        if own.grown {
            let count = i64::try_from(own.count).unwrap_or(i64::MAX);
            let lives = own.left_s.saturating_add(KEPT_AFTER_S).min(KEPT_MOST_S).cast_signed();
            let values = (window.as_slice(), self.process, part, count, count, lives);
            let put = &self.statements()?.put;
            self.prepared.session.execute_unpaged(put, values).await.map_err(|error| error.to_string())?;
        }
        let rows = self.rows(window).await?;
        let others = rows.iter().filter(|(process, of, _)| (*process, *of) != (self.process, part));
        Ok(others.fold(0, |sum: u64, (.., count)| sum.saturating_add(*count)))
    }

    async fn rows(&self, window: &[u8; 32]) -> Result<Vec<(Uuid, i32, u64)>, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let (read, values) = (&self.statements()?.read, (window.as_slice(), ROWS_MOST));
        let result = self.prepared.session.execute_unpaged(read, values).await.map_err(|error| text(&error))?;
        let rows = result.into_rows_result().map_err(|error| text(&error))?;
        let mut all = Vec::new();
        for row in rows.rows::<(Uuid, i32, Option<i64>)>().map_err(|error| text(&error))? {
            let (process, part, count) = row.map_err(|error| text(&error))?;
            all.push((process, part, count.unwrap_or(0).max(0).cast_unsigned()));
        }
        Ok(all)
    }

    fn statements(&self) -> Result<&Statements, String> {
        self.prepared.counts.get().ok_or_else(|| "the statements are not prepared".to_owned())
    }
}
