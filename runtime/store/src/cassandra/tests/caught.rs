//! Stores that are wrong on purpose, each made to err in an order that is laid down step by step: the checker must find it, and find
//! nothing when the same steps are gone with a store that is right.

use super::checker::{Asked, History, Journal, Told, ask, judge, plan};
use super::*;
use crate::cassandra::broken::{self, Broken};
use std::sync::atomic::AtomicU64;
use weir_cassandra_harness::Flow;

/// An append has more; a question or a sign of life has less.
const APPEND_BYTES: usize = 350;

/// Opens stores that are wrong in that way.
fn wrong_so<T>(broken: Option<Broken>, open: impl FnOnce() -> T) -> T {
    broken::set(broken);
    let opened = open();
    broken::set(None);
    opened
}

fn create(name: u32, id: u32) -> Asked {
    Asked::Create { name, id }
}

fn say(name: u32, what: u64) -> Asked {
    Asked::Say { name, what }
}

/// Asks `store` for that.
fn asks(history: &History, store: &Cassandra, asked: Asked) -> Told {
    wait(ask(store, history, asked.clone(), plan(asked)))
}

/// One gateway sleeps; another writes, and lets the rows go that the sleeper has not seen; the sleeper wakes and writes first.
fn over_a_trim(broken: Option<Broken>) -> Vec<String> {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = tuned(&options, writer::Tuning::default(), SOON);
    let (_second, b) = wrong_so(broken, || tuned(&asleep(&options), writer::Tuning::default(), Keeping::default()));
    let (history, journal) = (History::default(), Journal::default());
    asks(&history, &a, create(1, 1));
    b.follow_now();
    until_at(&b, Revision(1));
    for what in 0..40 {
        asks(&history, &a, say(1, what));
    }
    until(|| end(&options).floor > Revision(10));
    journal.read(0, &a);
    let told = asks(&history, &b, create(2, 2));
    assert!(matches!(told, Told::Done { changed: true, .. }), "{told:?}");
    journal.read(1, &b);
    // Nothing to do there: whoever is right has it by then.
    drop(wait(b.write(plan(Asked::Remove { name: 5 }))));
    until_same_or_held(&a, &b);
    judge(&history, &journal, &[&a, &b])
}

/// Waits until the second has looked at what the first has, whatever it makes of it.
fn until_same_or_held(a: &Cassandra, b: &Cassandra) {
    until(|| {
        b.follow_now();
        a.follow_now();
        b.trouble().is_some() || a.trouble().is_some() || a.status().revision == b.status().revision
    });
}

#[test]
fn a_gateway_that_slept_over_a_trim_and_writes_first_loses_nothing() {
    assert_eq!(over_a_trim(None), Vec::<String>::new());
}

