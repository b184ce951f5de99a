//! What several nodes on one store have to do with each other: which there are, what they serve, and waiting for them.

use crate::answer::{self, REVISION, SERVED};
use crate::context::AdminContext;
use crate::error::Fault;
use crate::query::Query;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use weir_model::{Revision, TransactionId};
use weir_store::{NodeState, Outcome};

/// Bounds of `timeout`, in seconds: less would not reach another node, longer nobody holds a connection open.
const TIMEOUT_LEAST: f64 = 0.1;
const TIMEOUT_MOST: f64 = 60.0;
/// Bytes of a node's name in a header.
const NAME_BYTES: usize = 64;

/// `GET /cluster/nodes`
pub(crate) fn nodes(context: &AdminContext) -> Response<Body> {
    let revision = *context.store.revisions().borrow();
    answer::at(answer::json(StatusCode::OK, &json!({ "data": context.store.nodes(), "revision": revision })), revision)
}

/// `POST /cluster/adopt` and `POST /cluster/republish`: where the history ends that this node has now.
pub(crate) async fn answered(context: &AdminContext, revision: Revision) -> Result<Response<Body>, Fault> {
    let status = context.store.status();
    let body = json!({ "cluster": status.cluster, "revision": revision });
    Ok(answer::at(answer::json(StatusCode::OK, &body), revision))
}

/// `GET /transactions/{id}`: what became of a write whose answer did not say.
pub(crate) async fn transaction(context: &AdminContext, id: &str) -> Result<Response<Body>, Fault> {
    let Some(transaction) = TransactionId::parse(id) else { return Err(Fault::NotFound) };
    let outcome = context.store.outcome(transaction).await?;
    let mut body = json!({ "id": transaction.to_string(), "outcome": outcome });
    if outcome == Outcome::Done {
        body["revision"] = json!(transaction.first);
    }
    Ok(answer::json(StatusCode::OK, &body))
}

/// Whether an answer shall wait until all nodes serve what it tells of, and how long at most.
pub(crate) fn wait_for(context: &AdminContext, query: &Query) -> Result<Option<Duration>, Fault> {
    let wrong = |option, message: &str| Fault::InvalidOption { option, message: message.to_owned() };
    let timeout = match query.get("timeout") {
        None => None,
        Some(text) => {
            let seconds = text.parse::<f64>().ok().filter(|seconds| (TIMEOUT_LEAST..=TIMEOUT_MOST).contains(seconds));
            Some(Duration::from_secs_f64(seconds.ok_or_else(|| wrong("timeout", "must be a number of seconds from 0.1 to 60"))?))
        }
    };
    match query.get("wait") {
        None => Ok(None),
        Some("applied") => Ok(Some(timeout.unwrap_or(context.serving_wait))),
        Some(_) => Err(wrong("wait", "there is `applied` only")),
    }
}

/// Waits until every live node serves the revision of an answer, and says in it how many do. The write is done all the same.
pub(crate) async fn served_by_all(context: &AdminContext, mut response: Response<Body>, at_most: Duration) -> Response<Body> {
    let revision = response.headers().get(REVISION).and_then(|value| value.to_str().ok()?.parse().ok()).map(Revision);
    let Some(revision) = revision else { return response };
    let mut moved = context.store.nodes_moved();
    let until = tokio::time::Instant::now() + at_most;
    let said = loop {
        // Asked anew each time: a node may have joined, or gone, meanwhile.
        let nodes = context.store.nodes();
        if nodes.iter().filter(|node| node.live).all(|node| node.serving >= revision) {
            break said(&nodes, revision);
        }
        if !matches!(tokio::time::timeout_at(until, moved.changed()).await, Ok(Ok(()))) {
            break said(&context.store.nodes(), revision);
        }
    };
    if let Ok(value) = HeaderValue::from_str(&said) {
        response.headers_mut().insert(SERVED, value);
    }
    response
}

/// `2/3; missing=b`, and the nodes that nobody waits for: they have not told of themselves lately.
fn said(nodes: &[NodeState], revision: Revision) -> String {
    let live: Vec<&NodeState> = nodes.iter().filter(|node| node.live).collect();
    let missing: Vec<String> = live.iter().filter(|node| node.serving < revision).map(|node| name(node)).collect();
    let silent: Vec<String> = nodes.iter().filter(|node| !node.live).map(name).collect();
    let mut said = format!("{}/{}", live.len() - missing.len(), live.len());
    for (what, names) in [("missing", missing), ("silent", silent)] {
        if !names.is_empty() {
            said.push_str(&format!("; {what}={}", names.join(",")));
        }
    }
    said
}

/// A node's name, or its id if the name cannot stand in a header.
fn name(node: &NodeState) -> String {
    let is_token = |text: &str| {
        !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    if is_token(&node.name) { node.name.clone() } else { node.id.clone() }
}

/// Waits until this node has the revision that a reader wants to see at least.
pub(crate) async fn at_least(context: &AdminContext, query: &Query) -> Result<(), Fault> {
    let Some(text) = query.get("min_revision") else { return Ok(()) };
    let wrong = || Fault::InvalidOption { option: "min_revision", message: "must be a revision: a whole number".to_owned() };
    let wanted = text.parse().map(Revision).map_err(|_| wrong())?;
    let mut revisions = context.store.revisions();
    let reached = revisions.wait_for(|revision| *revision >= wanted);
    if matches!(tokio::time::timeout(context.serving_wait, reached).await, Ok(Ok(_))) {
        return Ok(());
    }
    Err(Fault::NotYet { wanted, has: *context.store.revisions().borrow() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, serving: u64, live: bool) -> NodeState {
        NodeState {
            id: "the-id".to_owned(),
            name: name.to_owned(),
            version: String::new(),
            applied: Revision(serving),
            serving: Revision(serving),
            lag: 0,
            trouble: None,
            live,
            silent_ms: 0,
            own: false,
        }
    }

    #[test]
    fn an_answer_names_who_is_missing_and_who_is_silent() {
        assert_eq!(said(&[node("a", 5, true)], Revision(5)), "1/1");
        let nodes = [node("a", 5, true), node("b", 4, true), node("c", 5, true), node("d", 1, false)];
        assert_eq!(said(&nodes, Revision(5)), "2/3; missing=b; silent=d");
        assert_eq!(said(&[node("b\r\nx: y", 1, true)], Revision(5)), "0/1; missing=the-id");
    }
}
