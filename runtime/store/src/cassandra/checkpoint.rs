//! Checkpoints: the whole state at a revision, in pieces by digest, so that the journal need not reach back for ever.
//!
//! Any node writes one from its replica when many rows have come since the last. Who loads it checks every piece by its digest,
//! the whole by the hash of the state, and the list by a hash that is keyed as the journal is. Why not one row per entity:
//! `docs/decisions/checkpoints-and-not-entity-rows.md`.

use super::blobs;
use super::connection::Prepared;
use super::partition::{self, End};
use super::sealing::Place;
use crate::hash::{Hashes, StateSum};
use crate::local::authority::{Base, Unread};
use crate::local::view::LocalView;
use crate::replica::fold::blob_of;
use crate::replica::meta::Tip;
use crate::replica::{ReplicaError, image};
use crate::row::{FORMAT, Row};
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use weir_model::{Digest, Id, Kind, Revision, Selection, View};

/// What is kept, and how often that is looked after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// Rows after which a checkpoint is written.
    pub(super) checkpoint_rows: u64,
    /// Rows that stay in the journal behind the tip.
    pub(super) keep_rows: u64,
    /// How long a row stays at least, in seconds.
    pub(super) keep_seconds: u64,
    /// How often this node looks whether there is something to do.
    pub(super) period: Duration,
    /// How often it looks for bytes that nobody refers to.
    pub(super) collect_every: Duration,
    /// How old these are at least: whoever uploads refers to it within seconds, or uploads anew.
    pub(super) collect_after: Duration,
}

impl Default for Keeping {
    fn default() -> Self {
        // A node that was away for a day, or misses 10,000 changes, still catches up row by row. A new one loads the checkpoint
        // and at most as many rows more.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            checkpoint_rows: 5_000,
            keep_rows: 10_000,
            keep_seconds: DAY.as_secs(),
            period: Duration::from_secs(30),
            collect_every: DAY,
            collect_after: DAY.saturating_mul(7),
        }
    }
}

/// What a checkpoint consists of.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    cluster: Id,
    revision: Revision,
    head: Digest,
    state: Digest,
    parts: Vec<Part>,
    /// What the components of the state are called in the store: whoever loads it asks for them.
    components: Option<Vec<Digest>>,
    /// The one before, whose pieces may go when this one has a successor.
    previous: Option<Digest>,
    /// Keyed as the journal is.
    seal: Digest,
}

#[derive(Serialize, Deserialize)]
struct Part {
    digest: Digest,
    upload: Id,
}

impl Manifest {
    fn sealed(mut self, hashes: &Hashes) -> Self {
        self.seal = self.expected_seal(hashes);
        self
    }
    fn expected_seal(&self, hashes: &Hashes) -> Digest {
        let mut text = format!("{}\n{}\n{}\n{}\n{}\n", self.format, self.cluster, self.revision, self.head, self.state);
        for part in &self.parts {
            text.push_str(&part.digest.to_string());
            text.push('\n');
        }
        for component in self.components.iter().flatten() {
            text.push_str(&format!("component {component}\n"));
        }
        Digest::from_bytes(hashes.checkpoint(text.as_bytes()))
    }
}

/// A state to begin from: the newest checkpoint, or the beginning.
pub(super) async fn base(prepared: &Prepared, hashes: &Hashes) -> Result<Base, Unread> {
    let end = partition::end(prepared, &prepared.tip.serial).await?;
    let end = end.ok_or_else(|| super::Readiness::Missing.to_string())?;
    let Some((digest, _)) = end.checkpoint else {
        if end.floor > Revision(0) {
            let cause = "the store has forgotten its beginning and has no checkpoint; restore it from a backup";
            return Err(Unread::Altered(cause.to_owned()));
        }
        let tip = crate::local::reload::beginning(end.cluster, hashes);
        return Ok(Base { cluster: end.cluster, tip, parts: Vec::new() });
    };
    let manifest = read(prepared, digest).await?;
    if manifest.format != FORMAT {
        return Err(format!(
            "the checkpoint has format {}, and this version of weir knows {FORMAT}; upgrade this node",
            manifest.format
        )
        .into());
    }
    if manifest.cluster != end.cluster || manifest.seal != manifest.expected_seal(hashes) {
        return Err(Unread::Altered("the checkpoint in the store was altered, or written with another cluster_key".to_owned()));
    }
    let tip = Tip { revision: manifest.revision, head: *manifest.head.as_bytes(), state: StateSum(*manifest.state.as_bytes()) };
    Ok(Base { cluster: manifest.cluster, tip, parts: manifest.parts.into_iter().map(|part| part.digest).collect() })
}

