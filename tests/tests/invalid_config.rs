//! The exact words for settings that are wrong. A case is a folder: `weir.toml` and what `weir check` says, `error.txt`.
//!
//! `BLESS=1` writes the words anew; read them before you commit them.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its own functions as well")]

use std::path::{Path, PathBuf};
use weir_tests::binary::{printed, weir};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("invalid-config");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_fault_is_told_at_once_with_its_line_and_its_reason() {
    let mut wrong = Vec::new();
    for case in cases() {
        let output = weir(["check", "-c", "weir.toml"]).current_dir(&case).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}: {}", case.display(), printed(&output));
        let said = printed(&output);
        let golden = case.join("error.txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- said\n{said}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_variable_of_the_environment_is_checked_as_the_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        weir(["check", "-p"]).arg(folder.path()).env("WEIR_LOG_LEVEL", "loud").env("WEIR_NONSENSE", "1").output().unwrap();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("2 faults"), "{said}");
    assert!(said.contains("environment WEIR_LOG_LEVEL: log_level: `loud` is not a level"), "{said}");
    assert!(said.contains("environment WEIR_NONSENSE: nonsense: no such setting"), "{said}");
}

#[test]
fn a_settings_file_that_is_named_must_be_there() {
    let output = weir(["check", "-c", "/nowhere/weir.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains("the file cannot be read"), "{}", printed(&output));
}

#[test]
fn good_settings_pass() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, "worker_threads = 2\nadmin_listen = \"off\"\ntrusted_ips = \"10.0.0.0/8, ::1\"\n").unwrap();
    let output = weir(["check", "-c"]).arg(&file).env("WEIR_LOG_LEVEL", "debug").output().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}
