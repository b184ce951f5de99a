//! Runs the SDK's own cases: the same file natively (`cargo test -p sdk-cases`) and inside the gateway, so that the SDK's memory
//! backing cannot drift from the host. The gateway must let every case pass: 200; what does not hold comes back as a 500.

mod cases;

use cases::Case;
use plugin_sdk::{Exchange, Findings, Flow, Plugin, Reply, Result};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct SdkCases {
    /// Which case runs. Without one, a request is answered with the names of all, one a line.
    #[serde(default)]
    case: Option<String>,
    #[serde(skip)]
    prepared: cases::Prepared,
}

impl SdkCases {
    fn case(&self) -> Option<&'static Case> {
        cases::ALL.iter().find(|case| self.case.as_deref() == Some(case.name))
    }
}

fn verdict(outcome: cases::Outcome) -> Result<Flow> {
    Ok(match outcome {
        Ok(()) => Flow::Proceed,
        Err(unlike) => Reply::new(500).header("x-case", "failed").body(unlike).into(),
    })
}

impl Plugin for SdkCases {
    const CREDENTIALS: &'static [&'static str] = &["key-auth"];

    fn check(&mut self, findings: &mut Findings) {
        match cases::prepare(self.case.as_deref()) {
            Ok(prepared) => self.prepared = prepared,
            Err(unlike) => findings.add_general(unlike),
        }
    }

    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        match (self.case(), &self.case) {
            (Some(case), _) => verdict((case.on_request)(exchange, &self.prepared)),
            (None, Some(unknown)) => verdict(Err(format!("there is no case {unknown}"))),
            (None, None) => {
                let names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
                Ok(Reply::new(200).body(names.join("\n")).into())
            }
        }
    }

    fn on_response(&self, exchange: &mut Exchange) -> Result<Flow> {
        if exchange.response.header("x-case").is_some() {
            return Ok(Flow::Proceed);
        }
        self.case().map_or(Ok(Flow::Proceed), |case| verdict((case.on_response)(exchange, &self.prepared)))
    }
}

plugin_sdk::export!(SdkCases: on_request, on_response);

#[cfg(test)]
mod tests {
    use super::{SdkCases, cases};
    use plugin_sdk::{Flow, testing};

    #[test]
    fn every_case_holds_in_the_memory_backing() {
        for case in cases::ALL {
            let plugin = testing::configure::<SdkCases>(&format!("{{\"case\": {:?}}}", case.name)).unwrap();
            let mut exchange = testing::get("/sdk-cases/a%20b?x=1&x=%32")
                .with_header("X-One", "1")
                .with_header("x-two", "a")
                .with_header("X-Two", "b, c")
                .with_service("sdk-cases");
            let first = plugin.on_request(&mut exchange);
            assert_eq!(first, Ok(Flow::Proceed), "{} in the request phase", case.name);
            exchange.upstream_answers(200, &[("x-upstream", "1")]);
            assert_eq!(plugin.on_response(&mut exchange), Ok(Flow::Proceed), "{} in the response phase", case.name);
        }
    }
}
