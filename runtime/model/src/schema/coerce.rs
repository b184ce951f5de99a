//! Form values are texts; this gives them the types that the schema wants. What does not fit stays a text, and the engine
//! then says what was expected.

use super::{Record, Schema, Shape, Spec};
use serde_json::{Map, Value};

impl Schema {
    /// Gives form values their types.
    pub fn coerce(&self, input: Map<String, Value>) -> Map<String, Value> {
        record(&self.record, input)
    }
}

fn record(of: &Record, input: Map<String, Value>) -> Map<String, Value> {
    input
        .into_iter()
        .map(|(key, value)| match of.field(&key) {
            Some(spec) => (key, coerce(spec, value)),
            None => (key, value),
        })
        .collect()
}

fn coerce(spec: &Spec, value: Value) -> Value {
    match (&spec.shape, value) {
        // An empty form field clears.
        (_, Value::String(text)) if text.is_empty() => Value::Null,
        (Shape::Integer(_) | Shape::Number(_), Value::String(text)) => number(&text).unwrap_or(Value::String(text)),
        (Shape::Boolean, Value::String(text)) => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::String(text),
        },
        (Shape::Array(element, _) | Shape::Set(element, _), Value::Array(values)) => {
            Value::Array(values.into_iter().map(|value| coerce(element, value)).collect())
        }
        (Shape::Array(element, _) | Shape::Set(element, _), text @ Value::String(_)) => Value::Array(vec![coerce(element, text)]),
        (Shape::Map(map), Value::Object(values)) => {
            Value::Object(values.into_iter().map(|(key, value)| (key, coerce(&map.values, value))).collect())
        }
        (Shape::Record(inner), Value::Object(values)) => Value::Object(record(inner, values)),
        (_, value) => value,
    }
}

fn number(text: &str) -> Option<Value> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(Value::from(number));
    }
    let float = text.parse::<f64>().ok().filter(|float| float.is_finite())?;
    Some(Value::from(float))
}
