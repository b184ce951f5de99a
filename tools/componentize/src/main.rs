//! `weir-componentize --out DIR [--plugins] [--examples] [--guests] [PACKAGE…]`: builds components and writes them to a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weir_componentize::{BuildError, Package, build_packages, packages_in, write};

/// Where packages for wasm are: stock plugins, the SDK's examples, what tests run.
const PLUGINS: &str = "plugins";
const EXAMPLES: &str = "plugin-sdk/examples";
const GUESTS: &str = "tests/guests";

const USAGE: &str = "weir-componentize --out DIR [--target-dir DIR] [--plugins] [--examples] [--guests] [PACKAGE…]";

fn main() -> ExitCode {
    let mut out = None;
    let mut target_dir = None;
    let mut folders = Vec::new();
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = arguments.next(),
            "--target-dir" => target_dir = arguments.next(),
            "--plugins" => folders.push(PLUGINS),
            "--examples" => folders.push(EXAMPLES),
            "--guests" => folders.push(GUESTS),
            flag if flag.starts_with("--") => return usage(),
            name => names.push(name.to_owned()),
        }
    }
    let Some(out) = out else { return usage() };
    // The root is two folders above this package, wherever the clone is.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target_dir = target_dir.map_or_else(|| root.join("target/components"), PathBuf::from);
    match run(&root, &target_dir, Path::new(&out), &folders, &names) {
        Ok(count) => {
            println!("{count} components in {out}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn run(root: &Path, target_dir: &Path, out: &Path, folders: &[&str], names: &[String]) -> Result<usize, BuildError> {
    let mut known: Vec<Package> = Vec::new();
    let mut wanted: Vec<Package> = Vec::new();
    for folder in [PLUGINS, EXAMPLES, GUESTS] {
        let packages = packages_in(&root.join(folder))?;
        if folders.contains(&folder) {
            wanted.extend(packages.iter().cloned());
        }
        known.extend(packages);
    }
    for name in names {
        let package = known.iter().find(|package| package.name == *name);
        wanted.push(package.ok_or_else(|| BuildError::NoSuchPackage(name.clone()))?.clone());
    }
    let built = build_packages(root, &wanted, target_dir)?;
    write(&built, out)?;
    Ok(built.len())
}
