//! Before an import writes: whether the file is whole, and how each of its entities stands to what the gateway has.

use super::batch::{self, Batch, Operation, Sending};
use super::compare::differences;
use super::components::{Components, Standing};
use super::target::{Target, place};
use super::{Stop, grouped, next, open};
use crate::admin_api::AdminApi;
use serde_json::{Map, Value};
use std::path::Path;
use weir_admin::export::{Header, Line};
use weir_model::schema::{expired, present};
use weir_model::{Entity, Kind};

/// How many conflicts are told one by one.
const NAMED: usize = 10;

/// What a whole file holds.
pub struct Contents {
    pub header: Header,
    pub entities: u64,
}

/// Reads the file to its end: nothing of one that is damaged is written.
pub fn verify(path: &Path) -> Result<Contents, Stop> {
    let mut reader = open(path)?;
    let (mut header, mut entities) = (None, 0);
    while let Some(line) = next(&mut reader, path)? {
        match line {
            Line::Header(found) => header = Some(found),
            Line::Entity(_) => entities += 1,
            Line::Bytes(_) | Line::End(_) => {}
        }
    }
    let header = header.ok_or_else(|| Stop::Change(format!("{} has no header", path.display())))?;
    Ok(Contents { header, entities })
}

/// How the entities of a file stand to a gateway.
#[derive(Default)]
pub struct Survey {
    pub new: u64,
    pub equal: u64,
    pub expired: u64,
    pub differing: u64,
    /// The first of those that differ.
    named: Vec<String>,
    /// Whether the gateway would take what is new; unset if that was not asked.
    pub judged: bool,
}

impl Survey {
    /// What is in the way of an import that may not replace anything.
    pub fn conflicts(&self) -> Option<String> {
        if self.differing == 0 {
            return None;
        }
        let more = self.differing - self.named.len() as u64;
        let more = if more > 0 { format!("\n  and {} more", grouped(more)) } else { String::new() };
        Some(format!(
            "{} entities are there and differ, and nothing was written; --overwrite replaces them:\n  {}{more}",
            grouped(self.differing),
            self.named.join("\n  ")
        ))
    }
    fn differs(&mut self, what: String) {
        self.differing += 1;
        if self.named.len() < NAMED {
            self.named.push(what);
        }
    }
}

/// What is there in place of an entity that differs, until the gateway has said whether writing that would change anything.
struct Doubt {
    there: Map<String, Value>,
    what: String,
}

/// Compares and writes nothing.
pub struct Surveyor<'a> {
    api: &'a AdminApi,
    now: u64,
    survey: Survey,
    /// One for each operation of the batch behind them.
    doubts: Vec<Doubt>,
    doubted: Batch,
    /// What is new, for one transaction that the gateway judges; unset if it does not fit, or cannot be judged before components are there.
    new: Option<Batch>,
}

impl<'a> Surveyor<'a> {
    /// With `judge` the gateway is asked whether it would take what is new.
    pub fn new(api: &'a AdminApi, now: u64, judge: bool) -> Self {
        Self {
            api,
            now,
            survey: Survey::default(),
            doubts: Vec::new(),
            doubted: Batch::default(),
            new: judge.then(Batch::default),
        }
    }

    /// Compares the whole file.
    pub fn run(mut self, path: &Path) -> Result<Survey, Stop> {
        let mut reader = open(path)?;
        let components = Components::read(self.api)?;
        let mut target = Target::new(self.api);
        while let Some(line) = next(&mut reader, path)? {
            let Line::Entity(entity) = line else { continue };
            let number = reader.number();
            if entity.kind == Kind::Component {
                self.component(number, &entity, &components)?;
                continue;
            }
            let there = target.find(&entity)?;
            self.entity(number, &entity, there)?;
        }
        self.settle()?;
        if let Some(mut new) = self.new.take() {
            self.judge(&new.take())?;
            self.survey.judged = true;
        }
        Ok(self.survey)
    }

    fn component(&mut self, line: u64, component: &Entity, components: &Components) -> Result<(), Stop> {
        let text = |field| component.text(field).unwrap_or_default();
        let name = format!("{}@{}", text("name"), text("version"));
        match components.standing(component) {
            Standing::Equal => self.survey.equal += 1,
            Standing::New | Standing::Unset => {
                self.survey.new += 1;
                self.new = None;
            }
            Standing::Differs(what) => self.survey.differs(format!("line {line}: component {name} ({what})")),
            Standing::OtherBytes => {
                return Err(Stop::Change(format!(
                    "line {line}: {} has component {name} with other bytes, and a version never changes; nothing was written",
                    self.api.url()
                )));
            }
        }
        Ok(())
    }

    fn entity(&mut self, line: u64, entity: &Entity, there: Option<Map<String, Value>>) -> Result<(), Stop> {
        if expired(entity, self.now) {
            self.survey.expired += 1;
            return Ok(());
        }
        let body = present(entity, self.now);
        let Some(there) = there else {
            self.survey.new += 1;
            if let Some(new) = &mut self.new {
                let operation = Operation::put(line, entity.kind, entity.id, body, true);
                if new.fits(&operation) { new.push(operation) } else { self.new = None }
            }
            return Ok(());
        };
        let differ = differences(&body, &there);
        if differ.is_empty() {
            self.survey.equal += 1;
            return Ok(());
        }
        let place = place(entity.kind, entity.id);
        let what = format!("line {line}: {}/{place} differs in {}", self.api.url(), differ.join(", "));
        let operation = Operation::put(line, entity.kind, entity.id, body, false);
        if !self.doubted.fits(&operation) {
            self.settle()?;
        }
        self.doubted.push(operation);
        self.doubts.push(Doubt { there, what });
        Ok(())
    }

    /// Another version may have fields that the file does not know, and fills them in: so the gateway is asked what it would make of
    /// the entities that differ.
    fn settle(&mut self) -> Result<(), Stop> {
        let (operations, doubts) = (self.doubted.take(), std::mem::take(&mut self.doubts));
        self.ask(&operations, doubts)
    }

    fn ask(&mut self, operations: &[Operation], mut doubts: Vec<Doubt>) -> Result<(), Stop> {
        if operations.is_empty() {
            return Ok(());
        }
        match batch::send(self.api, operations, true)? {
            Sending::Done(results, _) => {
                for (index, Doubt { there, what }) in doubts.into_iter().enumerate() {
                    let body = results.get(index).and_then(|result| result.get("body")?.as_object());
                    match body.is_some_and(|body| differences(body, &there).is_empty()) {
                        true => self.survey.equal += 1,
                        false => self.survey.differs(what),
                    }
                }
            }
            // What it refuses is not what it has.
            Sending::Refused(..) | Sending::TooLarge if operations.len() == 1 => {
                doubts.into_iter().for_each(|doubt| self.survey.differs(doubt.what));
            }
            Sending::Refused(..) | Sending::TooLarge => {
                let (first, second) = operations.split_at(operations.len() / 2);
                let rest = doubts.split_off(first.len());
                self.ask(first, doubts)?;
                self.ask(second, rest)?;
            }
        }
        Ok(())
    }

    fn judge(&self, new: &[Operation]) -> Result<(), Stop> {
        match batch::send(self.api, new, true)? {
            Sending::Done(..) | Sending::TooLarge => Ok(()),
            Sending::Refused(index, message, _) => {
                let place = new.get(index).map(Operation::place).unwrap_or_default();
                Err(Stop::Change(format!("{place} would be refused by {}: {message}", self.api.url())))
            }
        }
    }
}
