//! What a component says of itself: the JSON that `describe` returns.

use crate::limits::MANIFEST_BYTES;
use serde::Deserialize;
use serde_json::Value;

/// Bytes of a plugin's name: it stands in paths, log lines and metric labels.
const NAME_BYTES: usize = 64;

/// Kinds of credential that this node keeps.
const CREDENTIAL_KINDS: [&str; 1] = ["key-auth"];

/// The manifest. Unknown fields are refused: a plugin that needs something which this node does not know must not half work.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub priority: i64,
    pub config: Value,
    #[serde(default)]
    pub credentials: Vec<String>,
}

impl Manifest {
    /// Reads and judges it. The error says what is wrong.
    pub fn read(json: &str) -> Result<Self, String> {
        if json.len() > MANIFEST_BYTES {
            return Err(format!("its manifest has {} bytes; at most {MANIFEST_BYTES} are allowed", json.len()));
        }
        let manifest: Self = serde_json::from_str(json).map_err(|error| format!("its manifest cannot be read: {error}"))?;
        let name = &manifest.name;
        if !is_name(name) {
            return Err(format!(
                "its name '{name}' is not one: lower-case letters, digits and '-', a letter first, at most {NAME_BYTES} bytes"
            ));
        }
        if let Err(error) = semver::Version::parse(&manifest.version) {
            return Err(format!("its version '{}' is not a semantic version: {error}", manifest.version));
        }
        if !manifest.config.is_object() {
            return Err("its `config` is not a JSON Schema: an object is needed".into());
        }
        if let Some(kind) = manifest.credentials.iter().find(|kind| !CREDENTIAL_KINDS.contains(&kind.as_str())) {
            return Err(format!(
                "it looks up credentials of kind '{kind}', which this node does not keep; it keeps: {}",
                CREDENTIAL_KINDS.join(", ")
            ));
        }
        Ok(manifest)
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= NAME_BYTES && name.bytes().all(plain) && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        Manifest::read(json).unwrap_err()
    }

    #[test]
    fn a_manifest_is_judged_to_the_letter() {
        let good = r#"{"name":"header-inject","version":"1.2.0","priority":700,"config":{"type":"object"}}"#;
        assert_eq!(Manifest::read(good).unwrap().credentials, Vec::<String>::new());
        for (from, to, says) in [
            ("header-inject", "Header", "its name 'Header' is not one"),
            ("header-inject", "", "its name '' is not one"),
            ("1.2.0", "1.2", "is not a semantic version"),
            ("{\"type\":\"object\"}", "true", "is not a JSON Schema"),
            ("\"priority\":700", "\"priority\":\"high\"", "cannot be read"),
            ("\"priority\":700", "\"priority\":700,\"phases\":[]", "unknown field `phases`"),
            ("\"priority\":700", "\"priority\":700,\"credentials\":[\"jwt\"]", "of kind 'jwt', which this node does not keep"),
            ("}", "", "cannot be read"),
        ] {
            let message = refusal(&good.replacen(from, to, 1));
            assert!(message.contains(says), "{to}: {message}");
        }
        assert!(refusal(&" ".repeat(MANIFEST_BYTES + 1)).contains("at most 262144"));
    }
}
