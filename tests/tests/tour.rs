//! The README's tour, carried out as printed, and again after a restart: what was configured is still there.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its own functions as well")]

use std::path::Path;
use weir_tests::Gateway;
use xtask::http::start_echo;
use xtask::{sample, tour};

fn walk(gateway: &Gateway) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let steps = tour::steps(&std::fs::read_to_string(readme).unwrap()).unwrap();
    assert!(steps.len() >= 10, "a tour of {} lines", steps.len());
    let proxy = gateway.proxy().to_string();
    let admin = gateway.addresses("admin")[0].0.to_string();
    for step in steps {
        tour::carry_out(&step, &|printed| printed.replace("localhost:8000", &proxy).replace("localhost:8001", &admin)).unwrap();
    }
}

#[test]
fn the_tour_of_the_readme_works_as_printed_and_again_after_a_restart() {
    let gateway = Gateway::start();
    let upstream = start_echo("127.0.0.1:0").unwrap();
    sample::set_up(gateway.addresses("admin")[0].0, upstream).unwrap();
    walk(&gateway);
    let gateway = gateway.restarted_by("TERM");
    // Not set up again: the sample must be there.
    walk(&gateway);
}

#[test]
fn everything_is_still_there_after_a_restart() {
    let gateway = Gateway::start();
    let upstream = start_echo("127.0.0.1:0").unwrap();
    sample::set_up(gateway.addresses("admin")[0].0, upstream).unwrap();
    let lists = ["/services", "/routes", "/consumers", "/plugins", "/key-auths"];
    let before = lists.map(|list| gateway.admin().get(list));
    let chain = gateway.admin().get("/routes/orders/chain");
    let gateway = gateway.restarted_by("KILL").restarted_by("QUIT");
    assert_eq!(lists.map(|list| gateway.admin().get(list)), before);
    assert_eq!(gateway.admin().get("/routes/orders/chain"), chain);
    let reply = gateway.client().get("/orders").header("apikey", "open-sesame").send().expect(200);
    assert_eq!(reply.json()["headers"]["x-consumer-username"], "ada");
}
