//! What a node says of itself and of the configuration as a whole.

use crate::answer;
use crate::context::{API_VERSION, AdminContext};
use crate::error::Fault;
use crate::path;
use crate::query::{Query, tag_offset};
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use weir_model::constraints::find;
use weir_model::effective::effective;
use weir_model::{Entity, Kind, Selection, View};

/// `GET /`
pub(crate) fn root(context: &AdminContext) -> Result<Response<Body>, Fault> {
    let view = context.store.view()?;
    let info = context.node.info();
    let available: Map<String, Value> = context
        .catalog
        .plugins()
        .into_iter()
        .map(|plugin| (plugin.name, json!({ "version": plugin.version, "priority": plugin.priority })))
        .collect();
    let mut configuration = info.configuration;
    configuration.entry("database").or_insert_with(|| json!(context.store.status().kind));
    let body = json!({
        "tagline": "Welcome to Weir",
        "version": API_VERSION,
        "edition": "community",
        "gateway": { "name": "weir", "version": info.version },
        "hostname": info.hostname,
        "node_id": info.node_id,
        "pids": { "master": std::process::id(), "workers": [] },
        "configuration": configuration,
        "plugins": { "available_on_server": available, "enabled_in_cluster": in_use(context, view.as_ref())? },
    });
    Ok(answer::at(answer::json(StatusCode::OK, &body), view.revision()))
}

/// Names of the plugins with entries. Remembered by revision, since this page is asked often and entries change seldom.
fn in_use(context: &AdminContext, view: &dyn View) -> Result<Vec<String>, Fault> {
    let revision = view.revision();
    let remembered = || context.in_use.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, names)) = remembered().as_ref().filter(|(at, _)| *at == revision) {
        return Ok(names.clone());
    }
    let mut names = BTreeSet::new();
    view.each(Kind::Plugin, &Selection::All, &mut |entry| {
        if let Some(name) = entry.text("name") {
            names.insert(name.to_owned());
        }
    })?;
    let names: Vec<String> = names.into_iter().collect();
    *remembered() = Some((revision, names.clone()));
    Ok(names)
}

/// `GET /status`: answers also when the store does not.
pub(crate) fn status(context: &AdminContext) -> Response<Body> {
    let status = context.node.status();
    let store = context.store.status();
    // A store that holds its writes can be read here, and still nobody reaches what keeps it.
    let reachable = context.store.view().is_ok() && store.holding.is_none();
    let mut database = serde_json::to_value(&store).unwrap_or_default();
    if let Value::Object(map) = &mut database {
        map.insert("reachable".to_owned(), Value::from(reachable));
    }
    let serving = *context.node.serving().borrow();
    let body = json!({
        "server": status.server,
        "memory": { "resident_bytes": status.memory_bytes },
        "database": database,
        "configuration_hash": store.state,
        "serving": serving,
        "snapshot_error": status.snapshot_error,
        "store": store,
        "plugins": status.plugins,
    });
    answer::at(answer::json(StatusCode::OK, &body), serving)
}

/// `GET /endpoints`
pub(crate) fn endpoints() -> Response<Body> {
    answer::json(StatusCode::OK, &json!({ "data": path::all() }))
}

/// `GET /plugins/enabled`
pub(crate) fn plugins_enabled(context: &AdminContext) -> Response<Body> {
    let mut names: Vec<String> = context.catalog.plugins().into_iter().map(|plugin| plugin.name).collect();
    names.sort();
    answer::json(StatusCode::OK, &json!({ "enabled_plugins": names }))
}

/// The page of a kind that has no entities.
pub(crate) fn nothing() -> Response<Body> {
    answer::json(StatusCode::OK, &json!({ "data": [], "next": null }))
}

/// `GET /tags`, `GET /tags/{tag}`
pub(crate) fn tags(context: &AdminContext, tag: Option<&str>, path: &str, query: &Query) -> Result<Response<Body>, Fault> {
    let (size, after) = (query.size()?, query.after_tag()?);
    let view = context.store.view()?;
    let mut rows = view.tags(tag, after, size + 1)?;
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|(tag, kind, id)| tag_offset(tag, *kind, *id));
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(tag, kind, id)| json!({ "tag": tag, "entity_name": kind.name(), "entity_id": id.to_string() }))
        .collect();
    let mut body = json!({ "data": rows, "next": null });
    if let (Some(offset), Value::Object(map)) = (next, &mut body) {
        map.insert("next".to_owned(), Value::from(query.next(path, &offset, false)));
        map.insert("offset".to_owned(), Value::from(offset));
    }
    Ok(answer::at(answer::json(StatusCode::OK, &body), view.revision()))
}

/// `GET /routes/{route}/chain[?consumer=]`: which plugins run, in which order, and where each entry comes from.
pub(crate) fn chain(context: &AdminContext, route: &str, consumer: Option<&str>) -> Result<Response<Body>, Fault> {
    let view = context.store.view()?;
    let view = view.as_ref();
    let route = find(view, Kind::Route, route)?.ok_or(Fault::NotFound)?;
    let consumer = match consumer {
        Some(key) => {
            let found = find(view, Kind::Consumer, key)?;
            Some(found.ok_or_else(|| Fault::NoSuch(format!("No consumer '{key}'")))?)
        }
        None => None,
    };
    let service = match route.foreign("service") {
        Some(id) => view.get(Kind::Service, id)?,
        None => None,
    };
    let plugins = context.catalog.plugins();
    let effective = effective(view, &route, consumer.as_ref().map(|consumer| consumer.id), &plugins)?;
    let named = |entity: &Entity, key: &str| json!({ "id": entity.id.to_string(), key: entity.body.get(key) });
    let body = json!({
        "route": named(&route, "name"),
        "service": service.as_ref().map(|service| named(service, "name")),
        "consumer": consumer.as_ref().map(|consumer| named(consumer, "username")),
        "chain": effective.chain,
        "disabled": effective.disabled,
        "not_installed": not_installed(view, &route, &|name| plugins.iter().any(|plugin| plugin.name == name))?,
    });
    Ok(answer::at(answer::json(StatusCode::OK, &body), view.revision()))
}

/// Entries on the route or its service whose plugin this node does not have.
fn not_installed(view: &dyn View, route: &Entity, installed: &dyn Fn(&str) -> bool) -> Result<Vec<Value>, Fault> {
    let mut missing = Vec::new();
    for (field, id) in [("route", Some(route.id)), ("service", route.foreign("service"))] {
        let Some(id) = id else { continue };
        view.each(Kind::Plugin, &Selection::Foreign { field: field.to_owned(), id }, &mut |entry| {
            let name = entry.text("name").unwrap_or_default();
            // An entry on both is listed under its route.
            let counted = field == "service" && entry.foreign("route").is_some();
            if !installed(name) && !counted {
                missing.push(json!({ "plugin": name, "id": entry.id.to_string(), "scope": field }));
            }
        })?;
    }
    Ok(missing)
}
