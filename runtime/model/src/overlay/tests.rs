//! Random results on a random base, against a map to which the same was done.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The state as a map, and the revision that wrote each entity.
#[derive(Clone, Default)]
struct Plain {
    revision: u64,
    entities: BTreeMap<(Kind, Id), (Entity, u64)>,
}

impl Plain {
    fn apply(&mut self, ops: &[Op], revision: u64) {
        for op in ops {
            match op {
                Op::Put(entity) => drop(self.entities.insert(op.key(), (entity.clone(), revision))),
                Op::Delete { .. } => drop(self.entities.remove(&op.key())),
            }
        }
    }
    /// No two of a kind hold one unique key.
    fn is_sound(&self) -> bool {
        let mut held = BTreeSet::new();
        let mut keys = self.entities.values().flat_map(|(entity, _)| {
            entity.unique_keys().into_iter().map(|(index, key)| (entity.kind, index, key)).collect::<Vec<_>>()
        });
        keys.all(|key| held.insert(key))
    }
}

impl View for Plain {
    fn revision(&self) -> Revision {
        Revision(self.revision)
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(self.entities.get(&(kind, id)).map(|(entity, _)| entity.clone()))
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(self.entities.get(&(kind, id)).map(|(_, written)| Revision(*written)))
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        let holds = |entity: &Entity| {
            entity.kind == kind && entity.unique_keys().iter().any(|(own, held)| (*own, held.as_str()) == (index, key))
        };
        Ok(self.entities.values().find(|(entity, _)| holds(entity)).map(|(entity, _)| entity.id))
    }
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        let all = self.entities.values().map(|(entity, _)| entity);
        // Spelled out once more, so that both cannot be wrong in one way.
        let tags = |entity: &Entity| entity.tags().map(str::to_owned).collect::<BTreeSet<_>>();
        let selected = |entity: &Entity| match selection {
            Selection::All => true,
            Selection::Foreign { field, id } => {
                field == "service" && entity.body.get(field) == Some(&json!({ "id": id.to_string() }))
            }
            Selection::AllTags(wanted) => tags(entity).is_superset(&wanted.iter().cloned().collect()),
            Selection::AnyTag(wanted) => !tags(entity).is_disjoint(&wanted.iter().cloned().collect()),
        };
        let fits = |entity: &&Entity| entity.kind == kind && Some(entity.id) > after && selected(entity);
        let mut entities: Vec<Entity> = all.filter(fits).take(limit.max(1) + 1).cloned().collect();
        let more = entities.len() > limit.max(1);
        entities.truncate(limit.max(1));
        Ok(Page { next: entities.last().map(|last| last.id).filter(|_| more), entities })
    }
    fn tags(
        &self,
        tag: Option<&str>,
        after: Option<(String, Kind, Id)>,
        limit: usize,
    ) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        let rows: BTreeSet<_> = self
            .entities
            .values()
            .flat_map(|(entity, _)| entity.tags().map(|tag| (tag.to_owned(), entity.kind, entity.id)).collect::<Vec<_>>())
            .collect();
        let fits =
            |row: &(String, Kind, Id)| tag.is_none_or(|tag| tag == row.0) && after.as_ref().is_none_or(|after| row > after);
        Ok(rows.into_iter().filter(fits).take(limit).collect())
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        Ok(self.entities.keys().filter(|(own, _)| *own == kind).count() as u64)
    }
}

const TAGS: [&str; 3] = ["a", "b", "c"];
const NUMBERS: u8 = 24;

fn id(number: u8) -> Id {
    Id::from_bytes([number; 16])
}

// Few ids and names, so that results meet each other and the base.
fn any_op() -> impl Strategy<Value = Op> {
    let name = proptest::option::of(0..12u8).prop_map(|name| name.map(|name| format!("n{name}")));
    let tags = proptest::collection::vec(proptest::sample::select(&TAGS[..]), 0..3);
    (0..3u8, 0..NUMBERS, name, 0..3u8, tags, prop::bool::weighted(0.3)).prop_map(|(kind, number, name, target, tags, gone)| {
        let id = id(number);
        let (kind, fields) = match kind {
            0 => (Kind::Service, json!({ "name": name, "tags": tags })),
            1 => (Kind::Route, json!({ "name": name, "service": { "id": self::id(target).to_string() }, "tags": tags })),
            _ => (Kind::Consumer, json!({ "username": name, "tags": null })),
        };
        if gone {
            return Op::Delete { kind, id };
        }
        let Value::Object(body) = fields else { unreachable!("an object") };
        Op::Put(Entity { kind, id, body })
    })
}

