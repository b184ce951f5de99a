//! Writes of entities: from the request to the answer.
//!
//! A write is judged where the store puts it, at the tip. The entry of a plugin is judged once before, because the guest must
//! see its configuration and the store's writer waits for nobody; if the tip then comes to another configuration, again.

use crate::answer::{self, SERVED};
use crate::body::Input;
use crate::component;
use crate::context::AdminContext;
use crate::error::Fault;
use crate::guard::blocking;
use crate::path::{Endpoint, Parent};
use crate::plugin::{self, Known};
use crate::wish::{Mode, Place, Wish};
use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_model::constraints::{self, find};
use weir_model::{Autos, Entity, Id, Kind, Refusal, schema};
use weir_store::{Plan, Planned, Written};

/// How often a plugin entry is judged again because others changed it meanwhile.
pub(crate) const RACES: usize = 5;

/// Seconds of the Unix clock.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Fresh values for a new entity.
pub(crate) fn autos() -> Autos {
    // 122 random bits each: beyond guessing.
    Autos { now: now(), id: Id::random(), secret: Id::random().to_string().replace('-', "") }
}

/// POST, PUT, PATCH.
pub(crate) async fn write(
    context: Arc<AdminContext>,
    endpoint: Endpoint,
    method: &Method,
    input: Input,
) -> Result<Response<Body>, Fault> {
    let mode = match *method {
        Method::POST => Mode::Insert,
        Method::PUT => Mode::Replace,
        _ => Mode::Merge,
    };
    let (kind, place) = match endpoint {
        Endpoint::Collection(kind) => (kind, Place::New(None)),
        Endpoint::Nested(parent, kind) => (kind, Place::New(Some(parent))),
        Endpoint::Entity(kind, key) => (kind, Place::At(key, None)),
        Endpoint::NestedEntity(parent, kind, key) => (kind, Place::At(key, Some(parent))),
        Endpoint::Foreign(via) => (via.target, Place::Via(via)),
        Endpoint::Root
        | Endpoint::Status
        | Endpoint::Endpoints
        | Endpoint::PluginsEnabled
        | Endpoint::Absent
        | Endpoint::Tags(_)
        | Endpoint::Schema(_)
        | Endpoint::Validate(_)
        | Endpoint::PluginSchema(_)
        | Endpoint::ConfigSchema(_)
        | Endpoint::ClusterNodes
        | Endpoint::Adopt
        | Endpoint::Republish
        | Endpoint::Transaction(_)
        | Endpoint::Chain(_) => return Err(Fault::NotFound),
    };
    let wish = Arc::new(Wish { kind, mode, place, input: input.fields, form: input.form, autos: autos() });
    let written = match kind {
        Kind::Plugin => write_plugin(&context, &wish).await?,
        Kind::Component => component::write(&context, wish).await?,
        Kind::Service | Kind::Route | Kind::Consumer | Kind::KeyAuth => {
            // Asked only when a plugin entry shall point to the new entity. A schema that cannot be read is no plugin either.
            let catalog = context.catalog.clone();
            let plugins = move |name: &str| plugin::known(catalog.as_ref(), name).ok().flatten().map(Arc::new);
            let plan: Plan = Box::new(move |view| planned(wish.judge(view, &plugins)?));
            context.store.write(plan).await?
        }
    };
    let status = if mode == Mode::Insert { StatusCode::CREATED } else { StatusCode::OK };
    entity_answer(&context, status, written).await
}

/// What a plan hands over: the results, and the entity as the answer.
fn planned(change: constraints::Change) -> Result<Planned, Refusal> {
    let answer = serde_json::to_value(&change.entity).unwrap_or_default();
    Ok(Planned { ops: change.ops, answer })
}

/// The answer to a write that ended in an entity.
pub(crate) async fn entity_answer(context: &AdminContext, status: StatusCode, written: Written) -> Result<Response<Body>, Fault> {
    let entity: Entity = serde_json::from_value(written.answer.clone())
        .map_err(|error| Fault::Crashed(format!("the answer of a write cannot be read: {error}")))?;
    let body = Value::Object(schema::present(&entity, now()));
    Ok(served(context, answer::json(status, &body), &written).await)
}

