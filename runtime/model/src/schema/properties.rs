//! What holds for every input: what was taken is stable and readable by the serving rooms, what was not has all its findings.

use super::*;
use crate::{Consumer, Entity, Findings, KeyAuth, Plugin, Route, Service};
use proptest::prelude::*;
use serde_json::json;

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|float| json!(float)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A value that the spec probably takes, so that whole entities get through.
fn fitting(spec: &Spec) -> BoxedStrategy<Value> {
    if let Some(values) = spec.served.clone().filter(|values| !values.is_empty()).or_else(|| spec.one_of.clone()) {
        return proptest::sample::select(values).boxed();
    }
    match &spec.shape {
        Shape::String(_) => prop_oneof![
            "[a-z]{1,8}",
            "/[a-z]{0,4}",
            "~/[a-z]{0,3}",
            "[A-Z]{3}",
            Just("0f4c8b26-0000-4000-8000-000000000001".to_owned()),
        ]
        .prop_map(Value::from)
        .boxed(),
        Shape::Integer(bounds) => {
            let (min, max) = (bounds.min.unwrap_or(-1e15) as i64, bounds.max.unwrap_or(1e15) as i64);
            prop_oneof![(min..=max).prop_map(Value::from), Just(Value::from(min)), Just(json!(max as f64))].boxed()
        }
        Shape::Number(_) => any::<i32>().prop_map(Value::from).boxed(),
        Shape::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Array(element, _) | Shape::Set(element, _) => {
            proptest::collection::vec(fitting(element), 0..4).prop_map(Value::from).boxed()
        }
        Shape::Map(map) => proptest::collection::btree_map("x-[a-z]{1,4}", fitting(&map.values), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        Shape::Foreign(_) => Just(json!({"id": "0f4c8b26-0000-4000-8000-000000000001"})).boxed(),
        Shape::Record(_) | Shape::Any => Just(json!({})).boxed(),
    }
}

fn body(kind: Kind, wild: u32) -> BoxedStrategy<Map<String, Value>> {
    let fields: Vec<BoxedStrategy<(String, Option<Value>)>> = Schema::of(kind)
        .record
        .fields
        .iter()
        .map(|field| {
            let name = field.name.to_string();
            let value = prop_oneof![
                4 => fitting(&field.spec).prop_map(Some),
                2 => Just(None),
                wild => any_json().prop_map(Some),
            ];
            value.prop_map(move |value| (name.clone(), value)).boxed()
        })
        .collect();
    fields.prop_map(|fields| fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()).boxed()
}

fn input(wild: u32) -> impl Strategy<Value = (Kind, Map<String, Value>)> {
    let kinds = [Kind::Service, Kind::Route, Kind::Consumer, Kind::KeyAuth, Kind::Plugin, Kind::Component];
    proptest::sample::select(kinds.to_vec()).prop_flat_map(move |kind| body(kind, wild).prop_map(move |body| (kind, body)))
}

fn autos() -> Autos {
    Autos { now: 1_000, id: Id::from_name("test", "auto"), secret: "made".to_owned() }
}

/// The serving rooms read typed forms; what was taken must be one.
fn readable(entity: &Entity) -> Result<(), serde_json::Error> {
    match entity.kind {
        Kind::Service => entity.parse::<Service>().map(drop),
        Kind::Route => entity.parse::<Route>().map(drop),
        Kind::Consumer => entity.parse::<Consumer>().map(drop),
        Kind::KeyAuth => entity.parse::<KeyAuth>().map(drop),
        Kind::Plugin => entity.parse::<Plugin>().map(drop),
        // Components are made of manifests, not of what a client writes.
        Kind::Component => Ok(()),
    }
}

fn stable(entity: Entity) -> Result<(), TestCaseError> {
    let schema = Schema::of(entity.kind);
    prop_assert!(readable(&entity).is_ok(), "{:?}: {:?}", readable(&entity), entity.body);
    let names = |map: &Map<String, Value>| map.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    let all = schema.record.fields.iter().map(|field| field.name.to_string()).collect();
    prop_assert_eq!(names(&entity.body), all, "a body has every field");
    // As a client sees it: a ttl that is written again begins again.
    let mut again = present(&entity, 1_000);
    if entity.body.get("ttl").is_some_and(Value::is_number) && again.get("ttl") == Some(&json!(0)) {
        return Ok(());
    }
    again.remove("updated_at");
    let same = schema.process_upsert(Some(&entity), again.clone(), &autos());
    prop_assert_eq!(same.as_ref().map(|entity| &entity.body), Ok(&entity.body));
    let same = schema.process_update(&entity, Map::new(), &autos());
    prop_assert_eq!(same.as_ref().map(|entity| &entity.body), Ok(&entity.body));
    Ok(())
}

/// Every message is in `fields` and in `message`, none twice and none lost.
fn all_shown(findings: &Findings) -> Result<(), TestCaseError> {
    fn count(value: &Value) -> usize {
        match value {
            Value::String(_) => 1,
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    prop_assert!(!findings.is_empty());
    prop_assert_eq!(count(&Value::Object(findings.fields())), findings.0.len(), "{:?}", findings);
    let message = findings.message();
    prop_assert!(findings.0.iter().all(|finding| message.contains(&finding.message)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_is_complete_stable_and_readable((kind, body) in input(0)) {
        match Schema::of(kind).process_insert(body, &autos()) {
            Ok(entity) => stable(entity)?,
            Err(findings) => all_shown(&findings)?,
        }
    }

    #[test]
    fn no_input_breaks_the_engine((kind, body) in input(1)) {
        match Schema::of(kind).process_insert(body, &autos()) {
            Ok(entity) => stable(entity)?,
            Err(findings) => all_shown(&findings)?,
        }
    }

    #[test]
    fn a_wrong_field_is_never_lost_among_others((kind, body) in input(0), wrong in "[A-Z]{1,6}") {
        let mut body = body;
        let before = Schema::of(kind).process_insert(body.clone(), &autos()).err().unwrap_or_default();
        body.insert(wrong.clone(), Value::Null);
        let after = Schema::of(kind).process_insert(body, &autos()).expect_err("an unknown field");
        prop_assert_eq!(after.0.len(), before.0.len() + 1);
        prop_assert!(after.0.iter().any(|finding| finding.path == [wrong.clone()]));
    }

    #[test]
    fn no_json_schema_breaks_its_reader(schema in any_json(), keyword in proptest::sample::select(vec![
        "type", "properties", "items", "enum", "oneOf", "anyOf", "$ref", "pattern", "minimum", "default", "additionalProperties", "required",
    ])) {
        let inner = json!({ "type": "object", "properties": { "a": { keyword: schema.clone() } }, "$defs": schema });
        if let Ok(record) = from_json_schema::record(&inner) {
            drop(record.process(Map::from_iter([("a".to_owned(), schema)])));
        }
    }
}
