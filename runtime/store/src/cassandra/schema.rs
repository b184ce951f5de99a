//! The tables, and whether they are there.

use super::CassandraOptions;
use crate::hash::Hashes;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row as CqlRow};
use std::time::Duration;
use uuid::Uuid;
use weir_model::Id;

/// The layout that this version reads and writes.
pub(super) const LAYOUT: i32 = 1;

/// Whether this version can use what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It can.
    Ready,
    /// There is no keyspace, or none of the tables.
    Missing,
    /// Tables of an older version.
    Behind(i32),
    /// Tables of a newer version.
    Newer(i32),
}

impl std::fmt::Display for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("the tables are there"),
            Self::Missing => f.write_str("the keyspace has no tables of weir; run `weir migrations bootstrap` on one node"),
            Self::Behind(found) => {
                write!(f, "the tables have layout {found}, and this version needs {LAYOUT}; run `weir migrations up` on one node")
            }
            Self::Newer(found) => {
                write!(f, "the tables have layout {found}, and this version knows {LAYOUT}; upgrade this node")
            }
        }
    }
}

/// What is there.
pub(super) async fn readiness(session: &Session, keyspace: &str) -> Result<Readiness, ExecutionError> {
    let mut tables = Statement::new("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?");
    tables.set_consistency(Consistency::One);
    let rows = session.query_unpaged(tables, (keyspace,)).await?.into_rows_result();
    let Ok(rows) = rows else { return Ok(Readiness::Missing) };
    let names: Vec<String> =
        rows.rows::<(String,)>().map(|rows| rows.flatten().map(|(name,)| name).collect()).unwrap_or_default();
    if !names.iter().any(|name| name == "layout") || !names.iter().any(|name| name == "journal") {
        return Ok(Readiness::Missing);
    }
    let mut layout = Statement::new(format!("SELECT layout FROM {keyspace}.layout WHERE id = 0"));
    layout.set_consistency(Consistency::Serial);
    let rows = session.query_unpaged(layout, ()).await?.into_rows_result();
    let found = rows.ok().and_then(|rows| rows.maybe_first_row::<(Option<i32>,)>().ok().flatten()).and_then(|(layout,)| layout);
    Ok(match found {
        None => Readiness::Missing,
        Some(LAYOUT) => Readiness::Ready,
        Some(found) if found < LAYOUT => Readiness::Behind(found),
        Some(found) => Readiness::Newer(found),
    })
}

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS {ks}.journal (
        log int, revision bigint,
        tip bigint static, head blob static, floor bigint static, cluster uuid static, key_check blob static,
        checkpoint blob static, checkpoint_at bigint static,
        txn uuid, prev blob, head_after blob, state blob, format int, appended bigint, ops blob, ops_digest blob,
        PRIMARY KEY (log, revision)
    ) WITH comment = 'weir: every change of the configuration, in order; never delete this partition'",
    "CREATE TABLE IF NOT EXISTS {ks}.blobs (
        digest blob, upload uuid, chunk int, size bigint, bytes blob,
        PRIMARY KEY (digest, upload, chunk)
    ) WITH comment = 'weir: components and large transactions, by digest'",
    "CREATE TABLE IF NOT EXISTS {ks}.nodes (
        log int, id uuid, boot uuid, seq bigint, name text, version text, applied bigint, serving bigint, trouble text, every_ms bigint,
        PRIMARY KEY (log, id, boot)
    ) WITH comment = 'weir: which nodes there are; rows of ended ones lapse' AND gc_grace_seconds = 3600",
    "CREATE TABLE IF NOT EXISTS {ks}.layout (id int PRIMARY KEY, layout int) WITH comment = 'weir: layout of these tables'",
];

/// How the keyspace is replicated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replication {
    /// So many copies in every data centre.
    Factor(u8),
    /// Copies by data centre.
    PerDataCenter(Vec<(String, u8)>),
}

