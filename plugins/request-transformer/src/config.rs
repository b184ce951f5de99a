//! The configuration's fields, and reading them into steps with every mistake named.

use crate::RequestTransformer;
use crate::step::{Step, Verb};
use crate::template::Template;
use plugin_sdk::{Findings, check_header_value, check_request_header_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
pub struct Names {
    /// Fields of the body. Not built: only an empty list is accepted.
    body: Vec<String>,
    /// Headers.
    headers: Vec<String>,
    /// Query arguments.
    querystring: Vec<String>,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
pub struct Values {
    /// Fields of the body. Not built: only an empty list is accepted.
    body: Vec<String>,
    /// Headers. A value may have templates: `$(headers.name)`, `$(query_params.name)`, `$(uri_captures.name)`.
    headers: Vec<String>,
    /// Query arguments; values as for headers.
    querystring: Vec<String>,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
pub struct Replacements {
    /// Fields of the body. Not built: only an empty list is accepted.
    body: Vec<String>,
    /// Headers; values as for `add`.
    headers: Vec<String>,
    /// Query arguments; values as for `add`.
    querystring: Vec<String>,
    /// The upstream's path. Not built: only null is accepted.
    uri: Option<String>,
}

/// What has headers, arguments and body fields of one verb.
type Lists<'a> = (Verb, &'a [String], &'a [String], &'a [String]);

impl RequestTransformer {
    /// The lists in the order in which they are applied.
    fn lists(&self) -> [Lists<'_>; 5] {
        [
            (Verb::Remove, &self.remove.headers, &self.remove.querystring, &self.remove.body),
            (Verb::Rename, &self.rename.headers, &self.rename.querystring, &self.rename.body),
            (Verb::Replace, &self.replace.headers, &self.replace.querystring, &self.replace.body),
            (Verb::Add, &self.add.headers, &self.add.querystring, &self.add.body),
            (Verb::Append, &self.append.headers, &self.append.querystring, &self.append.body),
        ]
    }

    pub fn refuse_what_is_not_built(&self, findings: &mut Findings) {
        for (verb, _, _, body) in self.lists() {
            if !body.is_empty() {
                findings.add(format!("{}.body", verb.name()), "changing bodies is not built yet; leave this list empty");
            }
        }
        if self.replace.uri.is_some() {
            findings.add("replace.uri", "changing the path is not built yet; leave this field out");
        }
    }

    /// The method in upper case, as it is sent.
    pub fn check_method(&mut self, findings: &mut Findings) {
        let Some(method) = &mut self.http_method else { return };
        method.make_ascii_uppercase();
        if method.is_empty() || method.len() > 32 || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            findings.add("http_method", "must be a method such as GET or POST");
        } else if method == "CONNECT" {
            findings.add("http_method", "CONNECT asks for a tunnel, which a request cannot become");
        }
    }

    pub fn read_header_steps(&self, findings: &mut Findings) -> Vec<Step> {
        let mut steps = Vec::new();
        for (verb, headers, ..) in self.lists() {
            for (index, entry) in headers.iter().enumerate() {
                let field = format!("{}.headers[{index}]", verb.name());
                let Some(step) = step(verb, entry, &field, findings) else { continue };
                let fits = header_fits(&step.name, verb, &field, findings)
                    && (verb != Verb::Rename || header_fits(&step.new_name, verb, &field, findings));
                if let Some(Err(fault)) = step.value.literal().map(|text| check_header_value(text.as_bytes())) {
                    findings.add(&field, fault.as_str());
                } else if fits {
                    steps.push(step);
                }
            }
        }
        steps
    }

    pub fn read_query_steps(&self, findings: &mut Findings) -> Vec<Step> {
        let mut steps = Vec::new();
        for (verb, _, arguments, _) in self.lists() {
            for (index, entry) in arguments.iter().enumerate() {
                steps.extend(step(verb, entry, &format!("{}.querystring[{index}]", verb.name()), findings));
            }
        }
        steps
    }
}

/// Reads one entry.
fn step(verb: Verb, entry: &str, field: &str, findings: &mut Findings) -> Option<Step> {
    if verb == Verb::Remove {
        // Kong takes what is before a colon here too.
        let name = entry.split(':').next().unwrap_or_default();
        if name.is_empty() {
            findings.add(field, "must be a name");
            return None;
        }
        return Some(Step { verb, name: name.to_owned(), new_name: String::new(), value: Template::default() });
    }
    let Some((name, value)) = entry.split_once(':').filter(|(name, value)| !name.is_empty() && !value.is_empty()) else {
        findings.add(field, if verb == Verb::Rename { "must have the form old:new" } else { "must have the form name:value" });
        return None;
    };
    if verb == Verb::Rename {
        return Some(Step { verb, name: name.to_owned(), new_name: value.to_owned(), value: Template::default() });
    }
    match Template::parse(value) {
        Ok(value) => Some(Step { verb, name: name.to_owned(), new_name: String::new(), value }),
        Err(refused) => {
            findings.add(field, refused);
            None
        }
    }
}

/// Whether the header may be changed that way. Kong leaves Host alone except in `replace`, without a word.
fn header_fits(name: &str, verb: Verb, field: &str, findings: &mut Findings) -> bool {
    if let Err(fault) = check_request_header_name(name) {
        findings.add(field, format!("{name:?}: {}", fault.as_str()));
        return false;
    }
    if name.eq_ignore_ascii_case("host") && verb != Verb::Replace {
        findings.add(field, "the Host header can only be replaced");
        return false;
    }
    true
}
