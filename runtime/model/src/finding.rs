//! Mistakes in input, all of them at once, each with its place.

use serde_json::{Map, Value};
use std::fmt;

/// One mistake: where and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The path of the field, outermost first; empty for a mistake of the whole entity.
    pub path: Vec<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// All mistakes of one input. Empty means none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Notes a mistake at a path such as `["config", "minute"]`.
    pub fn add<P: Into<String>>(&mut self, path: impl IntoIterator<Item = P>, message: impl Into<String>) {
        self.0.push(Finding { path: path.into_iter().map(Into::into).collect(), message: message.into() });
    }
    /// Whether there is no mistake.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Takes over the findings of a part, under `prefix`.
    pub fn extend_under(&mut self, prefix: &str, inner: Findings) {
        for mut finding in inner.0 {
            finding.path.insert(0, prefix.to_owned());
            self.0.push(finding);
        }
    }
    /// The mistakes nested as the input was; those of the whole entity under `@entity` (Kong's `fields`).
    pub fn fields(&self) -> Map<String, Value> {
        let mut root = Map::new();
        for finding in &self.0 {
            insert(&mut root, &finding.path, &finding.message);
        }
        root
    }
}

fn insert(map: &mut Map<String, Value>, path: &[String], message: &str) {
    match path {
        [] => push(map, "@entity", message, true),
        [leaf] => push(map, leaf, message, false),
        [head, rest @ ..] => {
            let inner = map.entry(head.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                // A message stands here already; a deeper one goes beside it rather than being lost.
                let message = inner.take();
                *inner = Value::Object(Map::from_iter([("@entity".to_owned(), Value::Array(vec![message]))]));
            }
            if let Value::Object(inner) = inner {
                insert(inner, rest, message);
            }
        }
    }
}

fn push(map: &mut Map<String, Value>, key: &str, message: &str, always_list: bool) {
    let new = Value::String(message.to_owned());
    match map.get_mut(key) {
        None if always_list => drop(map.insert(key.to_owned(), Value::Array(vec![new]))),
        None => drop(map.insert(key.to_owned(), new)),
        Some(Value::Array(list)) => list.push(new),
        Some(Value::Object(inner)) => push(inner, "@entity", message, true),
        Some(old) => {
            let first = old.take();
            *old = Value::Array(vec![first, new]);
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            if finding.path.is_empty() {
                write!(f, "{separator}{}", finding.message)?;
            } else {
                write!(f, "{separator}{}: {}", finding.path.join("."), finding.message)?;
            }
        }
        Ok(())
    }
}
