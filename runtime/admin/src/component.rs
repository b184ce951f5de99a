//! `POST /components`: a component's bytes become an entity. What it is follows from the bytes; the client says only what it
//! may import and whether it serves at once.

use crate::body;
use crate::context::AdminContext;
use crate::entity::{autos, entity_answer, planned};
use crate::error::Fault;
use crate::guard::blocking;
use crate::query::Query;
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use weir_model::constraints::{self, Context};
use weir_model::schema::from_json_schema;
use weir_model::{Autos, ComponentManifest, ComponentRefusal, Entity, Id, Kind, Refusal, Schema, View};
use weir_store::{Plan, Planned};

/// The largest component. A Python one has 18 MiB; beyond this compiling would take minutes of a core.
pub(crate) const COMPONENT_LIMIT: usize = 32 << 20;
/// What a component may be granted.
const GRANTS: [&str; 2] = ["counters", "credentials"];

/// Stores a component.
pub(crate) async fn upload(
    context: Arc<AdminContext>,
    headers: &HeaderMap,
    query: &Query,
    sent: Body,
) -> Result<Response<Body>, Fault> {
    match body::media_type(headers)?.as_deref() {
        Some("application/wasm" | "application/octet-stream") => {}
        other => {
            let given = other.map_or_else(|| "no Content-Type".to_owned(), |other| format!("Content-Type '{other}'"));
            return Err(Fault::UnsupportedMedia(format!(
                "A component is sent as its bytes with Content-Type application/wasm (curl -H 'Content-Type: application/wasm' \
                 --data-binary @plugin.wasm); {given} came"
            )));
        }
    }
    let grants = grants(query)?;
    let active = active(query)?;
    let permit = context.uploads.acquire().await.map_err(|error| Fault::Crashed(error.to_string()))?;
    let bytes = body::bytes(sent, COMPONENT_LIMIT).await?;
    let (manifest, bytes) = {
        let context = context.clone();
        blocking(move || inspect(&context, &bytes, &grants).map(|manifest| (manifest, bytes))).await?
    };
    let digest = context.store.put_blob(bytes.to_vec()).await?;
    drop(permit);
    if digest != manifest.digest {
        return Err(Fault::Crashed(format!("the store's digest {digest} of a component is not {}", manifest.digest)));
    }
    let autos = autos();
    let plan: Plan = Box::new(move |view| plan(view, &manifest, active, &autos));
    let mut written = context.store.write(plan).await?;
    let answer = written.answer.take();
    let created = answer.get("created") == Some(&json!(true));
    written.answer = answer.get("entity").cloned().unwrap_or_default();
    entity_answer(&context, if created { StatusCode::CREATED } else { StatusCode::OK }, written).await
}

fn grants(query: &Query) -> Result<Vec<String>, Fault> {
    let text = query.get("grants").unwrap_or_default();
    let grants: Vec<String> = text.split(',').filter(|grant| !grant.is_empty()).map(str::to_owned).collect();
    match grants.iter().find(|grant| !GRANTS.contains(&grant.as_str())) {
        None => Ok(grants),
        Some(unknown) => Err(Fault::InvalidOption {
            option: "grants",
            message: format!("'{unknown}' cannot be granted; there are: {}", GRANTS.join(", ")),
        }),
    }
}

fn active(query: &Query) -> Result<bool, Fault> {
    match query.get("active") {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(Fault::InvalidOption { option: "active", message: "expected true or false".to_owned() }),
    }
}

fn inspect(context: &AdminContext, bytes: &[u8], grants: &[String]) -> Result<ComponentManifest, Fault> {
    if bytes.is_empty() {
        return Err(ComponentRefusal("the body is empty: send the component's bytes".to_owned()).into());
    }
    let manifest = context.catalog.inspect(bytes, grants)?;
    let name = &manifest.name;
    if let Some(taken) = context.catalog.plugin(name).filter(|plugin| plugin.origin != "uploaded") {
        let place = if taken.origin == "stock" { "is a stock plugin" } else { "is in 'plugins_dir'" };
        return Err(ComponentRefusal(format!("the name '{name}' cannot be taken: it {place}; give the component another")).into());
    }
    if let Err(findings) = from_json_schema::record(&manifest.config_schema) {
        return Err(ComponentRefusal(format!("the schema of its configuration cannot be used: {findings}")).into());
    }
    let ungranted: Vec<&str> = manifest.needs_grants.iter().filter(|need| !grants.contains(need)).map(String::as_str).collect();
    if !ungranted.is_empty() {
        let list = ungranted.join(",");
        return Err(
            ComponentRefusal(format!("it imports {list}, which must be granted: send it to /components?grants={list}")).into()
        );
    }
    Ok(manifest)
}

fn plan(view: &dyn View, manifest: &ComponentManifest, active: bool, autos: &Autos) -> Result<Planned, Refusal> {
    let name_version = format!("{}@{}", manifest.name, manifest.version);
    let existing = constraints::find(view, Kind::Component, &name_version)?;
    let entity = match &existing {
        Some(existing) => again(existing, manifest, active, autos)?,
        None => Schema::of(Kind::Component).process_insert(body(manifest, active), autos).map_err(Refusal::Schema)?,
    };
    let created = existing.is_none();
    let change = constraints::put(view, entity, existing.as_ref(), Context { now: autos.now, plugin: None })?;
    let Planned { ops, answer } = planned(change)?;
    Ok(Planned { ops, answer: json!({ "created": created, "entity": answer }) })
}

/// The same bytes once more: what they were granted, and whether they serve, may be said anew.
fn again(existing: &Entity, manifest: &ComponentManifest, active: bool, autos: &Autos) -> Result<Entity, Refusal> {
    if existing.text("digest") != Some(manifest.digest.to_string().as_str()) {
        return Err(Refusal::Conflict(format!(
            "{}@{} is stored already, with other bytes (digest {}): a version never changes, so raise the component's version",
            manifest.name,
            manifest.version,
            existing.text("digest").unwrap_or_default()
        )));
    }
    let mut entity = existing.clone();
    entity.body.insert("active".to_owned(), Value::Bool(active));
    entity.body.insert("updated_at".to_owned(), Value::from(autos.now));
    Ok(entity)
}

fn body(manifest: &ComponentManifest, active: bool) -> Map<String, Value> {
    let id = Id::from_name("component", &format!("{}@{}", manifest.name, manifest.version));
    Map::from_iter([
        ("id".to_owned(), json!(id.to_string())),
        ("name".to_owned(), json!(manifest.name)),
        ("version".to_owned(), json!(manifest.version)),
        ("digest".to_owned(), json!(manifest.digest)),
        ("size".to_owned(), json!(manifest.size)),
        ("priority".to_owned(), json!(manifest.priority)),
        ("phases".to_owned(), json!(manifest.phases)),
        // What it imports and was granted; a grant that it does not need is not kept.
        ("grants".to_owned(), json!(manifest.needs_grants)),
        ("config_schema".to_owned(), manifest.config_schema.clone()),
        ("active".to_owned(), json!(active)),
    ])
}
