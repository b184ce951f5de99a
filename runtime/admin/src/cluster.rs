//! What several nodes on one store have to do with each other: which there are, and whose history counts.

use crate::answer;
use crate::context::AdminContext;
use crate::error::Fault;
use crate::wait::{Wait, served};
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;
use weir_model::Revision;

/// `GET /cluster/nodes`: who is on the store, as this node knows them. Answers also when the store does not.
pub(crate) fn nodes(context: &AdminContext) -> Response<Body> {
    let revision = context.store.status().revision;
    let body = json!({ "data": context.store.nodes(), "revision": revision });
    answer::at(answer::json(StatusCode::OK, &body), revision)
}

/// `POST /cluster/adopt` and `POST /cluster/republish`: where the history ends that this node has now.
pub(crate) async fn moved(context: &AdminContext, revision: Revision, wait: Wait) -> Result<Response<Body>, Fault> {
    let status = context.store.status();
    let body = json!({ "cluster": status.cluster, "revision": revision });
    Ok(match wait {
        Wait::Own => answer::at(answer::json(StatusCode::OK, &body), revision),
        Wait::Everywhere(_) => served(context, answer::json(StatusCode::OK, &body), revision, wait).await,
    })
}
