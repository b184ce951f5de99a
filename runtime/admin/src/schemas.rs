//! `/schemas`: what entities and plugin configurations may be, and whether one is well formed.

use crate::answer;
use crate::body::Input;
use crate::context::AdminContext;
use crate::entity::autos;
use crate::error::Fault;
use crate::guard::blocking;
use crate::plugin;
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use weir_model::{Findings, Kind, Refusal, Schema};

fn no_entity(name: &str) -> Fault {
    Fault::NoSuch(format!("No entity named '{name}'"))
}

/// The schema of an entity.
pub(crate) fn entity(name: &str) -> Result<Response<Body>, Fault> {
    let schema = Schema::named(name).ok_or_else(|| no_entity(name))?;
    Ok(answer::json(StatusCode::OK, &schema.render()))
}

/// The schema of the entries of a plugin.
pub(crate) fn plugin(context: &AdminContext, name: &str) -> Result<Response<Body>, Fault> {
    Ok(answer::json(StatusCode::OK, &rendered(context, name)?))
}

/// The schema of the configuration of a plugin.
pub(crate) fn config(context: &AdminContext, name: &str) -> Result<Response<Body>, Fault> {
    let schema = rendered(context, name)?;
    let fields = schema.get("fields").and_then(Value::as_array).into_iter().flatten();
    let config = fields.filter_map(|field| field.get("config")).find_map(|config| config.get("fields"));
    Ok(answer::json(StatusCode::OK, &json!({ "fields": config })))
}

fn rendered(context: &AdminContext, name: &str) -> Result<Value, Fault> {
    let known = plugin::known(context.catalog.as_ref(), name)?;
    known.map(|known| known.schema.render()).ok_or_else(|| Fault::NoSuch(format!("No plugin named '{name}'")))
}

/// Whether the body could be inserted, as far as that can be said without looking at other entities.
pub(crate) async fn validate(context: Arc<AdminContext>, name: &str, input: Input) -> Result<Response<Body>, Fault> {
    // Components come from their bytes; there is no body to validate.
    let schema = Schema::named(name).filter(|schema| schema.kind != Kind::Component).ok_or_else(|| no_entity(name))?;
    let kind = schema.kind;
    blocking(move || {
        let mut findings = Findings::default();
        let plugin_name = input.fields.get("name").and_then(Value::as_str).filter(|_| kind == Kind::Plugin).map(str::to_owned);
        let known = match &plugin_name {
            Some(name) => plugin::known(context.catalog.as_ref(), name)?,
            None => None,
        };
        if let (Some(name), None) = (&plugin_name, &known) {
            findings.add(["name"], plugin::not_enabled(name));
        }
        let schema = known.as_ref().map_or(schema, |known| &known.schema);
        let fields = if input.form { schema.coerce(input.fields) } else { input.fields };
        match schema.process_insert(fields.clone(), &autos()) {
            Ok(entity) => {
                if let Some(known) = &known {
                    findings = plugin::check_config(context.catalog.as_ref(), &known.info.name, &entity.body);
                }
            }
            Err(mut more) => {
                more.0.retain(|finding| {
                    known.is_some() || kind != Kind::Plugin || finding.path.first().is_none_or(|field| field != "config")
                });
                findings.0.extend(more.0);
                if let Some(known) = &known {
                    let alone = plugin::check_config_alone(context.catalog.as_ref(), known, None, false, fields, &autos());
                    findings.0.extend(alone.0);
                }
            }
        }
        if !findings.is_empty() {
            return Err(Refusal::Schema(findings).into());
        }
        Ok(answer::json(StatusCode::OK, &json!({ "message": "schema validation successful" })))
    })
    .await
}
