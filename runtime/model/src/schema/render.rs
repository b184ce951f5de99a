//! Schemas as Kong shows them: an array of one-key maps. decK takes defaults from here.

use super::{Auto, Bounds, Check, Length, Record, Schema, Shape, Spec, Text};
use serde_json::{Map, Number, Value, json};

impl Schema {
    /// As `GET /schemas/{entity}` shows it.
    pub fn render(&self) -> Value {
        let mut fields = fields(&self.record);
        fields
            .extend(self.shorthands.iter().map(|shorthand| json!({ shorthand.name: { "type": "string", "write_only": true } })));
        json!({ "entity_checks": checks(&self.record), "fields": fields })
    }
}

fn fields(record: &Record) -> Vec<Value> {
    record.fields.iter().map(|field| json!({ field.name.as_ref(): spec(&field.spec) })).collect()
}

fn checks(record: &Record) -> Vec<Value> {
    let show = |check: &Check| match check {
        Check::AtLeastOneOf(fields) => Some(json!({ "at_least_one_of": fields })),
        Check::UnsetUnless { field, one_of, then } => Some(json!({ "conditional": {
            "if_field": field, "if_match": { "not_one_of": one_of }, "then_field": then, "then_match": { "eq": null }
        } })),
        // Rules in code have no form that a client could evaluate.
        Check::Rule { .. } => None,
    };
    record.checks.iter().filter_map(show).collect()
}

fn spec(spec: &Spec) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    let (name, details) = shape(&spec.shape);
    put("type", json!(name));
    details.into_iter().for_each(|(key, value)| put(key, value));
    for (key, holds) in [("required", spec.required), ("unique", spec.unique), ("immutable", spec.immutable)] {
        if holds {
            put(key, json!(true));
        }
    }
    for (key, value) in [("one_of", &spec.one_of), ("served", &spec.served)] {
        if let Some(values) = value {
            put(key, json!(values));
        }
    }
    if let Some(default) = &spec.default {
        put("default", default.clone());
    }
    if let Some(description) = &spec.description {
        put("description", json!(description));
    }
    if spec.cascade {
        put("on_delete", json!("cascade"));
    }
    match spec.auto {
        Some(Auto::Id) => {
            put("auto", json!(true));
            put("uuid", json!(true));
        }
        Some(Auto::CreatedAt | Auto::UpdatedAt) => {
            put("auto", json!(true));
            put("timestamp", json!(true));
        }
        Some(Auto::Secret) => put("auto", json!(true)),
        Some(Auto::Ttl) | None => {}
    }
    Value::Object(map)
}

type Details = Vec<(&'static str, Value)>;

fn shape(of: &Shape) -> (&'static str, Details) {
    match of {
        Shape::String(rules) => ("string", text(rules)),
        Shape::Integer(rules) => ("integer", bounds(rules)),
        Shape::Number(rules) => ("number", bounds(rules)),
        Shape::Boolean => ("boolean", Vec::new()),
        Shape::Array(element, rules) => ("array", with(length(rules), "elements", spec(element))),
        Shape::Set(element, rules) => ("set", with(length(rules), "elements", spec(element))),
        Shape::Map(map) => ("map", vec![("keys", spec(&map.keys)), ("values", spec(&map.values))]),
        Shape::Record(record) => {
            let mut details = vec![("fields", Value::Array(fields(record)))];
            if !record.checks.is_empty() {
                details.push(("entity_checks", Value::Array(checks(record))));
            }
            ("record", details)
        }
        Shape::Foreign(kind) => ("foreign", vec![("reference", json!(kind.name()))]),
        Shape::Any => ("json", Vec::new()),
    }
}

fn with(mut details: Details, key: &'static str, value: Value) -> Details {
    details.push((key, value));
    details
}

fn text(rules: &Text) -> Details {
    // A least length of one is what Kong means by a string, and does not show.
    let shown = Length { min: rules.length.min.filter(|min| *min > 1), max: rules.length.max };
    let mut details = length(&shown);
    if rules.length.min.unwrap_or(0) == 0 {
        details.push(("len_min", json!(0)));
    }
    if let Some(pattern) = &rules.pattern {
        details.push(("match", json!(pattern.as_str())));
    }
    details
}

fn length(rules: &Length) -> Details {
    let (min, max) = (rules.min.map(|min| ("len_min", json!(min))), rules.max.map(|max| ("len_max", json!(max))));
    min.into_iter().chain(max).collect()
}

fn bounds(rules: &Bounds) -> Details {
    let mut details = Vec::new();
    if rules.min.is_some() || rules.max.is_some() {
        let low = rules.min.map_or(json!("-inf"), number);
        let high = rules.max.map_or(json!("inf"), number);
        details.push(("between", json!([low, high])));
    }
    details.extend(rules.above.map(|above| ("gt", number(above))));
    details.extend(rules.below.map(|below| ("lt", number(below))));
    details
}

/// Whole numbers without a fraction, as they were meant.
fn number(value: f64) -> Value {
    /// Up to 2^53 every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return json!(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
