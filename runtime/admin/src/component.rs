//! `POST /components`: a component's bytes become an entity. What it is follows from the bytes; the client says only what it
//! may import and whether it serves at once.

use crate::body;
use crate::context::AdminContext;
use crate::entity::{RACES, answered, autos};
use crate::error::Fault;
use crate::guard::blocking;
use crate::operation::Judged;
use crate::query::Query;
use crate::wait::Wait;
use crate::wish::Wish;
use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_model::constraints::{self, Change, Context, entries_after};
use weir_model::schema::from_json_schema;
use weir_model::{
    Autos, ComponentManifest, ComponentRefusal, Digest, Entity, Id, Kind, Refusal, Schema, Selection, View, ViewError,
};
use weir_store::{Plan, Written};

/// How many entries a refusal names.
const NAMED: usize = 5;
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
    wait: Wait,
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
    let active = query.flag("active")?;
    let permit = context.uploads.acquire().await.map_err(|error| Fault::Crashed(error.to_string()))?;
    let bytes = body::bytes(sent, COMPONENT_LIMIT).await?;
    let (manifest, bytes) = {
        let context = context.clone();
        blocking(move || inspect(&context, &bytes, &grants).map(|manifest| (manifest, bytes))).await?
    };
    let (expected, autos) = (manifest.digest, autos());
    let judge: Judge = Arc::new(move |view| plan(view, &manifest, active, &autos));
    {
        // Before the bytes are stored: those of a refused upload would take room in the store until they are swept.
        let (context, judge) = (context.clone(), judge.clone());
        let refusal = move || {
            // A state that cannot be read is told by the write, which knows more about it.
            if let Ok(view) = context.store.view() {
                judge(view.as_ref())?;
            }
            Ok(())
        };
        blocking(refusal).await?;
    }
    let digest = context.store.put_blob(bytes.to_vec()).await?;
    drop(permit);
    if digest != expected {
        return Err(Fault::Crashed(format!("the store's digest {digest} of a component is not {expected}")));
    }
    let written = write_judged(&context, judge).await?;
    answered(&context, written, wait).await
}

/// What a write comes to, and the status of its answer.
type Judge = Arc<dyn Fn(&dyn View) -> Result<(Change, StatusCode), Refusal> + Send + Sync>;

/// PATCH of a component's settings.
pub(crate) async fn write(context: &Arc<AdminContext>, wish: Arc<Wish>) -> Result<Written, Fault> {
    let judge: Judge = Arc::new(move |view| Ok((wish.judge(view, &|_| None)?, StatusCode::OK)));
    write_judged(context, judge).await
}

/// What a version that begins to serve must accept first: the configurations of the enabled entries of its name.
#[derive(PartialEq)]
struct Question {
    digest: Digest,
    grants: Vec<String>,
    entries: Vec<(Id, Map<String, Value>)>,
}

/// The guest is asked before the write, because the store's writer waits for nobody; if the tip then has other entries, again.
async fn write_judged(context: &Arc<AdminContext>, judge: Judge) -> Result<Written, Fault> {
    for _ in 0..RACES {
        let asked = {
            let (context, judge) = (context.clone(), judge.clone());
            blocking(move || {
                let view = context.store.view()?;
                match judge(view.as_ref()) {
                    Ok((change, _)) => Ok(Some(question(view.as_ref(), &change)?)),
                    Err(Refusal::View(error)) => Err(error.into()),
                    // This node may be behind the tip, and only what stands there refuses.
                    Err(_) => Ok(None),
                }
            })
            .await?
        };
        let asked = asked.map(Arc::new);
        if let Some(asked) = &asked {
            ask(context, asked).await?;
        }
        let raced = Arc::new(AtomicBool::new(false));
        let plan: Plan = {
            let (judge, raced) = (judge.clone(), raced.clone());
            Box::new(move |view| {
                // It may be the second time, and the first has raced.
                raced.store(false, Ordering::Relaxed);
                let (change, status) = judge(view)?;
                let asked_now = question(view, &change)?;
                let differs = asked.as_ref().is_none_or(|asked| **asked != asked_now);
                raced.store(differs, Ordering::Relaxed);
                let judged = Judged::of(view, change, status)?;
                if differs { Err(Refusal::NotFound) } else { Ok(judged.planned()) }
            })
        };
        let written = context.store.write(plan).await;
        if !raced.load(Ordering::Relaxed) {
            return Ok(written?);
        }
    }
    Err(Fault::Raced)
}

