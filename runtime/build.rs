//! Puts the stock plugins into the binary: builds their packages as components and writes the table that `src/stock.rs`
//! includes. That is what makes a plain `cargo build` of a fresh clone enough.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use weir_componentize::{build, nested_target_dir, write};

/// The plugins that ship with the gateway. Others under `plugins/` are somebody's own, to be uploaded.
const STOCK: [&str; 5] = ["ip-restriction", "key-auth", "rate-limiting", "request-transformer", "response-transformer"];

/// What else the components are made of, seen from the root.
const SOURCES: [&str; 4] = ["plugin-sdk/Cargo.toml", "plugin-sdk/src", "wit", "Cargo.toml"];

fn main() -> Result<(), Box<dyn Error>> {
    // Asked when it runs: in a target folder that several clones share, this script may have been built from another one.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    // Relative to this package: in a target folder that several clones share, the path of one says nothing about another.
    let plugins = STOCK.map(|name| format!("plugins/{name}"));
    for source in plugins.into_iter().chain(SOURCES.map(str::to_owned)) {
        println!("cargo::rerun-if-changed=../{source}");
    }
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    let built = build(&root, &STOCK, &nested_target_dir(&out_dir))?;
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
