//! A consistent read of the whole configuration at one revision.

use crate::{Entity, Id, Kind, Revision};

/// Why a read failed: the store's file, not the question.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ViewError(pub String);

/// Which entities of a kind a listing wants.
#[derive(Clone, PartialEq, Debug)]
pub enum Selection {
    /// All.
    All,
    /// Those whose foreign key `field` (`"service"`, `"consumer"`, …) is `id`.
    Foreign {
        /// The field's name.
        field: String,
        /// The entity that it points to.
        id: Id,
    },
    /// Those that carry every one of these tags.
    AllTags(Vec<String>),
    /// Those that carry at least one of these tags.
    AnyTag(Vec<String>),
}

/// A page of a listing, ordered by id.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// At most as many as were asked for.
    pub entities: Vec<Entity>,
    /// The id after which the next page begins, if there is one.
    pub next: Option<Id>,
}

/// The state at one revision. Two reads of one view never disagree.
pub trait View: Send + Sync {
    /// The revision that this view shows.
    fn revision(&self) -> Revision;
    /// The entity with that primary key.
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError>;
    /// The revision at which that entity was last written; nothing if there is none.
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError>;
    /// The entity that holds `key` in the unique index `index`; the indexes of a kind follow from its schema
    /// (`Entity::unique_keys`).
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError>;
    /// A page of at most `limit` entities with an id greater than `after`.
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError>;
    /// Entities that carry `tag` (every tag when `None`), as (tag, kind, id), ordered, strictly after `after`.
    fn tags(
        &self,
        tag: Option<&str>,
        after: Option<(String, Kind, Id)>,
        limit: usize,
    ) -> Result<Vec<(String, Kind, Id)>, ViewError>;
    /// How many entities of that kind there are.
    fn count(&self, kind: Kind) -> Result<u64, ViewError>;

    /// Every entity of a selection, page by page.
    fn each(&self, kind: Kind, selection: &Selection, visit: &mut dyn FnMut(Entity)) -> Result<(), ViewError> {
        let mut after = None;
        loop {
            let page = self.list(kind, selection, after, 1000)?;
            page.entities.into_iter().for_each(&mut *visit);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