/// Waits until this node serves the write, so that the client's next request through the proxy meets it.
pub(crate) async fn served(context: &AdminContext, response: Response<Body>, written: &Written) -> Response<Body> {
    let mut serving = context.node.serving();
    let reached = serving.wait_for(|revision| *revision >= written.revision);
    let mut response = answer::at(response, written.revision);
    if !matches!(tokio::time::timeout(context.serving_wait, reached).await, Ok(Ok(_))) {
        response.headers_mut().insert(SERVED, HeaderValue::from_static("pending"));
    }
    response
}

async fn write_plugin(context: &Arc<AdminContext>, wish: &Arc<Wish>) -> Result<Written, Fault> {
    for _ in 0..RACES {
        let (checked, known) = check_plugin(context, wish).await?;
        let raced = Arc::new(AtomicBool::new(false));
        let plan: Plan = {
            let (wish, raced) = (wish.clone(), raced.clone());
            Box::new(move |view| {
                let change = wish.judge(view, &|name| Some(known.clone()).filter(|known| known.info.name == name));
                // At the tip the entity may have become another than the guest was asked about.
                let same =
                    |entity: &Entity| ["name", "config", "enabled"].iter().all(|f| entity.body.get(*f) == checked.body.get(*f));
                let differs = match &change {
                    Ok(change) => !same(&change.entity),
                    Err(Refusal::Schema(_)) => true,
                    Err(_) => false,
                };
                raced.store(differs, Ordering::Relaxed);
                if differs { Err(Refusal::NotFound) } else { planned(change?) }
            })
        };
        let written = context.store.write(plan).await;
        if !raced.load(Ordering::Relaxed) {
            return Ok(written?);
        }
    }
    Err(Fault::Raced)
}

/// Judges against the newest view and asks the guest.
async fn check_plugin(context: &Arc<AdminContext>, wish: &Arc<Wish>) -> Result<(Entity, Arc<Known>), Fault> {
    let (context, wish) = (context.clone(), wish.clone());
    blocking(move || {
        let view = context.store.view()?;
        let mut used = None;
        let change = {
            let seen = std::cell::RefCell::new(None);
            let judged = wish.judge(view.as_ref(), &|name| {
                // A schema that cannot be read is told apart below; here it is a plugin that is not there.
                let known = plugin::known(context.catalog.as_ref(), name).map(|known| known.map(Arc::new));
                let answer = known.as_ref().ok().cloned().flatten();
                *seen.borrow_mut() = Some(known);
                answer
            });
            match seen.into_inner() {
                Some(Err(fault)) => return Err(fault),
                Some(Ok(known)) => used = known,
                None => {}
            }
            match judged {
                // What is wrong with other fields hides nothing of what the guest has against its configuration.
                Err(Refusal::Schema(mut findings)) => {
                    if let Some(known) = &used {
                        findings.0.extend(wish.ask_guest(view.as_ref(), context.catalog.as_ref(), known).0);
                    }
                    return Err(Refusal::Schema(findings).into());
                }
                judged => judged?,
            }
        };
        let known = used.ok_or_else(|| Fault::Crashed("an entry was judged without its plugin".to_owned()))?;
        let findings = plugin::check_config(context.catalog.as_ref(), &known.info.name, &change.entity.body);
        if findings.is_empty() { Ok((change.entity, known)) } else { Err(Refusal::Schema(findings).into()) }
    })
    .await
}

/// DELETE. What is not there is gone already, unless the path says whose it is.
pub(crate) async fn delete(
    context: Arc<AdminContext>,
    kind: Kind,
    key: String,
    parent: Option<Parent>,
) -> Result<Response<Body>, Fault> {
    let plan: Plan = Box::new(move |view| {
        let entity = find(view, kind, &key)?;
        if let Some(parent) = &parent {
            let owner = find(view, parent.kind, &parent.key)?.ok_or(Refusal::NotFound)?;
            if entity.as_ref().and_then(|entity| entity.foreign(&parent.field)) != Some(owner.id) {
                return Err(Refusal::NotFound);
            }
        }
        let ops = match entity {
            Some(entity) => constraints::delete(view, kind, entity.id)?,
            None => Vec::new(),
        };
        Ok(Planned { ops, answer: json!(null) })
    });
    let written = context.store.write(plan).await?;
    Ok(served(&context, answer::empty(StatusCode::NO_CONTENT), &written).await)
}
