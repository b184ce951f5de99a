//! Guests without a test, invariants without a test, links that lead nowhere, and names that say nothing.

use super::{Source, Sources};
use crate::cargo::root;
use std::collections::BTreeSet;
use std::path::Path;

/// A module of that name is a place where things are put that nobody thought about.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "manager", "misc"];
/// Written apart, so that this file does not find itself.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Findings on all files.
pub fn check(sources: &Sources) -> Vec<String> {
    let mut findings = guests(sources);
    findings.extend(invariants(sources));
    findings.extend(sources.all("md").flat_map(links));
    findings.extend(sources.all("rs").flat_map(names));
    findings
}

/// A guest that misbehaves is worth nothing until a test says what happens to its neighbours.
fn guests(sources: &Sources) -> Vec<String> {
    let folder = Path::new("tests/guests");
    let guests: BTreeSet<String> = sources
        .all("toml")
        .filter(|source| source.path.starts_with(folder) && source.path.ends_with("Cargo.toml"))
        .filter_map(|source| Some(source.path.parent()?.file_name()?.to_string_lossy().into_owned()))
        .filter(|name| name != "guests")
        .collect();
    let tests: Vec<&Source> = sources
        .all("rs")
        .filter(|source| !source.path.starts_with(folder) && source.text.contains("#[test]") || is_test(source))
        .collect();
    let is_named = |guest: &str| tests.iter().any(|test| test.text.contains(&format!("\"{guest}\"")));
    guests
        .iter()
        .filter(|guest| !is_named(guest))
        .map(|guest| format!("tests/guests/{guest}: no test names \"{guest}\""))
        .collect()
}

fn is_test(source: &Source) -> bool {
    source.path.iter().any(|part| part == "tests") && !source.path.starts_with("tests/guests")
}

/// ARCHITECTURE.md's invariants end with the names of their tests in backquotes, after `Test:`.
fn invariants(sources: &Sources) -> Vec<String> {
    let Some(page) = sources.0.iter().find(|source| source.path == Path::new("ARCHITECTURE.md")) else {
        return vec!["ARCHITECTURE.md: is missing".to_owned()];
    };
    let functions: BTreeSet<&str> = sources
        .all("rs")
        .flat_map(|source| source.text.lines())
        .filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?.split(['(', '<']).next())
        .collect();
    let tests =
        page.text.lines().filter_map(|line| line.split_once("Test:")).flat_map(|(_, names)| names.split('`').skip(1).step_by(2));
    tests.filter(|name| !functions.contains(name)).map(|name| format!("ARCHITECTURE.md: there is no test `{name}`")).collect()
}

/// Relative links must lead to a file.
fn links(source: &Source) -> Vec<String> {
    let folder = root().join(source.path.parent().unwrap_or(Path::new("")));
    let targets = source.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") && !target.contains(' '))
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{}: the link to {target} leads nowhere", source.path.display()))
        .collect()
}

fn names(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let stem = source.path.file_stem().unwrap_or_default().to_string_lossy();
    if EMPTY_NAMES.contains(&stem.as_ref()) {
        findings.push(format!("{}: `{stem}` says nothing about what is in it", source.path.display()));
    }
    for (number, line) in source.text.lines().enumerate() {
        if UNFINISHED.iter().any(|word| line.contains(word)) {
            findings.push(format!("{}:{}: unfinished; file an issue, or finish it", source.path.display(), number + 1));
        }
    }
    findings
}
