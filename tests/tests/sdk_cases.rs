//! The SDK's cases inside the real gateway. Natively they run with `cargo test -p sdk-cases`, from the same file.

use serde_json::json;
use weir_tests::guests::component;
use weir_tests::{Gateway, Upstream};

#[test]
fn every_case_of_the_sdk_holds_inside_the_gateway_too() {
    let upstream = Upstream::start();
    let gateway = Gateway::start();
    let admin = gateway.admin();
    admin.upload(component("sdk-cases"), "credentials,counters").expect(201);
    admin.route_to("sdk-cases", upstream.address());
    let entry = admin.plugin_on("sdk-cases", "sdk-cases", json!({}));
    let path = format!("/plugins/{}", entry["id"].as_str().expect("an entry has an id"));
    let names = gateway.client().get("/sdk-cases").send().expect(200).text();
    assert!(names.lines().count() >= 10, "{names}");
    for name in names.lines() {
        admin.patch(&path, json!({ "config": { "case": name } }));
        let request = gateway.client().get("/sdk-cases/a%20b?x=1&x=%32");
        let reply = request.header("X-One", "1").header("x-two", "a").header("X-Two", "b, c").send();
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
}
