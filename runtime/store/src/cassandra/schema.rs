//! The tables, and whether they are there.

use super::{CassandraOptions, reason};
use crate::hash::Hashes;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row as CqlRow};
use std::collections::BTreeMap;
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
    let names = tables(session, keyspace).await?;
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

/// The tables of the keyspace, as one node of Cassandra knows them.
async fn tables(session: &Session, keyspace: &str) -> Result<Vec<String>, ExecutionError> {
    let mut tables = Statement::new("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?");
    tables.set_consistency(Consistency::One);
    let Ok(rows) = session.query_unpaged(tables, (keyspace,)).await?.into_rows_result() else { return Ok(Vec::new()) };
    Ok(rows.rows::<(String,)>().map(|rows| rows.flatten().map(|(name,)| name).collect()).unwrap_or_default())
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

/// Tables that came later, by name. A layout is what versions must agree on; these are not part of it: a version that does not know
/// one does without it, and one that misses it too, as far as it can.
const LATER: &[(&str, &str)] = &[
    (
        "rate_counts",
        "CREATE TABLE IF NOT EXISTS {ks}.rate_counts (
            window blob, process uuid, part int, count bigint,
            PRIMARY KEY (window, process, part)
        ) WITH comment = 'weir: what each process took from the windows of limits; rows lapse with them' AND gc_grace_seconds = 3600",
    ),
    (
        "wishes",
        "CREATE TABLE IF NOT EXISTS {ks}.wishes (log int, boot uuid, wish bigint, PRIMARY KEY (log, boot))
        WITH comment = 'weir: who has waited long for a place in the journal' AND gc_grace_seconds = 3600",
    ),
];

/// Those that came later and are not there.
pub(super) async fn incomplete(session: &Session, keyspace: &str) -> Result<Vec<&'static str>, ExecutionError> {
    let there = tables(session, keyspace).await?;
    Ok(LATER.iter().map(|(name, _)| *name).filter(|name| !there.iter().any(|there| there == name)).collect())
}

/// Makes those that came later, as far as they are not there; answers which those were.
pub(super) async fn complete(session: &Session, keyspace: &str) -> Result<Vec<&'static str>, String> {
    let missing = incomplete(session, keyspace).await.map_err(|error| error.to_string())?;
    for (name, table) in LATER {
        define(session, &table.replace("{ks}", keyspace)).await.map_err(|error| format!("{name} could not be made: {error}"))?;
    }
    agreed(session).await?;
    Ok(missing)
}

async fn agreed(session: &Session) -> Result<(), String> {
    let agreed = session.await_schema_agreement().await;
    agreed.map(drop).map_err(|error| format!("the nodes of Cassandra do not agree on the tables: {error}"))
}

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
    let failed =
        |what: &str, error: &ExecutionError| format!("{what} could not be made: {}", reason::of_statement(options, error));
    let keyspace = &options.keyspace;
    enough_nodes(session, options).await.map(|note| said.extend(note))?;
    let create = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {}", options.replication.text());
    define(session, &create).await.map_err(|error| failed("the keyspace", &error))?;
    for table in TABLES.iter().copied().chain(LATER.iter().map(|(_, table)| *table)) {
        define(session, &table.replace("{ks}", keyspace)).await.map_err(|error| failed("a table", &error))?;
    }
    agreed(session).await?;
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
    if !applied {
        key_fits(session, options).await?;
    }
    said.push(if applied { format!("the journal of cluster {cluster} begins") } else { "there is a journal already".to_owned() });
    let mut statement = Statement::new(format!("INSERT INTO {keyspace}.layout (id, layout) VALUES (0, ?) IF NOT EXISTS"));
    decided(&mut statement);
    session.query_unpaged(statement, (LAYOUT,)).await.map_err(|error| failed("the layout", &error))?;
    Ok(said)
}

