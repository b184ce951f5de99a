//! Who has waited long for a place in the journal gets one: the others let it in.
//!
//! A place goes to whoever's condition arrives first, and a node that is near the store reads, judges and asks anew before the question of
//! one that is far from it has arrived: such a node would wait for ever. So it tells that it wishes a place, and since when: the revision
//! at which it began to try. Nodes look for older wishes than their own and wait until these are gone. This is courtesy and not safety: no
//! answer depends on it. A wish is waited for once and for seconds at most, so that one of a node that has died does no more harm than that.

use super::connection::{Prepared, READ_LIMIT};
use crate::local::locked;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use uuid::Uuid;
use weir_model::{Id, Revision};

/// Transactions of others that came first while a group tried: few meet so many that are as near as the others.
const MISSED: u64 = 8;
/// How long a node that had to wish once wishes at once, and one that has heard of a wish looks for more before each append.
const REMEMBERED: Duration = Duration::from_secs(10);
/// A node that has heard of no wish looks for some once in so many appends, beside the append.
const APPENDS_BETWEEN: u32 = 4;
/// How long a wish is waited for: a few tries of a node to which a question takes 200 ms.
const COURTESY: Duration = Duration::from_secs(3);
/// How long wishes are waited for before one append, however many there are.
const COURTESY_MOST: Duration = Duration::from_secs(5);
/// How often is looked meanwhile.
const GLANCE: Duration = Duration::from_millis(10);
/// A table that is not there, as before `weir migrations up`, is looked for again after this time.
const MISSING: Duration = Duration::from_secs(60);
/// How long Cassandra keeps a wish: longer than anybody waits for it.
const KEPT_S: i32 = 60;
/// Wishes that are read: one for each process that wished lately.
const WISHES_MOST: usize = 1000;

const PUT: &str = "INSERT INTO wishes (log, boot, wish) VALUES (0, ?, ?) USING TIMESTAMP ? AND TTL ?";
const READ: &str = "SELECT boot, wish FROM wishes WHERE log = 0";

/// One more than the revision since which it is wished, and by which process; 0 is none.
type Wish = (i64, Id);

/// The statements.
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

/// What the writer knows of turns.
pub(super) struct Turns {
    runtime: Handle,
    /// Which process this is.
    boot: Id,
    /// Since when the group that is being placed waits.
    begun_at: Revision,
    own: Own,
    /// Writes of wishes so far: a later one stays, whichever arrives last.
    written: i64,
    /// When this node last had to wish.
    wished_at: Option<Instant>,
    /// Since it last looked for wishes.
    appends: u32,
    /// When it last heard of others' wishes.
    heard_at: Arc<Mutex<Option<Instant>>>,
    /// Nobody has wished before this group.
    is_next: bool,
    /// Since when the wishes of others are known that are or were waited for.
    known: HashMap<Wish, Instant>,
    missing_since: Option<Instant>,
}

/// Whether the group that is being placed wishes.
#[derive(Clone, Copy, PartialEq)]
enum Own {
    No,
    Untold,
    Told,
}

fn within(at: Option<Instant>, limit: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() < limit)
}

