//! The door: every request comes through here, and every answer leaves here.
//!
//! One layer around the whole API, so that a path that is added later cannot be forgotten: the token comes before the path is
//! even looked at. Knows no entities.

use crate::answer;
use crate::context::AdminContext;
use crate::error::Fault;
use crate::path::{self, Endpoint};
use crate::query::Query;
use crate::{body, cluster, component, entity, information, read, schemas};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use weir_model::Kind;

/// The Admin API of this context.
pub fn router(context: Arc<AdminContext>) -> Router {
    Router::new().fallback(enter).with_state(context)
}

async fn enter(State(context): State<Arc<AdminContext>>, request: Request<Body>) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let version = context.node.info().version;
    // A task of its own: a panic becomes an answer instead of a dropped connection, and a write that has begun is finished
    // when its client has gone.
    let mut response = match tokio::spawn(async move { dispatch(context, request).await }).await {
        Ok(Ok(response)) => response,
        Ok(Err(fault)) => fault.response(),
        Err(error) => Fault::Crashed(error.to_string()).response(),
    };
    if let Ok(server) = HeaderValue::from_str(&format!("weir/{version}")) {
        response.headers_mut().insert(header::SERVER, server);
    }
    if head { without_body(response) } else { response }
}

/// The answer to HEAD: what GET would say, with its length, and no body.
fn without_body(response: Response<Body>) -> Response<Body> {
    use http_body::Body as _;
    let length = response.body().size_hint().exact();
    let (mut parts, _) = response.into_parts();
    if let Some(length) = length.filter(|_| parts.status != StatusCode::NO_CONTENT) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

async fn dispatch(context: Arc<AdminContext>, request: Request<Body>) -> Result<Response<Body>, Fault> {
    authorise(&context, request.headers())?;
    refuse_foreign_pages(&context, request.headers())?;
    let endpoint = path::endpoint(request.uri().path()).ok_or(Fault::NotFound)?;
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if method == Method::OPTIONS {
        let mut response = answer::empty(StatusCode::NO_CONTENT);
        if let Ok(allow) = HeaderValue::from_str(&endpoint.allow()) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        return Ok(response);
    }
    if !endpoint.methods().contains(&method) {
        return Err(Fault::MethodNotAllowed(endpoint.allow()));
    }
    if method == Method::GET { get(context, endpoint, request).await } else { change(context, endpoint, method, request).await }
}

async fn get(context: Arc<AdminContext>, endpoint: Endpoint, request: Request<Body>) -> Result<Response<Body>, Fault> {
    let query = Query::parse(request.uri().query())?;
    let path = request.uri().path().trim_end_matches('/').to_owned();
    cluster::at_least(&context, &query).await?;
    if let Endpoint::Transaction(id) = &endpoint {
        return cluster::transaction(&context, id).await;
    }
    // Reading the store's file and asking the plugins may block.
    blocking(move || match endpoint {
        Endpoint::Root => information::root(&context),
        Endpoint::Status => Ok(information::status(&context)),
        Endpoint::Endpoints => Ok(information::endpoints()),
        Endpoint::PluginsEnabled => Ok(information::plugins_enabled(&context)),
        Endpoint::Absent => Ok(information::nothing()),
        Endpoint::Tags(tag) => information::tags(&context, tag.as_deref(), &path, &query),
        Endpoint::Chain(route) => information::chain(&context, &route, query.get("consumer")),
        Endpoint::Schema(name) => schemas::entity(&name),
        Endpoint::PluginSchema(name) => schemas::plugin(&context, &name),
        Endpoint::ConfigSchema(name) => schemas::config(&context, &name),
        Endpoint::Collection(kind) => read::list(&context, kind, None, &path, &query),
        Endpoint::Nested(parent, kind) => read::list(&context, kind, Some(&parent), &path, &query),
        Endpoint::Entity(kind, key) => read::one(&context, kind, &key, None),
        Endpoint::NestedEntity(parent, kind, key) => read::one(&context, kind, &key, Some(&parent)),
        Endpoint::Foreign(via) => read::foreign(&context, &via),
        Endpoint::ClusterNodes => Ok(cluster::nodes(&context)),
        // These have no GET, `methods` says so; or were answered above.
        Endpoint::Validate(_) | Endpoint::Adopt | Endpoint::Republish | Endpoint::Transaction(_) => Err(Fault::NotFound),
    })
    .await
}

async fn change(
    context: Arc<AdminContext>,
    endpoint: Endpoint,
    method: Method,
    request: Request<Body>,
) -> Result<Response<Body>, Fault> {
    let (parts, sent) = request.into_parts();
    // Judged before anything is done.
    let wait = cluster::wait_for(&context, &Query::parse(parts.uri.query())?)?;
    let response = changed(context.clone(), endpoint, method, parts, sent).await?;
    Ok(match wait {
        Some(at_most) => cluster::served_by_all(&context, response, at_most).await,
        None => response,
    })
}

async fn changed(
    context: Arc<AdminContext>,
    endpoint: Endpoint,
    method: Method,
    parts: http::request::Parts,
    sent: Body,
) -> Result<Response<Body>, Fault> {
    match (endpoint, method) {
        (Endpoint::Collection(Kind::Component), Method::POST) => {
            let query = Query::parse(parts.uri.query())?;
            component::upload(context, &parts.headers, &query, sent).await
        }
        (Endpoint::Entity(kind, key), Method::DELETE) => entity::delete(context, kind, key, None).await,
        (Endpoint::NestedEntity(parent, kind, key), Method::DELETE) => entity::delete(context, kind, key, Some(parent)).await,
        (Endpoint::Adopt, _) => cluster::answered(&context, context.store.adopt().await?).await,
        (Endpoint::Republish, _) => cluster::answered(&context, context.store.republish().await?).await,
        (Endpoint::Validate(name), _) => schemas::validate(context, &name, body::input(&parts.headers, sent).await?).await,
        (endpoint, method) => entity::write(context, endpoint, &method, body::input(&parts.headers, sent).await?).await,
    }
}

/// Runs what may block on a thread where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(error) => Err(Fault::Crashed(error.to_string())),
    }
}

