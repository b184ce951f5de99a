//! Changes headers of responses: removes, renames, replaces, adds, appends, in this order. Field names and rules are Kong's; its
//! changes of JSON bodies are not built, and refused.

use plugin_sdk::steps::{self, Step};
use plugin_sdk::{
    Exchange, Findings, Flow, HeaderEdit, Plugin, Response, ResponseEdits, Result, check_header_name, check_header_value,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct ResponseTransformer {
    /// What is removed.
    #[serde(default)]
    remove: Names,
    /// What gets another name, as `old:new`.
    #[serde(default)]
    rename: Names,
    /// What is replaced if it is there, as `name:value`.
    #[serde(default)]
    replace: Values,
    /// What is added if it is not there, as `name:value`.
    #[serde(default)]
    add: Values,
    /// What is added even if it is there, as `name:value`.
    #[serde(default)]
    append: Values,

    /// All of it, in the order in which it happens.
    #[serde(skip)]
    edits: ResponseEdits,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
struct Names {
    /// Fields of a JSON body. Not built: only an empty list is accepted.
    json: Vec<String>,
    /// Headers.
    headers: Vec<String>,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
struct Values {
    /// Fields of a JSON body. Not built: only an empty list is accepted.
    json: Vec<String>,
    /// Types of those fields. Not built: only an empty list is accepted.
    json_types: Vec<JsonType>,
    /// Headers.
    headers: Vec<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum JsonType {
    Boolean,
    Number,
    String,
}

/// An edit from a name and a value.
type MakeEdit = fn(String, Vec<u8>) -> HeaderEdit;

impl Plugin for ResponseTransformer {
    const PRIORITY: i64 = 800;

    fn check(&mut self, findings: &mut Findings) {
        let mut edits = Vec::new();
        for (index, name) in self.remove.headers.iter().enumerate() {
            let field = format!("remove.headers[{index}]");
            if is_header(name, &field, findings) {
                edits.push(HeaderEdit::Remove(name.clone()));
            }
        }
        for (index, entry) in self.rename.headers.iter().enumerate() {
            let field = format!("rename.headers[{index}]");
            let Some((old, new)) = pair(entry, "old:new", &field, findings) else { continue };
            if is_header(old, &field, findings) && is_header(new, &field, findings) {
                edits.push(HeaderEdit::Rename(old.to_owned(), new.to_owned()));
            }
        }
        let lists: [(&str, &Values, MakeEdit); 3] = [
            ("replace", &self.replace, HeaderEdit::SetIfPresent),
            ("add", &self.add, HeaderEdit::AddIfAbsent),
            ("append", &self.append, HeaderEdit::Add),
        ];
        for (verb, values, edit) in lists {
            for (index, entry) in values.headers.iter().enumerate() {
                let field = format!("{verb}.headers[{index}]");
                let Some((name, value)) = pair(entry, "name:value", &field, findings) else { continue };
                if let Err(fault) = check_header_value(value.as_bytes()) {
                    findings.add(&field, fault.as_str());
                }
                if is_header(name, &field, findings) {
                    edits.push(edit(name.to_owned(), value.into()));
                }
            }
        }
        self.refuse_json(findings);
        if findings.is_empty() && !edits.is_empty() {
            match Response::prepare(edits) {
                Ok(prepared) => self.edits = prepared,
                Err(_) => {
                    findings.add_general("at most 1,000 changes of headers, with 256 KiB of names and values, are possible")
                }
            }
            // Nothing depends on the exchange: the host makes them all without calling the phase.
            steps::before_response(&[Step::EditResponse(&self.edits)]);
        }
    }

    fn on_response(&self, exchange: &mut Exchange) -> Result<Flow> {
        exchange.response.apply(&self.edits)?;
        Ok(Flow::Proceed)
    }
}

impl ResponseTransformer {
    fn refuse_json(&self, findings: &mut Findings) {
        for (verb, names) in [("remove", &self.remove), ("rename", &self.rename)] {
            if !names.json.is_empty() {
                findings.add(format!("{verb}.json"), "changing bodies is not built yet; leave this list empty");
            }
        }
        for (verb, values) in [("replace", &self.replace), ("add", &self.add), ("append", &self.append)] {
            if !values.json.is_empty() {
                findings.add(format!("{verb}.json"), "changing bodies is not built yet; leave this list empty");
            }
            if !values.json_types.is_empty() {
                findings.add(format!("{verb}.json_types"), "changing bodies is not built yet; leave this list empty");
            }
        }
    }
}

fn is_header(name: &str, field: &str, findings: &mut Findings) -> bool {
    let fault = check_header_name(name).err();
    if let Some(fault) = fault {
        findings.add(field, format!("{name:?}: {}", fault.as_str()));
    }
    fault.is_none()
}

/// The two halves of an entry; both must be there.
fn pair<'a>(entry: &'a str, form: &str, field: &str, findings: &mut Findings) -> Option<(&'a str, &'a str)> {
    let halves = entry.split_once(':').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    if halves.is_none() {
        findings.add(field, format!("must have the form {form}"));
    }
    halves
}

plugin_sdk::export!(ResponseTransformer: on_response);

#[cfg(test)]
mod tests;