impl Turns {
    pub(super) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            boot: Id::random(),
            begun_at: Revision(0),
            own: Own::No,
            written: 0,
            wished_at: None,
            appends: 0,
            heard_at: Arc::default(),
            is_next: false,
            known: HashMap::new(),
            missing_since: None,
        }
    }

    /// A group begins to try at that tip; answers whether it wishes at once, so that it is worth while to let others in first.
    pub(super) fn begin(&mut self, tip: Revision) -> bool {
        (self.begun_at, self.is_next) = (tip, false);
        let wishes = within(self.wished_at, REMEMBERED);
        self.own = if wishes { Own::Untold } else { Own::No };
        wishes
    }

    /// Others came first, and the tip is there now.
    pub(super) fn lose(&mut self, tip: Revision) {
        if tip.0.saturating_sub(self.begun_at.0) >= MISSED {
            self.wished_at = Some(Instant::now());
            if self.own == Own::No {
                (self.own, self.is_next) = (Own::Untold, false);
            }
        }
    }

    /// It tries no longer, whatever it came to.
    pub(super) fn end(&mut self, prepared: Option<Arc<Prepared>>) {
        self.appends += 1;
        let told = std::mem::replace(&mut self.own, Own::No) == Own::Told;
        if told && let Some(prepared) = prepared {
            let values = self.values(0);
            self.runtime.spawn(async move { put(&prepared, values).await });
        }
    }

    /// Waits for those who have wished since before this group began, if it is time to look for them.
    pub(super) fn let_others_in(&mut self, prepared: &Arc<Prepared>) {
        if within(self.missing_since, MISSING) {
            return;
        }
        let heard = within(*locked(&self.heard_at), REMEMBERED);
        if !heard && self.own == Own::No {
            return self.look_beside(prepared);
        }
        if !self.is_next {
            let runtime = self.runtime.clone();
            runtime.block_on(self.wait(prepared));
        }
    }

    fn look_beside(&mut self, prepared: &Arc<Prepared>) {
        if self.appends >= APPENDS_BETWEEN {
            self.appends = 0;
            let (prepared, heard_at, boot) = (prepared.clone(), self.heard_at.clone(), self.boot);
            self.runtime.spawn(async move {
                let wishes = read(&prepared).await;
                if wishes.is_ok_and(|wishes| wishes.iter().any(|wish| wish.0 != 0 && wish.1 != boot)) {
                    *locked(&heard_at) = Some(Instant::now());
                }
            });
        }
    }

    async fn wait(&mut self, prepared: &Arc<Prepared>) {
        let own = (self.begun_at.next().0.cast_signed(), self.boot);
        let until = Instant::now() + COURTESY_MOST;
        while Instant::now() < until {
            let wishes = if self.own == Own::Untold {
                self.own = Own::Told;
                let values = self.values(own.0);
                tokio::join!(put(prepared, values), read(prepared)).1
            } else {
                read(prepared).await
            };
            // A store that does not answer is for the append to tell of.
            let Ok(mut wishes) = wishes else {
                self.missing_since = prepared.wishes.get().is_none().then(Instant::now);
                return;
            };
            let now = Instant::now();
            if wishes.iter().any(|wish| wish.0 != 0 && wish.1 != self.boot) {
                *locked(&self.heard_at) = Some(now);
            }
            wishes.retain(|wish| wish.0 != 0 && *wish < own);
            let since = |wish: &Wish| (*wish, self.known.get(wish).copied().unwrap_or(now));
            self.known = wishes.iter().map(since).collect();
            if self.known.values().all(|since| since.elapsed() >= COURTESY) {
                self.is_next = true;
                return;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn values(&mut self, wish: i64) -> PutValues {
        self.written += 1;
        (Uuid::from_bytes(*self.boot.as_bytes()), wish, self.written, KEPT_S)
    }
}

type PutValues = (Uuid, i64, i64, i32);

async fn put(prepared: &Prepared, values: PutValues) {
    if let Ok(statements) = statements(prepared).await
        && let Err(error) = prepared.session.execute_unpaged(&statements.put, values).await
    {
        tracing::debug!(%error, "a wish for a place in the journal could not be told");
    }
}

async fn read(prepared: &Prepared) -> Result<Vec<Wish>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let read = &statements(prepared).await?.read;
    let result = prepared.session.execute_unpaged(read, ()).await.map_err(|error| prepared.reason(&error))?;
    let rows = result.into_rows_result().map_err(|error| text(&error))?;
    let rows = rows.rows::<(Uuid, Option<i64>)>().map_err(|error| text(&error))?;
    let wish = |(boot, wish): (Uuid, Option<i64>)| (wish.unwrap_or(0), Id::from_bytes(*boot.as_bytes()));
    rows.take(WISHES_MOST).map(|row| row.map(wish).map_err(|error| text(&error))).collect()
}

/// Prepared when they are first needed: tables of an older version do not have this one, and everything else works without it.
async fn statements(prepared: &Prepared) -> Result<&Statements, String> {
    let made = prepared.wishes.get_or_try_init(|| Statements::new(&prepared.session)).await;
    made.map_err(|error| error.to_string())
}
