//! Counts that processes tell each other.

use super::*;
use crate::WindowCount;
use crate::cassandra::counts::KEPT_AFTER_S;
use scylla::client::session::Session;
use weir_cassandra_harness::Cluster;

const HOUR_S: u32 = 3600;

pub(super) fn taken(key: &str, count: u64) -> WindowCount {
    WindowCount { key: key.as_bytes().into(), period: 2, start: 1_800_000_000, left_s: HOUR_S, part: 0, count, grown: true }
}

/// The same window, of which nothing new was taken.
fn asked(key: &str, count: u64) -> WindowCount {
    WindowCount { grown: false, ..taken(key, count) }
}

fn exchange(store: &Cassandra, own: Vec<WindowCount>) -> Vec<Option<u64>> {
    let exchanged = wait(store.counts().unwrap().exchange(own));
    assert_eq!(exchanged.trouble, None);
    exchanged.others
}

/// What the store says of all that a process asks for.
pub(super) fn others(store: &Cassandra, own: WindowCount) -> u64 {
    exchange(store, vec![own])[0].unwrap()
}

async fn session(options: &CassandraOptions) -> Session {
    let session = connection::connect(options).await.unwrap();
    session.use_keyspace(options.keyspace.as_str(), false).await.unwrap();
    session
}

#[test]
fn a_process_learns_what_the_others_took_and_not_what_it_took_itself() {
    let (options, _folder, a) = begun();
    let (_second, b) = node(&options);
    assert_eq!(exchange(&a, vec![taken("x", 3), taken("y", 1)]), [Some(0), Some(0)]);
    assert_eq!(exchange(&b, vec![taken("x", 2), asked("y", 0), taken("z", 7)]), [Some(3), Some(1), Some(0)]);
    assert_eq!(exchange(&a, vec![asked("y", 1), taken("x", 4)]), [Some(0), Some(2)]);
    // Another window of the same key, and one of the same key and start that is longer.
    let next = WindowCount { start: 1_800_003_600, ..asked("x", 0) };
    let longer = WindowCount { period: 3, ..asked("x", 0) };
    assert_eq!(exchange(&b, vec![asked("x", 2), next, longer]), [Some(4), Some(0), Some(0)]);
    assert_eq!(exchange(&b, Vec::new()), []);
}

#[test]
fn what_is_told_again_late_or_after_a_restart_counts_once() {
    let (options, _first, a) = begun();
    let (second, b) = node(&options);
    others(&b, taken("x", 5));
    others(&b, taken("x", 5));
    assert_eq!(others(&a, asked("x", 0)), 5, "told again");
    others(&b, taken("x", 3));
    assert_eq!(others(&a, asked("x", 0)), 5, "an older one that came late");
    // A count of the same process that begins anew because the first one was forgotten.
    assert_eq!(others(&b, WindowCount { part: 1, ..taken("x", 2) }), 5);
    assert_eq!(others(&a, taken("x", 1)), 7);
    drop(b);
    let b = Cassandra::open(second.path(), options).unwrap();
    assert_eq!(others(&b, asked("x", 0)), 8, "what it took before its restart is there, and another's by now");
    others(&b, taken("x", 1));
    assert_eq!(others(&a, asked("x", 1)), 8, "and what it takes now is added");
    assert_eq!(others(&b, asked("x", 1)), 8);
}

#[test]
fn many_windows_are_exchanged_at_once_and_each_gets_its_own_answer() {
    let (options, _folder, a) = begun();
    let (_second, b) = node(&options);
    let windows = || (1..=2_000).map(|number| taken(&number.to_string(), number)).collect();
    exchange(&a, windows());
    let expected: Vec<_> = (1..=2_000).map(Some).collect();
    assert_eq!(exchange(&b, windows()), expected);
}

