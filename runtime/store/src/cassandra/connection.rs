//! The session with Cassandra: made in the background, again and again, and never waited for by who serves.
//!
//! Every statement is prepared here, with its consistency beside it: one that decided at another consistency would break the
//! order of the journal without an error.

use super::counts::Statements;
use super::schema::{self, Readiness};
use super::sealing::Sealing;
use super::{CassandraOptions, reason, turns};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{ExecutionError, PrepareError};
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, watch};

/// What a read of a few rows may take. A coordinator that hangs is told from one that is slow by this, and another is asked.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(2);
/// What an append may take before it is asked how it went.
pub(super) const APPEND_LIMIT: Duration = Duration::from_secs(5);
/// What a session may take beside the time for each contact point. The driver has limits for connecting and for requests, and none for
/// a TLS handshake with a node that hangs.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Waits between attempts to connect: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Two attempts to connect, of which the later begins after the store was mended.
const MENDED_WAIT: Duration = Duration::from_secs(15);

/// Whether Cassandra can be asked.
#[derive(Clone)]
pub(super) enum Reach {
    /// Nothing is known yet.
    Connecting,
    /// It can.
    Up(Arc<Prepared>),
    /// It cannot, and why.
    Down(String),
    /// It can, and has no tables that this version could use.
    Unready(Readiness),
}

/// A session, all statements that a node uses, and how what they carry is sealed.
pub(super) struct Prepared {
    pub(super) session: Session,
    pub(super) sealing: Sealing,
    options: Arc<CassandraOptions>,
    /// The tip at QUORUM, at ONE, and at SERIAL, which sees every append that was answered.
    pub(super) tip: Leveled,
    pub(super) rows: Leveled,
    /// Whose transaction stands at a place, at SERIAL.
    pub(super) slot: PreparedStatement,
    pub(super) append: PreparedStatement,
    pub(super) put_chunk: PreparedStatement,
    pub(super) list_chunks: PreparedStatement,
    pub(super) chunk: PreparedStatement,
    pub(super) put_node: PreparedStatement,
    pub(super) nodes: PreparedStatement,
    /// Of a table that may not be there.
    pub(super) wishes: OnceCell<turns::Statements>,
    /// Of a table that may not be there.
    pub(super) counts: OnceCell<Statements>,
}

/// A read at each consistency.
pub(super) struct Leveled {
    pub(super) quorum: PreparedStatement,
    pub(super) one: PreparedStatement,
    pub(super) serial: PreparedStatement,
}

/// The columns that say where the journal ends and whose it is.
const TIP: &str = "SELECT DISTINCT log, tip, head, floor, cluster, key_check, checkpoint, checkpoint_at FROM journal \
                   WHERE log = 0";
const ROWS: &str = "SELECT revision, txn, prev, head_after, state, format, appended, ops, ops_digest FROM journal \
                    WHERE log = 0 AND revision > ? LIMIT 100";
const SLOT: &str = "SELECT txn FROM journal WHERE log = 0 AND revision = ?";
const APPEND: &str = "UPDATE journal SET tip = ?, head = ?, txn = ?, prev = ?, head_after = ?, state = ?, format = ?, appended = ?, \
                      ops = ?, ops_digest = ? WHERE log = 0 AND revision = ? IF tip = ? AND head = ?";
const PUT_CHUNK: &str = "INSERT INTO blobs (digest, upload, chunk, size, bytes) VALUES (?, ?, ?, ?, ?)";
const LIST_CHUNKS: &str = "SELECT upload, chunk, size FROM blobs WHERE digest = ?";
const CHUNK: &str = "SELECT bytes FROM blobs WHERE digest = ? AND upload = ? AND chunk = ?";
const PUT_NODE: &str = "INSERT INTO nodes (log, id, boot, seq, name, version, applied, serving, trouble, every_ms) \
                        VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
const NODES: &str = "SELECT id, boot, seq, name, version, applied, serving, trouble, every_ms FROM nodes WHERE log = 0";

