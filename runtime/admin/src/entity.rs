//! Writes of entities: from the request to the answer.
//!
//! A write is judged where the store puts it, at the tip. The entry of a plugin is judged once before, because the guest must
//! see its configuration and the store's writer waits for nobody; that is `transaction`'s work, of which it is one of one.

use crate::answer;
use crate::component;
use crate::context::AdminContext;
use crate::error::Fault;
use crate::operation::{Done, Operation};
use crate::plugin;
use crate::transaction;
use crate::wait::{Wait, served};
use axum::body::Body;
use http::Response;
use serde_json::Value;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use weir_model::{Autos, Id, Kind, schema};
use weir_store::{Plan, Written};

/// How often a write is judged again because others changed meanwhile what a guest was asked about.
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

/// POST, PUT, PATCH, DELETE.
pub(crate) async fn write(context: Arc<AdminContext>, operation: Operation, wait: Wait) -> Result<Response<Body>, Fault> {
    let written = match operation {
        Operation::Put(wish) if wish.kind == Kind::Plugin => transaction::alone(&context, Operation::Put(wish)).await?,
        Operation::Put(wish) if wish.kind == Kind::Component => component::write(&context, Arc::new(wish)).await?,
        operation => {
            let catalog = context.catalog.clone();
            let plugins = move |name: &str| plugin::pointed_to(catalog.as_ref(), name);
            let plan: Plan = Box::new(move |view| Ok(operation.judge(view, &plugins)?.planned()));
            context.store.write(plan).await?
        }
    };
    answered(&context, written, wait).await
}

/// The answer to a write of one entity.
pub(crate) async fn answered(context: &AdminContext, written: Written, wait: Wait) -> Result<Response<Body>, Fault> {
    let Written { revision, answer } = written;
    let done = Done::from_json(answer)?;
    let response = match &done.entity {
        Some(entity) => {
            let body = Value::Object(schema::present(entity, now()));
            answer::tagged(answer::json(done.status(), &body), done.written.unwrap_or(revision))
        }
        None => answer::empty(done.status()),
    };
    Ok(served(context, response, revision, wait).await)
}
