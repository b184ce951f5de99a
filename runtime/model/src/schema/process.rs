//! The engine: input JSON becomes a complete, normalised body, or all of its findings.
//!
//! Insert fills defaults; upsert does the same and keeps the identity of what it replaces; update merges the input into what
//! is stored, records deeply, and then judges the whole. The words of the findings are Kong's, which clients show and match.

use super::{Auto, Autos, Bounds, Check, Length, Record, Schema, Shape, Spec, Text, is_set};
use crate::{Entity, Findings, Id};
use serde_json::{Map, Number, Value};

impl Schema {
    /// A new entity.
    pub fn process_insert(&self, input: Map<String, Value>, autos: &Autos) -> Result<Entity, Findings> {
        self.process_upsert(None, input, autos)
    }

    /// A new entity, or one that takes the place of `existing`: fields that the input does not name go back to their default.
    pub fn process_upsert(
        &self,
        existing: Option<&Entity>,
        mut input: Map<String, Value>,
        autos: &Autos,
    ) -> Result<Entity, Findings> {
        let mut findings = Findings::default();
        self.expand_shorthands(&mut input, &mut findings);
        if let Some(existing) = existing {
            self.refuse_changed(existing, &input, true, &mut findings);
            for field in &self.record.fields {
                let keeps = field.spec.immutable || matches!(field.spec.auto, Some(Auto::Id | Auto::CreatedAt | Auto::Secret));
                if keeps
                    && !is_set(input.get(field.name.as_ref()))
                    && let Some(value) = existing.body.get(field.name.as_ref())
                {
                    input.insert(field.name.to_string(), value.clone());
                }
            }
        }
        let ttl_given = self.gives_ttl(&input);
        self.finish(input, ttl_given, autos, findings)
    }

    /// `existing` with the input merged into it: null clears, records merge, everything else is replaced.
    pub fn process_update(&self, existing: &Entity, mut input: Map<String, Value>, autos: &Autos) -> Result<Entity, Findings> {
        let mut findings = Findings::default();
        self.expand_shorthands(&mut input, &mut findings);
        self.refuse_changed(existing, &input, false, &mut findings);
        let ttl_given = self.gives_ttl(&input);
        // A ttl that stays is kept from another `created_at` on than a client's: it is not judged again.
        let kept = self.ttl().filter(|_| ttl_given.is_none()).and_then(|field| Some((field, existing.body.get(field)?)));
        let kept = kept.filter(|(field, _)| !input.contains_key(*field));
        let mut merged = existing.body.clone();
        merge(&self.record, &mut merged, input);
        if let Some((field, _)) = kept {
            merged.remove(field);
        }
        let mut entity = self.finish(merged, ttl_given, autos, findings)?;
        if let Some((field, value)) = kept {
            entity.body.insert(field.to_owned(), value.clone());
        }
        Ok(entity)
    }

    fn expand_shorthands(&self, input: &mut Map<String, Value>, findings: &mut Findings) {
        for shorthand in self.shorthands {
            match input.remove(shorthand.name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => match (shorthand.expand)(&text) {
                    Ok(fields) => {
                        for (name, value) in fields {
                            match input.get(&name).filter(|given| !given.is_null()) {
                                None => drop(input.insert(name, value)),
                                // What the shorthand leaves open may be said beside it; else one of the two would be ignored.
                                Some(given) if *given == value || value.is_null() => {}
                                Some(_) => findings.add([name], format!("is not the one in '{}'", shorthand.name)),
                            }
                        }
                    }
                    Err(message) => findings.add([shorthand.name], message),
                },
                Some(_) => findings.add([shorthand.name], "expected a string"),
            }
        }
    }

