use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const NOON: i64 = 1_800_000_000;
const KIND: u8 = 0xf8;
const MOST: usize = 2_000;
const SECOND: Duration = Duration::from_secs(1);

fn limit(period: Period, max: u64) -> Limit {
    Limit { period, max }
}

fn shared() -> ClusterCounters {
    let counters = ClusterCounters::new();
    counters.begin(SECOND, 0);
    counters
}

/// Takes one for a caller.
fn take(counters: &ClusterCounters, owner: Id, caller: &str, limits: &[Limit]) -> Taken {
    counters.take_of(owner, KIND, caller.as_bytes(), limits, 1, NOON, true)
}

fn round(counters: &ClusterCounters) -> Round {
    counters.begin_round(MOST, NOON, 0)
}

/// The store, as far as counts are concerned: a row for each process and window.
#[derive(Default)]
struct Table(HashMap<Window, HashMap<(u32, u32), u64>>);

/// Whose, how long, and since when.
type Window = (Box<[u8]>, Period, i64);

impl Table {
    fn exchange(&mut self, process: u32, own: &[OwnCount]) -> Vec<Option<u64>> {
        let mut others = Vec::new();
        for own in own {
            let rows = self.0.entry((own.key.clone(), own.period, own.start)).or_default();
            if own.grown {
                let row = rows.entry((process, own.part)).or_default();
                *row = (*row).max(own.count);
            }
            others.push(Some(rows.iter().filter(|(row, _)| **row != (process, own.part)).map(|(_, count)| count).sum()));
        }
        others
    }
    fn round(&mut self, process: u32, counters: &ClusterCounters) {
        let round = round(counters);
        let others = self.exchange(process, &round.own);
        counters.end_round(round, true, &others);
    }
}

#[test]
fn what_the_others_took_is_taken_once_it_is_known() {
    let (a, b, owner, mut table) = (shared(), shared(), Id::random(), Table::default());
    let limits = [limit(Period::Hour, 3)];
    assert!(take(&a, owner, "k", &limits).0 && take(&a, owner, "k", &limits).0);
    assert!(take(&b, owner, "k", &limits).0);
    table.round(0, &a);
    table.round(1, &b);
    let (took, usages) = take(&b, owner, "k", &limits);
    assert!(!took);
    assert_eq!(usages[0].used, 3);
    // It took nothing since, and learns what the other took in the same round all the same.
    table.round(0, &a);
    assert!(!take(&a, owner, "k", &limits).0);
}

#[test]
fn an_idle_window_is_in_no_round() {
    let (counters, owner, mut table) = (shared(), Id::random(), Table::default());
    let limits = [limit(Period::Hour, 1), limit(Period::Year, 9)];
    take(&counters, owner, "k", &limits);
    assert_eq!(round_sizes(&counters, &mut table), [2, 2, 0, 0]);
    // A refusal by what is known has nothing to tell.
    assert!(!take(&counters, owner, "k", &limits).0);
    assert_eq!(round_sizes(&counters, &mut table), [0; 4]);
}

fn round_sizes(counters: &ClusterCounters, table: &mut Table) -> [usize; 4] {
    [(); 4].map(|()| {
        let round = round(counters);
        let (size, others) = (round.own.len(), table.exchange(0, &round.own));
        counters.end_round(round, true, &others);
        size
    })
}

#[test]
fn a_round_that_failed_is_asked_again_and_what_was_taken_meanwhile_too() {
    let (counters, owner) = (shared(), Id::random());
    let limits = [limit(Period::Hour, 9)];
    take(&counters, owner, "k", &limits);
    let failed = round(&counters);
    take(&counters, owner, "k", &limits);
    counters.end_round(failed, true, &[]);
    let again = round(&counters);
    assert_eq!(again.own.len(), 1, "{again:?}");
    assert_eq!((again.own[0].count, again.own[0].grown), (2, true));
    take(&counters, owner, "k", &limits);
    counters.end_round(again, true, &[Some(4)]);
    let next = round(&counters);
    assert_eq!((next.own[0].count, next.own[0].grown), (3, true));
    counters.end_round(next, true, &[Some(2)]);
    assert_eq!(take(&counters, owner, "k", &limits).1[0].used, 8, "what the others took does not shrink");
}

#[test]
fn the_answer_for_an_ended_window_is_not_taken_for_the_next_ones() {
    let (counters, owner) = (shared(), Id::random());
    let limits = [limit(Period::Minute, 2)];
    take(&counters, owner, "k", &limits);
    let late = round(&counters);
    let next = |counters: &ClusterCounters| counters.take_of(owner, KIND, b"k", &limits, 1, NOON + 60, true);
    assert!(next(&counters).0);
    counters.end_round(late, true, &[Some(2)]);
    assert!(next(&counters).0);
    // An ended window is not shared at all.
    assert_eq!(counters.begin_round(MOST, NOON + 120, 0).own, []);
}

#[test]
fn a_window_of_a_second_is_not_shared() {
    let (counters, owner) = (shared(), Id::random());
    take(&counters, owner, "k", &[limit(Period::Second, 2), limit(Period::Minute, 2)]);
    assert_eq!(round(&counters).own.iter().map(|own| own.period).collect::<Vec<_>>(), [Period::Minute]);
}

#[test]
fn a_node_that_is_alone_shares_nothing_and_is_never_stale() {
    let (counters, owner) = (ClusterCounters::new(), Id::random());
    let limits = [limit(Period::Hour, 1)];
    assert!(take(&counters, owner, "k", &limits).0 && !take(&counters, owner, "k", &limits).0);
    assert_eq!(round(&counters).own, []);
    assert!(!counters.is_stale(Ticks::MAX) && counters.figures(0).is_none());
}

