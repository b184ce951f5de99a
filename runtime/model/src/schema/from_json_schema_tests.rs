use super::*;
use serde_json::json;

fn read(schema: Value) -> Record {
    record(&schema).unwrap_or_else(|findings| panic!("{findings}"))
}
fn process(schema: Value, config: Value) -> Result<Value, String> {
    let Value::Object(config) = config else { panic!("not an object") };
    read(schema).process(config).map(Value::Object).map_err(|findings| findings.to_string())
}

/// What schemars 1 writes for a struct with the usual serde attributes.
fn limits() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Config",
        "type": "object",
        "properties": {
            "minute": {"type": ["integer", "null"], "format": "uint32", "minimum": 1, "default": null},
            "ratio": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "limit_by": {"$ref": "#/$defs/LimitBy", "default": "consumer"},
            "policy": {"description": "Where.", "type": "string", "enum": ["local", "redis"], "default": "local", "x-unsupported": ["redis"]},
            "names": {"type": "array", "items": {"type": "string", "minLength": 1}, "default": ["apikey"]},
            "allow": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "default": []},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
            "redis": {"anyOf": [{"$ref": "#/$defs/Redis"}, {"type": "null"}]},
            "add": {"$ref": "#/$defs/Add", "default": {"headers": []}},
            "code": {"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535, "default": 429},
            "left_out": {"type": "string"}
        },
        "additionalProperties": false,
        "$defs": {
            "LimitBy": {"oneOf": [
                {"type": "string", "enum": ["ip", "path"]},
                {"description": "Who.", "type": "string", "const": "consumer"}
            ]},
            "Redis": {"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "integer", "default": 6379}}, "required": ["host"]},
            "Add": {"type": "object", "properties": {"headers": {"type": "array", "items": {"type": "string"}, "default": []}}}
        }
    })
}

#[test]
fn the_schema_of_a_serde_struct_fills_and_judges() {
    assert_eq!(
        process(limits(), json!({"minute": 5, "redis": {"host": "r"}, "allow": ["a", "a"]})),
        Ok(json!({
            "minute": 5, "ratio": null, "limit_by": "consumer", "policy": "local", "names": ["apikey"], "allow": ["a"],
            "headers": {}, "redis": {"host": "r", "port": 6379}, "add": {"headers": []}, "code": 429
        }))
    );
    for (wrong, message) in [
        (json!({"minute": 0}), "minute: value should be between 1 and 4294967295"),
        (json!({"minute": "5"}), "minute: expected an integer"),
        (json!({"ratio": 0}), "ratio: value must be greater than 0"),
        (json!({"limit_by": "x"}), "limit_by: expected one of: ip, path, consumer"),
        (json!({"policy": null}), "policy: required field missing"),
        (json!({"names": [""]}), "names.1: length must be at least 1"),
        (json!({"redis": {}}), "redis.host: required field missing"),
        (json!({"redis": {"host": "r", "x": 1}}), "redis.x: unknown field"),
        (json!({"headers": {"a": 1}}), "headers.a: expected a string"),
        (json!({"code": 70000}), "code: value should be between 0 and 65535"),
        (json!({"left_out": 1}), "left_out: expected a string"),
        (json!({"more": 1}), "more: unknown field"),
    ] {
        assert_eq!(process(limits(), wrong), Err(message.to_owned()));
    }
}

#[test]
fn its_form_for_clients_has_the_defaults() {
    let schema = super::super::Schema::with_config(read(limits())).render();
    let fields = schema["fields"].as_array().expect("a list");
    let config = fields.iter().find_map(|field| field.get("config")).expect("config");
    assert_eq!((&config["type"], &config["required"]), (&json!("record"), &json!(true)));
    let field = |name: &str| {
        let all = config["fields"].as_array().expect("a list");
        all.iter().find_map(|field| field.get(name)).cloned().expect("a field")
    };
    assert_eq!(field("minute"), json!({"type": "integer", "between": [1, 4294967295_u32]}));
    assert_eq!(field("allow")["type"], json!("set"));
    assert_eq!(field("limit_by")["one_of"], json!(["ip", "path", "consumer"]));
    assert_eq!(field("limit_by")["default"], json!("consumer"));
    assert_eq!(field("headers")["values"]["type"], json!("string"));
    assert_eq!(field("redis")["fields"][1]["port"]["default"], json!(6379));
}

