//! Which nodes there are: each tells of itself, and judges the others by its own clock.
//!
//! A row is written with a number of its own as timestamp, so that no clock decides which is newer. Cassandra's time to live only
//! clears away what has ended; whether a node lives is whether its number moves while somebody watches.

use super::connection::{Connection, Prepared};
use crate::local::locked;
use crate::{NodeIdentity, NodeState, OwnState};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use uuid::Uuid;
use weir_model::{Id, Revision};

/// How often a node tells of itself when nothing has changed.
const BEAT: Duration = Duration::from_secs(1);
/// Beats without a word after which a node is not waited for.
const SILENT_BEATS: u32 = 3;
/// How long Cassandra keeps the row of a node that is gone: for people to see that it was there.
const KEPT_SECONDS: i32 = 3600;
/// What is said of a node whose id another process has too.
const TWIN: &str = "two processes tell of this node id, as after a copy of a node's folder: delete the file node_id in one of them and \
                    restart it";
/// Rows that are read. More nodes than any cluster has; what is beyond them is not shown.
const NODES_MOST: usize = 1000;

/// What this node knows of all.
pub(super) struct Nodes {
    identity: NodeIdentity,
    boot: Id,
    own: watch::Sender<OwnState>,
    seen: Mutex<HashMap<(Id, Id), Seen>>,
    moved: watch::Sender<u64>,
    revisions: watch::Receiver<Revision>,
    began: Instant,
    /// The number of the last row that was written.
    seq: AtomicI64,
    /// This node has ended, and is not told of again.
    left: AtomicBool,
}

/// A row, and when it last moved by this node's clock.
#[derive(Clone, Debug)]
struct Seen {
    row: NodeRow,
    first: Instant,
    moved: Instant,
}

#[derive(Clone, PartialEq, Debug)]
struct NodeRow {
    seq: i64,
    name: String,
    version: String,
    applied: Revision,
    serving: Revision,
    trouble: Option<String>,
    every: Duration,
}

impl Nodes {
    pub(super) fn new(identity: NodeIdentity, revisions: watch::Receiver<Revision>) -> Arc<Self> {
        Arc::new(Self {
            identity,
            boot: Id::random(),
            own: watch::Sender::default(),
            seen: Mutex::default(),
            moved: watch::Sender::default(),
            revisions,
            began: Instant::now(),
            seq: AtomicI64::new(first_seq()),
            left: AtomicBool::new(false),
        })
    }

    pub(super) fn tell(&self, state: &OwnState) {
        self.own.send_if_modified(|own| std::mem::replace(own, state.clone()) != *state);
        self.moved.send_modify(|moved| *moved += 1);
    }

    pub(super) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// All of them, this one first.
    pub(super) fn list(&self) -> Vec<NodeState> {
        let (own, applied) = (self.own.borrow().clone(), *self.revisions.borrow());
        let mut all = vec![NodeState {
            id: self.identity.id.to_string(),
            name: self.identity.name.clone(),
            version: self.identity.version.clone(),
            applied,
            serving: own.serving,
            lag: applied.0.saturating_sub(own.serving.0),
            trouble: own.trouble,
            live: true,
            silent_ms: 0,
            own: true,
        }];
        let seen = locked(&self.seen);
        // The newest start of each node: an older one has ended, however it did, unless it has moved since the newer was seen.
        let mut starts = HashMap::<Id, Vec<&Seen>>::new();
        for ((id, boot), seen) in seen.iter() {
            if (*id, *boot) != (self.identity.id, self.boot) {
                starts.entry(*id).or_default().push(seen);
            }
        }
        let mut others = Vec::new();
        for (id, mut starts) in starts {
            starts.sort_by_key(|seen| (seen.moved, seen.row.seq));
            // An earlier start of this very node is not another node.
            let newest = if id == self.identity.id { None } else { starts.pop() };
            let since = newest.map_or(self.began, |newest| newest.first);
            // Not the last word of one that ends while its successor begins.
            let goes_on = |seen: &&Seen| seen.moved > since && seen.moved.duration_since(seen.first) > BEAT * SILENT_BEATS;
            let twins = starts.into_iter().filter(goes_on);
            let twins = twins.map(|seen| NodeState { trouble: Some(TWIN.to_owned()), ..state(id, seen, applied) });
            others.extend(twins.filter(|twin| twin.live));
            others.extend(newest.map(|newest| state(id, newest, applied)));
        }
        others.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        all.extend(others);
        all
    }

