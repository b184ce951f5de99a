//! Builds the workspace's wasm packages and makes components of them: the one place that knows the wasm tool chain.
//!
//! Used by the build script that puts the stock plugins into the binary, by `cargo xtask`, and by tests. It knows nothing of what
//! the components do. The same from the command line, for whoever wants to look at components:
//!
//! ```text
//! cargo run -p weir-componentize -- --out DIR key-auth rate-limiting …      (or --plugins, --examples, --guests)
//! ```

mod cargo;
mod target;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
pub use target::Target;

/// A package to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its Cargo name.
    pub name: String,
    /// What it is built for.
    pub target: Target,
    /// Whether the result stays the module that the compiler made, which no gateway accepts: for tests of that refusal.
    pub leave_core_module: bool,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The Cargo name of its package.
    pub name: String,
    /// The component's bytes.
    pub bytes: Vec<u8>,
}

/// Why there are no components.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The target's standard library is missing, and could not be installed.
    #[error("the wasm target is missing and could not be added ({reason}); add it with: rustup target add {target}")]
    TargetMissing {
        /// Which.
        target: &'static str,
        /// What rustup said, or why it did not run.
        reason: String,
    },
    /// Cargo did not start.
    #[error("cannot run {program}: {source}")]
    NotStarted {
        /// What was to run.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The compiler refused; its words are above.
    #[error("building {packages} for {target} failed; the compiler's words are above")]
    Compile {
        /// The packages, in one line.
        packages: String,
        /// For what.
        target: &'static str,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The compiled module does not make a component.
    #[error("{package} does not make a component: {reason}")]
    Encode {
        /// The package.
        package: String,
        /// Why not.
        reason: String,
    },
    /// None of the folders has a package of that name.
    #[error("there is no plugin, example or test guest named {0}")]
    NoSuchPackage(String),
}

/// Builds packages that need no system (`wasm32-unknown-unknown`): every plugin is one.
///
/// `target_dir` must be another one than the build that this runs in, which holds a lock on its own.
pub fn build(workspace_root: &Path, packages: &[&str], target_dir: &Path) -> Result<Vec<Built>, BuildError> {
    let packages: Vec<Package> = packages
        .iter()
        .map(|name| Package { name: (*name).to_owned(), target: Target::Unknown, leave_core_module: false })
        .collect();
    build_packages(workspace_root, &packages, target_dir)
}

/// Builds packages, each for its own target, and answers in their order.
pub fn build_packages(workspace_root: &Path, packages: &[Package], target_dir: &Path) -> Result<Vec<Built>, BuildError> {
    for target in [Target::Unknown, Target::Wasip2] {
        let names: Vec<&str> = packages.iter().filter(|it| it.target == target).map(|it| it.name.as_str()).collect();
        if !names.is_empty() {
            target::ensure(target)?;
            cargo::build(workspace_root, &names, target, target_dir)?;
        }
    }
    packages.iter().map(|package| component(package, target_dir)).collect()
}

/// The packages in the sub-folders of `folder`, in the order of their names. What they need is told by their manifests:
/// `[package.metadata.weir] target = "wasm32-wasip2"`, and `component = false` for one that stays a core module.
pub fn packages_in(folder: &Path) -> Result<Vec<Package>, BuildError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::File { path, source }
    };
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(file(folder))? {
        let manifest = entry.map_err(file(folder))?.path().join("Cargo.toml");
        if manifest.is_file() {
            let text = std::fs::read_to_string(&manifest).map_err(file(&manifest))?;
            packages.extend(package_of(&text));
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Reads the three lines of a manifest that matter here: the format is our own and written by us.
fn package_of(manifest: &str) -> Option<Package> {
    let value = |key: &str| {
        manifest
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))
            .map(|value| value.trim().trim_matches('"'))
    };
    let target = if value("target") == Some(Target::Wasip2.triple()) { Target::Wasip2 } else { Target::Unknown };
    let leave_core_module = value("component") == Some("false");
    Some(Package { name: value("name")?.to_owned(), target, leave_core_module })
}

/// Makes the compiled file of a package a component.
fn component(package: &Package, target_dir: &Path) -> Result<Built, BuildError> {
    let file = format!("{}.wasm", package.name.replace('-', "_"));
    let path = target_dir.join(package.target.triple()).join(cargo::PROFILE).join(file);
    let module = std::fs::read(&path).map_err(|source| BuildError::File { path, source })?;
    let bytes = match package.target {
        // The linker of this target made a component already.
        Target::Wasip2 => module,
        Target::Unknown if package.leave_core_module => module,
        Target::Unknown => encode(&package.name, &module)?,
    };
    Ok(Built { name: package.name.clone(), bytes })
}

/// Wraps a core module, which tells its interface in a custom section that the bindings put there.
fn encode(package: &str, module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let refused = |error: &dyn std::fmt::Display| BuildError::Encode { package: package.to_owned(), reason: error.to_string() };
    let mut encoder = wit_component::ComponentEncoder::default();
    let encoder = encoder.validate(true).module(module).map_err(|error| refused(&format!("{error:#}")))?;
    encoder.encode().map_err(|error| refused(&format!("{error:#}")))
}

/// Writes components into a folder, as `name.wasm`.
pub fn write(components: &[Built], folder: &Path) -> Result<(), BuildError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(file(folder))?;
    for component in components {
        let path = folder.join(&component.name).with_extension("wasm");
        std::fs::write(&path, &component.bytes).map_err(file(&path))?;
    }
    Ok(())
}

/// The folder that a nested build may use, next to the build that `out_dir` (a build script's `OUT_DIR`) belongs to: one for all
/// profiles, so that a debug and a release build share the plugins.
pub fn nested_target_dir(out_dir: &Path) -> PathBuf {
    let target = out_dir.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out_dir).join(OsStr::new("components"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_tells_what_a_package_is_built_for() {
        let plain = package_of("[package]\nname = \"key-auth\"\nversion.workspace = true\n").expect("it has a name");
        assert_eq!((plain.name.as_str(), plain.target, plain.leave_core_module), ("key-auth", Target::Unknown, false));
        let wasi = "[package]\nname = \"printing\"\n[package.metadata.weir]\ntarget = \"wasm32-wasip2\"\n";
        assert_eq!(package_of(wasi).map(|it| it.target), Some(Target::Wasip2));
        let core = "[package]\nname = \"core-module\"\n[package.metadata.weir]\ncomponent = false\n";
        assert_eq!(package_of(core).map(|it| it.leave_core_module), Some(true));
    }

    #[test]
    fn what_is_not_a_module_is_refused_by_name() {
        let refusal = encode("scrap", b"scrap").expect_err("these bytes are no module").to_string();
        assert!(refusal.starts_with("scrap does not make a component: "), "{refusal}");
    }

    #[test]
    fn the_nested_build_is_shared_by_all_profiles() {
        let target = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(target.path().join("CACHEDIR.TAG"), "").expect("a file");
        for profile in ["debug", "release"] {
            let out_dir = target.path().join(profile).join("build/weir-1/out");
            assert_eq!(nested_target_dir(&out_dir), target.path().join("components"));
        }
    }
}
