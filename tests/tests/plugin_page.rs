//! The `curl` lines of docs/plugins.md, carried out as printed.

use std::path::Path;
use weir_tests::Gateway;
use weir_tests::binary::weir_binary;
use xtask::http::start_echo;
use xtask::tour;

#[test]
fn the_lines_of_the_plugin_page_work_as_printed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins.md");
    let gateway = Gateway::start();
    let proxy = gateway.proxy().to_string();
    let admin = gateway.addresses("admin")[0].0.to_string();
    let mirror = start_echo("127.0.0.1:0").unwrap().to_string();
    let built = weir_binary().ancestors().nth(2).unwrap().join("plugins").display().to_string();
    let text = std::fs::read_to_string(page).unwrap().replace("localhost:9000", &mirror).replace("target/plugins", &built);
    let steps = tour::steps(&text).unwrap();
    assert!(steps.len() >= 5, "a page of {} lines", steps.len());
    for step in steps {
        tour::carry_out(&step, &|printed| printed.replace("localhost:8000", &proxy).replace("localhost:8001", &admin)).unwrap();
    }
}