/// The ops of one transaction: one per entity, and the state they lead to is sound.
fn taken(state: &Plain, ops: Vec<Op>, revision: u64) -> Option<(Plain, Vec<Op>)> {
    let mut keys = BTreeSet::new();
    let ops: Vec<Op> = ops.into_iter().filter(|op| keys.insert(op.key())).collect();
    let mut after = state.clone();
    after.apply(&ops, revision);
    after.is_sound().then_some((after, ops))
}

fn compare(overlay: &Overlay<'_>, model: &Plain) {
    let selections = [
        Selection::All,
        Selection::Foreign { field: "service".to_owned(), id: id(0) },
        Selection::Foreign { field: "service".to_owned(), id: id(2) },
        Selection::Foreign { field: "nothing".to_owned(), id: id(0) },
        Selection::AllTags(vec!["a".to_owned(), "b".to_owned()]),
        Selection::AllTags(Vec::new()),
        Selection::AnyTag(vec!["a".to_owned(), "c".to_owned()]),
        Selection::AnyTag(Vec::new()),
    ];
    for kind in [Kind::Service, Kind::Route, Kind::Consumer, Kind::Plugin] {
        assert_eq!(overlay.count(kind).expect("reads"), model.count(kind).expect("reads"));
        for number in 0..NUMBERS {
            let id = id(number);
            assert_eq!(overlay.get(kind, id).expect("reads"), model.get(kind, id).expect("reads"));
            assert_eq!(overlay.revision_of(kind, id).expect("reads"), model.revision_of(kind, id).expect("reads"));
            for selection in &selections {
                for (limit, after) in [(1, Some(id)), (3, Some(id)), (0, None), (2, None), (100, None)] {
                    let (own, right) = (overlay.list(kind, selection, after, limit), model.list(kind, selection, after, limit));
                    assert_eq!(own.expect("reads"), right.expect("reads"), "{kind:?} {selection:?} {after:?} {limit}");
                }
            }
        }
        for name in 0..12 {
            for index in ["name", "username"] {
                let key = format!("n{name}");
                assert_eq!(overlay.find(kind, index, &key).expect("reads"), model.find(kind, index, &key).expect("reads"));
            }
        }
    }
    let starts = [None, Some(("a".to_owned(), Kind::Route, id(7))), Some(("b".to_owned(), Kind::Service, id(3)))];
    for (tag, after) in [None, Some("a"), Some("c"), Some("none")].into_iter().flat_map(|tag| starts.clone().map(|at| (tag, at)))
    {
        for limit in [0, 1, 2, 5, 100] {
            let (own, right) = (overlay.tags(tag, after.clone(), limit), model.tags(tag, after.clone(), limit));
            assert_eq!(own.expect("reads"), right.expect("reads"), "{tag:?} {after:?} {limit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_on_top_reads_as_if_it_were_written(
        base in proptest::collection::vec(any_op(), 0..60),
        transactions in proptest::collection::vec(proptest::collection::vec(any_op(), 1..5), 0..12),
    ) {
        let mut below = Plain::default();
        for op in base {
            if let Some((mut after, _)) = taken(&below, vec![op], below.revision + 1) {
                after.revision += 1;
                below = after;
            }
        }
        let mut model = below.clone();
        let mut overlay = Overlay::new(&below);
        for ops in transactions {
            let Some((after, ops)) = taken(&model, ops, below.revision + 1) else { continue };
            overlay.apply(&ops).expect("reads");
            model = after;
            compare(&overlay, &model);
        }
        // The results in one go lead where the operations led one by one.
        let ops = overlay.into_ops();
        let mut keys = BTreeSet::new();
        prop_assert!(ops.iter().all(|op| keys.insert(op.key())), "one per entity");
        for op in &ops {
            let there = below.entities.contains_key(&op.key());
            prop_assert!(there || matches!(op, Op::Put(_)), "nothing is deleted that was never there");
        }
        let mut written = below.clone();
        written.apply(&ops, below.revision + 1);
        prop_assert_eq!(written.entities, model.entities);
    }
}

#[test]
fn two_entities_may_swap_a_unique_key_in_one_application() {
    let named = |number, name: &str| {
        let Value::Object(body) = json!({ "name": name }) else { unreachable!("an object") };
        Op::Put(Entity { kind: Kind::Service, id: id(number), body })
    };
    let mut below = Plain::default();
    below.apply(&[named(1, "a"), named(2, "b")], 1);
    let mut overlay = Overlay::new(&below);
    overlay.apply(&[named(1, "b"), named(2, "a")]).expect("reads");
    overlay.apply(&[named(2, "b"), named(1, "a")]).expect("reads");
    assert_eq!(overlay.find(Kind::Service, "name", "a").expect("reads"), Some(id(1)));
    assert_eq!(overlay.find(Kind::Service, "name", "b").expect("reads"), Some(id(2)));
}
