//! A component's JSON Schema becomes a record of the same engine that judges everything else: one validation, one filling of
//! defaults, one form for clients.
//!
//! Reads the subset that schemars writes for serde types. A keyword outside of it is a finding that names it, and the component
//! is refused when it is uploaded: a rule that nobody checks is worse than none. `x-…` keywords are the author's own.

use super::{Bounds, Field, Length, MapSpec, REGEX_SIZE_LIMIT, Record, Shape, Spec, Text};
use crate::Findings;
use regex::RegexBuilder;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// How deep a configuration may nest. Kong's deepest is 4; a recursive type ends here.
const DEPTH: usize = 16;
/// Fields in the whole schema. The largest of Kong's plugins has about 150.
const FIELDS: usize = 2000;

/// Keywords that say nothing about which values are right.
const ANNOTATIONS: [&str; 9] =
    ["$schema", "$id", "$comment", "title", "description", "examples", "deprecated", "readOnly", "writeOnly"];

/// Reads the schema of a whole configuration: an object.
pub fn record(schema: &Value) -> Result<Record, Findings> {
    let definitions = schema.get("$defs").or_else(|| schema.get("definitions"));
    let mut reader = Reader { definitions, path: Vec::new(), findings: Findings::default(), depth: 0, fields: 0 };
    let spec = reader.spec(schema);
    let record = match spec.shape {
        Shape::Record(record) => record,
        _ => {
            if reader.findings.is_empty() {
                reader.wrong("the schema of a configuration must describe an object with named properties");
            }
            Record::default()
        }
    };
    if reader.findings.is_empty() { Ok(record) } else { Err(reader.findings) }
}