/// The token in the header that Kong's clients send, or as a bearer token.
fn authorise(context: &AdminContext, headers: &HeaderMap) -> Result<(), Fault> {
    let Some(token) = &context.token else { return Ok(()) };
    let bearer = |value: &HeaderValue| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.to_vec())
    };
    let given = match headers.get("kong-admin-token") {
        Some(value) => Some(value.as_bytes().to_vec()),
        None => headers.get(header::AUTHORIZATION).and_then(bearer),
    };
    match given {
        Some(given) if token.matches(&given) => Ok(()),
        _ => Err(Fault::Unauthorized),
    }
}

/// A browser on this machine reaches the loopback listener for any page that it shows. Such a page can send forms (the browser
/// then names its origin), or point its own name at 127.0.0.1 (then the Host is that name).
fn refuse_foreign_pages(context: &AdminContext, headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    if let Some(origin) = text(header::ORIGIN) {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || authority != host {
            return Err(Fault::Forbidden("Requests of pages of another origin are not taken"));
        }
    }
    if context.token.is_none() && host.is_some_and(|host| !is_local(host)) {
        return Err(Fault::Forbidden(
            "Without an admin_token the Admin API answers only under an IP address or localhost: use one, or set a token",
        ));
    }
    Ok(())
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = name.to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_addresses_and_localhost() {
        for local in
            ["127.0.0.1:8001", "127.0.0.1", "[::1]:8001", "[::1]", "localhost:8001", "LOCALHOST", "a.localhost:1", "10.0.0.1"]
        {
            assert!(is_local(local), "{local}");
        }
        for other in ["evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example", "", "x:y"] {
            assert!(!is_local(other), "{other}");
        }
    }
}
