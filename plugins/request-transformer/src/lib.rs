//! Changes method, headers and query arguments of requests: removes, renames, replaces, adds, appends, in this order. Field names
//! and rules are Kong's; its changes of bodies and of the path are not built, and refused.

mod config;
mod step;
mod template;

use config::{Names, Replacements, Values};
use plugin_sdk::query::Query;
use plugin_sdk::{Exchange, Findings, Flow, Plugin, Result};
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
    header_steps: Vec<Step>,
    #[serde(skip)]
    query_steps: Vec<Step>,
}

impl Plugin for RequestTransformer {
    const PRIORITY: i64 = 801;

    fn check(&mut self, findings: &mut Findings) {
        self.refuse_what_is_not_built(findings);
        self.check_method(findings);
        self.header_steps = self.read_header_steps(findings);
        self.query_steps = self.read_query_steps(findings);
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        // Values are taken from the request as it came: no change sees another.
        let headers = step::rendered(&self.header_steps, exchange);
        let arguments = step::rendered(&self.query_steps, exchange);
        for (step, value) in self.header_steps.iter().zip(&headers) {
            step.change_header(value, &mut exchange.request)?;
        }
        self.change_query(&arguments, exchange)?;
        if let Some(method) = &self.http_method {
            exchange.request.set_method(method)?;
        }
        Ok(Flow::Proceed)
    }
}

impl RequestTransformer {
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

plugin_sdk::export!(RequestTransformer: on_request);

#[cfg(test)]
mod tests;