/// A piece of it.
pub(super) async fn part(prepared: &Prepared, base: &Base, number: usize) -> Result<Vec<u8>, Unread> {
    let digest = base.parts.get(number).ok_or_else(|| format!("the checkpoint has no piece {number}"))?;
    let stored = blobs::read(prepared, *digest).await?;
    let stored = stored.ok_or_else(|| format!("a piece of the checkpoint ({digest}) is not in the store"))?;
    let place = Place::Part { cluster: base.cluster, revision: base.tip.revision, number };
    let altered = || Unread::Altered(format!("piece {number} of the checkpoint in the store does not open: it was altered"));
    prepared.sealing.open(&place, stored).ok_or_else(altered)
}

async fn read(prepared: &Prepared, digest: Digest) -> Result<Manifest, Unread> {
    let bytes = blobs::read(prepared, digest).await?;
    let bytes = bytes.ok_or_else(|| format!("the checkpoint {digest} is not in the store"))?;
    serde_json::from_slice(&bytes).map_err(|error| Unread::Altered(format!("the checkpoint {digest} cannot be read: {error}")))
}

/// Everything that the newest checkpoint and the one before refer to, by what it is called in the store; nothing if that is not known.
pub(super) async fn referred(prepared: &Prepared, end: &End) -> Result<Option<Vec<Digest>>, Unread> {
    let mut names = Vec::new();
    let newest = end.checkpoint.map(|(digest, _)| digest);
    if let Some(newest) = newest {
        let manifest = read(prepared, newest).await?;
        let before = manifest.previous;
        let mut all = vec![(newest, manifest)];
        if let Some(before) = before {
            all.push((before, read(prepared, before).await?));
        }
        for (digest, manifest) in all {
            // Of a version that did not write it down.
            let Some(components) = manifest.components else { return Ok(None) };
            names.push(digest);
            names.extend(manifest.parts.iter().map(|part| part.digest));
            names.extend(components);
        }
    }
    Ok(Some(names))
}

/// Whose bytes a state needs.
pub(super) fn components(view: &LocalView) -> Result<Vec<Digest>, String> {
    const PAGE: usize = 1000;
    let (mut digests, mut after) = (Vec::new(), None);
    loop {
        let page = view.list(Kind::Component, &Selection::All, after, PAGE).map_err(|error| error.to_string())?;
        digests.extend(page.entities.iter().filter_map(blob_of));
        after = page.next;
        if after.is_none() {
            digests.sort_unstable();
            digests.dedup();
            return Ok(digests);
        }
    }
}

/// Stores the state that a view shows, as the state of `cluster` at `tip`.
async fn write(
    prepared: &Prepared,
    hashes: &Hashes,
    view: &Arc<LocalView>,
    cluster: Id,
    tip: Tip,
    previous: Option<Digest>,
) -> Result<Digest, String> {
    let (mut parts, mut after) = (Vec::new(), Vec::new());
    loop {
        let (view, sealing) = (view.clone(), prepared.sealing.clone());
        let place = Place::Part { cluster, revision: tip.revision, number: parts.len() };
        // Reading, packing and sealing megabytes: not on the thread that speaks to Cassandra.
        let next = tokio::task::spawn_blocking(move || -> Result<_, String> {
            let next = view.read(|tables| image::part(&tables.state, &after)).map_err(|error| error.0)?;
            next.map(|(clear, last)| Ok((sealing.seal(&place, &clear)?.into_owned(), last))).transpose()
        });
        let Some((bytes, last)) = next.await.map_err(|error| error.to_string())?? else { break };
        let (digest, upload) = blobs::put_named(prepared, &bytes).await?;
        parts.push(Part { digest, upload });
        after = last;
    }
    let manifest = Manifest {
        format: FORMAT,
        cluster,
        revision: tip.revision,
        head: Digest::from_bytes(tip.head),
        state: Digest::from_bytes(tip.state.0),
        parts,
        components: Some(components(view)?.into_iter().map(|digest| prepared.sealing.name(digest)).collect()),
        previous,
        seal: Digest::from_bytes([0; 32]),
    };
    let manifest = serde_json::to_vec(&manifest.sealed(hashes)).map_err(|error| error.to_string())?;
    blobs::put(prepared, &manifest).await
}

