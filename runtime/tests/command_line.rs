//! The words of the command line, as a process sees them. (That this test exists also makes cargo build the binary, which the
//! end-to-end tests start.)

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its own functions as well")]

use std::process::{Command, Output};

fn weir(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(words).output().unwrap()
}

#[test]
fn help_names_the_commands_of_an_operator_and_hides_the_child() {
    let help = String::from_utf8(weir(&["--help"]).stdout).unwrap();
    for word in ["start", "stop", "quit", "reload", "restart", "check", "health", "status", "migrations", "version"] {
        assert!(help.contains(&format!("  {word} ")), "{word} is missing:\n{help}");
    }
    assert!(!help.contains("compile"), "{help}");
}

#[test]
fn every_command_takes_a_settings_file_and_a_prefix() {
    for word in ["start", "stop", "quit", "reload", "restart", "check", "health", "status", "migrations", "version"] {
        let help = String::from_utf8(weir(&[word, "--help"]).stdout).unwrap();
        assert!(help.contains("-c, --conf <FILE>") && help.contains("-p, --prefix <FOLDER>"), "{word}:\n{help}");
    }
}

#[test]
fn a_word_that_is_no_command_ends_with_2() {
    assert_eq!(weir(&["begin"]).status.code(), Some(2));
    assert_eq!(weir(&[]).status.code(), Some(2));
}

#[test]
fn the_compiling_child_refuses_what_is_no_component() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).arg("compile").stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(String::from_utf8(weir(&["version"]).stdout).unwrap(), format!("weir {}\n", env!("CARGO_PKG_VERSION")));
}
