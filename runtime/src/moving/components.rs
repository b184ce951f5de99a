//! Components of an import: their bytes are uploaded, since what a component is comes from its bytes alone; what an operator decides
//! about it follows.

use super::Stop;
use super::batch::refusal;
use super::compare::differences;
use super::target::{Listed, ask, get, place};
use crate::admin_api::{AdminApi, Answer, Sent};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use weir_model::entity::ComponentSettings;
use weir_model::{Entity, Kind};

/// How long a node may take to make an uploaded component ready.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Between two questions whether it is.
const PAUSE: Duration = Duration::from_millis(200);

/// The components that the gateway has. Few, and kept without their schemas.
pub struct Components<'a> {
    api: &'a AdminApi,
    there: Vec<Map<String, Value>>,
}

/// How a component of the file stands to the gateway.
#[derive(PartialEq, Debug)]
pub enum Standing {
    New,
    Equal,
    /// It was uploaded and has no settings yet: so it is left by an import that ended there.
    Unset,
    /// What differs.
    Differs(String),
    /// The version has other bytes.
    OtherBytes,
}

fn settings(component: &Map<String, Value>) -> Map<String, Value> {
    let defaults = serde_json::to_value(ComponentSettings::default()).unwrap_or_default();
    let names = defaults.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).chain(["tags"]);
    names.map(|name| (name.to_owned(), component.get(name).cloned().unwrap_or_default())).collect()
}

fn defaults() -> Map<String, Value> {
    settings(serde_json::to_value(ComponentSettings::default()).unwrap_or_default().as_object().unwrap_or(&Map::new()))
}

/// Whether this version serves.
pub fn is_active(component: &Map<String, Value>) -> bool {
    component.get("active") == Some(&Value::Bool(true))
}

impl<'a> Components<'a> {
    /// Reads what there is.
    pub fn read(api: &'a AdminApi) -> Result<Self, Stop> {
        let (mut listed, mut there) = (Listed::new(api, Kind::Component), Vec::new());
        while let Some(mut component) = listed.next_one()? {
            component.remove("config_schema");
            there.push(component);
        }
        Ok(Self { api, there })
    }

    /// How a component of the file stands to what there is.
    pub fn standing(&self, component: &Entity) -> Standing {
        let same = |one: &Map<String, Value>, field| one.get(field) == component.body.get(field);
        let other = self.there.iter().find(|one| same(one, "name") && !same(one, "version") && is_active(one));
        let takes_over = other.filter(|_| is_active(&component.body));
        let version = |one: &Map<String, Value>| one.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
        match self.found(component) {
            Some(found) if !same(found, "digest") => Standing::OtherBytes,
            Some(found) => {
                let differ = differences(&settings(&component.body), &settings(found));
                match (is_active(found) == is_active(&component.body), differ) {
                    (true, differ) if differ.is_empty() => Standing::Equal,
                    (true, _) if settings(found) == defaults() => Standing::Unset,
                    (true, differ) => Standing::Differs(differ.join(", ")),
                    (false, mut differ) => {
                        differ.insert(0, "active".to_owned());
                        Standing::Differs(differ.join(", "))
                    }
                }
            }
            None => match takes_over {
                Some(other) => Standing::Differs(format!("active: version {} serves there", version(other))),
                None => Standing::New,
            },
        }
    }

    /// Whether its bytes are there and need not be sent.
    pub fn has(&self, component: &Entity) -> bool {
        self.found(component).is_some()
    }

    /// The same version of it, as it is there.
    fn found(&self, component: &Entity) -> Option<&Map<String, Value>> {
        let same = |one: &Map<String, Value>, field| one.get(field) == component.body.get(field);
        self.there.iter().find(|one| same(one, "name") && same(one, "version"))
    }

    /// Uploads a component that is not there.
    pub fn upload(&self, line: u64, component: &Entity, bytes: &[u8]) -> Result<(), Stop> {
        let grants = component.body.get("grants").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let grants = grants.collect::<Vec<_>>().join(",");
        let active = is_active(&component.body);
        let path = format!("/components?grants={grants}&active={active}");
        let answer = ask(self.api, "POST", &path, Sent::Wasm(bytes))?;
        self.check(line, component, &answer)?;
        let name = component.text("name").unwrap_or_default();
        if active && answer.served.as_deref() == Some("pending") {
            self.wait_until_ready(name)?;
        }
        if settings(&component.body) == defaults() { Ok(()) } else { self.set(line, component, false) }
    }

    /// Makes its settings those of the file; and whether it serves, if that is asked for and needs doing.
    pub fn set(&self, line: u64, component: &Entity, active: bool) -> Result<(), Stop> {
        let mut body = settings(&component.body);
        if active {
            body.insert("active".to_owned(), json!(is_active(&component.body)));
        }
        let path = format!("/{}", place(Kind::Component, component.id));
        let answer = ask(self.api, "PATCH", &path, Sent::Json(&Value::Object(body).to_string()))?;
        self.check(line, component, &answer)
    }

    fn check(&self, line: u64, component: &Entity, answer: &Answer) -> Result<(), Stop> {
        let text = |field| component.text(field).unwrap_or_default();
        let what = format!("line {line} (component {}@{})", text("name"), text("version"));
        match answer.status {
            200 | 201 => Ok(()),
            400..500 => Err(Stop::Change(format!("{what} is refused by {}: {}", self.api.url(), refusal(answer)))),
            _ => Err(Stop::Again(format!("{what}: {}: {}; the same command goes on", self.api.url(), answer.message()))),
        }
    }

    /// Entries of a plugin are taken once the node has it.
    fn wait_until_ready(&self, name: &str) -> Result<(), Stop> {
        let until = Instant::now() + READY_WAIT;
        loop {
            let enabled = get(self.api, "/plugins/enabled")?;
            let enabled = enabled.get("enabled_plugins").and_then(Value::as_array).into_iter().flatten();
            if enabled.into_iter().any(|plugin| plugin.as_str() == Some(name)) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Stop::Again(format!(
                    "{} has plugin '{name}' but has not made it ready within {} s; its log says why. The same command goes on",
                    self.api.url(),
                    READY_WAIT.as_secs()
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }
}
