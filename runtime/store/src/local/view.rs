//! A view: a `redb` read transaction with its tables open, shared by all who read that revision.

use super::queue::Work;
use super::{Shared, file};
use crate::replica::meta::Meta;
use crate::replica::{BLOBS, JOURNAL, ReplicaError, STATE, keys, query};
use arc_swap::ArcSwap;
use redb::{Database, ReadOnlyTable, ReadableDatabase};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;
use weir_model::{Entity, Id, Kind, Page, Revision, Selection, View, ViewError};

/// The tables of one read transaction, which they keep alive.
pub(crate) struct Tables {
    pub(crate) state: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(crate) journal: ReadOnlyTable<u64, &'static [u8]>,
    pub(crate) chunks: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

/// The state at one revision.
pub(crate) struct LocalView {
    meta: Meta,
    tables: ArcSwap<Tables>,
    shared: Weak<Shared>,
    writer: mpsc::WeakSender<Work>,
}

impl LocalView {
    /// Of what is committed now.
    pub(crate) fn of(database: &Database, shared: &Arc<Shared>, writer: &mpsc::WeakSender<Work>) -> Result<Self, ReplicaError> {
        let read = database.begin_read()?;
        let state = read.open_table(STATE)?;
        let meta = Meta::read(&state)?;
        let tables = Tables { state, journal: read.open_table(JOURNAL)?, chunks: read.open_table(BLOBS)? };
        Ok(Self { meta, tables: ArcSwap::from_pointee(tables), shared: Arc::downgrade(shared), writer: writer.clone() })
    }
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }
    /// Reads; a failure of the file is tried once more if the file has been opened anew meanwhile.
    pub(crate) fn read<T>(&self, question: impl Fn(&Tables) -> Result<T, ReplicaError>) -> Result<T, ViewError> {
        let ask = |tables: &Tables| match file::guarded(|| question(tables)) {
            Ok(answer) => answer.map_err(ViewError::from),
            Err(panic) => Err(ViewError(format!("the file is damaged: {panic}"))),
        };
        ask(&self.tables.load()).or_else(|error| if self.take_new_tables() { ask(&self.tables.load()) } else { Err(error) })
    }
    /// Whether the file under this view still answers.
    pub(crate) fn is_readable(&self) -> bool {
        matches!(file::guarded(|| Meta::read(&self.tables.load().state)), Ok(Ok(_)))
    }
    // The tables of a file that was opened anew are as good as ours while no revision has passed: the state is the same.
    fn take_new_tables(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        if let Some(writer) = self.writer.upgrade()
            && !shared.look_asked.swap(true, Ordering::AcqRel)
            && writer.try_send(Work::Look).is_err()
        {
            // The queue is full: the writes in it will meet the failure as well.
            shared.look_asked.store(false, Ordering::Release);
        }
        let Some(newest) = shared.newest() else { return false };
        if newest.meta.tip != self.meta.tip || Arc::ptr_eq(&newest.tables.load(), &self.tables.load()) {
            return false;
        }
        self.tables.store(newest.tables.load_full());
        true
    }
}

impl View for LocalView {
    fn revision(&self) -> Revision {
        self.meta.tip.revision
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        self.read(|tables| query::get(&tables.state, kind, id))
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        self.read(|tables| query::revision_of(&tables.state, kind, id))
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        let key = keys::unique(kind, index, key);
        self.read(|tables| query::holder(&tables.state, &key))
    }
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        self.read(|tables| query::list(&tables.state, kind, selection, after, limit))
    }
    fn tags(
        &self,
        tag: Option<&str>,
        after: Option<(String, Kind, Id)>,
        limit: usize,
    ) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        self.read(|tables| query::tags(&tables.state, tag, after.clone(), limit))
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        self.read(|tables| query::count(&tables.state, kind))
    }
}

/// The state inside a write transaction, as a plan sees it: with the writes of the group before it.
pub(crate) struct PlanView<'a, 't> {
    pub(crate) state: &'a crate::replica::StateTable<'t>,
    pub(crate) revision: Revision,
}

impl View for PlanView<'_, '_> {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(query::get(self.state, kind, id)?)
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(query::revision_of(self.state, kind, id)?)
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        Ok(query::holder(self.state, &keys::unique(kind, index, key))?)
    }
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        Ok(query::list(self.state, kind, selection, after, limit)?)
    }
    fn tags(
        &self,
        tag: Option<&str>,
        after: Option<(String, Kind, Id)>,
        limit: usize,
    ) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        Ok(query::tags(self.state, tag, after, limit)?)
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        Ok(query::count(self.state, kind)?)
    }
}