/// What must be asked, if the change makes a component serve that did not.
fn question(view: &dyn View, change: &Change) -> Result<Option<Question>, Refusal> {
    let active = |entity: &Entity| entity.body.get("active") == Some(&Value::Bool(true));
    let component = &change.entity;
    let before = view.get(Kind::Component, component.id)?;
    if !active(component) || before.as_ref().is_some_and(active) {
        return Ok(None);
    }
    let entries: Vec<(Id, Map<String, Value>)> = entries_after(view, component.text("name").unwrap_or_default(), &change.ops)?
        .into_iter()
        .filter(|entry| entry.body.get("enabled") == Some(&Value::Bool(true)))
        .filter_map(|entry| Some((entry.id, entry.body.get("config")?.as_object()?.clone())))
        .collect();
    let digest = component.text("digest").and_then(|digest| digest.parse().ok());
    let grants = component.body.get("grants").and_then(Value::as_array).into_iter().flatten();
    let grants = grants.filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(digest.filter(|_| !entries.is_empty()).map(|digest| Question { digest, grants, entries }))
}

async fn ask(context: &Arc<AdminContext>, asked: &Arc<Option<Question>>) -> Result<(), Fault> {
    let Some(Question { digest, .. }) = asked.as_ref() else { return Ok(()) };
    let bytes = context.store.blob(*digest).await?;
    let bytes = bytes.ok_or_else(|| Fault::Crashed(format!("the bytes of component {digest} are gone")))?;
    let (context, asked) = (context.clone(), asked.clone());
    blocking(move || {
        let Some(question) = asked.as_ref() else { return Ok(()) };
        let configs: Vec<Map<String, Value>> = question.entries.iter().map(|(_, config)| config.clone()).collect();
        let found = context.catalog.try_configs(&bytes, &question.grants, &configs)?;
        let refused: Vec<String> = question
            .entries
            .iter()
            .zip(found)
            .filter(|(_, findings)| !findings.is_empty())
            .map(|((id, _), findings)| format!("{id}: {findings}"))
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        let some = refused.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" | ");
        Err(Refusal::Conflict(format!(
            "this version refuses the configuration of {} entries ({some}); change them first",
            refused.len()
        ))
        .into())
    })
    .await
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

fn plan(
    view: &dyn View,
    manifest: &ComponentManifest,
    active: Option<bool>,
    autos: &Autos,
) -> Result<(Change, StatusCode), Refusal> {
    let name_version = format!("{}@{}", manifest.name, manifest.version);
    let existing = constraints::find(view, Kind::Component, &name_version)?;
    let entity = match &existing {
        Some(existing) => again(existing, manifest, active, autos)?,
        None => {
            let active = match active {
                Some(active) => active,
                None => first_of_its_name(view, &manifest.name)?,
            };
            Schema::of(Kind::Component).process_insert(body(manifest, active), autos).map_err(Refusal::Schema)?
        }
    };
    let change = constraints::put(view, entity, existing.as_ref(), Context { now: autos.now, plugin: None })?;
    Ok((change, if existing.is_none() { StatusCode::CREATED } else { StatusCode::OK }))
}

/// Only the first version of a name serves by itself; a later upload changes no traffic until it is activated.
fn first_of_its_name(view: &dyn View, name: &str) -> Result<bool, ViewError> {
    let mut first = true;
    view.each(Kind::Component, &Selection::All, &mut |component| first &= component.text("name") != Some(name))?;
    Ok(first)
}

/// The same bytes once more: nothing new, but whether they serve may be said.
fn again(existing: &Entity, manifest: &ComponentManifest, active: Option<bool>, autos: &Autos) -> Result<Entity, Refusal> {
    if existing.text("digest") != Some(manifest.digest.to_string().as_str()) {
        return Err(Refusal::Conflict(format!(
            "{}@{} is stored already, with other bytes (digest {}): a version never changes, so raise the component's version",
            manifest.name,
            manifest.version,
            existing.text("digest").unwrap_or_default()
        )));
    }
    let mut entity = existing.clone();
    if let Some(active) = active {
        entity.body.insert("active".to_owned(), Value::Bool(active));
    }
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
