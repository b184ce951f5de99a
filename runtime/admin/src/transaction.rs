//! `/transactions`: several writes of entities, all or nothing, and what became of a write whose end nobody saw.
//!
//! The operations are judged in order, each in the state that those before it make (`Overlay`), and end as one transaction of the
//! journal. They are judged once on this node's own view before: guests must see the configurations of their entries, and the
//! store's writer waits for nobody. What refuses there is judged again at the tip, since this node may be behind it; what a guest
//! was asked about must still be so.

use crate::answer;
use crate::body::{self, Input};
use crate::context::AdminContext;
use crate::entity::{RACES, now};
use crate::error::Fault;
use crate::guard::blocking;
use crate::operation::{Done, Judged, Operation};
use crate::path;
use crate::plugin::{self, Known};
use crate::precondition::Precondition;
use crate::query::Query;
use crate::wait::{Wait, served};
use crate::wish::Wish;
use axum::body::Body;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use weir_model::{Entity, Kind, Overlay, Refusal, TransactionId, View, schema};
use weir_store::{Outcome, Plan, Planned, Written};

/// The largest body. The store takes 8 MiB of results; the rest is for paths and for what an indented file has of spaces.
const TRANSACTION_BODY_LIMIT: usize = 16 << 20;
/// Operations of a transaction: the store takes results for as many entities.
const OPERATIONS: usize = 10_000;
/// How long judging them may take without the guests. All writes of this node wait meanwhile, and a full transaction takes a
/// tenth of this; one that takes longer goes through the same children again and again.
const JUDGING: Duration = Duration::from_secs(5);

/// `POST /transactions`
pub(crate) async fn post(
    context: Arc<AdminContext>,
    headers: &HeaderMap,
    query: &Query,
    sent: Body,
    wait: Wait,
) -> Result<Response<Body>, Fault> {
    if body::media_type(headers)?.as_deref() != Some("application/json") {
        return Err(Fault::UnsupportedMedia("A transaction is sent as application/json".to_owned()));
    }
    let dry_run = query.flag("dry_run")?.unwrap_or_default();
    let permit = context.transactions.acquire().await.map_err(|error| Fault::Crashed(error.to_string()))?;
    let bytes = body::bytes(sent, TRANSACTION_BODY_LIMIT).await?;
    let (operations, dry_run_asked) = blocking(move || read(&bytes)).await?;
    let dry_run = dry_run || dry_run_asked;
    let Written { revision, answer } = write(&context, Arc::new(operations), dry_run).await?;
    drop(permit);
    let results = match answer {
        Value::Array(results) => results.into_iter().map(shown).collect::<Result<Vec<_>, _>>()?,
        _ => return Err(Fault::Crashed("the answer of a transaction cannot be read".to_owned())),
    };
    let mut body = json!({ "revision": revision, "results": results });
    if !dry_run {
        return Ok(served(&context, answer::json(StatusCode::OK, &body), revision, wait).await);
    }
    if let Value::Object(map) = &mut body {
        map.insert("dry_run".to_owned(), Value::Bool(true));
    }
    Ok(answer::at(answer::json(StatusCode::OK, &body), revision))
}

fn shown(result: Value) -> Result<Value, Fault> {
    let done = Done::from_json(result)?;
    let status = done.status().as_u16();
    Ok(match done.entity {
        Some(entity) => json!({ "status": status, "body": schema::present(&entity, now()) }),
        None => json!({ "status": status }),
    })
}

/// `GET /transactions/{id}`
pub(crate) async fn outcome(context: &AdminContext, id: &str) -> Result<Response<Body>, Fault> {
    let Some(transaction) = TransactionId::parse(id) else {
        return Err(Fault::NoSuch(format!(
            "'{id}' is no id of a transaction; the answer to a write of which it is not known how it ended names one"
        )));
    };
    let outcome = context.store.outcome(transaction).await?;
    let mut body = json!({ "id": transaction.to_string(), "outcome": outcome });
    if let (Outcome::Done, Value::Object(map)) = (outcome, &mut body) {
        map.insert("revision".to_owned(), Value::from(transaction.first.0));
    }
    Ok(answer::json(StatusCode::OK, &body))
}

/// The operations of a body, and whether it asks for a dry run.
fn read(bytes: &[u8]) -> Result<(Vec<Operation>, bool), Fault> {
    let bad = |message: String| Fault::BadBody(message);
    let mut fields = crate::json::object(bytes).map_err(|reason| bad(format!("Cannot parse JSON body: {reason}")))?;
    let operations = match fields.remove("operations") {
        Some(Value::Array(operations)) => operations,
        _ => return Err(bad("A transaction has 'operations', a list".to_owned())),
    };
    let dry_run = match fields.remove("dry_run") {
        None => false,
        Some(Value::Bool(dry_run)) => dry_run,
        Some(_) => return Err(bad("'dry_run' is true or false".to_owned())),
    };
    if let Some(unknown) = fields.keys().next() {
        return Err(bad(format!("A transaction has 'operations' and 'dry_run', and no '{unknown}'")));
    }
    if operations.len() > OPERATIONS {
        return Err(bad(format!(
            "A transaction has at most {OPERATIONS} operations, as many as the store takes at once; this one has {}: split it",
            operations.len()
        )));
    }
    let read = |(index, operation)| operation_of(operation).map_err(|fault| of_operation(index, fault));
    let operations = operations.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((operations, dry_run))
}

