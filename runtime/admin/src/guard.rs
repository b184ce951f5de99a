//! The door: every request comes through here, and every answer leaves here.
//!
//! One layer around the whole API, so that a path that is added later cannot be forgotten: the token comes before the path is
//! even looked at. Knows no entities.

use crate::answer;
use crate::body::Input;
use crate::context::AdminContext;
use crate::error::Fault;
use crate::operation::Operation;
use crate::path::{self, Endpoint};
use crate::precondition::Precondition;
use crate::query::Query;
use crate::wait::{self, Wait};
use crate::{body, cluster, component, entity, export, information, read, schemas, transaction};
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
    // Before anything is read, so that all of the answer is of one view that is new enough.
    wait::reached(&context, &query).await?;
    if let Endpoint::Transaction(id) = &endpoint {
        return transaction::outcome(&context, id).await;
    }
    if endpoint == Endpoint::Config {
        return export::export(context).await;
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
        // Answered above, and those that have no GET; `methods` says so.
        Endpoint::Config
        | Endpoint::Transaction(_)
        | Endpoint::Transactions
        | Endpoint::Validate(_)
        | Endpoint::Adopt
        | Endpoint::Republish => Err(Fault::NotFound),
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
    let query = Query::parse(parts.uri.query())?;
    if let Endpoint::Validate(name) = &endpoint {
        return schemas::validate(context, name, body::input(&parts.headers, sent).await?).await;
    }
    let wait = Wait::of(&query, context.serving_wait)?;
    let condition = Precondition::of(&method, &parts.headers)?;
    match (endpoint, method) {
        (Endpoint::Adopt, _) => cluster::moved(&context, context.store.adopt().await?, wait).await,
        (Endpoint::Republish, _) => cluster::moved(&context, context.store.republish().await?, wait).await,
        (Endpoint::Transactions, _) => transaction::post(context, &parts.headers, &query, sent, wait).await,
        (Endpoint::Collection(Kind::Component), Method::POST) => {
            component::upload(context, &parts.headers, &query, sent, wait).await
        }
        (endpoint, method) => {
            // What a DELETE carries does not matter, and is not waited for.
            let input = if method == Method::DELETE { Input::default() } else { body::input(&parts.headers, sent).await? };
            entity::write(context, Operation::of(endpoint, &method, input, condition)?, wait).await
        }
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
