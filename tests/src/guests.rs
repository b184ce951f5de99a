//! The components that tests run: built by `cargo xtask plugins`.

use crate::binary::weir_binary;
use std::path::PathBuf;

/// The bytes of a component, by the name of its package.
pub fn component(name: &str) -> Vec<u8> {
    let file = folder().join(name).with_extension("wasm");
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins`", file.display()))
}

/// Where `cargo xtask plugins` puts them: beside the folder of the gateway's binary.
fn folder() -> PathBuf {
    weir_binary()
        .parent()
        .and_then(|debug| debug.parent())
        .map(|target| target.join("plugins"))
        .expect("the binary lies in a target folder")
}
