//! Clients on three gateways while nodes of Cassandra hang, die and lose answers; then a checker reads the history.
//!
//! `cargo xtask faults` sets `WEIR_FAULTS_SECONDS`, and three nodes are played with; without it a short part runs on one. The order of the faults follows from
//! `WEIR_FAULTS_SEED`, which is printed; what the clients do meanwhile does not repeat exactly.

use super::*;
use crate::Planned;
use crate::cassandra::broken::{self, Broken};
use crate::conformance::{entity, id};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use weir_cassandra_harness::{Cluster, Flow, Options};
use weir_model::{Kind, Op, Refusal, Transaction};

/// Names that all clients want: few, so that they collide.
const NAMES: u32 = 6;

/// What a client asked for.
#[derive(Clone, Debug)]
enum Asked {
    /// A consumer of that name with that id, if there is none of that name.
    Create { name: u32, id: u32 },
    /// That there be none of that name.
    Remove { name: u32 },
    /// That a consumer which is there say this.
    Say { name: u32, what: u64 },
}

/// What it was told.
#[derive(Clone, Debug)]
enum Told {
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
struct Event {
    asked: Asked,
    told: Told,
    /// The newest revision that anybody had been told of when it was asked, and when it was answered.
    before: Revision,
    after: Revision,
}

fn name(number: u32) -> String {
    format!("name-{number}")
}

fn plan(asked: Asked) -> Plan {
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

/// A small generator of numbers; the same seed gives the same ones.
struct Lots(u64);

impl Lots {
    fn below(&mut self, most: u64) -> u64 {
        // splitmix64: any sequence that is not the same each time would do.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % most
    }
}

/// What the clients of a run share.
#[derive(Default)]
struct History {
    events: Mutex<Vec<Event>>,
    newest: Mutex<Revision>,
    over: AtomicBool,
}

impl History {
    fn newest(&self) -> Revision {
        *self.newest.lock().unwrap()
    }
    fn note(&self, asked: Asked, told: Told, before: Revision) {
        let mut newest = self.newest.lock().unwrap();
        if let Told::Done { revision, .. } = told {
            *newest = (*newest).max(revision);
        }
        self.events.lock().unwrap().push(Event { asked, told, before, after: *newest });
    }
}

async fn client(store: Arc<Cassandra>, history: Arc<History>, number: u64) {
    let mut lots = Lots(number);
    let mut count = 0u32;
    while !history.over.load(Ordering::Relaxed) {
        count += 1;
        let wanted = u32::try_from(lots.below(u64::from(NAMES))).unwrap();
        let unique = u32::try_from(number).unwrap() * 1_000_000 + count;
        let asked = match lots.below(5) {
            0 | 1 => Asked::Create { name: wanted, id: unique },
            2 => Asked::Remove { name: wanted },
            _ => Asked::Say { name: wanted, what: u64::from(unique) },
        };
        let before = history.newest();
        let told = match store.write(plan(asked.clone())).await {
            Ok(written) => Told::Done { revision: written.revision, changed: written.answer == json!(true) },
            Err(WriteError::Refused(_)) => Told::Refused,
            Err(WriteError::Unknown { transaction: Some(transaction), .. }) => Told::Open(transaction),
            Err(WriteError::Unavailable { .. } | WriteError::Busy { .. }) => Told::NotDone,
            Err(other) => panic!("{other}"),
        };
        let away = matches!(told, Told::NotDone);
        history.note(asked, told, before);
        if away {
            // Nobody to ask: not as fast as the processor can.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The state by name after each revision: name to holder.
type States = Vec<BTreeMap<String, Id>>;

fn states(transactions: &[Transaction]) -> States {
    let (mut states, mut names) = (vec![BTreeMap::new()], BTreeMap::<Id, String>::new());
    for (at, transaction) in transactions.iter().enumerate() {
        assert_eq!(transaction.revision.0, at as u64 + 1, "a hole in the journal");
        let mut state = states[at].clone();
        for op in &transaction.ops {
            if let Some(old) = names.remove(&op.key().1) {
                state.remove(&old);
            }
            if let Op::Put(entity) = op {
                let username = entity.text("username").unwrap().to_owned();
                assert!(state.insert(username.clone(), entity.id).is_none(), "two have the name {username}");
                names.insert(entity.id, username);
            }
        }
        states.push(state);
    }
    states
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
fn check(events: &[Event], transactions: &[Transaction], outcomes: &[(TransactionId, Outcome)]) -> Vec<String> {
    let mut checker = Checker { transactions, states: states(transactions), outcomes, wrong: Vec::new() };
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
            Some(Outcome::Open | Outcome::Forgotten) | None => false,
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

/// A run: clients on three gateways, faults on one Cassandra node at a time.
struct Run {
    cluster: Cluster,
    options: CassandraOptions,
    gateways: Vec<(tempfile::TempDir, Arc<Cassandra>)>,
}

impl Run {
    fn start(nodes: usize, every: Duration) -> Self {
        let cluster = Options::default().behind_proxies().start(nodes).unwrap();
        let options = CassandraOptions {
            replication: Replication::Factor(u8::try_from(nodes).unwrap()),
            update_frequency: every,
            ..options_of(&cluster)
        };
        Cassandra::bootstrap(&options).unwrap();
        let gateways = (0..3).map(|_| node(&options)).collect();
        Self { cluster, options, gateways }
    }

    /// Plays faults for that long; answers what is wrong with the history.
    fn play(&mut self, seconds: u64, seed: u64, faults: &[Fault]) -> Vec<String> {
        println!("{seconds} s of faults, WEIR_FAULTS_SEED={seed}");
        let history = Arc::new(History::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut clients = tokio::task::JoinSet::new();
        for (at, (_, store)) in self.gateways.iter().enumerate() {
            for client_of in 0..2 {
                clients.spawn_on(client(store.clone(), history.clone(), at as u64 * 2 + client_of + 1), runtime.handle());
            }
        }
        let (mut lots, until) = (Lots(seed), Instant::now() + Duration::from_secs(seconds));
        while Instant::now() < until {
            let fault = faults[usize::try_from(lots.below(faults.len() as u64)).unwrap()];
            let node = usize::try_from(lots.below(self.cluster.nodes().len() as u64)).unwrap();
            fault.play(&self.cluster, node, Duration::from_millis(500 + lots.below(4000)));
        }
        history.over.store(true, Ordering::Relaxed);
        runtime.block_on(clients.join_all());
        self.cluster.until_all_up().unwrap();
        self.settle();
        let events = history.events.lock().unwrap().clone();
        let first = &self.gateways[0].1;
        let mut transactions: Vec<Transaction> = Vec::new();
        loop {
            let after = transactions.last().map_or(Revision(0), |last| last.revision);
            let more = first.transactions(after, 1000).unwrap();
            if more.is_empty() {
                break;
            }
            transactions.extend(more);
        }
        let open: Vec<TransactionId> = events
            .iter()
            .filter_map(|event| if let Told::Open(transaction) = event.told { Some(transaction) } else { None })
            .collect();
        let outcomes: Vec<_> =
            open.iter().map(|transaction| (*transaction, wait(first.outcome(*transaction)).unwrap())).collect();
        let tell = |told: &str, count: usize| println!("{told}: {count}");
        tell("asked", events.len());
        tell("done", events.iter().filter(|event| matches!(event.told, Told::Done { .. })).count());
        tell("refused", events.iter().filter(|event| matches!(event.told, Told::Refused)).count());
        tell("not done", events.iter().filter(|event| matches!(event.told, Told::NotDone)).count());
        tell("open", open.len());
        tell("revisions", transactions.len());
        let mut wrong = check(&events, &transactions, &outcomes);
        let ends: Vec<_> =
            self.gateways.iter().map(|(_, store)| (store.status().revision, store.status().head, store.status().state)).collect();
        if ends.iter().any(|end| *end != ends[0]) {
            wrong.push(format!("the gateways differ: {ends:?}"));
        }
        wrong
    }

    /// One write through each gateway when all is well again: it settles what is open; then all have everything.
    fn settle(&self) {
        let mut newest = Revision(0);
        for (at, (_, store)) in self.gateways.iter().enumerate() {
            let deadline = Instant::now() + Duration::from_secs(90);
            let number = u32::try_from(at).unwrap() + 900;
            loop {
                match wait(store.write(put(vec![entity(
                    Kind::Consumer,
                    number,
                    json!({ "username": format!("end-{number}"), "custom_id": null }),
                )]))) {
                    Ok(written) => break newest = newest.max(written.revision),
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            }
        }
        for (_, store) in &self.gateways {
            let mut moves = store.revisions();
            let there =
                async { tokio::time::timeout(Duration::from_secs(60), moves.wait_for(|at| *at >= newest)).await.map(drop) };
            assert!(wait(there).is_ok(), "{:?}", store.trouble());
        }
    }
}

/// Something that goes wrong with one node of Cassandra.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It hangs.
    Pause,
    /// It crashes, and comes back.
    Kill,
    /// What it is told arrives late.
    Slow,
    /// What it is told arrives when it is over.
    Hold,
    /// What it says is lost.
    Mute,
    /// Its connections end.
    Cut,
    /// Nothing.
    Calm,
}

const ALL: &[Fault] = &[Fault::Pause, Fault::Kill, Fault::Slow, Fault::Hold, Fault::Mute, Fault::Cut, Fault::Calm];

impl Fault {
    fn play(self, cluster: &Cluster, at: usize, long: Duration) {
        let node = cluster.node(at);
        let proxy = node.proxy().unwrap();
        println!("{self:?} of node {at} for {long:.1?}");
        match self {
            Self::Pause => node.pause().unwrap(),
            Self::Kill => node.kill().unwrap(),
            Self::Slow => proxy.set(Flow::Delay(Duration::from_millis(300)), Flow::Delay(Duration::from_millis(300))),
            Self::Hold => proxy.hold(),
            Self::Mute => proxy.drop_answers(),
            Self::Cut => proxy.cut(),
            Self::Calm => {}
        }
        // How long the fault lasts is the fault; nothing is waited for.
        std::thread::sleep(long);
        match self {
            Self::Pause => node.resume().unwrap(),
            Self::Kill => {
                node.start_again().unwrap();
                cluster.until_all_up().unwrap();
            }
            Self::Slow | Self::Hold | Self::Mute | Self::Cut => proxy.pass(),
            Self::Calm => {}
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_answered_write_is_lost_whatever_happens_to_the_nodes() {
    // One node in the short part, where each fault takes the whole store away; three where there is time for it.
    let seconds = number("WEIR_FAULTS_SECONDS");
    let mut run = Run::start(if seconds.is_some() { 3 } else { 1 }, Duration::from_millis(100));
    let seed = number("WEIR_FAULTS_SEED").unwrap_or_else(|| if seconds.is_some() { u64::from(std::process::id()) } else { 7 });
    let wrong = run.play(
        seconds.unwrap_or(20),
        seed,
        if seconds.is_some() { ALL } else { &[Fault::Hold, Fault::Mute, Fault::Cut, Fault::Calm] },
    );
    assert!(wrong.is_empty(), "{} faults in the history, such as\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    assert_eq!(run.options.keyspace, "weir");
}

#[test]
fn the_checker_catches_refusals_that_nobody_confirmed() {
    caught(Broken::Unconfirmed, &[Fault::Calm], "nothing to do, but there was|refused without a reason");
}

#[test]
fn the_checker_catches_a_free_place_that_is_taken_as_proof() {
    caught(Broken::ReadBack, &[Fault::Hold], "denied and done");
}

/// Whether gateways that are wrong in that way are found out.
fn caught(broken: Broken, faults: &[Fault], as_what: &str) {
    broken::set(Some(broken));
    // Seldom, so that what is not looked at is old.
    let mut run = Run::start(1, Duration::from_secs(2));
    broken::set(None);
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let wrong = run.play(10, 3, faults);
        let found = wrong.iter().find(|said| as_what.split('|').any(|what| said.contains(what)));
        if let Some(found) = found {
            return println!("caught: {found}");
        }
        assert!(Instant::now() < deadline, "nobody noticed");
    }
}