#[test]
fn rows_lapse_some_time_after_their_window() {
    let (options, _folder, a) = begun();
    others(&a, taken("x", 1));
    let century = WindowCount { left_s: u32::MAX, ..taken("y", 1) };
    others(&a, century);
    let lives = wait(async {
        let rows = session(&options).await.query_unpaged("SELECT TTL(count) FROM rate_counts", ()).await.unwrap();
        let rows = rows.into_rows_result().unwrap();
        let mut lives: Vec<_> =
            rows.rows::<(Option<i32>,)>().unwrap().map(|row| row.unwrap().0.unwrap().cast_unsigned()).collect();
        lives.sort_unstable();
        lives
    });
    let most = HOUR_S + KEPT_AFTER_S;
    assert!(lives.len() == 2 && (HOUR_S..=most).contains(&lives[0]), "{lives:?}");
    assert!((366 * 86_400..=400 * 86_400).contains(&lives[1]), "{lives:?}");
    // One that lapses is gone, and is not counted any more.
    wait(async {
        let short = "INSERT INTO rate_counts (window, process, part, count) VALUES (?, uuid(), 0, 9) USING TTL 1";
        let window = a.hashes.window(b"z", 2, 1_800_000_000);
        session(&options).await.query_unpaged(short, (window.as_slice(),)).await.unwrap();
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while others(&a, asked("z", 0)) != 0 {
        assert!(std::time::Instant::now() < deadline, "it does not lapse");
    }
}

#[test]
fn keys_of_callers_are_not_in_the_store() {
    let (options, _folder, a) = begun();
    others(&a, taken("a secret of a caller", 1));
    let windows: Vec<Vec<u8>> = wait(async {
        let rows = session(&options).await.query_unpaged("SELECT window FROM rate_counts", ()).await.unwrap();
        rows.into_rows_result().unwrap().rows::<(Vec<u8>,)>().unwrap().map(|row| row.unwrap().0).collect()
    });
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].len(), 32);
    assert!(!windows[0].windows(6).any(|part| part == b"secret"));
}

#[test]
fn without_later_tables_everything_else_works_and_one_command_makes_them() {
    let (options, _folder, a) = begun();
    for table in ["rate_counts", "wishes"] {
        wait(async { session(&options).await.query_unpaged(format!("DROP TABLE {table}"), ()).await.unwrap() });
    }
    assert_eq!(Cassandra::readiness(&options), Ok(Readiness::Ready), "an older version's tables serve");
    let (_second, b) = node(&options);
    wait(b.write(put(vec![service(1, "a")]))).unwrap();
    let failed = wait(b.counts().unwrap().exchange(vec![taken("x", 1)]));
    assert_eq!(failed.others, [None]);
    assert!(failed.trouble.as_ref().is_some_and(|cause| cause.contains("weir migrations up")), "{failed:?}");
    assert_eq!(Cassandra::incomplete(&options), Ok(vec!["rate_counts", "wishes"]));
    assert_eq!(Cassandra::complete(&options), Ok(vec!["rate_counts", "wishes"]));
    assert_eq!(Cassandra::complete(&options), Ok(vec![]));
    assert_eq!(Cassandra::incomplete(&options), Ok(vec![]));
    // Neither is started anew.
    assert_eq!(others(&b, taken("x", 1)), 0);
    assert_eq!(others(&a, asked("x", 0)), 1);
}

#[test]
fn a_store_that_hangs_or_is_gone_is_said_to_be_and_nothing_is_lost() {
    let cluster = Cluster::start(1).unwrap();
    let options = options_of(&cluster);
    Cassandra::bootstrap(&options).unwrap();
    let (_first, a) = node(&options);
    let (_second, b) = node(&options);
    others(&a, taken("x", 1));
    let fails = |store: &Cassandra, own: Vec<WindowCount>| {
        let (asked, failed) = (own.len(), wait(store.counts().unwrap().exchange(own)));
        assert!(failed.trouble.is_some() && failed.others == vec![None; asked], "{failed:?}");
    };
    cluster.node(0).pause().unwrap();
    fails(&a, (0..100).map(|number| taken(&number.to_string(), 2)).collect());
    fails(&a, vec![]);
    cluster.node(0).resume().unwrap();
    let until_told = |own: WindowCount, expected: u64| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while wait(b.counts().unwrap().exchange(vec![own.clone()])).others != [Some(expected)] {
            assert!(std::time::Instant::now() < deadline, "it does not come back");
        }
    };
    until_told(asked("x", 0), 1);
    cluster.node(0).kill().unwrap();
    fails(&a, vec![taken("x", 4)]);
    cluster.node(0).start_again().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while wait(a.counts().unwrap().exchange(vec![taken("x", 5)])).others != [Some(0)] {
        assert!(std::time::Instant::now() < deadline, "it does not come back");
    }
    until_told(asked("x", 0), 5);
}
