use super::shards::SHARDS;
use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const NOON: i64 = 1_800_000_000;

fn limit(period: Period, max: u64) -> Limit {
    Limit { period, max }
}

#[test]
fn exactly_the_limit_passes_whatever_the_number_of_threads() {
    let counters = Counters::new();
    let owner = Id::random();
    let passed = AtomicU64::new(0);
    let limits = [limit(Period::Hour, 1_000), limit(Period::Year, 5_000)];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if counters.take(owner, "10.0.0.1", &limits, 1, NOON).0 {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 1_000);
    assert_eq!(
        counters.take(owner, "10.0.0.1", &limits, 0, NOON).1[1].used,
        1_000,
        "the year counts what passed, not what was refused"
    );
}

#[test]
fn one_full_window_takes_nothing_from_the_others() {
    let counters = Counters::new();
    let owner = Id::random();
    let limits = [limit(Period::Hour, 10), limit(Period::Minute, 1)];
    assert!(counters.take(owner, "k", &limits, 1, NOON).0);
    let (took, usages) = counters.take(owner, "k", &limits, 1, NOON);
    assert!(!took);
    assert_eq!((usages[0].used, usages[1].used), (1, 1));
}

#[test]
fn owners_and_keys_are_apart_and_long_keys_too() {
    let counters = Counters::new();
    let (one, other) = (Id::random(), Id::random());
    let limits = [limit(Period::Hour, 1)];
    let long = "x".repeat(1_000);
    for (owner, key) in [(one, "a"), (one, "b"), (other, "a"), (one, &long), (one, &format!("{long}y"))] {
        assert!(counters.take(owner, key, &limits, 1, NOON).0);
        assert!(!counters.take(owner, key, &limits, 1, NOON).0);
    }
}

#[test]
fn a_clock_that_is_set_back_gives_nothing_away() {
    let counters = Counters::new();
    let owner = Id::random();
    let limits = [limit(Period::Second, 1)];
    assert!(counters.take(owner, "k", &limits, 1, NOON).0);
    let (took, usages) = counters.take(owner, "k", &limits, 1, NOON - 5);
    assert!(!took);
    assert_eq!(usages[0].resets_in, 1);
    assert!(counters.take(owner, "k", &limits, 1, NOON + 1).0);
}

#[test]
fn invented_keys_cannot_grow_the_memory_without_bound() {
    let counters = Counters::new();
    let owner = Id::random();
    let limits = [limit(Period::Year, 1)];
    for number in 0..2 * SHARDS * KEYS_A_GENERATION + 200_000 {
        counters.take(owner, &number.to_string(), &limits, 1, NOON);
    }
    assert!(counters.len() <= 2 * SHARDS * KEYS_A_GENERATION);
}

#[test]
fn keys_in_use_survive_a_flood_of_invented_ones() {
    let counters = Counters::new();
    let owner = Id::random();
    let limits = [limit(Period::Year, 1_000_000)];
    for number in 0..2 * SHARDS * KEYS_A_GENERATION {
        counters.take(owner, &number.to_string(), &limits, 1, NOON);
        if number % 10_000 == 0 {
            counters.take(owner, "in use", &limits, 1, NOON);
        }
    }
    assert_eq!(counters.take(owner, "in use", &limits, 0, NOON).1[0].used, (2 * SHARDS * KEYS_A_GENERATION / 10_000 + 1) as u64);
}

#[test]
fn ended_windows_are_swept() {
    let counters = Counters::new();
    let owner = Id::random();
    counters.take(owner, "short", &[limit(Period::Second, 1)], 1, NOON);
    counters.take(owner, "long", &[limit(Period::Year, 1)], 1, NOON);
    (0..SHARDS as u64).for_each(|turn| counters.sweep(turn, NOON + 2));
    assert_eq!(counters.len(), 1);
}

proptest! {
    #[test]
    fn a_sequence_of_calls_agrees_with_a_plain_model(
        calls in prop::collection::vec((0..3u8, 0..4u64, 0..40i64), 1..200),
        maxima in prop::array::uniform2(1..20u64),
    ) {
        let counters = Counters::new();
        let owner = Id::random();
        let limits = [limit(Period::Second, maxima[0]), limit(Period::Minute, maxima[1])];
        let mut model: std::collections::HashMap<(u8, Period, i64), u64> = Default::default();
        let mut now = NOON;
        for (key, amount, step) in calls {
            now += step / 10;
            let cell = |limit: &Limit| (key, limit.period, limit.period.window(now).0);
            let expected = limits.iter().all(|limit| model.get(&cell(limit)).copied().unwrap_or(0) + amount <= limit.max);
            if expected {
                limits.iter().for_each(|limit| *model.entry(cell(limit)).or_default() += amount);
            }
            let (took, usages) = counters.take(owner, &key.to_string(), &limits, amount, now);
            prop_assert_eq!(took, expected);
            for (limit, usage) in limits.iter().zip(usages) {
                prop_assert_eq!(usage.used, model.get(&cell(limit)).copied().unwrap_or(0));
                prop_assert_eq!(i64::from(usage.resets_in), limit.period.window(now).1 - now);
            }
        }
    }
}
