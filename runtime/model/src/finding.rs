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
    ///
    /// Mistakes in elements of a list are a list again, with null for the elements that are fine.
    pub fn fields(&self) -> Map<String, Value> {
        let mut root = Map::new();
        for finding in &self.0 {
            insert(&mut root, &finding.path, &finding.message);
        }
        root.into_iter().map(|(key, value)| (key, lists(value))).collect()
    }
    /// In one sentence, as Kong's API says it: `schema violation (a: x)`, `2 schema violations (a: x; b.c: y)`. Mistakes of the
    /// whole entity come first, then by path.
    pub fn message(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        let count = sorted.len();
        let list = Findings(sorted);
        if count == 1 { format!("schema violation ({list})") } else { format!("{count} schema violations ({list})") }
    }
}

/// An object whose keys are all positions (1, 2, …) as a list.
fn lists(value: Value) -> Value {
    /// Beyond this a list of mostly nulls would be no help to anyone.
    const LONGEST: usize = 1000;
    let Value::Object(map) = value else { return value };
    let position = |key: &String| key.parse::<usize>().ok().filter(|at| (1..=LONGEST).contains(at) && at.to_string() == *key);
    let positions: Option<Vec<usize>> = map.keys().map(position).collect();
    let values = map.into_iter().map(|(key, value)| (key, lists(value)));
    match positions {
        Some(positions) => {
            let longest = positions.iter().copied().max().unwrap_or(0);
            let mut list = vec![Value::Null; longest];
            for (at, (_, value)) in positions.into_iter().zip(values) {
                if let Some(slot) = list.get_mut(at - 1) {
                    *slot = value;
                }
            }
            Value::Array(list)
        }
        None => Value::Object(values.collect()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_finding_is_shown_where_it_belongs() {
        let mut findings = Findings::default();
        findings.add(["paths", "2"], "bad");
        findings.add(["config", "minute"], "expected an integer");
        findings.add(["config"], "odd");
        findings.add::<String>([], "whole");
        findings.add(["name"], "one");
        findings.add(["name"], "two");
        assert_eq!(
            Value::Object(findings.fields()),
            json!({
                "@entity": ["whole"],
                "config": {"minute": "expected an integer", "@entity": ["odd"]},
                "name": ["one", "two"],
                "paths": [null, "bad"],
            })
        );
        let message = findings.message();
        assert!(
            message.starts_with("6 schema violations (whole; config: odd; config.minute: expected an integer; "),
            "{message}"
        );
        let mut one = Findings::default();
        one.add(["foo"], "unknown field");
        assert_eq!(one.message(), "schema violation (foo: unknown field)");
    }
}