/// Writes a checkpoint if it is time, and lets rows go that nobody needs. Answers whether something was done.
pub(super) async fn keep_house(
    prepared: &Prepared,
    hashes: &Hashes,
    view: &Arc<LocalView>,
    keeping: Keeping,
    now: u64,
) -> Result<bool, String> {
    let Some(end) = partition::end(prepared, &prepared.tip.serial).await? else { return Ok(false) };
    let meta = view.meta();
    // Only who is up to date knows what is old.
    if end.cluster != meta.cluster || end.revision < meta.tip.revision {
        return Ok(false);
    }
    let last = end.checkpoint.map_or(Revision(0), |(_, at)| at);
    let mut done = false;
    let mut at = last;
    if meta.tip.revision.0.saturating_sub(last.0) >= keeping.checkpoint_rows {
        let previous = end.checkpoint.map(|(digest, _)| digest);
        let digest = write(prepared, hashes, view, meta.cluster, meta.tip, previous).await?;
        if set_checkpoint(prepared, &end, digest, meta.tip.revision).await? {
            tracing::info!(revision = meta.tip.revision.0, "wrote a checkpoint of the state into the store");
            at = meta.tip.revision;
            done = true;
            if let Some(previous) = previous {
                collect_before(prepared, previous).await;
            }
        }
    }
    let wanted = at.0.min(meta.tip.revision.0.saturating_sub(keeping.keep_rows));
    let wanted = oldest_needed(view, wanted, now.saturating_sub(keeping.keep_seconds))?;
    if wanted > end.floor.0 {
        done |= trim(prepared, &end, Revision(wanted)).await?;
    }
    Ok(done)
}

/// The last revision up to `most` that was appended before a moment, by this node's journal.
fn oldest_needed(view: &LocalView, most: u64, before: u64) -> Result<u64, String> {
    let found = view.read(|tables| -> Result<u64, ReplicaError> {
        let (mut low, mut high) = (view.meta().floor.0, most);
        if high <= low {
            // Trimmed here already, by the same rule.
            return Ok(high);
        }
        // Rows are in order of time, give or take the clocks of the nodes that appended them.
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let row = tables.journal.get(middle)?;
            let old = match row {
                Some(row) => Row::decode_head(row.value())?.appended <= before,
                None => false,
            };
            if old { low = middle } else { high = middle - 1 }
        }
        Ok(low)
    });
    found.map_err(|error| error.0)
}

fn decided(text: &str) -> Statement {
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::Quorum);
    statement.set_serial_consistency(Some(SerialConsistency::Serial));
    statement.set_request_timeout(Some(super::connection::APPEND_LIMIT));
    statement
}

async fn set_checkpoint(prepared: &Prepared, end: &End, digest: Digest, at: Revision) -> Result<bool, String> {
    let cluster = Uuid::from_bytes(*end.cluster.as_bytes());
    let (digest, at) = (digest.as_bytes().to_vec(), partition::signed(at));
    let result = match end.checkpoint {
        Some((_, before)) => {
            let statement = decided(
                "UPDATE journal SET checkpoint = ?, checkpoint_at = ? WHERE log = 0 IF cluster = ? AND checkpoint_at = ?",
            );
            prepared.session.query_unpaged(statement, (digest, at, cluster, partition::signed(before))).await
        }
        None => {
            let statement = decided(
                "UPDATE journal SET checkpoint = ?, checkpoint_at = ? WHERE log = 0 IF cluster = ? AND checkpoint_at = null",
            );
            prepared.session.query_unpaged(statement, (digest, at, cluster)).await
        }
    };
    super::schema::applied(result.map_err(|error| error.to_string())?)
}

