//! JSON as the Admin API takes it: an object, and no key twice. Parsers disagree about which of two equal keys counts, and a
//! request that means two things could pass one check and be applied as the other.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads an object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value =
        Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)).map_err(|error| error.to_string())?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("an object was expected".to_owned()),
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Strict)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Strict)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key '{key}' is there twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_once_at_every_depth() {
        assert!(object(br#"{"a": {"b": [1, 2.5, "x", null, true]}, "c": -1}"#).is_ok());
        for (text, reason) in [
            (r#"{"a": 1, "a": 2}"#, "'a' is there twice"),
            (r#"{"a": [{"b": 1, "b": 1}]}"#, "'b' is there twice"),
            (r#"{"a": 1, "\u0061": 2}"#, "'a' is there twice"),
            ("[1]", "an object was expected"),
            ("{} x", "trailing"),
            ("", "EOF"),
            (r#"{"a": 1e999}"#, "out of range"),
        ] {
            let error = object(text.as_bytes()).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        let deep = "[".repeat(10_000);
        assert!(object(format!("{{\"a\":{deep}").as_bytes()).expect_err("deep").contains("recursion limit"));
    }
}