fn of_operation(index: usize, fault: Fault) -> Fault {
    Fault::Operation { index, fault: Box::new(fault) }
}

/// One element of `operations`.
fn operation_of(operation: Value) -> Result<Operation, Fault> {
    let bad = |message: &str| Fault::BadBody(message.to_owned());
    let Value::Object(mut fields) = operation else { return Err(bad("An operation is an object")) };
    let mut text = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::BadBody(format!("'{name}' of an operation is text"))),
    };
    let (method, path) = (text("method")?, text("path")?);
    let (matches, none) = (text("if_match")?, text("if_none_match")?);
    let input = match fields.remove("body") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(body)) => body,
        Some(_) => return Err(bad("'body' of an operation is an object")),
    };
    if let Some(unknown) = fields.keys().next() {
        return Err(Fault::BadBody(format!(
            "An operation has 'method', 'path', 'body', 'if_match' and 'if_none_match', and no '{unknown}'"
        )));
    }
    let method = match method.as_deref() {
        Some("POST") => Method::POST,
        Some("PUT") => Method::PUT,
        Some("PATCH") => Method::PATCH,
        Some("DELETE") => Method::DELETE,
        _ => return Err(bad("'method' of an operation is POST, PUT, PATCH or DELETE")),
    };
    let path = path.ok_or_else(|| bad("An operation has a 'path'"))?;
    if path.contains(['?', '#']) {
        return Err(bad("'path' of an operation has no query; options go with the transaction"));
    }
    let endpoint = path::endpoint(&path).ok_or(Fault::NotFound)?;
    let Some(kind) = endpoint.written() else {
        return Err(Fault::BadBody(format!("'{path}' is no path of an entity, so an operation cannot write it")));
    };
    if kind == Kind::Component {
        return Err(bad("components are not part of a transaction: write them by requests to /components"));
    }
    if !endpoint.methods().contains(&method) {
        return Err(Fault::MethodNotAllowed(endpoint.allow()));
    }
    let condition = Precondition::of_fields(&method, matches.as_deref(), none.as_deref())?;
    Operation::of(endpoint, &method, Input { fields: input, form: false }, condition)
}

/// One operation as a transaction: its answer, and its fault without a number.
pub(crate) async fn alone(context: &Arc<AdminContext>, operation: Operation) -> Result<Written, Fault> {
    match write(context, Arc::new(vec![operation]), false).await {
        Ok(mut written) => {
            written.answer = written.answer.get_mut(0).map(Value::take).unwrap_or_default();
            Ok(written)
        }
        Err(Fault::Operation { fault, .. }) => Err(*fault),
        Err(fault) => Err(fault),
    }
}

/// Judges and writes the operations. The answer is the list of what each has come to.
async fn write(context: &Arc<AdminContext>, operations: Arc<Vec<Operation>>, dry_run: bool) -> Result<Written, Fault> {
    for _ in 0..RACES {
        let checked = {
            let (context, operations) = (context.clone(), operations.clone());
            blocking(move || check(&context, &operations)).await?
        };
        let (raced, at) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let plan: Plan = {
            let (context, operations, raced, at) = (context.clone(), operations.clone(), raced.clone(), at.clone());
            Box::new(move |view| {
                // It may be the second time, and the first has raced.
                raced.store(false, Ordering::Relaxed);
                let mut overlay = Overlay::new(view);
                let mut answers = Vec::with_capacity(operations.len());
                for (index, operation) in operations.iter().enumerate() {
                    at.store(index, Ordering::Relaxed);
                    let judged = operation.judge(&overlay, &|name| checked.plugin(&context, index, operation, name));
                    if checked.differs(index, operation, &judged) {
                        raced.store(true, Ordering::Relaxed);
                        return Err(Refusal::NotFound);
                    }
                    let judged = judged?;
                    overlay.apply(&judged.ops)?;
                    answers.push(judged.done.to_json());
                }
                let ops = if dry_run { Vec::new() } else { overlay.into_ops() };
                Ok(Planned { ops, answer: Value::Array(answers) })
            })
        };
        let written = context.store.write(plan).await.map_err(Fault::from);
        if !raced.load(Ordering::Relaxed) {
            return written.map_err(|fault| match fault {
                Fault::Refused(_) => of_operation(at.load(Ordering::Relaxed), fault),
                other => other,
            });
        }
    }
    Err(Fault::Raced)
}

/// What was learnt of the operations on this node's own view.
struct Checked {
    /// Of those that write an entry of a plugin, by their number.
    entries: BTreeMap<usize, Entry>,
    /// One that this view refuses; those after it were not looked at.
    refused: Option<usize>,
}

