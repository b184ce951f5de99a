//! `docs/admin-api.md`, typed from the top: its commands are run on two nodes, and answer as the page says.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use weir_cassandra_harness::shared;
use weir_tests::binary::printed;
use weir_tests::guests::component;
use weir_tests::{Admin, Gateway};

const PAGE: &str = include_str!("../../docs/admin-api.md");

/// The page's blocks of a language, in their order.
fn blocks(language: &str) -> Vec<&'static str> {
    let blocks = PAGE.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Runs a block in a shell; what it printed, with the status of each answer as `[200]` on a line of its own.
fn typed(block: &str, folder: &Path) -> String {
    let status = "curl() { command curl -w '\n[%{http_code}]\n' \"$@\"; }\n";
    let output = Command::new("sh").args(["-ec", &format!("{status}{block}")]).current_dir(folder).output().expect("sh runs");
    assert!(output.status.success(), "{block}\n{}", printed(&output));
    printed(&output)
}

fn statuses(said: &str) -> Vec<u16> {
    said.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).collect()
}

fn tag(admin: &Admin, path: &str) -> String {
    admin.ask("GET", path, &Value::Null).header("etag").expect("an entity has a tag").trim_matches('"').to_owned()
}

/// The keys of an object, or of the first of a list.
fn keys(value: &Value) -> Vec<&String> {
    value.as_object().map(|object| object.keys().collect()).unwrap_or_default()
}

#[test]
fn every_example_of_the_page_works_as_printed() {
    let with = || Gateway::builder().on_cassandra(&shared(1).unwrap().contact_points(), "admin_page", 1);
    assert_eq!(with().command(&["migrations", "bootstrap"]).0, 0);
    let (a, b) = (with().start(), with().start());
    let admin = a.admin();
    weir_tests::until("both know each other", Duration::from_secs(60), || admin.knows_nodes(2));
    let folder = tempfile::tempdir().unwrap();
    for (file, guest) in [("plugin.wasm", "neighbour"), ("auth.wasm", "sdk-cases")] {
        std::fs::write(folder.path().join(file), component(guest)).unwrap();
    }
    let here = |gateway: &Gateway| format!("http://{}", gateway.addresses("admin")[0].0);
    let begin = format!("A={}\n", here(&a));
    let runs = |block: &str, expected: &[u16]| {
        let block = block.replace("A=http://127.0.0.1:8001\n", "").replace("http://other:8001", &here(&b));
        let said = typed(&format!("{begin}{block}"), folder.path());
        assert_eq!(statuses(&said), expected, "{said}");
        said
    };
    let [first, nodes, tags, transaction, components] = blocks("sh")[..] else { panic!("the page has other blocks") };
    let [violations, results, outcome] = blocks("json")[..] else { panic!("the page has other blocks") };

    let said = runs(first, &[201, 201, 201, 201, 201, 200]);
    assert!(said.contains("\"connect_timeout\":60000") && said.contains("rate-limiting"), "{said}");
    let refused = admin.ask("POST", "/services", &json!({ "port": "http" }));
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json(), serde_json::from_str::<Value>(violations).unwrap());

    (0..42).for_each(|number| drop(admin.put(&format!("/consumers/c{number}"), json!({}))));
    let said = runs(nodes, &[201, 200, 200]).to_lowercase();
    assert!(said.contains("weir-served: 2/2") && said.contains("\"name\":\"a\""), "{said}");

    let said = runs(&tags.replace("\"12\"'", &format!("\"{}\"'", tag(&admin, "/services/a"))), &[200, 200, 412]).to_lowercase();
    assert!(said.contains("etag: \"") && said.contains("b.example"), "{said}");
    runs(tags, &[200, 412, 412]);

    admin.put("/consumers/bob", json!({}));
    let said = runs(&transaction.replace("\"12\"", &format!("\"{}\"", tag(&admin, "/consumers/ada"))), &[200]);
    let answer: Value = serde_json::from_str(said.split("\n[").next().unwrap()).unwrap();
    let shown: Value = serde_json::from_str(results).unwrap();
    let codes = |answer: &Value| -> Vec<Value> {
        answer["results"].as_array().unwrap().iter().map(|result| result["status"].clone()).collect()
    };
    assert_eq!((keys(&answer), codes(&answer)), (keys(&shown), codes(&shown)), "{said}");
    runs(transaction, &[412]);

    // No transaction has an unknown end here; one that was never begun is asked for in the same way.
    let outcome: Value = serde_json::from_str(outcome).unwrap();
    let id = outcome["id"].as_str().unwrap();
    let answer = admin.get(&format!("/transactions/{id}"));
    assert!(keys(&answer).iter().all(|key| outcome.get(key).is_some()), "{answer}");
    assert_eq!((answer["id"].as_str(), answer["outcome"].as_str()), (Some(id), Some("not_done")));

    runs(&components.replace("mine@1.1.0", "neighbour@0.1.0"), &[201, 201, 200, 200]);
    let stored = admin.get("/components/neighbour@0.1.0");
    assert_eq!((stored["isolation"].as_str(), stored["cpu_budget_ms"].as_u64()), (Some("per_request"), Some(20)));
}