#[test]
fn the_checker_catches_an_append_that_asks_for_a_free_place_only() {
    let wrong = over_a_trim(Some(Broken::FreePlace));
    println!("caught: {wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.starts_with("lost: ") || wrong.starts_with("two histories: ")), "{wrong:?}");
}

/// An append is lost on its way, but for a copy of it that is late; its gateway asks meanwhile whether it was done.
fn late(broken: Option<Broken>) -> Vec<String> {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = tuned(&options, writer::Tuning::default(), Keeping::default());
    let way = Way::shared(&options);
    way.each(|proxy| proxy.duplicate(Flow::Pass));
    let (_second, b) = wrong_so(broken, || node(&asleep(&way.options)));
    let (history, journal) = (History::default(), Journal::default());
    asks(&history, &b, create(1, 1));
    way.each(|proxy| proxy.duplicate(Flow::Hold));
    let told = std::thread::scope(|scope| {
        way.each(|proxy| proxy.set(Flow::Drop, Flow::Pass));
        let asked = scope.spawn(|| asks(&history, &b, create(2, 2)));
        // Nothing else that a sleeping gateway asks is as long.
        way.each(|proxy| assert!(proxy.until_requests_stopped(APPEND_BYTES, WAIT)));
        way.each(FaultProxy::pass);
        asked.join().unwrap()
    });
    assert_eq!(matches!(told, Told::NotDone), broken.is_some(), "{told:?}");
    way.each(FaultProxy::end_duplicates);
    way.each(|proxy| assert!(proxy.until_copy_answered(WAIT)));
    until_same_or_held(&a, &b);
    until(|| {
        a.follow_now();
        end(&options).revision == Revision(2) && a.status().revision == Revision(2)
    });
    asks(&history, &a, say(2, 1));
    until_same_or_held(&a, &b);
    judge(&history, &journal, &[&a, &b])
}

#[test]
fn an_append_that_is_late_is_not_denied() {
    assert_eq!(late(None), Vec::<String>::new());
}

#[test]
fn the_checker_catches_a_free_place_that_is_taken_as_proof() {
    let wrong = late(Some(Broken::ReadBack));
    println!("caught: {wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.starts_with("denied and done: ")), "{wrong:?}");
}

#[test]
fn an_append_whose_copy_came_first_is_not_denied_though_nobody_can_be_asked_then() {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = node(&options);
    let way = Way::shared(&options);
    way.each(|proxy| proxy.duplicate(Flow::Pass));
    let (_second, b) = node(&asleep(&way.options));
    let (history, journal) = (History::default(), Journal::default());
    asks(&history, &b, create(1, 1));
    let told = std::thread::scope(|scope| {
        way.each(|proxy| proxy.set(Flow::Hold, Flow::Pass));
        let asked = scope.spawn(|| asks(&history, &b, create(2, 2)));
        // The copy is done; then the first is told that it is not.
        until(|| end(&options).revision == Revision(2));
        way.each(|proxy| proxy.set(Flow::Pass, Flow::Hold));
        way.each(|proxy| assert!(proxy.until_answer_stopped(WAIT)));
        // Whose place it is cannot be found out: what is asked next is lost, and the append is sent again.
        way.each(|proxy| proxy.set(Flow::Drop, Flow::Pass));
        way.each(|proxy| assert!(proxy.until_requests_stopped(APPEND_BYTES, WAIT) || asked.is_finished()));
        way.each(FaultProxy::pass);
        asked.join().unwrap()
    });
    assert!(matches!(told, Told::Done { changed: true, .. }), "{told:?}");
    until_same_or_held(&a, &b);
    assert_eq!(judge(&history, &journal, &[&a, &b]), Vec::<String>::new());
}

/// Another gateway has written what one that sleeps is asked to remove, and to say something of.
fn behind(broken: Option<Broken>) -> Vec<String> {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = node(&options);
    let (_second, b) = wrong_so(broken, || node(&asleep(&options)));
    let (history, journal) = (History::default(), Journal::default());
    asks(&history, &a, create(1, 1));
    asks(&history, &a, create(2, 2));
    asks(&history, &b, say(2, 1));
    asks(&history, &b, Asked::Remove { name: 1 });
    until_same_or_held(&a, &b);
    judge(&history, &journal, &[&a, &b])
}

#[test]
fn what_another_gateway_wrote_is_known_to_refusals_and_removals() {
    assert_eq!(behind(None), Vec::<String>::new());
}

#[test]
fn the_checker_catches_refusals_that_nobody_confirmed() {
    let wrong = behind(Some(Broken::Unconfirmed));
    println!("caught: {wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.starts_with("refused without a reason: ")), "{wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.starts_with("nothing to do, but there was: ")), "{wrong:?}");
}

/// Two want the same name; the second was judged before the first had it, and is placed after it.
fn a_name_for_two(broken: Option<Broken>) -> Vec<String> {
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = wrong_so(broken, || node(&options));
    let (_second, b) = wrong_so(broken, || node(&asleep(&options)));
    let (history, journal) = (History::default(), Journal::default());
    asks(&history, &a, create(1, 1));
    let plan = plan(create(1, 2));
    let plan = if broken.is_some() { broken::decided_once(plan) } else { plan };
    let told = wait(ask(&b, &history, create(1, 2), plan));
    assert_eq!(matches!(told, Told::Refused), broken.is_none(), "{told:?}");
    until_same_or_held(&a, &b);
    judge(&history, &journal, &[&a, &b])
}

#[test]
fn a_name_that_another_gateway_gave_is_not_given_again() {
    assert_eq!(a_name_for_two(None), Vec::<String>::new());
}

#[test]
fn the_checker_catches_a_conflict_that_was_judged_before_the_others_wrote() {
    let wrong = a_name_for_two(Some(Broken::ReadThenWrite));
    println!("caught: {wrong:?}");
    assert!(wrong.iter().any(|wrong| wrong.contains("two have the name")), "{wrong:?}");
}

/// Seconds that a follower by time looks back.
const WINDOW: u64 = 10;
/// What the writing gateway's clock shows.
static CLOCK: AtomicU64 = AtomicU64::new(0);

/// A row stands between two others and was appended by a clock that is behind; a gateway follows.
fn a_row_of_long_ago(broken: Option<Broken>) -> (Vec<String>, Option<String>) {
    let tuning = writer::Tuning { clock: || CLOCK.load(Ordering::SeqCst), ..Default::default() };
    let options = options();
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = tuned(&options, tuning, Keeping::default());
    let (_second, b) = wrong_so(broken, || node(&asleep(&options)));
    let (history, journal) = (History::default(), Journal::default());
    for (number, shown) in [(1, 1000), (2, 1000 - 6 * WINDOW), (3, 1001)] {
        CLOCK.store(shown, Ordering::SeqCst);
        asks(&history, &a, create(number, number));
    }
    until_same_or_held(&a, &b);
    (judge(&history, &journal, &[&a, &b]), b.trouble())
}

#[test]
fn the_checker_catches_a_follower_that_goes_by_time() {
    // Right: revisions, one after the other.
    assert_eq!(a_row_of_long_ago(None), (Vec::new(), None));
    // Its own chain of hashes stops it before it serves what it should not.
    let (_, trouble) = a_row_of_long_ago(Some(Broken::TimeWindow(WINDOW)));
    assert!(trouble.as_ref().is_some_and(|trouble| trouble.contains("does not continue")), "{trouble:?}");
    // Without a chain nobody notices but the checker.
    let (wrong, trouble) = a_row_of_long_ago(Some(Broken::TimeWindowBelieved(WINDOW)));
    println!("caught: {wrong:?}");
    assert_eq!(trouble, None);
    assert!(wrong.iter().any(|wrong| wrong.contains("does not have what the journal says")), "{wrong:?}");
}
