//! The pages show the example as it is.

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the page is in the repository")
}

#[test]
fn the_pages_show_the_example_that_is_built_and_tested() {
    let example = read("examples/header-inject/src/lib.rs");
    let plugin = example.split("\n#[cfg(test)]").next().unwrap();
    assert!(read("README.md").contains(plugin), "plugin-sdk/README.md shows another plugin than examples/header-inject");
    let without_head = plugin.split_once('\n').unwrap().1;
    assert!(
        read("../docs/plugins.md").contains(without_head),
        "docs/plugins.md shows another plugin than examples/header-inject"
    );
}

#[test]
fn a_header_injection_takes_fifteen_lines() {
    let example = read("examples/header-inject/src/lib.rs");
    let plugin = example.split("\n#[cfg(test)]").next().unwrap();
    let lines = plugin.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(lines <= 15, "{lines} lines");
}
