//! Request bodies: read with a cap and a deadline, then JSON or a form. Knows no entities; a form's values stay texts.

use crate::error::Fault;
use crate::json;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use std::time::Duration;

/// The largest JSON or form body. A plugin configuration may have 1 MiB; the rest of an entity is small.
pub(crate) const BODY_LIMIT: usize = 2 << 20;
/// A body that takes longer keeps a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Fields of a form: more than any entity has.
const FORM_FIELDS: usize = 2000;
/// Positions in a list of a form (`a[7]=x`).
const FORM_POSITIONS: usize = 1000;
/// Dots and brackets in the key of a form field.
const FORM_DEPTH: usize = 16;

/// What a client sent.
#[derive(Default)]
pub(crate) struct Input {
    /// Field by field.
    pub(crate) fields: Map<String, Value>,
    /// Values are texts and get their types from the schema.
    pub(crate) form: bool,
}

/// The media type without parameters, in lower case. Two of them would let two readers disagree.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Fault::BadBody("More than one Content-Type header".to_owned()));
    }
    let Some(first) = first else { return Ok(None) };
    let text = first.to_str().map_err(|_| Fault::BadBody("The Content-Type header is not text".to_owned()))?;
    Ok(Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()))
}

/// All bytes of a body.
pub(crate) async fn bytes(body: Body, limit: usize) -> Result<Bytes, Fault> {
    let read = Limited::new(body, limit).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Err(_) => Err(Fault::TooSlow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::TooLarge(limit)),
        Ok(Err(_)) => Err(Fault::BadBody("The body ended early".to_owned())),
    }
}

/// The fields that a client sent.
pub(crate) async fn input(headers: &HeaderMap, body: Body) -> Result<Input, Fault> {
    let media_type = media_type(headers)?;
    match media_type.as_deref() {
        Some("application/json") => {
            let bytes = bytes(body, BODY_LIMIT).await?;
            let fields = json::object(&bytes).map_err(|reason| Fault::BadBody(format!("Cannot parse JSON body: {reason}")))?;
            Ok(Input { fields, form: false })
        }
        Some("application/x-www-form-urlencoded") => {
            let bytes = bytes(body, BODY_LIMIT).await?;
            let fields = form(&bytes).map_err(|reason| Fault::BadBody(format!("Cannot parse form body: {reason}")))?;
            Ok(Input { fields, form: true })
        }
        Some(other) => Err(Fault::UnsupportedMedia(format!(
            "Content-Type '{other}' is not taken here: send application/json or application/x-www-form-urlencoded"
        ))),
        None => {
            if bytes(body, BODY_LIMIT).await?.is_empty() {
                return Ok(Input { fields: Map::new(), form: false });
            }
            Err(Fault::UnsupportedMedia("A body needs a Content-Type: send application/json".to_owned()))
        }
    }
}

/// Form fields, nested by their keys: `a.b=1`, `a[]=1`, `a[2]=1`; a repeated key is a list.
fn form(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    // The decoder would put U+FFFD where it cannot read, and that would be stored.
    percent_decode(bytes).decode_utf8().map_err(|_| "it is not UTF-8")?;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes).map_err(|error| error.to_string())?;
    if pairs.len() > FORM_FIELDS {
        return Err(format!("more than {FORM_FIELDS} fields"));
    }
    let mut root = Map::new();
    for (key, value) in pairs {
        let steps = steps(&key).ok_or_else(|| format!("the key '{key}' cannot be read"))?;
        let (first, rest) = steps.split_first().ok_or("a field without a key")?;
        let Step::Field(first) = first else { return Err(format!("the key '{key}' cannot be read")) };
        put(root.entry(first.clone()).or_insert(Value::Null), rest, Value::String(value))
            .ok_or_else(|| format!("the key '{key}' does not go with the others"))?;
    }
    Ok(root)
}

enum Step {
    Field(String),
    Append,
    Position(usize),
}

fn steps(key: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in key.split('.') {
        let (name, mut brackets) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() {
            return None;
        }
        steps.push(Step::Field(name.to_owned()));
        while let Some(rest) = brackets.strip_prefix('[') {
            let (inside, after) = rest.split_once(']')?;
            steps.push(match inside {
                "" => Step::Append,
                digits => Step::Position(digits.parse().ok().filter(|at| (1..=FORM_POSITIONS).contains(at))?),
            });
            brackets = after;
        }
        if !brackets.is_empty() || steps.len() > FORM_DEPTH {
            return None;
        }
    }
    Some(steps)
}

fn put(slot: &mut Value, steps: &[Step], value: Value) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else {
        match slot {
            Value::Null => *slot = value,
            Value::Array(list) => list.push(value),
            Value::String(first) => *slot = Value::Array(vec![Value::String(std::mem::take(first)), value]),
            _ => return None,
        }
        return Some(());
    };
    if slot.is_null() {
        *slot = if matches!(step, Step::Field(_)) { Value::Object(Map::new()) } else { Value::Array(Vec::new()) };
    }
    match (step, slot) {
        (Step::Field(name), Value::Object(map)) => put(map.entry(name.clone()).or_insert(Value::Null), rest, value),
        (Step::Append, Value::Array(list)) => {
            list.push(Value::Null);
            put(list.last_mut()?, rest, value)
        }
        (Step::Position(at), Value::Array(list)) => {
            while list.len() < *at {
                list.push(Value::Null);
            }
            put(list.get_mut(at - 1)?, rest, value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn form_keys_nest() {
        let read = |text: &str| form(text.as_bytes()).map(Value::Object);
        assert_eq!(
            read("name=x&config.minute=5&tags[]=a&tags[]=b&hosts[2]=d&hosts[1]=c&m=1&m=2&config.r.h=%20"),
            Ok(json!({
                "name": "x", "config": {"minute": "5", "r": {"h": " "}}, "tags": ["a", "b"], "hosts": ["c", "d"], "m": ["1", "2"]
            }))
        );
        assert_eq!(read(""), Ok(json!({})));
        for wrong in ["a=1&a.b=2", "a.b=1&a=2", "[]=1", "a[=1", "a[x]=1", "a[0]=1", "a[999999999]=1", "a..b=1", "a[]b=1", ".a=1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&format!("{}=1", vec!["a"; 20].join("."))).is_err());
        assert_eq!(read("username=%ff"), Err("it is not UTF-8".to_owned()));
        assert_eq!(read("u=%C3%A9%zz"), Ok(json!({"u": "é%zz"})));
    }
}