impl Prepared {
    async fn new(options: Arc<CassandraOptions>, session: Session) -> Result<Self, PrepareError> {
        Ok(Self {
            tip: Leveled::new(&session, TIP).await?,
            rows: Leveled::new(&session, ROWS).await?,
            slot: read(&session, SLOT, Consistency::Serial).await?,
            append: write(&session, APPEND, false, APPEND_LIMIT).await?,
            put_chunk: write(&session, PUT_CHUNK, true, APPEND_LIMIT).await?,
            list_chunks: read(&session, LIST_CHUNKS, Consistency::LocalQuorum).await?,
            chunk: read(&session, CHUNK, Consistency::LocalQuorum).await?,
            put_node: write(&session, PUT_NODE, true, READ_LIMIT).await?,
            nodes: read(&session, NODES, Consistency::LocalQuorum).await?,
            wishes: OnceCell::new(),
            sealing: Sealing::new(options.cluster_key.as_ref()),
            counts: OnceCell::new(),
            session,
            options,
        })
    }

    /// Why a statement of this session has failed.
    pub(super) fn reason(&self, error: &ExecutionError) -> String {
        reason::of_statement(&self.options, error)
    }
}

impl Leveled {
    async fn new(session: &Session, text: &str) -> Result<Self, PrepareError> {
        Ok(Self {
            quorum: read(session, text, Consistency::LocalQuorum).await?,
            one: read(session, text, Consistency::One).await?,
            serial: read(session, text, Consistency::Serial).await?,
        })
    }
}

async fn read(session: &Session, text: &str, consistency: Consistency) -> Result<PreparedStatement, PrepareError> {
    let mut statement = session.prepare(text).await?;
    statement.set_consistency(consistency);
    statement.set_is_idempotent(true);
    statement.set_request_timeout(Some(READ_LIMIT));
    Ok(statement)
}

async fn write(session: &Session, text: &str, again: bool, limit: Duration) -> Result<PreparedStatement, PrepareError> {
    let mut statement = session.prepare(text).await?;
    statement.set_consistency(Consistency::Quorum);
    // Never LOCAL_SERIAL: two data centres would each decide for themselves.
    statement.set_serial_consistency(Some(SerialConsistency::Serial));
    statement.set_is_idempotent(again);
    statement.set_request_timeout(Some(limit));
    Ok(statement)
}

/// The way to Cassandra, whether or not it is there.
#[derive(Clone)]
pub(super) struct Connection {
    reach: watch::Receiver<Reach>,
    /// Asks for a new session.
    doubted: Arc<Notify>,
}

impl Connection {
    /// Begins to connect; a task of this runtime does so until the connection is dropped.
    pub(super) fn begin(options: Arc<CassandraOptions>, runtime: &tokio::runtime::Handle) -> Self {
        let (sender, reach) = watch::channel(Reach::Connecting);
        let doubted = Arc::new(Notify::new());
        runtime.spawn(keep_trying(options, sender, doubted.clone()));
        Self { reach, doubted }
    }
    /// A statement has failed in a way that a new session might mend: the driver waits up to a minute before it opens a lost connection
    /// anew, and a node that has come back shall be noticed sooner.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }
    /// The session, or why there is none.
    pub(super) fn prepared(&self) -> Result<Arc<Prepared>, String> {
        match &*self.reach.borrow() {
            Reach::Up(prepared) => Ok(prepared.clone()),
            Reach::Connecting => Err("Cassandra has not answered yet; this node goes on trying".to_owned()),
            Reach::Down(cause) => Err(cause.clone()),
            Reach::Unready(readiness) => Err(readiness.to_string()),
        }
    }
    /// The session, for an operator who has just mended the store: what is known of it may be older than that, so the next attempts to
    /// connect are waited for.
    pub(super) async fn prepared_soon(&self) -> Result<Arc<Prepared>, String> {
        let mut reach = self.reach.clone();
        // Whether it came up or the time is over: what is so then is told.
        drop(tokio::time::timeout(MENDED_WAIT, reach.wait_for(|reach| matches!(reach, Reach::Up(_)))).await);
        self.prepared()
    }
    /// Waits until something is known.
    pub(super) async fn known(&mut self) -> Reach {
        let known = self.reach.wait_for(|reach| !matches!(reach, Reach::Connecting)).await;
        known.map_or(Reach::Connecting, |reach| reach.clone())
    }
}