/// An entry of a plugin.
#[derive(Default)]
struct Entry {
    /// Its plugin.
    known: Option<Arc<Known>>,
    /// As the guest has accepted it.
    accepted: Option<Entity>,
}

impl Checked {
    /// The plugin of that name, for an operation.
    fn plugin(&self, context: &AdminContext, index: usize, operation: &Operation, name: &str) -> Option<Arc<Known>> {
        if operation.kind() == Kind::Plugin {
            return self.entries.get(&index)?.known.clone().filter(|known| known.info.name == name);
        }
        plugin::pointed_to(context.catalog.as_ref(), name)
    }
    /// Whether the tip comes to something else than what was checked, so that it must be checked again.
    fn differs(&self, index: usize, operation: &Operation, judged: &Result<Judged, Refusal>) -> bool {
        let entry = matches!(operation, Operation::Put(wish) if wish.kind == Kind::Plugin);
        match judged {
            // Which schema it was depends on what the entry was.
            Err(Refusal::Schema(_)) => entry,
            Err(_) => false,
            Ok(_) if self.refused == Some(index) => true,
            Ok(judged) if entry => {
                let accepted = self.entries.get(&index).and_then(|entry| entry.accepted.as_ref());
                let same = |before: &Entity, after: &Entity| {
                    ["name", "config", "enabled"].iter().all(|field| before.body.get(*field) == after.body.get(*field))
                };
                !accepted.zip(judged.done.entity.as_ref()).is_some_and(|(before, after)| same(before, after))
            }
            Ok(_) => false,
        }
    }
}

/// Judges against the newest view of this node, and asks the guests.
fn check(context: &AdminContext, operations: &[Operation]) -> Result<Checked, Fault> {
    let view = context.store.view()?;
    let mut overlay = Overlay::new(view.as_ref());
    let mut checked = Checked { entries: BTreeMap::new(), refused: None };
    let mut spent = Duration::ZERO;
    for (index, operation) in operations.iter().enumerate() {
        let begun = Instant::now();
        let judged = match operation {
            Operation::Put(wish) if wish.kind == Kind::Plugin => {
                let mut entry = Entry::default();
                let judged = judge_entry(context, &overlay, wish, operation, &mut entry.known);
                let judged = judged.map_err(|fault| of_operation(index, fault))?;
                entry.accepted = judged.as_ref().and_then(|judged| judged.done.entity.clone());
                checked.entries.insert(index, entry);
                judged
            }
            operation => match operation.judge(&overlay, &|name| checked.plugin(context, index, operation, name)) {
                Ok(judged) => Some(judged),
                Err(Refusal::View(error)) => return Err(error.into()),
                Err(_) => None,
            },
        };
        let Some(judged) = judged else {
            checked.refused = Some(index);
            return Ok(checked);
        };
        overlay.apply(&judged.ops)?;
        spent += begun.elapsed();
        if let Some(entry) = checked.entries.get(&index) {
            ask_guest(context, entry).map_err(|fault| of_operation(index, fault))?;
        }
        if spent > JUDGING {
            return Err(Fault::BadBody(format!(
                "Judging the first {} operations took longer than {} seconds, and all writes would wait for it: split the transaction",
                index + 1,
                JUDGING.as_secs()
            )));
        }
    }
    Ok(checked)
}

/// Judges the entry of a plugin; nothing if this view refuses it for a reason that only the tip can confirm.
fn judge_entry(
    context: &AdminContext,
    view: &dyn View,
    wish: &Wish,
    operation: &Operation,
    used: &mut Option<Arc<Known>>,
) -> Result<Option<Judged>, Fault> {
    let seen = std::cell::RefCell::new(None);
    let judged = operation.judge(view, &|name| {
        // A schema that cannot be read is told apart below; here it is a plugin that is not there.
        let known = plugin::known(context.catalog.as_ref(), name).map(|known| known.map(Arc::new));
        let answer = known.as_ref().ok().cloned().flatten();
        *seen.borrow_mut() = Some(known);
        answer
    });
    *used = seen.into_inner().transpose()?.flatten();
    match judged {
        Ok(judged) => Ok(Some(judged)),
        // What is wrong with other fields hides nothing of what the guest has against its configuration.
        Err(Refusal::Schema(mut findings)) => {
            if let Some(known) = used {
                findings.0.extend(wish.ask_guest(view, context.catalog.as_ref(), known).0);
            }
            Err(Refusal::Schema(findings).into())
        }
        Err(Refusal::View(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

fn ask_guest(context: &AdminContext, entry: &Entry) -> Result<(), Fault> {
    let (Some(known), Some(entity)) = (&entry.known, &entry.accepted) else {
        return Err(Fault::Crashed("an entry was judged without its plugin".to_owned()));
    };
    let findings = plugin::check_config(context.catalog.as_ref(), &known.info.name, &entity.body);
    if findings.is_empty() { Ok(()) } else { Err(Refusal::Schema(findings).into()) }
}
