//! Components that are refused when they are uploaded, each with words that say why and what to do.

// A test that cannot go on has failed: that is what these two are for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::*;
use weir_model::PluginCatalog;
use weir_model::entity::ComponentSettings;
use weir_plugin_host::Origin;

fn says(refusal: &str, words: &[&str]) {
    assert!(refusal.starts_with("the component is refused: "), "{refusal}");
    for word in words {
        assert!(refusal.contains(word), "{word} is missing in: {refusal}");
    }
}

fn refusal(guest: &Guest) -> String {
    world().refusal(guest, &grants())
}

#[test]
fn another_version_of_the_interface_is_named() {
    for version in ["0.2.0", "0.1.1", "1.0.0"] {
        let mut other = guest("other");
        let old: &'static str = "weir:plugin@0.1.0";
        let new: &'static str = String::leak(format!("weir:plugin@{version}"));
        let interfaces = ["plugin/plugin", "plugin/base", "plugin/request-phase"];
        other.replace.push((old, new));
        for interface in interfaces {
            let from: &'static str = String::leak(format!("weir:{interface}@0.1.0"));
            let to: &'static str = String::leak(format!("weir:{interface}@{version}"));
            other.replace.push((from, to));
        }
        let name = format!("@{version}`");
        says(&refusal(&other), &["another version of the interface", &name, "this node speaks weir:plugin@0.1.0"]);
    }
}

#[test]
fn an_unknown_import_is_named() {
    let other = guest("http")
        .import("wasi:http/types@0.2.6", "now", "(func $now (result i64))")
        .request("(drop (call $now)) (call $proceed)");
    says(&refusal(&other), &["it imports `wasi:http/types@0.2.6`, which this node does not have"]);
}

#[test]
fn a_function_that_the_interface_does_not_have_is_named() {
    let mut other =
        guest("newer").import("clock", "today", "(func $today (result i64))").request("(drop (call $today)) (call $proceed)");
    other.replace.push(("interface clock {", "interface clock { today: func() -> u64;"));
    says(&refusal(&other), &["its imports do not fit", "weir:plugin/clock@0.1.0", "today"]);
}

#[test]
fn an_export_of_the_wrong_type_is_named() {
    let mut other = guest("wrong");
    other.replace.push(("on-request: func(config: config) -> result<flow, string>", "on-request: func(config: config) -> u32"));
    says(&refusal(&other), &["its export `request-phase` does not have the type of the interface"]);
}

#[test]
fn capabilities_need_a_grant_and_the_refusal_says_how() {
    let auth = guest("auth").import("credentials", "authenticate", "(func $authenticate (param i32) (result i32))").import(
        "counters",
        "take",
        "(func $take (param i32 i32 i32 i32 i64 i32))",
    );
    let world = world();
    // Imports that are not used are not in the component: use them.
    let auth = auth.request(
        "(if (call $authenticate (i32.const 0)) (then (call $take (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 400))))
        (call $proceed)",
    );
    says(&world.refusal(&auth, &[]), &["it imports counters and credentials", "?grants=counters,credentials"]);
    says(&world.refusal(&auth, &["counters".into()]), &["it imports credentials, which", "?grants=counters,credentials"]);
    says(&world.host.inspect(&auth.build(), &[]).unwrap_err().to_string(), &["must grant"]);
    assert_eq!(world.host.inspect(&auth.build(), &grants()).unwrap().needs_grants, ["counters", "credentials"]);
}

#[test]
fn a_plugin_without_phases_is_refused() {
    let mut idle = guest("idle");
    idle.request = None;
    says(&refusal(&idle), &["it exports no phase", "request-phase, response-phase and log-phase"]);
}

#[test]
fn a_component_that_is_no_plugin_is_refused() {
    let component = wat::parse_str("(component)").unwrap();
    let world = world();
    let refusal = world.host.install(&component, Origin::Uploaded, &[], ComponentSettings::default()).err().unwrap();
    says(&refusal.to_string(), &["does not export `weir:plugin/plugin@0.1.0`"]);
}

#[test]
fn a_damaged_component_is_refused_by_the_compiler() {
    let mut bytes = guest("damaged").build();
    bytes.truncate(bytes.len() / 2);
    let world = world();
    let refusal = world.host.install(&bytes, Origin::Uploaded, &[], ComponentSettings::default()).err().unwrap();
    says(&refusal.to_string(), &["it does not compile"]);
}

#[test]
fn a_manifest_that_cannot_be_used_is_refused() {
    let with = |manifest: &str| refusal(&guest("x").manifest(manifest));
    says(&with("not JSON"), &["its manifest cannot be read"]);
    says(&with(r#"{"name":"x","version":"1.0.0","priority":1,"config":{},"author":"me"}"#), &["unknown field `author`"]);
    says(&with(r#"{"name":"X y","version":"1.0.0","priority":1,"config":{"type":"object"}}"#), &["its name 'X y' is not one"]);
    says(&with(r#"{"name":"x","version":"one","priority":1,"config":{"type":"object"}}"#), &["'one' is not a semantic version"]);
    says(
        &with(r#"{"name":"x","version":"1.0.0","priority":1,"config":{"type":"object","patternProperties":{}}}"#),
        &["the schema of its configuration cannot be used", "patternProperties"],
    );
}

#[test]
fn a_component_that_cannot_describe_itself_is_refused() {
    let mut loops = guest("loops");
    loops.start = "unreachable".into();
    says(&refusal(&loops), &["killed when it was asked to describe itself (trap)"]);
}

#[test]
fn the_name_of_a_stock_plugin_cannot_be_taken() {
    let world = world();
    world.host.install(&guest("key-auth").build(), Origin::Stock, &[], ComponentSettings::default()).unwrap();
    let impostor = guest("key-auth").version("9.9.9");
    says(&world.refusal(&impostor, &[]), &["'key-auth' is the name of a stock plugin"]);
    says(&world.host.inspect(&impostor.build(), &[]).unwrap_err().to_string(), &["stock plugin"]);
    assert_eq!(world.host.plugin("key-auth").unwrap().version, "1.0.0");
}

#[test]
fn only_so_many_components_fit_and_replacing_one_needs_no_room() {
    let world = world();
    (0..8).for_each(|number| world.install(&guest(&format!("p{number}"))));
    says(&world.refusal(&guest("p8"), &[]), &["8 components are installed"]);
    world.install(&guest("p0").version("2.0.0"));
}