    /// Tells of this node and looks at the others, until the connection is gone.
    pub(super) async fn keep_telling(self: Arc<Self>, connection: Connection, every: Duration) {
        let (mut own, mut revisions) = (self.own.subscribe(), self.revisions.clone());
        let mut written = None;
        while !self.left.load(Ordering::Acquire) {
            let begun = Instant::now();
            if let Ok(prepared) = connection.prepared() {
                let now = (own.borrow_and_update().clone(), *revisions.borrow_and_update());
                let due = written.as_ref().is_none_or(|(last, at): &(_, Instant)| *last != now || at.elapsed() >= BEAT);
                if due && self.write(&prepared, &now.0, now.1, KEPT_SECONDS).await.is_ok() {
                    written = Some((now, Instant::now()));
                }
                match read(&prepared).await {
                    Ok(rows) => self.note(rows),
                    Err(cause) => tracing::debug!(%cause, "the nodes cannot be read"),
                }
            }
            self.moved.send_modify(|moved| *moved += 1);
            // As often as the store is followed while somebody waits for the others; at leisure otherwise.
            let pause = if self.moved.receiver_count() > 0 { every } else { BEAT };
            tokio::select! {
                () = tokio::time::sleep(pause.saturating_sub(begun.elapsed())) => {}
                changed = own.changed() => if changed.is_err() { return },
                changed = revisions.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Takes this node's row away: it has ended, and nobody shall look for it.
    pub(super) async fn leave(&self, connection: &Connection) {
        self.left.store(true, Ordering::Release);
        if let Ok(prepared) = connection.prepared() {
            let (own, applied) = (self.own.borrow().clone(), *self.revisions.borrow());
            // Gone in a second.
            drop(self.write(&prepared, &own, applied, 1).await);
        }
    }

    async fn write(&self, prepared: &Prepared, own: &OwnState, applied: Revision, lives: i32) -> Result<(), String> {
        let seq = self.seq.fetch_add(1, Ordering::AcqRel) + 1;
        let values = (
            uuid(self.identity.id),
            uuid(self.boot),
            seq,
            &self.identity.name,
            &self.identity.version,
            applied.0.cast_signed(),
            own.serving.0.cast_signed(),
            &own.trouble,
            i64::try_from(BEAT.as_millis()).unwrap_or(i64::MAX),
            seq,
            lives,
        );
        prepared.session.execute_unpaged(&prepared.put_node, values).await.map(drop).map_err(|error| error.to_string())
    }

    fn note(&self, rows: Vec<((Id, Id), NodeRow)>) {
        let mut seen = locked(&self.seen);
        let now = Instant::now();
        seen.retain(|key, _| rows.iter().any(|(row, _)| row == key));
        for (key, row) in rows {
            match seen.get_mut(&key) {
                Some(known) if known.row.seq == row.seq => {}
                Some(known) => (known.row, known.moved) = (row, now),
                // Nobody knows how old it is: it gets the time to show that it lives.
                None => drop(seen.insert(key, Seen { row, first: now, moved: now })),
            }
        }
    }
}

/// Nodes that are seen to live and run another version than `version`: `name (version)` of each. Watches for as long as a node may be silent.
pub(super) async fn of_other_versions(prepared: &Prepared, version: &str) -> Result<Vec<String>, String> {
    let first = read(prepared).await?;
    tokio::time::sleep(BEAT * SILENT_BEATS).await;
    let mut others = Vec::new();
    for (key, row) in read(prepared).await? {
        let still = first.iter().any(|(known, before)| *known == key && before.seq == row.seq);
        if !still && row.version != version {
            others.push(format!("{} ({})", row.name, row.version));
        }
    }
    others.sort();
    Ok(others)
}

async fn read(prepared: &Prepared) -> Result<Vec<((Id, Id), NodeRow)>, String> {
    type Columns =
        (Uuid, Uuid, Option<i64>, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<String>, Option<i64>);
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let result = prepared.session.execute_unpaged(&prepared.nodes, ()).await.map_err(|error| text(&error))?;
    let rows = result.into_rows_result().map_err(|error| text(&error))?;
    let mut all = Vec::new();
    for row in rows.rows::<Columns>().map_err(|error| text(&error))?.take(NODES_MOST) {
        let (id, boot, seq, name, version, applied, serving, trouble, every) = row.map_err(|error| text(&error))?;
        let revision = |value: Option<i64>| Revision(value.unwrap_or(0).max(0).cast_unsigned());
        all.push((
            (Id::from_bytes(*id.as_bytes()), Id::from_bytes(*boot.as_bytes())),
            NodeRow {
                seq: seq.unwrap_or(0),
                name: name.unwrap_or_default(),
                version: version.unwrap_or_default(),
                applied: revision(applied),
                serving: revision(serving),
                trouble,
                every: Duration::from_millis(every.unwrap_or(1000).clamp(1, 60_000).cast_unsigned()),
            },
        ));
    }
    Ok(all)
}

fn state(id: Id, seen: &Seen, tip: Revision) -> NodeState {
    let silent = seen.moved.elapsed();
    NodeState {
        id: id.to_string(),
        name: seen.row.name.clone(),
        version: seen.row.version.clone(),
        applied: seen.row.applied,
        serving: seen.row.serving,
        lag: tip.0.saturating_sub(seen.row.serving.0),
        trouble: seen.row.trouble.clone(),
        live: silent < seen.row.every * SILENT_BEATS,
        silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
        own: false,
    }
}

/// Numbers begin where the clock is, only so that they differ from start to start; each start has rows of its own.
fn first_seq() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| i64::try_from(since.as_micros()).unwrap_or(1))
}

fn uuid(id: Id) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
