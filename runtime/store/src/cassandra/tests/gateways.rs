//! What gateways differ in: their clocks, their way to the store, what they ask for.

use super::run::{Run, must_be_right};
use super::*;
use crate::conformance::entity;
use crate::local::writer::Tuning;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::time::SystemTime;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// What the third gateway's clock is off by.
static OFF_BY_S: AtomicI64 = AtomicI64::new(0);

#[test]
fn clocks_of_gateways_that_differ_or_step_back_do_no_harm() {
    let steps = || now().saturating_add_signed(OFF_BY_S.load(Ordering::SeqCst));
    let clocks: [fn() -> u64; 3] = [|| now() + 300, || now() - 300, steps];
    let tunings = clocks.map(|clock| Tuning { clock, ..Tuning::default() });
    let mut run = Run::with(own(1), SOON, tunings);
    run.under_clients(|run| {
        for off_by in [0, 86_400, -86_400] {
            OFF_BY_S.store(off_by, Ordering::SeqCst);
            run.until_answered(40);
        }
    });
    assert!(end(&run.options).floor > Revision(0), "rows were let go meanwhile");
    must_be_right(&run.judged());
}

/// Appends that are counted, once the far gateway has had one: only then the others know of it.
const APPENDS: usize = 300;

#[test]
fn a_gateway_that_is_far_from_the_store_gets_its_share() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&options);
    let way = Way::shared(&options);
    way.each(|proxy| proxy.delay(Duration::from_millis(50), Duration::from_millis(50)));
    let (_third, far) = node(&way.options);
    let done = [const { AtomicUsize::new(0) }; 3];
    let counts = || done.each_ref().map(|done| done.load(Ordering::SeqCst));
    let over = AtomicBool::new(false);
    let (before, after) = std::thread::scope(|scope| {
        for (at, store) in [&a, &b, &far].into_iter().enumerate() {
            let (done, over) = (&done[at], &over);
            scope.spawn(move || {
                let numbers = (0..).map(|number| u32::try_from(at).unwrap() * 100_000 + number);
                numbers.take_while(|_| !over.load(Ordering::SeqCst)).for_each(|number| {
                    done.fetch_add(usize::from(add(store, number).is_ok()), Ordering::SeqCst);
                });
            });
        }
        until(|| counts()[2] > 0);
        let before = counts();
        until(|| counts().iter().sum::<usize>() >= before.iter().sum::<usize>() + APPENDS);
        over.store(true, Ordering::SeqCst);
        (before, counts())
    });
    let share = [0, 1, 2].map(|at| after[at] - before[at]);
    println!("appends of each, the last 100 ms away: {share:?}, after {before:?}");
    // One in twenty, of the one in ten or more that it usually is: whoever is not waited for gets one or none.
    assert!(share[2] * 20 >= share.iter().sum::<usize>(), "{share:?}");
}

#[test]
fn a_gateway_that_is_cut_off_is_seen_to_be_silent_and_serves_on() {
    let (options, _first, a) = begun();
    let way = Way::shared(&options);
    let (_second, b) = node(&way.options);
    let seen = |live: bool| a.nodes().iter().filter(|node| !node.own && node.live == live).count();
    add(&a, 1).unwrap();
    until_at(&b, Revision(1));
    until(|| seen(true) == 1);
    way.each(FaultProxy::cut);
    add(&a, 2).unwrap();
    until(|| seen(false) == 1);
    assert_eq!((count(&a), count(&b)), (2, 1), "it has what it had");
    way.each(FaultProxy::pass);
    until(|| seen(true) == 1);
    until_at(&b, Revision(2));
}

#[test]
fn one_of_a_group_that_is_refused_takes_none_with_it() {
    let (_options, _folder, a) = begun();
    add(&a, 1).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcomes = runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for number in 10..60u32 {
            let store = a.clone();
            writers.spawn(async move {
                let plan: Plan = match number % 5 {
                    0 => Box::new(|_| Err(weir_model::Refusal::NotFound)),
                    _ => put(vec![service(number, &format!("s{number}"))]),
                };
                (number, store.write(plan).await.is_ok())
            });
        }
        writers.join_all().await
    });
    assert!(outcomes.iter().all(|(number, done)| *done == (number % 5 != 0)), "{outcomes:?}");
    assert_eq!(count(&a), 41);
    assert!(a.status().revision <= Revision(41), "{}", a.status().revision);
}

#[test]
fn the_largest_transaction_is_taken_and_a_larger_one_refused_with_its_limit() {
    let (options, _first, a) = begun();
    let (_second, b) = node(&options);
    let of = |megabytes: usize| {
        let text = "x".repeat(1 << 20);
        let one = |number| entity(Kind::Consumer, number, json!({ "username": format!("{number}"), "text": text }));
        put((0..u32::try_from(megabytes).unwrap()).map(one).collect())
    };
    let refused = wait(a.write(of(9))).unwrap_err();
    assert!(matches!(refused, WriteError::TooLarge { .. }), "{refused}");
    assert_eq!(a.status().revision, Revision(0));
    // Their names and numbers make seven and something of eight.
    let written = wait(a.write(of(7))).unwrap();
    until_at(&b, written.revision);
    // What comes after does not carry it along.
    let begun = Instant::now();
    add(&a, 1).unwrap();
    println!("an append after it: {:.1?}", begun.elapsed());
    until_at(&b, Revision(2));
    same(&a, &b);
}

#[test]
fn what_somebody_does_to_the_tables_by_hand_is_noticed_or_does_no_harm() {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = tuned(&options, Tuning::default(), Keeping::default());
    let (_second, b) = node(&asleep(&options));
    fill(&a, 1..6);
    let keyspace = &options.keyspace;
    // Signs of life are told again.
    by_hand(&options, &format!("TRUNCATE {keyspace}.nodes"));
    fill(&a, 6..8);
    until_same(&[&a, &b]);
    fill(&a, 8..12);
    // A row that is gone is not skipped.
    by_hand(&options, &format!("DELETE FROM {keyspace}.journal WHERE log = 0 AND revision = 9"));
    let held = until_held(&b, "the store has no revision 9");
    assert!(held.contains("weir cluster"), "{held}");
    assert_eq!((b.status().revision, count(&b)), (Revision(8), 8));
    // The one that has everything makes it the store's.
    let revision = wait(a.republish()).unwrap();
    until(|| wait(b.adopt()).is_ok());
    until_at(&b, revision);
    same(&a, &b);
    assert_eq!(count(&b), 11);
}