/// Whether there are nodes for as many copies as a new keyspace is to have. A change needs most of them: with fewer the journal could
/// not be begun, and the driver says no more than that. Answers what is to be said although it works.
async fn enough_nodes(session: &Session, options: &CassandraOptions) -> Result<Vec<String>, String> {
    let mut select = Statement::new("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?");
    select.set_consistency(Consistency::One);
    let there = session.query_unpaged(select, (&options.keyspace,)).await;
    let there = there.map_err(|error| reason::of_statement(options, &error))?.into_rows_result();
    if there.is_ok_and(|rows| rows.rows_num() > 0) {
        // Somebody has made it as it is to be.
        return Ok(Vec::new());
    }
    let state = session.get_cluster_state();
    let mut nodes = BTreeMap::<&str, usize>::new();
    for center in state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()) {
        *nodes.entry(center).or_default() += 1;
    }
    judge_nodes(&nodes, &options.replication)
}

fn judge_nodes(nodes: &BTreeMap<&str, usize>, replication: &Replication) -> Result<Vec<String>, String> {
    let (setting, wanted): (_, Vec<(&str, u8)>) = match replication {
        Replication::Factor(factor) => ("cassandra_repl_factor", nodes.keys().map(|center| (*center, *factor)).collect()),
        Replication::PerDataCenter(all) => {
            ("cassandra_data_centers", all.iter().map(|(center, factor)| (center.as_str(), *factor)).collect())
        }
    };
    let mut notes = Vec::new();
    for (center, factor) in wanted {
        let found = nodes.get(center).copied().unwrap_or(0);
        let (factor, needed) = (usize::from(factor), usize::from(factor) / 2 + 1);
        let plural = if found == 1 { "node" } else { "nodes" };
        if found < needed {
            return Err(match found {
                0 => format!(
                    "{setting} names the data centre {center}, and there is none of that name; there are {}",
                    nodes.keys().copied().collect::<Vec<_>>().join(", ")
                ),
                _ => format!(
                    "{setting} is {factor} and the data centre {center} has {found} {plural}; a change would need {needed} of them. Set \
                     {setting} to {found}, or start the other nodes of Cassandra first"
                ),
            });
        }
        if found < factor {
            notes.push(format!(
                "{setting} is {factor} and the data centre {center} has {found} {plural} yet: until the others are there, each that is \
                 down stops changes"
            ));
        }
    }
    Ok(notes)
}

/// Whether a journal that was begun is one that this node's cluster key reads; why not.
pub(super) async fn key_fits(session: &Session, options: &CassandraOptions) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut select =
        Statement::new(format!("SELECT DISTINCT cluster, key_check FROM {}.journal WHERE log = 0", options.keyspace));
    select.set_consistency(Consistency::Serial);
    let rows = session.query_unpaged(select, ()).await.map_err(|error| reason::of_statement(options, &error))?;
    let rows = rows.into_rows_result().map_err(|error| text(&error))?;
    let row = rows.maybe_first_row::<(Option<Uuid>, Option<Vec<u8>>)>().map_err(|error| text(&error))?;
    let Some((Some(cluster), Some(check))) = row else { return Ok(()) };
    let check = check.try_into().map_err(|_| "a hash in the store does not have 32 bytes".to_owned())?;
    match Hashes::new(options.cluster_key).key_fault(Id::from_bytes(*cluster.as_bytes()), &check) {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_has_nodes_for_most_of_its_copies() {
        let nodes = BTreeMap::from([("dc1", 1), ("dc2", 3)]);
        let said = judge_nodes(&nodes, &Replication::Factor(3)).unwrap_err();
        assert!(said.starts_with("cassandra_repl_factor is 3 and the data centre dc1 has 1 node; "), "{said}");
        assert_eq!(judge_nodes(&nodes, &Replication::Factor(1)), Ok(Vec::new()));
        let centers =
            |all: &[(&str, u8)]| Replication::PerDataCenter(all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect());
        assert_eq!(judge_nodes(&nodes, &centers(&[("dc2", 3)])), Ok(Vec::new()));
        assert!(judge_nodes(&nodes, &centers(&[("dc3", 1)])).unwrap_err().contains("there are dc1, dc2"));
        let notes = judge_nodes(&BTreeMap::from([("dc1", 2)]), &Replication::Factor(3)).unwrap();
        assert!(notes.len() == 1 && notes[0].contains("has 2 nodes yet"), "{notes:?}");
    }
}
