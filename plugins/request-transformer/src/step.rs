//! One change of a header or of a query argument.

use crate::template::Template;
use plugin_sdk::query::Query;
use plugin_sdk::{Exchange, HeaderEdit, Request, Result};
use std::borrow::Cow;

/// A value that is ready to be written.
pub type Rendered<'a> = Cow<'a, [u8]>;

/// What is done. The order is that of the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Remove,
    Rename,
    Replace,
    Add,
    Append,
}

impl Verb {
    /// The configuration's word.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Remove => "remove",
            Verb::Rename => "rename",
            Verb::Replace => "replace",
            Verb::Add => "add",
            Verb::Append => "append",
        }
    }
}

/// What is done to what.
pub struct Step {
    pub verb: Verb,
    pub name: String,
    /// Of `Rename`, else empty.
    pub new_name: String,
    /// Of `Replace`, `Add` and `Append`, else empty.
    pub value: Template,
}

/// The values of the steps, in their order.
pub fn rendered<'a>(steps: &'a [Step], exchange: &Exchange) -> Vec<Rendered<'a>> {
    steps.iter().map(|step| step.value.render(exchange)).collect()
}

impl Step {
    /// The step on headers, if it is the same for every request.
    pub fn edit(&self) -> Option<HeaderEdit> {
        let name = self.name.clone();
        let value = || self.value.literal().map(|text| text.as_bytes().to_vec());
        match self.verb {
            Verb::Remove => Some(HeaderEdit::Remove(name)),
            Verb::Rename => Some(HeaderEdit::Rename(name, self.new_name.clone())),
            Verb::Replace => Some(HeaderEdit::SetIfPresent(name, value()?)),
            Verb::Add => Some(HeaderEdit::AddIfAbsent(name, value()?)),
            Verb::Append => Some(HeaderEdit::Add(name, value()?)),
        }
    }

    /// The step on headers with the value that its template came to.
    pub fn change_header(&self, value: &[u8], request: &mut Request) -> Result<()> {
        let name = self.name.as_str();
        match self.verb {
            Verb::Replace if request.header(name).is_some() => request.set_header(name, line(value))?,
            Verb::Add if request.header(name).is_none() => request.set_header(name, line(value))?,
            Verb::Append => request.add_header(name, line(value))?,
            // `Remove` and `Rename` have no value, and so are always prepared.
            Verb::Replace | Verb::Add | Verb::Remove | Verb::Rename => {}
        }
        Ok(())
    }

    pub fn change_query(&self, value: &[u8], query: &mut Query) {
        let name = self.name.as_str();
        match self.verb {
            Verb::Remove => query.remove(name),
            Verb::Rename => query.rename(name, &self.new_name),
            Verb::Replace if query.has(name) => query.set(name, value),
            Verb::Add if !query.has(name) => query.add(name, value),
            Verb::Replace | Verb::Add => {}
            Verb::Append => query.add(name, value),
        }
    }
}

/// The value without bytes that no header value may have: a template takes it from what a client sent, who could end the line.
/// They are written as in a URL, as nginx does below Kong; failing would be a fault of the plugin that any client can cause.
fn line(value: &[u8]) -> Cow<'_, [u8]> {
    let breaks = |byte: u8| byte == 0x7f || (byte < b' ' && byte != b'\t');
    if !value.iter().any(|&byte| breaks(byte)) {
        return Cow::Borrowed(value);
    }
    let mut escaped = Vec::with_capacity(value.len() + 16);
    for &byte in value {
        match breaks(byte) {
            true => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            false => escaped.push(byte),
        }
    }
    Cow::Owned(escaped)
}