    /// Fields that a client may repeat but not change. `ids_only`: a replacement may not change the id; the rest it may give.
    fn refuse_changed(&self, existing: &Entity, input: &Map<String, Value>, ids_only: bool, findings: &mut Findings) {
        for field in &self.record.fields {
            let fixed = field.spec.auto == Some(Auto::Id) || (field.spec.immutable && !ids_only);
            let Some(given) = input.get(field.name.as_ref()).filter(|_| fixed) else { continue };
            let same = existing.body.get(field.name.as_ref()) == Some(given)
                || (field.spec.auto == Some(Auto::Id) && given.as_str().and_then(Id::parse) == Some(existing.id));
            if !given.is_null() && !same {
                findings.add([field.name.as_ref()], "immutable field cannot be updated");
            }
        }
    }

    fn ttl(&self) -> Option<&str> {
        self.record.fields.iter().find(|field| field.spec.auto == Some(Auto::Ttl)).map(|field| field.name.as_ref())
    }

    fn gives_ttl(&self, input: &Map<String, Value>) -> Option<&str> {
        self.ttl().filter(|field| is_set(input.get(*field)))
    }

    fn finish(
        &self,
        input: Map<String, Value>,
        ttl: Option<&str>,
        autos: &Autos,
        findings: Findings,
    ) -> Result<Entity, Findings> {
        let mut engine = Engine { autos: Some(autos), path: Vec::new(), findings };
        let mut body = engine.record(&self.record, input);
        let id = body.get("id").and_then(Value::as_str).and_then(Id::parse);
        if id.is_none() && !engine.findings.0.iter().any(|finding| finding.path == ["id"]) {
            engine.findings.add(["id"], "expected a valid UUID");
        }
        let Some(id) = id.filter(|_| engine.findings.is_empty()) else { return Err(engine.findings) };
        // One spelling of an id: lower case.
        body.insert("id".to_owned(), Value::from(id.to_string()));
        if let Some(ttl) = ttl {
            start_ttl(&mut body, ttl, autos.now);
        }
        Ok(Entity { kind: self.kind, id, body })
    }
}

impl Record {
    /// A complete record from input, outside of any entity: a plugin configuration.
    pub fn process(&self, input: Map<String, Value>) -> Result<Map<String, Value>, Findings> {
        let mut engine = Engine { autos: None, path: Vec::new(), findings: Findings::default() };
        let body = engine.record(self, input);
        if engine.findings.is_empty() { Ok(body) } else { Err(engine.findings) }
    }
}

/// A ttl counts from the write that says it; it is kept as seconds from `created_at`, the only time that the body has.
fn start_ttl(body: &mut Map<String, Value>, field: &str, now: u64) {
    let seconds = |name: &str| body.get(name).and_then(Value::as_u64);
    if let (Some(ttl), Some(created)) = (seconds(field), seconds("created_at")) {
        let elapsed = now.saturating_sub(created);
        // Made in the future, by another clock: the ttl still counts from now.
        body.insert("created_at".to_owned(), Value::from(created.min(now)));
        body.insert(field.to_owned(), Value::from(elapsed.saturating_add(ttl)));
    }
}

/// When an entity ends: seconds of the Unix clock.
fn expiry(entity: &Entity) -> Option<(&'static str, u64)> {
    let field = Schema::of(entity.kind).record.fields.iter().find(|field| field.spec.auto == Some(Auto::Ttl))?;
    let ttl = entity.body.get(field.name.as_ref())?.as_u64()?;
    let created = entity.body.get("created_at")?.as_u64()?;
    let name: &'static str = match &field.name {
        std::borrow::Cow::Borrowed(name) => name,
        std::borrow::Cow::Owned(_) => return None,
    };
    Some((name, created.saturating_add(ttl)))
}

/// Whether its time is over: it is shown no longer, and its unique values may be taken.
pub fn expired(entity: &Entity, now: u64) -> bool {
    expiry(entity).is_some_and(|(_, end)| end <= now)
}

/// The body as a client sees it now: a ttl is what remains of it.
pub fn present(entity: &Entity, now: u64) -> Map<String, Value> {
    let mut body = entity.body.clone();
    if let Some((field, end)) = expiry(entity) {
        body.insert(field.to_owned(), Value::from(end.saturating_sub(now)));
    }
    body
}

