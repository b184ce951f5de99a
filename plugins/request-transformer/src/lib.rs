//! Changes method, headers and query arguments of requests: removes, renames, replaces, adds, appends, in this order. Field names
//! and rules are Kong's; its changes of bodies and of the path are not built, and refused.

mod config;
mod step;
mod template;

use config::{Names, Replacements, Values};
use plugin_sdk::query::Query;
use plugin_sdk::steps::{self, Step as HostStep};
use plugin_sdk::{Exchange, Findings, Flow, HeaderFault, Plugin, Request, RequestEdits, Result};
use step::Step;

/// Changes method, headers and query arguments of requests.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct RequestTransformer {
    /// The method that the upstream sees.
    #[serde(default)]
    http_method: Option<String>,
    /// What is removed.
    #[serde(default)]
    remove: Names,
    /// What gets another name, as `old:new`.
    #[serde(default)]
    rename: Names,
    /// What is replaced if it is there, as `name:value`.
    #[serde(default)]
    replace: Replacements,
    /// What is added if it is not there, as `name:value`.
    #[serde(default)]
    add: Values,
    /// What is added even if it is there, as `name:value`.
    #[serde(default)]
    append: Values,

    #[serde(skip)]
    header_work: Vec<HeaderWork>,
    #[serde(skip)]
    query_steps: Vec<Step>,
}

/// What is done to the headers, one after the other.
enum HeaderWork {
    /// Steps in a row that are the same for every request: one call of the host.
    Prepared(RequestEdits),
    /// A step whose value has a template.
    Templated(Step),
}

impl Plugin for RequestTransformer {
    const PRIORITY: i64 = 801;

    fn check(&mut self, findings: &mut Findings) {
        self.refuse_what_is_not_built(findings);
        self.check_method(findings);
        let steps = self.read_header_steps(findings);
        if findings.is_empty() {
            self.header_work = prepare_headers(steps, findings);
        }
        self.query_steps = self.read_query_steps(findings);
        // Where nothing depends on the request, the host makes all changes without calling the phase.
        if let ([HeaderWork::Prepared(edits)], [], None) = (&*self.header_work, &*self.query_steps, &self.http_method) {
            steps::before_request(&[HostStep::EditRequest(edits)]);
        }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        // Values are taken from the request as it came: no change sees another.
        let values = self.header_values(exchange);
        let arguments = step::rendered(&self.query_steps, exchange);
        let mut values = values.into_iter();
        for work in &self.header_work {
            match work {
                HeaderWork::Prepared(edits) => exchange.request.apply(edits)?,
                HeaderWork::Templated(step) => {
                    step.change_header(&values.next().unwrap_or_default(), &mut exchange.request)?;
                }
            }
        }
        self.change_query(&arguments, exchange)?;
        if let Some(method) = &self.http_method {
            exchange.request.set_method(method)?;
        }
        Ok(Flow::Proceed)
    }
}

impl RequestTransformer {
    /// The values of the steps with templates, in their order.
    fn header_values(&self, exchange: &Exchange) -> Vec<step::Rendered<'_>> {
        let templated = self.header_work.iter().filter_map(|work| match work {
            HeaderWork::Prepared(_) => None,
            HeaderWork::Templated(step) => Some(step.value.render(exchange)),
        });
        templated.collect()
    }

    fn change_query(&self, values: &[step::Rendered<'_>], exchange: &mut Exchange) -> Result<()> {
        if self.query_steps.is_empty() {
            return Ok(());
        }
        let before = exchange.request.query().unwrap_or_default();
        let mut query = Query::parse(&before);
        for (step, value) in self.query_steps.iter().zip(values) {
            step.change_query(value, &mut query);
        }
        let after = query.to_string();
        if after != before {
            let path = exchange.request.path();
            exchange.request.set_target(&path, Some(after.as_str()).filter(|query| !query.is_empty()))?;
        }
        Ok(())
    }
}

/// Prepares what can be, without changing the order.
fn prepare_headers(steps: Vec<Step>, findings: &mut Findings) -> Vec<HeaderWork> {
    let mut work = Vec::new();
    let mut row = Vec::new();
    let mut prepare = |row: &mut Vec<_>, work: &mut Vec<HeaderWork>| {
        if row.is_empty() {
            return;
        }
        match Request::prepare(std::mem::take(row)) {
            Ok(edits) => work.push(HeaderWork::Prepared(edits)),
            Err(HeaderFault::TooMany) => {
                findings.add_general("at most 1,000 changes of headers, with 256 KiB of names and values, are possible");
            }
            // Names and values were judged one by one: what is left is a Host that cannot be one.
            Err(fault) => findings.add("replace.headers", format!("host: {}", fault.as_str())),
        }
    };
    for step in steps {
        match step.edit() {
            Some(edit) => row.push(edit),
            None => {
                prepare(&mut row, &mut work);
                work.push(HeaderWork::Templated(step));
            }
        }
    }
    prepare(&mut row, &mut work);
    work
}

plugin_sdk::export!(RequestTransformer: on_request);

#[cfg(test)]
mod tests;
