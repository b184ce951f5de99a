//! Responses: JSON, and the headers that every answer carries.

use crate::precondition::etag;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use weir_model::Revision;

/// The revision that an answer shows or made.
pub(crate) const REVISION: &str = "weir-revision";
/// Who serves a write: `pending` when this node does not yet, or, if all were waited for, how many do and who does not.
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

/// Says when the entity that the answer shows was last written.
pub(crate) fn tagged(mut response: Response<Body>, written: Revision) -> Response<Body> {
    if let Ok(tag) = HeaderValue::from_str(&etag(written)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Says which revision the answer holds at.
pub(crate) fn at(mut response: Response<Body>, revision: Revision) -> Response<Body> {
    response.headers_mut().insert(REVISION, HeaderValue::from(revision.0));
    response
}
