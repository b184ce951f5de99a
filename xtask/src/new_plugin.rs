//! `cargo xtask new-plugin NAME`: a plugin under `plugins/` that already passes its test.

use crate::Outcome;
use crate::cargo::{cargo, root, tool};

/// The longest name that the gateway takes.
const NAME_MOST: usize = 64;

/// Writes manifest and code, then runs the test.
pub fn new_plugin(name: &str) -> Outcome {
    let is_good = name.len() <= NAME_MOST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_good {
        return Err(format!("xtask: `{name}` must begin with a letter and hold only lower-case letters, digits and `-`"));
    }
    let folder = root().join("plugins").join(name);
    if folder.exists() {
        return Err(format!("xtask: {} is there already", folder.display()));
    }
    let type_name: String = name.split('-').map(capitalised).collect();
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
        written.map_err(|error| format!("xtask: {}: {error}", path.display()))
    };
    write("Cargo.toml", MANIFEST.replace("NAME", name))?;
    write("src/lib.rs", CODE.replace("TYPE", &type_name))?;
    tool(cargo().args(["test", "-p", name]))?;
    println!("\n{} is a plugin that sets a header; make it yours. Then:", folder.display());
    println!("  cargo xtask plugins");
    println!(
        "  curl localhost:8001/components -H 'Content-Type: application/wasm' --data-binary @<target folder>/plugins/{name}.wasm"
    );
    Ok(())
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

const MANIFEST: &str = r#"[package]
name = "NAME"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true
description = "Sets a header on the request."

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
plugin-sdk.workspace = true
schemars.workspace = true
serde.workspace = true

[lints]
workspace = true
"#;

const CODE: &str = r##"//! Sets a header on the request.

use plugin_sdk::{Exchange, Flow, Plugin, Result};

/// Its configuration.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct TYPE {
    /// Name of the header.
    name: String,
    /// Its value.
    value: String,
}

impl Plugin for TYPE {
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.request.set_header(&self.name, &self.value)?;
        Ok(Flow::Proceed)
    }
}

plugin_sdk::export!(TYPE: on_request);

#[cfg(test)]
mod tests {
    use super::TYPE;
    use plugin_sdk::{Flow, Plugin, testing};

    #[test]
    fn sets_the_configured_header() {
        let plugin = testing::configure::<TYPE>(r#"{"name": "x-env", "value": "prod"}"#).unwrap();
        let mut exchange = testing::get("/orders").with_header("X-Env", "forged");
        assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
        assert_eq!(exchange.request.header("x-env").unwrap(), "prod");
    }
}
"##;