async fn keep_trying(options: Arc<CassandraOptions>, reach: watch::Sender<Reach>, doubted: Arc<Notify>) {
    let mut wait = FIRST_WAIT;
    loop {
        let found = match connect(&options).await {
            Ok(session) => ready(&options, session).await,
            Err(cause) => Reach::Down(cause),
        };
        match &found {
            Reach::Up(_) => tracing::info!(keyspace = options.keyspace, "connected to Cassandra"),
            Reach::Down(cause) => tracing::warn!(%cause, "Cassandra cannot be reached"),
            Reach::Unready(readiness) => tracing::warn!(%readiness, "Cassandra has no tables for this version"),
            Reach::Connecting => {}
        }
        let up = matches!(found, Reach::Up(_));
        if reach.send(found).is_err() {
            return;
        }
        if up {
            wait = FIRST_WAIT;
            // What was doubted before is the old session.
            drop(tokio::time::timeout(Duration::ZERO, doubted.notified()).await);
            tokio::select! {
                () = doubted.notified() => {}
                () = reach.closed() => return,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = reach.closed() => return,
        }
        wait = (wait * 2).min(LAST_WAIT);
    }
}

async fn ready(options: &Arc<CassandraOptions>, session: Session) -> Reach {
    let readiness = match schema::readiness(&session, &options.keyspace).await {
        Ok(readiness) => readiness,
        Err(error) => return Reach::Down(reason::at(options, &reason::of_statement(options, &error))),
    };
    if readiness != Readiness::Ready {
        return Reach::Unready(readiness);
    }
    if let Err(error) = session.use_keyspace(options.keyspace.as_str(), false).await {
        return Reach::Down(reason::at(options, &format!("keyspace {} cannot be used: {error}", options.keyspace)));
    }
    match Prepared::new(options.clone(), session).await {
        Ok(prepared) => Reach::Up(Arc::new(prepared)),
        Err(error) => Reach::Down(reason::at(options, &reason::of_preparing(options, &error))),
    }
}

/// A session, in no keyspace.
pub(super) async fn connect(options: &CassandraOptions) -> Result<Session, String> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::Serial))
        .request_timeout(Some(READ_LIMIT))
        // What is tried again, and when, is decided where the statement is known.
        .retry_policy(Arc::new(FallthroughRetryPolicy))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(options.connect_timeout)
        .keepalive_interval(Duration::from_secs(5))
        .keepalive_timeout(Duration::from_secs(5))
        .fetch_schema_metadata(false)
        .disallow_shard_aware_port(true);
    if let Some((user, password)) = &options.credentials {
        builder = builder.user(user, password);
    }
    if let Some(data_center) = &options.local_data_center {
        builder = builder.prefer_datacenter(data_center.clone());
    }
    #[cfg(test)]
    if !options.detours.is_empty() {
        builder = builder.address_translator(Arc::new(options.detours.clone()));
    }
    if let Some(tls) = &options.tls {
        builder = builder.tls_context(Some(tls.config().map_err(|error| format!("TLS to Cassandra: {error}"))?));
    }
    let points = u32::try_from(options.contact_points.len()).unwrap_or(u32::MAX);
    let limit = HANDSHAKE_LIMIT.saturating_add(options.connect_timeout.saturating_mul(points));
    let built = tokio::time::timeout(limit, builder.build()).await.map_err(|_| {
        reason::at(options, &format!("no session within {} s; see whether it runs, and what its log says", limit.as_secs()))
    })?;
    built.map_err(|error| reason::of_session(options, &error))
}

/// Whether a statement that ended so was certainly not carried out.
pub(super) fn was_not_sent(error: &ExecutionError) -> bool {
    use scylla::errors::RequestAttemptError as Attempt;
    match error {
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => true,
        ExecutionError::LastAttemptError(attempt) => matches!(
            attempt,
            Attempt::SerializationError(_) | Attempt::CqlRequestSerialization(_) | Attempt::UnableToAllocStreamId
        ),
        // An answer of the database as well, even `Unavailable`: it may come from the commit of what was accepted already.
        _ => false,
    }
}