impl Replication {
    fn text(&self) -> String {
        match self {
            Self::Factor(factor) => format!("{{'class': 'NetworkTopologyStrategy', 'replication_factor': {factor}}}"),
            Self::PerDataCenter(all) => {
                let each: Vec<_> = all.iter().map(|(name, factor)| format!("'{}': {factor}", name.replace('\'', "''"))).collect();
                format!("{{'class': 'NetworkTopologyStrategy', {}}}", each.join(", "))
            }
        }
    }
}

/// Makes keyspace, tables and an empty journal, as far as they are not there. May be run by several nodes at once, and again.
pub(super) async fn bootstrap(session: &Session, options: &CassandraOptions) -> Result<Vec<String>, String> {
    let mut said = Vec::new();
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what} could not be made: {error}");
    let keyspace = &options.keyspace;
    let create = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {}", options.replication.text());
    define(session, &create).await.map_err(|error| failed("the keyspace", &error))?;
    for table in TABLES {
        define(session, &table.replace("{ks}", keyspace)).await.map_err(|error| failed("a table", &error))?;
    }
    session
        .await_schema_agreement()
        .await
        .map_err(|error| format!("the nodes of Cassandra do not agree on the tables: {error}"))?;
    said.push(format!("keyspace {keyspace} and its tables are there"));
    // Last but one: a journal without it would be continued by nobody.
    let cluster = Id::random();
    let hashes = Hashes::new(options.cluster_key);
    let genesis = format!(
        "UPDATE {keyspace}.journal SET tip = 0, head = ?, floor = 0, cluster = ?, key_check = ? WHERE log = 0 IF tip = null"
    );
    let values = (hashes.genesis(cluster).to_vec(), Uuid::from_bytes(*cluster.as_bytes()), hashes.key_check(cluster).to_vec());
    let mut statement = Statement::new(genesis);
    decided(&mut statement);
    let applied = applied(session.query_unpaged(statement, values).await.map_err(|error| failed("the journal", &error))?)?;
    said.push(if applied { format!("the journal of cluster {cluster} begins") } else { "there is a journal already".to_owned() });
    let mut statement = Statement::new(format!("INSERT INTO {keyspace}.layout (id, layout) VALUES (0, ?) IF NOT EXISTS"));
    decided(&mut statement);
    session.query_unpaged(statement, (LAYOUT,)).await.map_err(|error| failed("the layout", &error))?;
    Ok(said)
}

/// Drops the keyspace with everything in it.
pub(super) async fn reset(session: &Session, keyspace: &str) -> Result<(), String> {
    let dropped = define(session, &format!("DROP KEYSPACE IF EXISTS {keyspace}")).await;
    dropped.map_err(|error| format!("the keyspace could not be dropped: {error}"))
}

async fn define(session: &Session, text: &str) -> Result<(), ExecutionError> {
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::Quorum);
    statement.set_request_timeout(Some(Duration::from_secs(30)));
    session.query_unpaged(statement, ()).await.map(drop)
}

fn decided(statement: &mut Statement) {
    statement.set_consistency(Consistency::Quorum);
    statement.set_serial_consistency(Some(SerialConsistency::Serial));
    statement.set_request_timeout(Some(Duration::from_secs(10)));
}

/// Whether a conditional statement was carried out. Cassandra answers with the column alone, or with those that it compared.
pub(super) fn applied(result: scylla::response::query_result::QueryResult) -> Result<bool, String> {
    let rows = result.into_rows_result().map_err(|error| format!("the answer to a conditional statement: {error}"))?;
    let at = rows.column_specs().iter().position(|column| column.name() == "[applied]");
    let row = rows.first_row::<CqlRow>().map_err(|error| format!("the answer to a conditional statement: {error}"))?;
    match at.and_then(|at| row.columns.into_iter().nth(at)).flatten() {
        Some(CqlValue::Boolean(applied)) => Ok(applied),
        _ => Err("the answer to a conditional statement does not say whether it was carried out".to_owned()),
    }
}