fn merge(record: &Record, base: &mut Map<String, Value>, input: Map<String, Value>) {
    for (key, new) in input {
        let inner = record.field(&key).and_then(|spec| match &spec.shape {
            Shape::Record(inner) => Some(inner),
            _ => None,
        });
        match (inner, base.get_mut(&key), new) {
            (Some(inner), Some(Value::Object(old)), Value::Object(new)) => merge(inner, old, new),
            (_, _, new) => drop(base.insert(key, new)),
        }
    }
}

struct Engine<'a> {
    autos: Option<&'a Autos>,
    path: Vec<String>,
    findings: Findings,
}

impl Engine<'_> {
    fn wrong(&mut self, message: impl Into<String>) {
        self.findings.add(self.path.iter().map(String::as_str), message);
    }

    fn record(&mut self, record: &Record, mut input: Map<String, Value>) -> Map<String, Value> {
        let mut body = Map::new();
        for field in &record.fields {
            let given = input.remove(field.name.as_ref());
            self.path.push(field.name.to_string());
            if let Some(value) = self.field(&field.spec, given) {
                body.insert(field.name.to_string(), value);
            }
            self.path.pop();
        }
        for unknown in input.keys() {
            self.path.push(unknown.clone());
            self.wrong("unknown field");
            self.path.pop();
        }
        for check in &record.checks {
            self.check(check, &body);
        }
        body
    }

    fn field(&mut self, spec: &Spec, given: Option<Value>) -> Option<Value> {
        let given = self.auto(spec, given);
        match given {
            None => match (&spec.default, &spec.shape) {
                (Some(default), _) => Some(self.value(spec, default.clone())),
                // A required record without a default is filled from the defaults of its fields.
                (None, Shape::Record(_)) if spec.required => Some(self.value(spec, Value::Object(Map::new()))),
                (None, _) => self.unset(spec),
            },
            Some(Value::Null) => self.unset(spec),
            Some(value) => Some(self.value(spec, value)),
        }
    }

    fn unset(&mut self, spec: &Spec) -> Option<Value> {
        if spec.required {
            self.wrong("required field missing");
        }
        (!spec.omit_unset).then_some(Value::Null)
    }

    fn auto(&mut self, spec: &Spec, given: Option<Value>) -> Option<Value> {
        let (Some(autos), Some(auto)) = (self.autos, spec.auto) else { return given };
        let made = match auto {
            Auto::Id => Value::from(autos.id.to_string()),
            Auto::CreatedAt => Value::from(autos.now),
            Auto::Secret => Value::from(autos.secret.clone()),
            Auto::UpdatedAt => return Some(Value::from(autos.now)),
            Auto::Ttl => return given,
        };
        Some(given.filter(|value| !value.is_null()).unwrap_or(made))
    }

    fn value(&mut self, spec: &Spec, value: Value) -> Value {
        let before = self.findings.0.len();
        let value = self.shape(&spec.shape, value);
        if self.findings.0.len() > before {
            return value;
        }
        if let Some(one_of) = &spec.one_of
            && !one_of.contains(&value)
        {
            self.wrong(format!("expected one of: {}", list(one_of)));
        } else if let Some(served) = &spec.served
            && !served.contains(&value)
            && is_set(Some(&value))
        {
            self.wrong(if served.is_empty() {
                "not served by this version: leave it unset".to_owned()
            } else {
                format!("'{}' is not served by this version, which serves only: {}", plain(&value), list(served))
            });
        }
        value
    }

    fn shape(&mut self, shape: &Shape, value: Value) -> Value {
        match (shape, value) {
            (Shape::String(text), Value::String(value)) => {
                self.text(text, &value);
                Value::String(value)
            }
            (Shape::Integer(bounds), Value::Number(number)) => match whole(&number) {
                Some(number) => {
                    self.bounds(bounds, number.as_f64().unwrap_or_default());
                    Value::Number(number)
                }
                None => self.mismatch("expected an integer"),
            },
            (Shape::Number(bounds), Value::Number(number)) => {
                self.bounds(bounds, number.as_f64().unwrap_or_default());
                Value::Number(number)
            }
            (Shape::Boolean, value @ Value::Bool(_)) | (Shape::Any, value) => value,
            (Shape::Array(element, length), Value::Array(values)) => Value::Array(self.elements(element, *length, values, false)),
            (Shape::Set(element, length), Value::Array(values)) => Value::Array(self.elements(element, *length, values, true)),
            (Shape::Map(map), Value::Object(values)) => Value::Object(self.map(&map.keys, &map.values, values)),
            (Shape::Record(record), Value::Object(values)) => Value::Object(self.record(record, values)),
            (Shape::Foreign(kind), Value::Object(values)) => self.foreign(Schema::of(*kind).endpoint_key, values),
            (Shape::String(_), _) => self.mismatch("expected a string"),
            (Shape::Integer(_), _) => self.mismatch("expected an integer"),
            (Shape::Number(_), _) => self.mismatch("expected a number"),
            (Shape::Boolean, _) => self.mismatch("expected a boolean"),
            (Shape::Array(..), _) => self.mismatch("expected an array"),
            (Shape::Set(..), _) => self.mismatch("expected a set"),
            (Shape::Map(_), _) => self.mismatch("expected a map"),
            (Shape::Record(_), _) => self.mismatch("expected a record"),
            (Shape::Foreign(_), _) => self.mismatch("expected a record such as {\"id\": \"…\"}"),
        }
    }

    fn mismatch(&mut self, message: &str) -> Value {
        self.wrong(message);
        Value::Null
    }

    fn text(&mut self, rules: &Text, value: &str) {
        let before = self.findings.0.len();
        self.length(rules.length, value.chars().count());
        if self.findings.0.len() > before {
            return;
        }
        if let Some(pattern) = &rules.pattern
            && !pattern.is_match(value)
        {
            self.wrong(format!("invalid value: {value}"));
        }
        if let Some(rule) = rules.rule
            && let Err(message) = rule(value)
        {
            self.wrong(message);
        }
    }

    fn length(&mut self, rules: Length, actual: usize) {
        match (rules.min, rules.max) {
            (Some(min), Some(max)) if min == max && actual != min => self.wrong(format!("length must be exactly {min}")),
            (Some(min), _) if actual < min => self.wrong(format!("length must be at least {min}")),
            (_, Some(max)) if actual > max => self.wrong(format!("length must be at most {max}")),
            _ => {}
        }
    }

    fn bounds(&mut self, rules: &Bounds, value: f64) {
        match (rules.min, rules.max) {
            (Some(min), Some(max)) if value < min || value > max => {
                self.wrong(format!("value should be between {min} and {max}"))
            }
            (Some(min), None) if value < min => self.wrong(format!("value must be at least {min}")),
            (None, Some(max)) if value > max => self.wrong(format!("value must be at most {max}")),
            _ => {}
        }
        if rules.above.is_some_and(|above| value <= above) {
            self.wrong(format!("value must be greater than {}", rules.above.unwrap_or_default()));
        }
        if rules.below.is_some_and(|below| value >= below) {
            self.wrong(format!("value must be less than {}", rules.below.unwrap_or_default()));
        }
    }

    fn elements(&mut self, spec: &Spec, length: Length, values: Vec<Value>, distinct: bool) -> Vec<Value> {
        let mut kept = Vec::with_capacity(values.len());
        let mut seen = std::collections::HashSet::new();
        for (index, value) in values.into_iter().enumerate() {
            // Counted from 1, as Kong's clients expect.
            self.path.push((index + 1).to_string());
            let value = match value {
                Value::Null if spec.required => self.mismatch("required field missing"),
                Value::Null => Value::Null,
                value => self.value(spec, value),
            };
            self.path.pop();
            if !distinct || seen.insert(value.to_string()) {
                kept.push(value);
            }
        }
        self.length(length, kept.len());
        kept
    }

    fn map(&mut self, keys: &Spec, values: &Spec, input: Map<String, Value>) -> Map<String, Value> {
        let mut kept = Map::new();
        for (key, value) in input {
            self.path.push(key.clone());
            self.value(keys, Value::String(key.clone()));
            let value = match value {
                Value::Null if values.required => self.mismatch("required field missing"),
                Value::Null => Value::Null,
                value => self.value(values, value),
            };
            self.path.pop();
            kept.insert(key, value);
        }
        kept
    }

    /// `{"id": …}`, or by the other kind's endpoint key, which `constraints` resolves.
    fn foreign(&mut self, endpoint_key: Option<&str>, mut input: Map<String, Value>) -> Value {
        let id = input.remove("id").filter(|id| !id.is_null());
        let name = endpoint_key.and_then(|key| Some((key, input.remove(key)?))).filter(|(_, name)| !name.is_null());
        for unknown in input.keys() {
            self.path.push(unknown.clone());
            self.wrong("unknown field");
            self.path.pop();
        }
        let (key, mut value) = match (id, name) {
            (Some(id), _) => ("id", id),
            (None, Some((key, name))) => (key, name),
            (None, None) => ("id", Value::Null),
        };
        self.path.push(key.to_owned());
        match (key, &value) {
            (_, Value::Null) => self.wrong("required field missing"),
            ("id", given) => match given.as_str().and_then(Id::parse) {
                Some(id) => value = Value::from(id.to_string()),
                None => self.wrong("expected a valid UUID"),
            },
            (_, given) if !given.is_string() => self.wrong("expected a string"),
            _ => {}
        }
        self.path.pop();
        Value::Object(Map::from_iter([(key.to_owned(), value)]))
    }

    fn check(&mut self, check: &Check, body: &Map<String, Value>) {
        let looks_at: &[&str] = match check {
            Check::AtLeastOneOf(fields) | Check::Rule { fields, .. } => fields,
            Check::UnsetUnless { field, then, .. } => &[field, then],
        };
        let depth = self.path.len();
        let broken = self.findings.0.iter().any(|finding| {
            finding.path.get(..depth) == Some(self.path.as_slice())
                && finding.path.get(depth).is_some_and(|field| looks_at.contains(&field.as_str()))
        });
        if broken {
            return;
        }
        let mut found = Findings::default();
        match check {
            Check::AtLeastOneOf(fields) => {
                if !fields.iter().any(|field| is_set(body.get(*field))) {
                    let names = fields.iter().map(|field| format!("'{field}'")).collect::<Vec<_>>().join(", ");
                    found.add::<String>([], format!("at least one of these fields must be non-empty: {names}"));
                }
            }
            Check::UnsetUnless { field, one_of, then } => {
                let allowed = body.get(*field).and_then(Value::as_str).is_some_and(|value| one_of.contains(&value));
                if !allowed && is_set(body.get(*then)) {
                    found.add::<String>([], format!("failed conditional validation given value of field '{field}'"));
                    found.add([*then], "value must be null");
                }
            }
            Check::Rule { run, .. } => run(body, &mut found),
        }
        for finding in found.0 {
            let path = self.path.iter().cloned().chain(finding.path);
            self.findings.add(path.collect::<Vec<_>>(), finding.message);
        }
    }
}

/// A whole number, also when it was written as `5.0`.
fn whole(number: &Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    /// Beyond 2^53 a float does not say which whole number was meant.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() <= EXACT).then(|| Number::from(float as i64))
}

/// A value as people write it: texts without quotation marks.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(values: &[Value]) -> String {
    values.iter().map(plain).collect::<Vec<_>>().join(", ")
}