#[test]
fn counts_are_stale_when_no_round_was_answered_whole_for_long() {
    let (counters, owner) = (shared(), Id::random());
    let limits = [limit(Period::Hour, 9)];
    assert!(!counters.is_stale(100) && counters.is_stale(101));
    counters.end_round(counters.begin_round(MOST, NOON, 50), false, &[]);
    assert!(counters.is_stale(150), "nobody had anything to share, and the store was not there");
    counters.end_round(counters.begin_round(MOST, NOON, 50), true, &[]);
    assert!(!counters.is_stale(150), "nobody had anything to share, and the store was there");
    // Refused without being counted, but asked for.
    assert!(!counters.take_of(owner, KIND, b"k", &limits, 1, NOON, false).0);
    let failed = counters.begin_round(MOST, NOON, 200);
    assert_eq!((failed.own[0].count, failed.own[0].grown), (0, false));
    counters.end_round(failed, true, &[None]);
    assert!(counters.is_stale(200), "one window was not answered");
    let late = counters.begin_round(MOST, NOON, 210);
    counters.end_round(late, true, &[Some(0)]);
    assert!(!counters.is_stale(310) && counters.is_stale(311), "what counts is when it began");
    assert_eq!(counters.figures(310).map(|figures| (figures.rounds, figures.age_ms)), Some((2, 1000)));
}

#[test]
fn a_round_is_bounded_and_the_rest_waits() {
    let (counters, owner) = (shared(), Id::random());
    let limits = [limit(Period::Hour, 9)];
    for number in 0..3_000 {
        take(&counters, owner, &number.to_string(), &limits);
    }
    let (first, second) = (round(&counters), round(&counters));
    assert_eq!((first.own.len(), second.own.len()), (2_000, 1_000));
    counters.end_round(first, true, &[]);
    counters.end_round(second, true, &[]);
    assert_eq!(counters.figures(0).unwrap().waiting, 3_000, "nothing is lost by failing");
}

#[test]
fn a_count_that_was_forgotten_under_pressure_is_not_told_anew_as_a_smaller_one() {
    let (counters, other, owner, mut table) = (shared(), shared(), Id::random(), Table::default());
    let limits = [limit(Period::Year, 5)];
    for _ in 0..3 {
        take(&counters, owner, "k", &limits);
    }
    table.round(0, &counters);
    for number in 0..4 * SHARDS * KEYS_A_GENERATION {
        take(&counters, owner, &number.to_string(), &[limit(Period::Year, 1)]);
    }
    assert!(counters.figures(0).unwrap().keys <= 2 * SHARDS * KEYS_A_GENERATION);
    // The queue was full too, of keys that are forgotten by now.
    while counters.figures(0).unwrap().waiting > 0 {
        table.round(0, &counters);
    }
    assert_eq!(take(&counters, owner, "k", &limits).1[0].used, 1, "it was forgotten");
    table.round(0, &counters);
    assert_eq!(take(&counters, owner, "k", &limits).1[0].used, 5, "and is known again");
    assert!(!take(&counters, owner, "k", &limits).0);
    table.round(0, &counters);
    take(&other, owner, "k", &limits);
    table.round(1, &other);
    assert_eq!(take(&other, owner, "k", &limits).1[0].used, 6, "its own one, and both counts of the first");
}

/// Moments of an interval: requests, and the beginning and the end of a round, come in every order of these.
const MOMENTS: usize = 4;
const PROCESSES: usize = 3;

/// What one process does in an interval: requests at each moment, and when its round begins and ends.
type Interval = ([u64; MOMENTS], usize, usize);

proptest! {
    /// From the beginning of a process's round to the end of its next one pass less than two intervals.
    #[test]
    fn no_more_than_the_published_bound_passes(
        intervals in prop::collection::vec(
            prop::array::uniform3((prop::array::uniform4(0..3u64), 0..MOMENTS, 0..MOMENTS)), 1..30),
        max in 1..80u64,
    ) {
        let nodes: [ClusterCounters; PROCESSES] = std::array::from_fn(|_| shared());
        let (owner, mut table, mut passed) = (Id::random(), Table::default(), 0);
        let limits = [limit(Period::Year, max)];
        for interval in &intervals {
            let mut rounds: [Option<(Round, Vec<Option<u64>>)>; PROCESSES] = Default::default();
            for moment in 0..MOMENTS {
                for (process, (node, (requests, begin, end))) in nodes.iter().zip(interval).enumerate() {
                    for _ in 0..requests[moment] {
                        passed += u64::from(take(node, owner, "k", &limits).0);
                    }
                    if moment == *begin.min(end) {
                        let round = round(node);
                        let others = table.exchange(u32::try_from(process).unwrap(), &round.own);
                        rounds[process] = Some((round, others));
                    }
                    if moment == *begin.max(end) {
                        let (round, others) = rounds[process].take().unwrap();
                        node.end_round(round, true, &others);
                    }
                }
            }
        }
        let asked = |interval: &[Interval; PROCESSES]| interval.map(|(requests, ..)| requests.iter().sum::<u64>());
        let most = intervals.iter().flat_map(asked).max().unwrap_or(0);
        let sum: u64 = intervals.iter().flat_map(asked).sum();
        // What one process may let pass in the time in which another does not know of it.
        let unknown = 2 * 2 * most;
        prop_assert!(passed <= max + (PROCESSES as u64 - 1) * unknown, "{passed} of {max}");
        prop_assert!(passed >= max.min(sum), "{passed} of {max}, asked for {sum} times");
    }
}
