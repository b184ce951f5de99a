//! What of Cassandra's own settings weakens what the store promises, and what to do about it.

use super::{CassandraOptions, connection, reason};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use std::collections::HashMap;

/// Asks a node of Cassandra; answers what should be otherwise, one sentence each.
pub(super) async fn advice(options: &CassandraOptions) -> Result<Vec<String>, String> {
    let session = connection::connect(options).await?;
    let mut advice = Vec::new();
    let known = settings(&session).await.map_err(|error| reason::of_statement(options, &error))?;
    if known.is_none() {
        advice.push(unread(options));
    }
    let mut known = known.unwrap_or_default();
    let (sync, paxos) = (known.remove("commitlog_sync"), known.remove("paxos_variant"));
    if sync.as_deref() == Some("periodic") {
        advice.push(
            "commitlog_sync is `periodic`: if most nodes lose power at once, changes of the last seconds that were answered are gone; \
             set it to `batch` or `group`"
                .to_owned(),
        );
    }
    if paxos.is_some_and(|variant| variant != "v2") {
        advice.push(
            "paxos_variant is `v1`: while nodes of Cassandra are added or removed, two changes could take one place; set it to `v2`, and \
             paxos_state_purging to `repaired`"
                .to_owned(),
        );
    }
    let select = "SELECT keyspace_name, replication FROM system_schema.keyspaces";
    let replication: HashMap<String, HashMap<String, String>> =
        rows(&session, select).await.map_err(|error| reason::of_statement(options, &error))?;
    if let Some(copies) = replication.get(&options.keyspace).and_then(fewest_copies) {
        match copies {
            1 => advice.push(format!(
                "keyspace {} has one copy: while its node is down no change can be made, and if its disk is lost, only the gateways \
                 have the configuration (`weir cluster republish`); three copies bear the loss of one",
                options.keyspace
            )),
            2 => advice.push(format!(
                "keyspace {} has two copies: a change needs both nodes, so either of them being down stops changes (traffic is served all \
                 the same); three copies bear the loss of one",
                options.keyspace
            )),
            _ => {}
        }
    }
    if options.credentials.is_some() && replication.get("system_auth").and_then(fewest_copies) == Some(1) {
        advice.push(
            "system_auth has one copy: while its node is down nobody can log in; raise its replication and repair it".to_owned(),
        );
    }
    if options.tls.as_ref().is_some_and(|tls| !tls.verify) {
        advice.push(
            "cassandra_ssl_verify is false: whoever is between can pass for Cassandra, and is given the password and the configuration; \
             set cassandra_ssl_trusted_certificate, and leave cassandra_ssl_verify out"
                .to_owned(),
        );
    }
    if options.tls.is_none() && options.credentials.is_some() {
        advice.push("cassandra_ssl is not set: the password of Cassandra's user travels in the clear".to_owned());
    }
    if options.cluster_key.is_none() {
        advice.push(
            "cluster_key_file is not set: whoever can read the keyspace reads every key and password of the configuration, and whoever \
             can write it can change the configuration without being noticed; set it before `weir migrations bootstrap`, to one file \
             on all nodes"
                .to_owned(),
        );
    }
    Ok(advice)
}

fn unread(options: &CassandraOptions) -> String {
    let user = options.credentials.as_ref().map_or("", |(user, _)| user);
    format!(
        "user `{user}` may not read Cassandra's settings, so nobody has looked whether they weaken what is promised; \
         GRANT SELECT ON system_views.settings TO {user}"
    )
}

/// The fewest copies that a data centre has; nothing if the class does not say.
fn fewest_copies(replication: &HashMap<String, String>) -> Option<u32> {
    replication.iter().filter(|(name, _)| *name != "class").filter_map(|(_, copies)| copies.parse().ok()).min()
}

/// Cassandra's own settings; nothing if this user may not read them.
async fn settings(session: &Session) -> Result<Option<HashMap<String, String>>, ExecutionError> {
    match rows(session, "SELECT name, value FROM system_views.settings").await {
        Ok(settings) => Ok(Some(settings)),
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _))) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn rows<V>(session: &Session, text: &str) -> Result<HashMap<String, V>, ExecutionError>
where
    V: for<'f> scylla::deserialize::value::DeserializeValue<'f, 'f>,
{
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::One);
    // An answer of another shape says nothing.
    let Ok(result) = session.query_unpaged(statement, ()).await?.into_rows_result() else { return Ok(HashMap::new()) };
    let Ok(rows) = result.rows::<(String, Option<V>)>() else { return Ok(HashMap::new()) };
    Ok(rows.flatten().filter_map(|(name, value)| Some((name, value?))).collect())
}