#[test]
fn what_is_not_understood_is_named() {
    for (schema, message) in [
        (
            json!({"type": "object", "patternProperties": {"a": {}}}),
            "patternProperties: this keyword of JSON Schema is not understood here",
        ),
        (
            json!({"type": "object", "properties": {"a": {"allOf": []}}}),
            "a.allOf: this keyword of JSON Schema is not understood here",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "minimum": 1}}}),
            "a.minimum: this keyword of JSON Schema is not understood here",
        ),
        (
            json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}),
            "a.anyOf: only a choice between one schema and null is understood here",
        ),
        (
            json!({"type": "object", "properties": {"a": {"oneOf": [{"type": "object", "properties": {}}]}}}),
            "a.oneOf: only a choice between constants is understood here",
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}),
            "a.$ref: points to no definition of this schema: \"http://x/y\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": ["string", "integer"]}}}),
            "a.type: only one type, or one type and null, is understood here",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "a.pattern: not a regex that can be used here: \"(\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            "a: the default does not fit the schema (a: expected an integer)",
        ),
        (
            json!({"type": "object", "properties": {"a": {}}, "required": ["b"]}),
            "required: names a property that does not exist: b",
        ),
        (json!({"type": "string"}), "the schema of a configuration must describe an object with named properties"),
        (json!(5), "a schema must be an object, or true"),
    ] {
        assert_eq!(record(&schema).map(|_| ()).map_err(|findings| findings.to_string()), Err(message.to_owned()), "{schema}");
    }
}

#[test]
fn a_recursive_schema_ends() {
    let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}});
    let findings = record(&schema).expect_err("recursive");
    assert!(findings.to_string().ends_with("nested deeper than 16, or recursive"), "{findings}");
    // Wide recursion must not take for ever either.
    let properties: Map<String, Value> = (0..50).map(|n| (format!("f{n}"), json!({"$ref": "#/$defs/A"}))).collect();
    let wide = json!({"type": "object", "properties": properties, "$defs": {"A": {"type": "object", "properties": properties}}});
    assert!(record(&wide).expect_err("too many").to_string().contains("more than 2000 fields"));
}

/// Written by schemars itself, inlined as the SDK asks it to.
mod derived {
    use super::*;
    use schemars::JsonSchema;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(serde::Deserialize, serde::Serialize, JsonSchema, Default)]
    #[serde(rename_all = "snake_case")]
    enum By {
        #[default]
        Consumer,
        /// The address.
        Ip,
    }
    #[derive(serde::Deserialize, serde::Serialize, JsonSchema, Default)]
    #[serde(rename_all = "snake_case")]
    enum Plain {
        #[default]
        One,
        Two,
    }
    #[derive(serde::Deserialize, serde::Serialize, JsonSchema, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        host: Option<String>,
        /// A port.
        port: u16,
    }
    #[derive(serde::Deserialize, serde::Serialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Config {
        must: String,
        maybe: Option<f64>,
        #[schemars(range(min = 1))]
        count: Option<u32>,
        #[serde(default)]
        by: By,
        plain: Option<Plain>,
        documented: Option<By>,
        #[serde(default)]
        list: Vec<String>,
        some_list: Option<Vec<i32>>,
        #[serde(default)]
        set: BTreeSet<String>,
        #[serde(default)]
        map: BTreeMap<String, String>,
        #[serde(default)]
        inner: Inner,
        other: Option<Inner>,
        #[serde(default)]
        #[schemars(length(min = 1, max = 3), regex(pattern = "^[a-z]*$"))]
        short: String,
        wide: u64,
        small: i8,
        any: Option<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        skipped: Option<bool>,
    }

    #[test]
    fn what_schemars_writes_is_understood() {
        for inline in [true, false] {
            let settings =
                schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = inline);
            let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
            // Its own length rule does not fit this default; the reader says so.
            let findings = record(&schema).expect_err("a default that breaks its rule");
            assert_eq!(findings.to_string(), "short: the default does not fit the schema (short: length must be at least 1)");
            schema["properties"]["short"]["default"] = json!("a");
            assert_eq!(
                process(schema.clone(), json!({"must": "x", "wide": 5, "small": -3, "documented": "ip", "plain": "two"})),
                Ok(json!({
                    "must": "x", "maybe": null, "count": null, "by": "consumer", "plain": "two", "documented": "ip", "list": [],
                    "some_list": null, "set": [], "map": {}, "inner": {"host": null, "port": 0}, "other": null, "short": "a",
                    "wide": 5, "small": -3, "any": null, "skipped": null
                })),
                "{schema}"
            );
            let wrong = json!({"must": 1, "wide": -1, "small": 200, "documented": "x", "count": 0, "other": {"port": 1, "x": 2}});
            let message = process(schema, wrong).expect_err("wrong");
            for part in [
                "must: expected a string",
                "wide: value must be at least 0",
                "small: value should be between -128 and 127",
                "documented: expected one of: consumer, ip",
                "count: value should be between 1 and 4294967295",
                "other.x: unknown field",
            ] {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
    }
}
