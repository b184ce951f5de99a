//! The one text that a JSON value has: what is hashed and what is stored.
//!
//! Object keys are sorted by their bytes and nothing is between tokens, whatever order the map type in use keeps. Knows
//! nothing of entities.

use serde_json::{Map, Value};

/// The canonical text of an object.
pub(crate) fn object_text(object: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_object(&mut out, object);
    out
}

fn write_object(out: &mut Vec<u8>, object: &Map<String, Value>) {
    let mut fields: Vec<_> = object.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| name.as_bytes());
    out.push(b'{');
    for (index, (name, value)) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_scalar(out, name);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

// Recursion ends where the value's nesting does; values come from a parser that refuses more than 128 levels.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(object) => write_object(out, object),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => write_scalar(out, scalar),
    }
}

fn write_scalar<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, scalar: &T) {
    serde_json::to_writer(out, scalar).expect("a scalar is written to memory, which does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_sorted_at_every_level() {
        let value = json!({"b": {"z": 1, "a": [1, {"y": null, "x": "\n"}]}, "a": true});
        let text = object_text(value.as_object().unwrap());
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"a":true,"b":{"a":[1,{"x":"\n","y":null}],"z":1}}"#);
    }
}
