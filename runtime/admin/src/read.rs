//! Reads of entities: one, a page, what another points to. Each reads one view, and says which revision that is.

use crate::answer;
use crate::context::AdminContext;
use crate::entity::now;
use crate::error::Fault;
use crate::path::{Parent, Via};
use crate::query::{self, Query};
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use weir_model::constraints::find;
use weir_model::schema::{expired, present};
use weir_model::{Entity, Kind, Schema, Selection, View};

fn shown(view: &dyn View, entity: Option<Entity>) -> Result<Response<Body>, Fault> {
    let now = now();
    // What has expired is not there any more, though nobody has deleted it.
    let entity = entity.filter(|entity| !expired(entity, now)).ok_or(Fault::NotFound)?;
    let response = answer::at(answer::json(StatusCode::OK, &Value::Object(present(&entity, now))), view.revision());
    Ok(match view.revision_of(entity.kind, entity.id)? {
        Some(written) => answer::tagged(response, written),
        None => response,
    })
}

/// One entity, perhaps of a parent.
pub(crate) fn one(context: &AdminContext, kind: Kind, key: &str, parent: Option<&Parent>) -> Result<Response<Body>, Fault> {
    let view = context.store.view()?;
    let mut entity = find(view.as_ref(), kind, key)?;
    if let Some(parent) = parent {
        let owner = find(view.as_ref(), parent.kind, &parent.key)?.ok_or(Fault::NotFound)?;
        entity = entity.filter(|entity| entity.foreign(&parent.field) == Some(owner.id));
    }
    shown(view.as_ref(), entity)
}

/// What an entity points to.
pub(crate) fn foreign(context: &AdminContext, via: &Via) -> Result<Response<Body>, Fault> {
    let view = context.store.view()?;
    let owner = find(view.as_ref(), via.kind, &via.key)?.filter(|owner| !expired(owner, now())).ok_or(Fault::NotFound)?;
    let id = owner.foreign(&via.field).ok_or(Fault::NotFound)?;
    let entity = view.get(via.target, id)?;
    shown(view.as_ref(), entity)
}

/// A page of a collection, perhaps of a parent's.
pub(crate) fn list(
    context: &AdminContext,
    kind: Kind,
    parent: Option<&Parent>,
    path: &str,
    query: &Query,
) -> Result<Response<Body>, Fault> {
    let (size, after) = (query.size()?, query.after()?);
    let view = context.store.view()?;
    let selection = match parent {
        // As in Kong, tags do not filter the lists below a parent.
        Some(parent) => {
            let owner = find(view.as_ref(), parent.kind, &parent.key)?.ok_or(Fault::NotFound)?;
            Selection::Foreign { field: parent.field.clone(), id: owner.id }
        }
        None => query.selection()?,
    };
    let now = now();
    let show = |entities: Vec<Entity>| -> Vec<Value> {
        entities.iter().filter(|entity| !expired(entity, now)).map(|entity| Value::Object(present(entity, now))).collect()
    };
    // Another unique field as a filter: `GET /consumers?custom_id=x`. It names at most one.
    let endpoint_key = Schema::of(kind).endpoint_key;
    let unique =
        Schema::of(kind).record.fields.iter().filter(|field| field.spec.unique && Some(field.name.as_ref()) != endpoint_key);
    for field in unique {
        let Some(value) = query.get(&field.name).filter(|_| parent.is_none()) else { continue };
        let found = match view.find(kind, &field.name, value)? {
            Some(id) => view.get(kind, id)?,
            None => None,
        };
        let body = json!({ "data": show(found.into_iter().collect()), "next": null });
        return Ok(answer::at(answer::json(StatusCode::OK, &body), view.revision()));
    }
    let page = view.list(kind, &selection, after, size)?;
    let mut body = json!({ "data": show(page.entities), "next": null });
    if let (Some(next), Value::Object(map)) = (page.next, &mut body) {
        let offset = query::offset(next);
        map.insert("next".to_owned(), Value::from(query.next(path, &offset, parent.is_some())));
        map.insert("offset".to_owned(), Value::from(offset));
    }
    Ok(answer::at(answer::json(StatusCode::OK, &body), view.revision()))
}
