//! Writes that go together: one transaction of the Admin API, and what its answer means.

use super::Stop;
use super::target::{ask, place};
use crate::admin_api::{AdminApi, Answer, Sent};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use weir_model::{Id, Kind, Schema};

/// Operations of a transaction: far below what the Admin API takes, so that other writers of the gateway wait only shortly.
const OPERATIONS: usize = 1000;
/// Bytes of a transaction: half of what the store takes.
const BYTES: usize = 4 << 20;
/// How long a gateway may be busy, or not know how a write has ended.
const SETTLING: Duration = Duration::from_secs(60);
/// Between two questions to one that is.
const PAUSE: Duration = Duration::from_millis(500);

/// A write of one entity.
pub struct Operation {
    /// Of the file, for messages.
    line: u64,
    kind: Kind,
    id: Id,
    /// As JSON.
    text: String,
}

impl Operation {
    /// The entity shall be this; with `new` only if it is not there yet.
    pub fn put(line: u64, kind: Kind, id: Id, body: Map<String, Value>, new: bool) -> Self {
        let mut operation = json!({ "method": "PUT", "path": format!("/{}/{id}", Schema::of(kind).path), "body": body });
        if let (true, Value::Object(fields)) = (new, &mut operation) {
            fields.insert("if_none_match".to_owned(), json!("*"));
        }
        Self { line, kind, id, text: operation.to_string() }
    }
    /// Where it is, for messages.
    pub fn place(&self) -> String {
        format!("line {} ({})", self.line, place(self.kind, self.id))
    }
}

/// Operations for one transaction.
#[derive(Default)]
pub struct Batch {
    operations: Vec<Operation>,
    bytes: usize,
}

impl Batch {
    /// Whether one more fits. The first always does: what is too large is told by the gateway.
    pub fn fits(&self, more: &Operation) -> bool {
        self.operations.is_empty() || (self.operations.len() < OPERATIONS && self.bytes + more.text.len() <= BYTES)
    }
    /// One more.
    pub fn push(&mut self, operation: Operation) {
        self.bytes += operation.text.len();
        self.operations.push(operation);
    }
    /// All of them; the batch is empty then.
    pub fn take(&mut self) -> Vec<Operation> {
        self.bytes = 0;
        std::mem::take(&mut self.operations)
    }
}

/// What became of a transaction.
pub enum Sending {
    /// Its results; none if that was learnt later.
    Done(Vec<Value>, Option<u64>),
    /// It is too large for one.
    TooLarge,
    /// The gateway refuses that operation, and all of them with it.
    Refused(usize, String, u16),
}

/// Writes them, in halves if they are too many for one transaction. Answers the last revision that was told.
pub fn write(api: &AdminApi, operations: &[Operation]) -> Result<Option<u64>, Stop> {
    match send(api, operations, false)? {
        Sending::Done(_, revision) => Ok(revision),
        Sending::TooLarge if operations.len() > 1 => {
            let (first, second) = operations.split_at(operations.len() / 2);
            let before = write(api, first)?;
            Ok(write(api, second)?.or(before))
        }
        Sending::TooLarge => {
            let place = operations.first().map(Operation::place).unwrap_or_default();
            Err(Stop::Change(format!("{place} is larger than {} takes", api.url())))
        }
        Sending::Refused(index, message, status) => {
            let place = operations.get(index).map(Operation::place).unwrap_or_default();
            Err(match status {
                412 => Stop::Again(format!("{place} was written by somebody else meanwhile; the same command compares anew")),
                _ => Stop::Change(format!("{place} is refused by {}: {message}", api.url())),
            })
        }
    }
}

/// Sends a transaction until it is known how it has ended.
pub fn send(api: &AdminApi, operations: &[Operation], dry_run: bool) -> Result<Sending, Stop> {
    let texts: Vec<&str> = operations.iter().map(|operation| operation.text.as_str()).collect();
    let text = format!("{{\"operations\":[{}]}}", texts.join(","));
    let path = if dry_run { "/transactions?dry_run=true" } else { "/transactions" };
    let until = Instant::now() + SETTLING;
    loop {
        let answer = ask(api, "POST", path, Sent::Json(&text))?;
        let operation = answer.body.get("operation").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        match (answer.status, operation) {
            (200, _) => return Ok(done(answer)),
            (400..500, Some(index)) => return Ok(Sending::Refused(index, refusal(&answer), answer.status)),
            // Judging took too long, or the body or the results are too large.
            (400 | 413, None) if operations.len() > 1 => return Ok(Sending::TooLarge),
            (413, None) => return Ok(Sending::TooLarge),
            (503, _) if answer.body.get("transaction").is_some() => {
                if settled(api, &answer, until)? {
                    return Ok(Sending::Done(Vec::new(), None));
                }
            }
            // Others write the same entities, or many.
            (409, None) => pause(&answer, until)?,
            (503, _) if answer.retry_after => pause(&answer, until)?,
            _ => {
                let goes_on = "when that is mended, the same command goes on where this one ended";
                return Err(Stop::Again(format!("{}: {}; {goes_on}", api.url(), answer.message())));
            }
        }
    }
}

fn done(mut answer: Answer) -> Sending {
    let revision = answer.body.get("revision").and_then(Value::as_u64);
    let results = match answer.body.get_mut("results").map(Value::take) {
        Some(Value::Array(results)) => results,
        _ => Vec::new(),
    };
    Sending::Done(results, revision)
}

/// What an error of the Admin API says, with the fields that it is about.
pub fn refusal(answer: &Answer) -> String {
    let fields = answer.body.get("fields").filter(|fields| !fields.is_null());
    let fields = fields.map(|fields| format!(", fields {fields}")).unwrap_or_default();
    format!("{}{fields}", answer.message())
}

fn pause(answer: &Answer, until: Instant) -> Result<(), Stop> {
    if Instant::now() >= until {
        return Err(Stop::Again(format!("{}; the same command goes on where this one ended", answer.message())));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

/// Asks what became of a transaction of which the gateway could not say: whether it stands.
fn settled(api: &AdminApi, unknown: &Answer, until: Instant) -> Result<bool, Stop> {
    let id = unknown.body.get("transaction").and_then(Value::as_str).unwrap_or_default();
    loop {
        let answer = ask(api, "GET", &format!("/transactions/{id}"), Sent::Nothing)?;
        match answer.body.get("outcome").and_then(Value::as_str) {
            Some("done") => return Ok(true),
            Some("not_done") => {
                // Bounded all the same: a store that loses every write is not written to for ever.
                pause(unknown, until)?;
                return Ok(false);
            }
            Some("forgotten") => {
                return Err(Stop::Again(format!(
                    "it is not known any more whether transaction {id} stands; the same command compares anew and goes on"
                )));
            }
            _ if Instant::now() >= until => {
                return Err(Stop::Again(format!(
                    "it is not known yet whether transaction {id} stands ({}); ask GET /transactions/{id}, and when its outcome is \
                     not `open`, the same command goes on",
                    unknown.message()
                )));
            }
            _ => std::thread::sleep(PAUSE),
        }
    }
}
