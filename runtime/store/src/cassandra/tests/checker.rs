//! What clients asked and were told, and whether the journal and the gateways bear it out.

use super::*;
use crate::Planned;
use crate::conformance::{entity, id};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use weir_model::{Kind, Op, Refusal, Selection, Transaction};

/// Names that all clients want: few, so that they collide.
pub(super) const NAMES: u32 = 6;

/// What a client asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A consumer of that name with that id, if there is none of that name.
    Create { name: u32, id: u32 },
    /// That there be none of that name.
    Remove { name: u32 },
    /// That a consumer which is there say this.
    Say { name: u32, what: u64 },
}

/// What it was told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Done at that revision, or nothing to do at that revision.
    Done { revision: Revision, changed: bool },
    /// Refused.
    Refused,
    /// Certainly not done.
    NotDone,
    /// Open.
    Open(TransactionId),
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    asked: Asked,
    told: Told,
    /// The newest revision that anybody had been told of when it was asked, and when it was answered.
    before: Revision,
    after: Revision,
}

pub(super) fn name(number: u32) -> String {
    format!("name-{number}")
}

pub(super) fn plan(asked: Asked) -> Plan {
    Box::new(move |view: &dyn View| {
        let (number, changed) = match &asked {
            Asked::Create { name, .. } | Asked::Remove { name } | Asked::Say { name, .. } => (*name, json!(true)),
        };
        let holder = view.find(Kind::Consumer, "username", &name(number))?;
        let ops = match (&asked, holder) {
            (Asked::Create { id: number, name: wanted }, None) => {
                vec![Op::Put(entity(Kind::Consumer, *number, json!({ "username": name(*wanted), "custom_id": null })))]
            }
            (Asked::Create { .. }, Some(_)) => return Err(Refusal::Conflict("taken".to_owned())),
            (Asked::Remove { .. }, Some(id)) => vec![Op::Delete { kind: Kind::Consumer, id }],
            (Asked::Remove { .. }, None) => return Ok(Planned { ops: Vec::new(), answer: json!(false) }),
            (Asked::Say { what, .. }, Some(id)) => {
                let mut entity = view.get(Kind::Consumer, id)?.ok_or(Refusal::NotFound)?;
                entity.body.insert("says".to_owned(), json!(what));
                vec![Op::Put(entity)]
            }
            (Asked::Say { .. }, None) => return Err(Refusal::NotFound),
        };
        Ok(Planned { ops, answer: changed })
    })
}

/// What the clients of a run share.
#[derive(Default)]
pub(super) struct History {
    events: Mutex<Vec<Event>>,
    newest: Mutex<Revision>,
}

impl History {
    pub(super) fn newest(&self) -> Revision {
        *self.newest.lock().unwrap()
    }
    /// How many questions were answered for certain, with a refusal or a revision.
    pub(super) fn answered(&self) -> usize {
        let is_certain = |event: &&Event| matches!(event.told, Told::Done { .. } | Told::Refused);
        self.events.lock().unwrap().iter().filter(is_certain).count()
    }
    fn note(&self, asked: Asked, told: Told, before: Revision) {
        let mut newest = self.newest.lock().unwrap();
        if let Told::Done { revision, .. } = told {
            *newest = (*newest).max(revision);
        }
        self.events.lock().unwrap().push(Event { asked, told, before, after: *newest });
    }
}

/// Asks as a client does; notes the question and the answer.
pub(super) async fn ask(store: &Cassandra, history: &History, asked: Asked, plan: Plan) -> Told {
    let before = history.newest();
    let told = match store.write(plan).await {
        Ok(written) => Told::Done { revision: written.revision, changed: written.answer == json!(true) },
        Err(WriteError::Refused(_)) => Told::Refused,
        Err(WriteError::Unknown { transaction: Some(transaction), .. }) => Told::Open(transaction),
        Err(WriteError::Unavailable { .. } | WriteError::Busy { .. }) => Told::NotDone,
        Err(other) => panic!("{other}"),
    };
    history.note(asked, told.clone(), before);
    told
}

/// The journal as the gateways have applied it: all of them, because one that loads a checkpoint skips rows.
#[derive(Default)]
pub(super) struct Journal(Mutex<Applied>);

#[derive(Default)]
struct Applied {
    rows: BTreeMap<Revision, Transaction>,
    /// Up to where each gateway was read.
    read: BTreeMap<usize, Revision>,
    wrong: Vec<String>,
}

