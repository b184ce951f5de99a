//! Compilation in a child process, and the cache. This test program is its own compiler: started with `compile` it is the child.

// A test that cannot go on has failed: that is what these two are for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::process::ExitCode;
use support::*;
use weir_model::Phase;
use weir_model::entity::ComponentSettings;
use weir_plugin_host::exchange::Ending;
use weir_plugin_host::{Compiler, Host, HostSettings, Origin, WorkerPlugins, compile_child};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("compile") => compile_child(),
        Some("die") => std::process::abort(),
        _ => {
            a_child_compiles_and_the_cache_remembers();
            a_damaged_file_of_the_cache_is_compiled_again();
            a_code_that_is_not_this_engines_is_compiled_again();
            a_refusal_of_the_child_is_told();
            a_child_that_dies_is_told();
            a_compiler_that_is_not_there_is_told();
            println!("compile_child: 6 passed");
            ExitCode::SUCCESS
        }
    }
}

fn settings(dir: &std::path::Path, word: &str) -> HostSettings {
    let compiler = Compiler::Child { program: std::env::current_exe().unwrap(), args: vec![word.into()] };
    HostSettings::new(1, dir.join("code"), compiler)
}

fn install(settings: HostSettings, bytes: &[u8]) -> Result<(), String> {
    let host = Host::new(settings).unwrap();
    host.install(bytes, Origin::Uploaded, &[], ComponentSettings::default()).map_err(|refusal| refusal.to_string())?;
    let entry = host.entry(&plugin("compiled")).unwrap();
    assert!(matches!(WorkerPlugins::new(host).call(Phase::Request, &entry, &mut exchange()), Ending::Proceed));
    Ok(())
}

fn cached(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir.join("code")).unwrap().map(|file| file.unwrap().path()).collect()
}

fn a_child_compiles_and_the_cache_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = guest("compiled").build();
    install(settings(dir.path(), "compile"), &bytes).unwrap();
    assert_eq!(cached(dir.path()).len(), 1);
    // With a compiler that can only die: what was remembered is enough.
    install(settings(dir.path(), "die"), &bytes).unwrap();
    // The in-process compiler makes the same code, under the same name.
    install(HostSettings::new(1, dir.path().join("code"), Compiler::InProcess), &bytes).unwrap();
    assert_eq!(cached(dir.path()).len(), 1);
}

fn a_damaged_file_of_the_cache_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = guest("compiled").build();
    install(settings(dir.path(), "compile"), &bytes).unwrap();
    let path = cached(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0xff;
    std::fs::write(&path, damaged).unwrap();
    install(settings(dir.path(), "compile"), &bytes).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

fn a_code_that_is_not_this_engines_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = guest("compiled").build();
    install(settings(dir.path(), "compile"), &bytes).unwrap();
    let path = cached(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    // Whole by its digest, and yet no code.
    let other = b"something else".to_vec();
    std::fs::write(&path, [blake3::hash(&other).as_bytes(), &other[..]].concat()).unwrap();
    install(settings(dir.path(), "compile"), &bytes).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

fn a_refusal_of_the_child_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = guest("compiled").build();
    bytes.truncate(bytes.len() / 2);
    let refusal = install(settings(dir.path(), "compile"), &bytes).unwrap_err();
    assert!(refusal.contains("it does not compile"), "{refusal}");
}

fn a_child_that_dies_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = install(settings(dir.path(), "die"), &guest("compiled").build()).unwrap_err();
    assert!(refusal.contains("the compiler ended with signal: 6"), "{refusal}");
}

fn a_compiler_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Compiler::Child { program: "/nonexistent/compiler".into(), args: Vec::new() };
    let refusal = install(HostSettings::new(1, dir.path().join("code"), compiler), &guest("compiled").build()).unwrap_err();
    assert!(refusal.contains("the compiler cannot be run"), "{refusal}");
}
