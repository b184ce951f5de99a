//! A process is killed while it writes, again and again: what it was answered must be there, whole.

use super::*;
use crate::conformance::{append, id, route};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use weir_model::{Entity, Id, Kind, Op, Selection};

/// Set for the process that is killed: the folder that it writes to, and where its numbers begin.
const FOLDER: &str = "WEIR_STORE_KILLED";
const BEGIN: &str = "WEIR_STORE_KILLED_BEGIN";
/// How often. The goal that the store is built to.
const KILLS: u32 = 100;
/// Pairs that are kept; older ones are deleted, so that the file stays small and pages are used again.
const KEPT: u32 = 40;

// A pair that only makes sense whole: a service and its route, both with the number.
fn pair(number: u32) -> Vec<Op> {
    let mut service = service(number, &format!("s{number}"));
    service.body.insert("filler".to_owned(), json!("x".repeat((number % 97 * 50) as usize)));
    let mut ops = vec![Op::Put(service), Op::Put(route(number, &format!("r{number}"), number))];
    if let Some(old) = number.checked_sub(KEPT) {
        ops.extend([Kind::Service, Kind::Route].map(|kind| Op::Delete { kind, id: id(old) }));
    }
    ops
}

// The child: four writers at once, each answer on a line of its own. Does nothing in an ordinary run.
#[test]
fn a_process_that_writes_until_it_is_killed() {
    let (Ok(folder), Ok(begin)) = (std::env::var(FOLDER), std::env::var(BEGIN)) else { return };
    let store = Embedded::open(folder, EmbeddedOptions::default()).unwrap();
    let begin: u32 = begin.parse().unwrap();
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in (begin + lane..).step_by(4) {
                    if number % 50 == 0 {
                        wait(store.put_blob(vec![number as u8; 600_000])).unwrap();
                    }
                    let written = wait(store.write(append(pair(number)))).unwrap();
                    // One call of the system: the line is there whole, or not at all.
                    let line = format!("{number} {}\n", written.revision);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn start(folder: &Path, begin: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::kill::a_process_that_writes_until_it_is_killed", "--nocapture", "-q"])
        .env(FOLDER, folder)
        .env(BEGIN, begin.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

// Lets it write for a while, kills it, and answers what it was told: (number, revision).
fn write_and_kill(folder: &Path, begin: u32, chance: &mut impl FnMut(u64) -> u64) -> Vec<(u32, u64)> {
    let mut child = start(folder, begin);
    let (sender, lines) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut answered = Vec::new();
    let mut note = |line: String| {
        let mut parts = line.split(' ').map(str::parse::<u64>);
        if let (Some(Ok(number)), Some(Ok(revision)), None) = (parts.next(), parts.next(), parts.next()) {
            answered.push((number as u32, revision));
        }
    };
    // Some answers, so that it surely writes, then a moment more, so that the end falls anywhere in a commit.
    for _ in 0..chance(30) + 3 {
        note(lines.recv_timeout(Duration::from_secs(30)).expect("it writes"));
    }
    let moment = std::time::Instant::now() + Duration::from_micros(chance(8000));
    while let Ok(line) = lines.recv_timeout(moment.saturating_duration_since(std::time::Instant::now())) {
        note(line);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lines.iter().for_each(&mut note);
    let _ = reader.join();
    answered
}

#[test]
fn no_answered_write_is_lost_and_none_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    // A fixed seed: the moments still differ from run to run, since the process is not that regular.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chance = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut state = BTreeMap::<(Kind, Id), Entity>::new();
    let mut applied = Revision(0);
    let (mut next, mut total, mut unanswered) = (0, 0, 0);
    let begun = std::time::Instant::now();
    for round in 0..KILLS {
        let answered = write_and_kill(folder.path(), next, &mut chance);
        total += answered.len();
        let store = Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
        let rows = store.transactions(applied, 100_000).unwrap();
        unanswered += rows.len() - answered.len().min(rows.len());
        for (number, revision) in &answered {
            let row = rows.iter().find(|row| row.revision.0 == *revision);
            let row = row.unwrap_or_else(|| panic!("round {round}: revision {revision} was answered and is lost"));
            assert_eq!(row.ops, pair(*number), "round {round}: revision {revision}");
        }
        for row in rows {
            assert_eq!(row.revision, applied.next());
            applied = row.revision;
            for op in row.ops {
                match op {
                    Op::Put(entity) => {
                        let number = u32::from_be_bytes(entity.id.as_bytes()[12..].try_into().unwrap());
                        next = next.max(number + 1);
                        state.insert((entity.kind, entity.id), entity);
                    }
                    Op::Delete { kind, id } => drop(state.remove(&(kind, id))),
                }
            }
        }
        let view = store.view().unwrap();
        assert_eq!(view.revision(), applied);
        let mut stored = BTreeMap::new();
        for kind in Kind::ALL {
            view.each(kind, &Selection::All, &mut |entity| drop(stored.insert((entity.kind, entity.id), entity))).unwrap();
        }
        assert_eq!(stored, state, "round {round}: the state is the fold of the journal");
        drop((view, store));
        assert_eq!(verify(folder.path()).revision, applied, "round {round}");
    }
    println!("{KILLS} kills in {:.1?}: {total} writes answered, {unanswered} done but not answered, none lost", begun.elapsed());
    assert!(total > 300);
}

#[test]
fn a_second_process_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), 0);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // The harness prints first; a line of two numbers means that the store is open.
    while !line.split_whitespace().all(|part| part.parse::<u64>().is_ok()) || line.trim().is_empty() {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    let error = Embedded::open(folder.path(), EmbeddedOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { holder, .. } if *holder == format!("process {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
}
