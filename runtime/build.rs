//! Puts the stock plugins into the binary: builds every package under `plugins/` as a component and writes the table that
//! `src/stock.rs` includes. That is what makes a plain `cargo build` of a fresh clone enough.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use weir_componentize::{build_packages, nested_target_dir, packages_in, write};

/// What the components are made of, seen from the root.
const SOURCES: [&str; 5] = ["plugins", "plugin-sdk/Cargo.toml", "plugin-sdk/src", "wit", "Cargo.toml"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    let packages = packages_in(&root.join("plugins"))?;
    let built = build_packages(&root, &packages, &nested_target_dir(&out_dir))?;
    write(&built, &out_dir.join("stock"))?;

    let mut table = String::from("&[\n");
    for component in &built {
        let name = &component.name;
        writeln!(table, "    ({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/stock/{name}.wasm\"))),")?;
    }
    table.push(']');
    std::fs::write(out_dir.join("stock.rs"), table)?;
    Ok(())
}
