//! Responses: JSON, and the headers that every answer carries.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use weir_model::Revision;

/// The revision that an answer shows or made.
pub(crate) const REVISION: &str = "weir-revision";
/// `pending` when a write is durable but this node does not serve it yet.
pub(crate) const SERVED: &str = "weir-served";

/// A JSON body.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Says which revision the answer holds at.
pub(crate) fn at(mut response: Response<Body>, revision: Revision) -> Response<Body> {
    response.headers_mut().insert(REVISION, HeaderValue::from(revision.0));
    response
}
