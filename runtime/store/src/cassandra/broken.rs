//! Stores that are wrong on purpose, so that the checker of the fault tests is known to catch them. Only in tests.

use super::connection::Prepared;
use super::journal::AppendValues;
use super::partition::{self, End};
use crate::Plan;
use crate::local::authority::{SharedRow, Unread};
use crate::replica::meta::Tip;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use std::cell::Cell;
use weir_model::Revision;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// Refusals and no-ops are answered from what this node has, as by whoever reads before it writes.
    Unconfirmed,
    /// A free place is taken as proof that an append was not done.
    ReadBack,
    /// An append asks for a free place, and not for the tip: `INSERT … IF NOT EXISTS`.
    FreePlace,
    /// No second look refuses what breaks a unique key: whoever judges before others have written is believed.
    ReadThenWrite,
    /// Takes the rows of the last so many seconds, whatever is missing before them.
    TimeWindow(u64),
    /// The same, and what does not continue this node's history is believed.
    TimeWindowBelieved(u64),
}

thread_local! {
    static BROKEN: Cell<Option<Broken>> = const { Cell::new(None) };
}

/// Makes every store that this thread opens wrong in that way, until it is told otherwise; on a writer's thread, its own store.
pub(crate) fn set(broken: Option<Broken>) {
    BROKEN.set(broken);
}

/// What the stores of this thread are to have wrong.
pub(super) fn get() -> Option<Broken> {
    BROKEN.get()
}

/// Whether the writer of this thread checks no transaction a second time.
pub(crate) fn is_unchecked() -> bool {
    get() == Some(Broken::ReadThenWrite)
}

/// Whether the writer of this thread believes rows whatever they continue and lead to.
pub(crate) fn believes() -> bool {
    matches!(get(), Some(Broken::TimeWindowBelieved(_)))
}

/// Puts a node where a row begins, wherever it was.
pub(crate) fn jump(tip: &mut Tip, to: &SharedRow) {
    tip.revision = Revision(to.first.0.saturating_sub(1));
    tip.head = to.previous;
}

/// A plan that keeps what it decided first, whatever has been written since.
pub(super) fn decided_once(mut plan: Plan) -> Plan {
    let mut first = None;
    Box::new(move |view| {
        if let Some(planned) = &first {
            return Ok(crate::Planned::clone(planned));
        }
        let planned = plan(view)?;
        first = Some(planned.clone());
        Ok(planned)
    })
}

/// An append that asks whether its place is free; then the tip is raised if that is further.
pub(super) async fn append_where_free(prepared: &Prepared, values: &AppendValues) -> Result<bool, String> {
    let decided = |text: &str| {
        let mut statement = Statement::new(text);
        statement.set_consistency(Consistency::Quorum);
        statement.set_serial_consistency(Some(SerialConsistency::Serial));
        statement
    };
    let (tip, head, txn, prev, head_after, state, format, appended, ops, digest, revision, ..) = values.clone();
    let insert = decided(
        "INSERT INTO journal (log, revision, txn, prev, head_after, state, format, appended, ops, ops_digest) \
         VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS",
    );
    let values = (revision, txn, prev, head_after, state, format, appended, ops, digest);
    let inserted = prepared.session.query_unpaged(insert, values).await.map_err(|error| error.to_string())?;
    if !super::schema::applied(inserted)? {
        return Ok(false);
    }
    let raise = decided("UPDATE journal SET tip = ?, head = ? WHERE log = 0 IF tip < ?");
    prepared.session.query_unpaged(raise, (tip, head, tip)).await.map_err(|error| error.to_string())?;
    Ok(true)
}

/// The rows after a tip that were appended in the `window` seconds before the newest, one after the other or not.
pub(super) async fn recent_rows(prepared: &Prepared, end: &End, tip: Revision, window: u64) -> Result<Vec<SharedRow>, Unread> {
    let mut found: Vec<SharedRow> = Vec::new();
    let mut after = tip;
    while after < end.revision {
        let Some(row) = partition::rows(prepared, &prepared.rows.serial, end.cluster, after).await?.into_iter().next() else {
            break;
        };
        after = Revision(row.first.0 + row.transactions.len() as u64 - 1);
        found.push(row);
    }
    let newest = found.iter().map(|row| row.appended).max().unwrap_or_default();
    found.retain(|row| row.appended + window >= newest);
    Ok(found)
}