impl Journal {
    /// Reads on from one of the gateways; they must not contradict each other.
    pub(super) fn read(&self, gateway: usize, store: &Cassandra) {
        let mut journal = self.0.lock().unwrap();
        let Applied { rows: known, read, wrong } = &mut *journal;
        loop {
            let after = read.get(&gateway).copied().unwrap_or_default();
            let rows = match store.transactions(after, 1000) {
                Ok(rows) if rows.is_empty() => return,
                Ok(rows) => rows,
                // It has loaded a checkpoint.
                Err(StoreError::Trimmed { floor }) => {
                    read.insert(gateway, floor);
                    continue;
                }
                Err(_) => return,
            };
            for row in rows {
                read.insert(gateway, row.revision);
                match known.get(&row.revision) {
                    Some(other) if *other != row => wrong.push(format!("two histories: {other:?} and {row:?}")),
                    Some(_) => {}
                    None => drop(known.insert(row.revision, row)),
                }
            }
        }
    }
}

/// What is wrong with what clients were told and with what the gateways have in the end; nothing if all is right.
pub(super) fn judge(history: &History, journal: &Journal, gateways: &[&Cassandra]) -> Vec<String> {
    for (at, store) in gateways.iter().enumerate() {
        journal.read(at, store);
    }
    let journal = journal.0.lock().unwrap();
    let transactions: Vec<Transaction> = journal.rows.values().cloned().collect();
    let events = history.events.lock().unwrap().clone();
    let open = events.iter().filter_map(|event| if let Told::Open(transaction) = event.told { Some(transaction) } else { None });
    let outcomes: Vec<_> = open.map(|transaction| (transaction, wait(gateways[0].outcome(transaction)).unwrap())).collect();
    tell(&events, &outcomes, transactions.len());
    let mut wrong = journal.wrong.clone();
    let states = match states(&transactions) {
        Ok(states) => states,
        Err(cause) => {
            wrong.push(cause);
            return wrong;
        }
    };
    let last = states.last().cloned().unwrap_or_default();
    wrong.extend(check(&events, &transactions, states, &outcomes));
    for (at, store) in gateways.iter().enumerate() {
        if contents(store) != last {
            wrong.push(format!("gateway {at} does not have what the journal says: {:?}", store.trouble()));
        }
    }
    let ends: Vec<_> =
        gateways.iter().map(|store| (store.status().revision, store.status().head, store.status().state)).collect();
    if ends.iter().any(|end| *end != ends[0]) {
        wrong.push(format!("the gateways differ: {ends:?}"));
    }
    wrong
}

fn contents(store: &Cassandra) -> BTreeMap<String, Id> {
    let (view, mut all) = (store.view().unwrap(), BTreeMap::new());
    let mut note = |entity: weir_model::Entity| {
        all.insert(entity.text("username").unwrap().to_owned(), entity.id);
    };
    view.each(Kind::Consumer, &Selection::All, &mut note).unwrap();
    all
}

fn tell(events: &[Event], outcomes: &[(TransactionId, Outcome)], revisions: usize) {
    let count = |what: fn(&Told) -> bool| events.iter().filter(|event| what(&event.told)).count();
    println!(
        "asked: {}, done: {}, refused: {}, not done: {}, open: {}, of which done: {}, revisions: {revisions}",
        events.len(),
        count(|told| matches!(told, Told::Done { .. })),
        count(|told| matches!(told, Told::Refused)),
        count(|told| matches!(told, Told::NotDone)),
        outcomes.len(),
        outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Done).count(),
    );
}

/// The state by name after each revision: name to holder.
type States = Vec<BTreeMap<String, Id>>;

fn states(transactions: &[Transaction]) -> Result<States, String> {
    let (mut states, mut names) = (vec![BTreeMap::new()], BTreeMap::<Id, String>::new());
    for (at, transaction) in transactions.iter().enumerate() {
        if transaction.revision.0 != at as u64 + 1 {
            return Err(format!("a hole in the journal before {}", transaction.revision));
        }
        let mut state = states[at].clone();
        for op in &transaction.ops {
            if let Some(old) = names.remove(&op.key().1) {
                state.remove(&old);
            }
            if let Op::Put(entity) = op
                && entity.kind == Kind::Consumer
            {
                let username = entity.text("username").unwrap().to_owned();
                if state.insert(username.clone(), entity.id).is_some() {
                    return Err(format!("two have the name {username} at revision {}", transaction.revision));
                }
                names.insert(entity.id, username);
            }
        }
        states.push(state);
    }
    Ok(states)
}

/// What a history is held against.
struct Checker<'h> {
    transactions: &'h [Transaction],
    states: States,
    outcomes: &'h [(TransactionId, Outcome)],
    wrong: Vec<String>,
}

