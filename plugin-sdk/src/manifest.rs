//! What a plugin says of itself when it is stored: the manifest, and the schema of its configuration.

use crate::Plugin;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// A phase of an exchange in which a plugin can take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// [`Plugin::on_request`].
    Request,
    /// [`Plugin::on_response`].
    Response,
    /// [`Plugin::on_log`].
    Log,
}

/// The manifest as JSON.
pub(crate) fn manifest<P: Plugin>(package_name: &str, package_version: &str) -> Value {
    json!({
        "name": P::NAME.unwrap_or(package_name),
        "version": package_version,
        "priority": P::PRIORITY,
        "config": schema::<P>(),
        "credentials": P::CREDENTIALS,
    })
}

/// The JSON Schema of the configuration, in one piece: no definitions to look up, and objects closed, so that a misspelt field
/// is refused instead of ignored.
pub(crate) fn schema<P: Plugin>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<P>().to_value();
    close_objects(&mut schema);
    schema
}

fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object) && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            each_subschema(object);
        }
        Value::Array(list) => list.iter_mut().for_each(close_objects),
        _ => {}
    }
}

/// Goes into what holds schemas; defaults and enumerations hold values, which must stay as they are.
fn each_subschema(object: &mut Map<String, Value>) {
    for (keyword, inner) in object.iter_mut() {
        match keyword.as_str() {
            "properties" | "patternProperties" | "$defs" => {
                inner.as_object_mut().into_iter().flatten().for_each(|(_, schema)| close_objects(schema));
            }
            "items" | "prefixItems" | "anyOf" | "oneOf" | "allOf" | "additionalProperties" => close_objects(inner),
            _ => {}
        }
    }
}