struct Reader<'a> {
    definitions: Option<&'a Value>,
    path: Vec<String>,
    findings: Findings,
    depth: usize,
    fields: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&mut self, message: impl Into<String>) {
        self.findings.add(self.path.iter().map(String::as_str), message);
    }

    fn at<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.to_owned());
        let value = read(self);
        self.path.pop();
        value
    }

    fn spec(&mut self, schema: &'a Value) -> Spec {
        if self.depth >= DEPTH {
            self.wrong(format!("nested deeper than {DEPTH}, or recursive"));
            return Spec::new(Shape::Any);
        }
        self.depth += 1;
        let spec = match schema {
            Value::Bool(true) => nullable(Spec::new(Shape::Any)),
            Value::Object(keywords) => self.keywords(keywords),
            _ => {
                self.wrong("a schema must be an object, or true");
                Spec::new(Shape::Any)
            }
        };
        self.depth -= 1;
        spec
    }

    /// `required` of the result says: not null.
    fn keywords(&mut self, keywords: &'a Map<String, Value>) -> Spec {
        let mut spec = if let Some(target) = keywords.get("$ref") {
            let inner = self.reference(target);
            self.known(keywords, &["$ref", "default"]);
            inner
        } else if let Some(branches) = keywords.get("anyOf") {
            self.known(keywords, &["anyOf", "default"]);
            self.any_of(branches)
        } else if let Some(branches) = keywords.get("oneOf") {
            self.known(keywords, &["oneOf", "default", "type"]);
            self.one_of(branches)
        } else {
            self.plain(keywords)
        };
        if let Some(default) = keywords.get("default") {
            spec.default = Some(default.clone()).filter(|default| !default.is_null());
        }
        if let Some(Value::String(description)) = keywords.get("description") {
            spec.description = Some(description.clone());
        }
        spec
    }

    /// Refuses every keyword that is neither in the list nor an annotation nor the author's own.
    fn known(&mut self, keywords: &'a Map<String, Value>, understood: &[&str]) {
        for keyword in keywords.keys() {
            let fine = understood.contains(&keyword.as_str())
                || ANNOTATIONS.contains(&keyword.as_str())
                || keyword.starts_with("x-")
                || (self.depth == 1 && matches!(keyword.as_str(), "$defs" | "definitions"));
            if !fine {
                self.at(keyword, |reader| reader.wrong("this keyword of JSON Schema is not understood here"));
            }
        }
    }

    fn reference(&mut self, target: &'a Value) -> Spec {
        let name = target.as_str().and_then(|text| text.strip_prefix("#/$defs/").or_else(|| text.strip_prefix("#/definitions/")));
        let found = name.and_then(|name| self.definitions?.get(name));
        match found {
            Some(schema) => self.spec(schema),
            None => {
                self.at("$ref", |reader| reader.wrong(format!("points to no definition of this schema: {target}")));
                Spec::new(Shape::Any)
            }
        }
    }

    /// Only "this or null", which is how an optional reference is written.
    fn any_of(&mut self, branches: &'a Value) -> Spec {
        let is_null = |branch: &&'a Value| branch.get("type").and_then(Value::as_str) == Some("null");
        let others: Vec<&Value> = branches.as_array().into_iter().flatten().filter(|branch| !is_null(branch)).collect();
        match others.as_slice() {
            [only] => nullable(self.spec(only)),
            _ => {
                self.at("anyOf", |reader| reader.wrong("only a choice between one schema and null is understood here"));
                Spec::new(Shape::Any)
            }
        }
    }

    /// Only constants of one type: an enum whose variants have no data.
    fn one_of(&mut self, branches: &'a Value) -> Spec {
        let mut values = Vec::new();
        let mut null = false;
        for branch in branches.as_array().into_iter().flatten() {
            match (branch.get("const"), branch.get("enum").and_then(Value::as_array), branch.get("type")) {
                (Some(value), _, _) => values.push(value.clone()),
                (None, Some(list), _) => values.extend(list.iter().cloned()),
                (None, None, Some(Value::String(kind))) if kind == "null" => null = true,
                _ => {
                    self.at("oneOf", |reader| reader.wrong("only a choice between constants is understood here"));
                    return Spec::new(Shape::Any);
                }
            }
            if let Value::Object(keywords) = branch {
                self.at("oneOf", |reader| reader.known(keywords, &["const", "enum", "type"]));
            }
        }
        let spec = self.constants(values);
        if null { nullable(spec) } else { spec }
    }

    fn constants(&mut self, mut values: Vec<Value>) -> Spec {
        let null = values.iter().any(Value::is_null);
        values.retain(|value| !value.is_null());
        let shape = if !values.is_empty() && values.iter().all(Value::is_string) {
            Shape::String(Text::default())
        } else if !values.is_empty() && values.iter().all(|value| value.is_i64() || value.is_u64()) {
            Shape::Integer(Bounds::default())
        } else {
            self.wrong("constants must be all texts or all whole numbers");
            Shape::Any
        };
        let spec = Spec { one_of: Some(values), required: true, ..Spec::new(shape) };
        if null { nullable(spec) } else { spec }
    }

    fn plain(&mut self, keywords: &'a Map<String, Value>) -> Spec {
        if let Some(value) = keywords.get("const") {
            self.known(keywords, &["const", "type", "default"]);
            return self.constants(vec![value.clone()]);
        }
        if let Some(Value::Array(values)) = keywords.get("enum") {
            self.known(keywords, &["enum", "type", "default"]);
            return self.constants(values.clone());
        }
        let (kind, null) = self.kind(keywords);
        let shape = match kind {
            Some("string") => self.string(keywords),
            Some("integer") => {
                self.known(keywords, NUMBER_KEYWORDS);
                Shape::Integer(self.bounds(keywords))
            }
            Some("number") => {
                self.known(keywords, NUMBER_KEYWORDS);
                Shape::Number(self.bounds(keywords))
            }
            Some("boolean") => {
                self.known(keywords, &["type", "default"]);
                Shape::Boolean
            }
            Some("array") => self.array(keywords),
            Some("object") => self.object(keywords),
            None => {
                self.known(keywords, &["type", "default"]);
                Shape::Any
            }
            Some(other) => {
                self.at("type", |reader| reader.wrong(format!("this type is not understood here: {other}")));
                Shape::Any
            }
        };
        let any = matches!(shape, Shape::Any);
        let spec = Spec { required: true, ..Spec::new(shape) };
        if null || any { nullable(spec) } else { spec }
    }

    /// The one type besides null, and whether null is allowed.
    fn kind(&mut self, keywords: &'a Map<String, Value>) -> (Option<&'a str>, bool) {
        match keywords.get("type") {
            None => (None, true),
            Some(Value::String(kind)) => (Some(kind), false),
            Some(Value::Array(kinds)) => {
                let null = kinds.iter().any(|kind| kind == "null");
                let others: Vec<&str> = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
                if let [only] = others.as_slice() {
                    return (Some(only), null);
                }
                self.at("type", |reader| reader.wrong("only one type, or one type and null, is understood here"));
                (None, null)
            }
            Some(_) => {
                self.at("type", |reader| reader.wrong("must be a text or a list of texts"));
                (None, false)
            }
        }
    }

    fn string(&mut self, keywords: &'a Map<String, Value>) -> Shape {
        self.known(keywords, &["type", "default", "minLength", "maxLength", "pattern", "format"]);
        let length = self.length(keywords, "minLength", "maxLength");
        let pattern = keywords.get("pattern").and_then(|pattern| {
            let built = RegexBuilder::new(pattern.as_str().unwrap_or("(")).size_limit(REGEX_SIZE_LIMIT).build();
            if built.is_err() {
                self.at("pattern", |reader| reader.wrong(format!("not a regex that can be used here: {pattern}")));
            }
            built.ok()
        });
        Shape::String(Text { length, pattern, rule: None })
    }

    fn bounds(&mut self, keywords: &'a Map<String, Value>) -> Bounds {
        let mut number = |keyword: &str| {
            let value = keywords.get(keyword)?;
            if !value.is_number() {
                self.at(keyword, |reader| reader.wrong("must be a number"));
            }
            value.as_f64()
        };
        let mut bounds = Bounds {
            min: number("minimum"),
            max: number("maximum"),
            above: number("exclusiveMinimum"),
            below: number("exclusiveMaximum"),
        };
        // The formats that schemars writes for Rust's integers: what the guest's type could not hold is refused here.
        let limits = match keywords.get("format").and_then(Value::as_str) {
            Some("uint8") => Some((0.0, f64::from(u8::MAX))),
            Some("uint16") => Some((0.0, f64::from(u16::MAX))),
            Some("uint32") => Some((0.0, f64::from(u32::MAX))),
            Some("int8") => Some((f64::from(i8::MIN), f64::from(i8::MAX))),
            Some("int16") => Some((f64::from(i16::MIN), f64::from(i16::MAX))),
            Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            _ => None,
        };
        if let Some((min, max)) = limits {
            bounds.min = Some(bounds.min.map_or(min, |own| own.max(min)));
            bounds.max = Some(bounds.max.map_or(max, |own| own.min(max)));
        }
        bounds
    }

    fn length(&mut self, keywords: &'a Map<String, Value>, min: &str, max: &str) -> Length {
        let mut count = |keyword: &str| {
            let value = keywords.get(keyword)?;
            if value.as_u64().is_none() {
                self.at(keyword, |reader| reader.wrong("must be a whole number, not negative"));
            }
            value.as_u64().and_then(|value| usize::try_from(value).ok())
        };
        Length { min: count(min), max: count(max) }
    }

    fn array(&mut self, keywords: &'a Map<String, Value>) -> Shape {
        self.known(keywords, &["type", "default", "items", "uniqueItems", "minItems", "maxItems"]);
        let length = self.length(keywords, "minItems", "maxItems");
        let element = match keywords.get("items") {
            Some(items) => self.at("items", |reader| reader.spec(items)),
            None => nullable(Spec::new(Shape::Any)),
        };
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            Shape::Set(Box::new(element), length)
        } else {
            Shape::Array(Box::new(element), length)
        }
    }

    fn object(&mut self, keywords: &'a Map<String, Value>) -> Shape {
        self.known(keywords, &["type", "default", "properties", "required", "additionalProperties"]);
        let properties = keywords.get("properties").and_then(Value::as_object).filter(|properties| !properties.is_empty());
        match (properties, keywords.get("additionalProperties")) {
            // Without a word about more, or with a plain yes, unknown fields are still refused: a misspelt one would be ignored.
            (Some(properties), None | Some(Value::Bool(_))) => Shape::Record(self.properties(keywords, properties)),
            (Some(_), Some(_)) => {
                self.at("additionalProperties", |reader| {
                    reader.wrong("beside named properties, a schema for further ones is not understood here");
                });
                Shape::Any
            }
            (None, None | Some(Value::Bool(false))) => Shape::Record(Record::default()),
            (None, Some(values)) => {
                let values = self.at("additionalProperties", |reader| reader.spec(values));
                Shape::Map(Box::new(MapSpec { keys: Spec::new(Shape::String(Text::default())), values }))
            }
        }
    }

    fn properties(&mut self, keywords: &'a Map<String, Value>, properties: &'a Map<String, Value>) -> Record {
        let required: Vec<&str> =
            keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut record = Record::default();
        for (name, schema) in properties {
            self.fields += 1;
            if self.fields > FIELDS {
                self.wrong(format!("more than {FIELDS} fields"));
                return record;
            }
            let mut spec = self.at(name, |reader| reader.spec(schema));
            if spec.required && spec.default.is_none() && !required.contains(&name.as_str()) {
                // May be left out but not be null: it is left out of the complete configuration too.
                spec.required = false;
                spec.omit_unset = true;
            }
            record.fields.push(Field { name: Cow::Owned(name.clone()), spec });
        }
        for name in required {
            if record.field(name).is_none() {
                self.at("required", |reader| reader.wrong(format!("names a property that does not exist: {name}")));
            }
        }
        self.defaults(&record);
        record
    }

    /// A default that breaks its own rules would make every configuration that relies on it wrong.
    fn defaults(&mut self, record: &Record) {
        for field in &record.fields {
            let Some(default) = &field.spec.default else { continue };
            let alone = Record { fields: vec![field.clone()], checks: Vec::new() };
            if let Err(found) = alone.process(Map::from_iter([(field.name.to_string(), default.clone())])) {
                self.at(&field.name, |reader| reader.wrong(format!("the default does not fit the schema ({found})")));
            }
        }
    }
}

const NUMBER_KEYWORDS: &[&str] = &["type", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"];

fn nullable(mut spec: Spec) -> Spec {
    spec.required = false;
    spec
}

#[cfg(test)]
#[path = "from_json_schema_tests.rs"]
mod tests;