/// Whether a transaction does what was asked for; a removal looks like any other.
fn does(asked: &Asked, transaction: &Transaction) -> bool {
    transaction.ops.iter().any(|op| match (asked, op) {
        (Asked::Create { id: number, .. }, Op::Put(entity)) => entity.id == id(*number),
        (Asked::Say { what, .. }, Op::Put(entity)) => entity.body.get("says") == Some(&json!(what)),
        _ => false,
    })
}

/// What is wrong with a history; nothing if it is right.
fn check(events: &[Event], transactions: &[Transaction], states: States, outcomes: &[(TransactionId, Outcome)]) -> Vec<String> {
    let mut checker = Checker { transactions, states, outcomes, wrong: Vec::new() };
    for event in events {
        match &event.told {
            Told::Done { revision, changed: true } => checker.done(event, *revision),
            Told::Done { revision, changed: false } => checker.nothing_to_do(event, *revision),
            Told::Refused => checker.refused(event),
            Told::NotDone if checker.occurs(&event.asked) => checker.wrong.push(format!("denied and done: {event:?}")),
            Told::NotDone => {}
            Told::Open(transaction) => checker.open(event, *transaction),
        }
        checker.created_once(event);
    }
    checker.wrong
}

impl Checker<'_> {
    fn is_taken(&self, at: u64, number: u32) -> bool {
        self.states[usize::try_from(at).unwrap()].contains_key(&name(number))
    }
    fn occurs(&self, asked: &Asked) -> bool {
        self.transactions.iter().any(|transaction| does(asked, transaction))
    }
    fn done(&mut self, event: &Event, revision: Revision) {
        let there = self.transactions.get(usize::try_from(revision.0 - 1).unwrap());
        let is_there = match (there, &event.asked) {
            (None, _) => false,
            (Some(transaction), Asked::Remove { name: number }) => {
                self.is_taken(revision.0 - 1, *number) && !self.is_taken(revision.0, *number) && transaction.ops.len() == 1
            }
            (Some(transaction), asked) => does(asked, transaction),
        };
        if !is_there {
            self.wrong.push(format!("lost: {event:?}"));
        }
        if revision <= event.before {
            self.wrong.push(format!("done before it was asked for: {event:?}"));
        }
    }
    fn nothing_to_do(&mut self, event: &Event, revision: Revision) {
        let Asked::Remove { name: number } = event.asked else { return };
        if revision.0 > self.transactions.len() as u64 || revision < event.before || self.is_taken(revision.0, number) {
            self.wrong.push(format!("nothing to do, but there was: {event:?}"));
        }
    }
    fn refused(&mut self, event: &Event) {
        let (Asked::Create { name: number, .. } | Asked::Say { name: number, .. }) = event.asked else { return };
        let wants_taken = matches!(event.asked, Asked::Create { .. });
        // At some moment between question and answer it was right; what is noted a little after the answer may have been before it.
        let last = (self.transactions.len() as u64).min(event.after.0 + 64);
        if !(event.before.0..=last).any(|at| self.is_taken(at, number) == wants_taken) {
            self.wrong.push(format!("refused without a reason: {event:?}"));
        }
        if self.occurs(&event.asked) {
            self.wrong.push(format!("refused and done: {event:?}"));
        }
    }
    fn open(&mut self, event: &Event, transaction: TransactionId) {
        if matches!(event.asked, Asked::Remove { .. }) {
            return;
        }
        let outcome = self.outcomes.iter().find(|(asked, _)| *asked == transaction).map(|(_, outcome)| *outcome);
        let fits = match outcome {
            Some(Outcome::Done) => self.occurs(&event.asked),
            Some(Outcome::NotDone) => !self.occurs(&event.asked),
            // So long ago that nobody can ask for it any more; the client was told that it is open, which is true.
            Some(Outcome::Forgotten) => true,
            Some(Outcome::Open) | None => false,
        };
        if !fits {
            self.wrong.push(format!("{outcome:?}, and the journal says otherwise: {event:?}"));
        }
    }
    /// However often an append was sent, what it makes is made once.
    fn created_once(&mut self, event: &Event) {
        let Asked::Create { id: number, .. } = event.asked else { return };
        let is_new = |at: usize| !self.states[at].values().any(|holder| *holder == id(number));
        let made =
            self.transactions.iter().enumerate().filter(|(at, transaction)| does(&event.asked, transaction) && is_new(*at));
        if made.count() > 1 {
            self.wrong.push(format!("done twice: {event:?}"));
        }
    }
}