/// Lets the rows up to `wanted` go, as far as they are whole: first nobody may ask for them, then they are deleted.
async fn trim(prepared: &Prepared, end: &End, wanted: Revision) -> Result<bool, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // A row holds the transactions that got their places together, and stands at its first.
    let mut border =
        Statement::new("SELECT revision FROM journal WHERE log = 0 AND revision <= ? ORDER BY revision DESC LIMIT 1");
    border.set_consistency(Consistency::Serial);
    border.set_request_timeout(Some(super::connection::READ_LIMIT));
    let result =
        prepared.session.query_unpaged(border, (partition::signed(wanted.next()),)).await.map_err(|error| text(&error))?;
    let result = result.into_rows_result().map_err(|error| text(&error))?;
    let Some((first,)) = result.maybe_first_row::<(i64,)>().map_err(|error| text(&error))? else { return Ok(false) };
    let floor = first - 1;
    if floor <= partition::signed(end.floor) {
        return Ok(false);
    }
    let raise = decided("UPDATE journal SET floor = ? WHERE log = 0 IF cluster = ? AND floor = ?");
    let values = (floor, Uuid::from_bytes(*end.cluster.as_bytes()), partition::signed(end.floor));
    let result = prepared.session.query_unpaged(raise, values).await.map_err(|error| text(&error))?;
    if !super::schema::applied(result)? {
        return Ok(false);
    }
    // Never the whole partition: the tip stands in it. No revision up to the tip is ever written again, so it does not matter
    // what this node's clock says.
    let mut delete = Statement::new("DELETE FROM journal WHERE log = 0 AND revision <= ?");
    delete.set_consistency(Consistency::Quorum);
    prepared.session.query_unpaged(delete, (floor,)).await.map_err(|error| text(&error))?;
    tracing::info!(floor, "let old rows of the journal go");
    Ok(true)
}

/// Deletes the pieces of the checkpoint before `previous`: whoever was loading it has had the time of a whole further one.
async fn collect_before(prepared: &Prepared, previous: Digest) {
    let older = match read(prepared, previous).await {
        Ok(Manifest { previous: Some(older), .. }) => older,
        Ok(_) => return,
        Err(cause) => return tracing::debug!(%cause, "an old checkpoint cannot be read"),
    };
    let Ok(manifest) = read(prepared, older).await else { return };
    for part in manifest.parts {
        if let Err(cause) = blobs::forget(prepared, part.digest, part.upload).await {
            return tracing::debug!(%cause, "a piece of an old checkpoint cannot be deleted");
        }
    }
}

/// Makes the state of this node the store's, as a new history above every revision that was seen.
pub(super) async fn republish(prepared: &Prepared, hashes: &Hashes, view: &Arc<LocalView>) -> Result<(Id, Revision), String> {
    let end = partition::end(prepared, &prepared.tip.serial).await?;
    let cluster = Id::random();
    let above = view.meta().tip.revision.max(end.as_ref().map_or(Revision(0), |end| end.revision));
    let tip = Tip { revision: above.next(), head: hashes.genesis(cluster), state: view.meta().tip.state };
    let digest = write(prepared, hashes, view, cluster, tip, None).await?;
    let values = (
        partition::signed(tip.revision),
        tip.head.to_vec(),
        partition::signed(tip.revision),
        Uuid::from_bytes(*cluster.as_bytes()),
        hashes.key_check(cluster).to_vec(),
        digest.as_bytes().to_vec(),
        partition::signed(tip.revision),
    );
    const SET: &str = "UPDATE journal SET tip = ?, head = ?, floor = ?, cluster = ?, key_check = ?, checkpoint = ?, checkpoint_at = ? WHERE log = 0 IF";
    let result = match end {
        Some(end) => {
            let (a, b, c, d, e, f, g) = values;
            let values = (a, b, c, d, e, f, g, partition::signed(end.revision), end.head.to_vec());
            prepared.session.query_unpaged(decided(&format!("{SET} tip = ? AND head = ?")), values).await
        }
        None => prepared.session.query_unpaged(decided(&format!("{SET} tip = null")), values).await,
    };
    if !super::schema::applied(result.map_err(|error| error.to_string())?)? {
        return Err("another node has written meanwhile; look at `weir status` of all nodes before you try again".to_owned());
    }
    Ok((cluster, tip.revision))
}
