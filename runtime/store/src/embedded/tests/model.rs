//! Random writes against a plain model: what is refused, what is stored, what every question answers.

use super::*;
use crate::conformance::{append, entity, id};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use weir_model::{Entity, Id, Kind, Op, Selection};

/// The state as a map, with every rule spelled out once more and as plainly as possible.
#[derive(Clone, Default)]
struct Model(BTreeMap<(Kind, Id), Entity>);

impl Model {
    // The state after the ops; nothing if they break a rule.
    fn after(&self, ops: &[Op]) -> Option<Model> {
        let keys: BTreeSet<_> = ops.iter().map(Op::key).collect();
        if keys.len() != ops.len() {
            return None;
        }
        let mut next = self.0.clone();
        for op in ops {
            match op {
                Op::Put(entity) => drop(next.insert(op.key(), entity.clone())),
                Op::Delete { .. } => drop(next.remove(&op.key())),
            }
        }
        let unique: Vec<_> = next
            .values()
            .flat_map(|entity| entity.unique_keys().into_iter().map(|key| (entity.kind, key)).collect::<Vec<_>>())
            .collect();
        let distinct: BTreeSet<_> = unique.iter().collect();
        let sound = |entity: &Entity| entity.foreign_keys().all(|(_, kind, id)| next.contains_key(&(kind, id)));
        (distinct.len() == unique.len() && next.values().all(sound)).then_some(Model(next))
    }

    fn listed(&self, kind: Kind, selection: &Selection) -> Vec<Entity> {
        let carries = |entity: &Entity, tag: &String| entity.tags().any(|own| own == tag);
        let keep = |entity: &&Entity| match selection {
            Selection::All => true,
            Selection::Foreign { field, id } => entity.foreign(field) == Some(*id),
            Selection::AllTags(tags) => tags.iter().all(|tag| carries(entity, tag)),
            Selection::AnyTag(tags) => tags.iter().any(|tag| carries(entity, tag)),
        };
        self.0.values().filter(|entity| entity.kind == kind).filter(keep).cloned().collect()
    }
}

const TAGS: [&str; 4] = ["a", "b", "a\0b", ""];

// Few ids, names and tags, so that writes collide often.
fn any_entity() -> impl Strategy<Value = Entity> {
    let tags =
        proptest::collection::vec(0..TAGS.len(), 0..4).prop_map(|tags| tags.into_iter().map(|tag| TAGS[tag]).collect::<Vec<_>>());
    let parts = (0..4u32, 0..5u32, proptest::option::of(0..5u32), proptest::option::of(0..4u32), tags, any::<i32>());
    parts.prop_map(|(kind, number, name, target, tags, figure)| {
        let name = name.map(|name| format!("n{name}"));
        let target = target.map(|target| json!({ "id": id(target).to_string() }));
        // A fraction whose text is short: it comes back from its text as it was.
        let figure = json!(f64::from(figure) / 8.0);
        match kind {
            0 => entity(Kind::Service, number, json!({ "name": name, "tags": tags, "figure": figure })),
            1 => entity(Kind::Route, number, json!({ "name": name, "service": target, "tags": tags })),
            2 => entity(Kind::Consumer, number, json!({ "username": name, "custom_id": "same", "tags": null })),
            _ => entity(Kind::Plugin, number, json!({ "name": "p", "route": target, "instance_name": name, "tags": tags })),
        }
    })
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Op>),
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        3 => any_entity().prop_map(Op::Put),
        1 => any_entity().prop_map(|entity| Op::Delete { kind: entity.kind, id: entity.id }),
    ];
    prop_oneof![
        20 => proptest::collection::vec(op, 1..5).prop_map(Step::Write),
        1 => Just(Step::Reopen),
    ]
}

fn compare(model: &Model, view: &dyn View) {
    let mut selections = vec![Selection::All];
    selections.extend(
        ["service", "route"]
            .into_iter()
            .flat_map(|field| (0..4).map(move |target| Selection::Foreign { field: field.to_owned(), id: id(target) })),
    );
    for tags in [&TAGS[..1], &TAGS[..2], &TAGS[1..], &[]] {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        selections.extend([Selection::AllTags(tags.clone()), Selection::AnyTag(tags)]);
    }
    for kind in Kind::ALL {
        assert_eq!(view.count(kind).unwrap(), model.listed(kind, &Selection::All).len() as u64);
        for selection in &selections {
            let mut listed = Vec::new();
            let mut after = None;
            loop {
                let page = view.list(kind, selection, after, 2).unwrap();
                listed.extend(page.entities);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, model.listed(kind, selection), "{kind:?} {selection:?}");
        }
        for name in 0..5 {
            let name = format!("n{name}");
            for index in ["name", "username", "instance_name"] {
                let holder =
                    model.0.values().find(|entity| entity.kind == kind && entity.unique_keys().contains(&(index, name.clone())));
                assert_eq!(view.find(kind, index, &name).unwrap(), holder.map(|entity| entity.id));
            }
        }
    }
    let mut tags: Vec<_> = model
        .0
        .values()
        .flat_map(|entity| entity.tags().map(|tag| (tag.to_owned(), entity.kind, entity.id)).collect::<BTreeSet<_>>())
        .collect();
    tags.sort();
    assert_eq!(view.tags(None, None, 1000).unwrap(), tags);
    let of_b: Vec<_> = tags.iter().filter(|(tag, ..)| tag == "b").cloned().collect();
    assert_eq!(view.tags(Some("b"), None, 1000).unwrap(), of_b);
}

fn play(steps: Vec<Step>) {
    let (folder, mut store) = fresh();
    let mut model = Model::default();
    let mut history = Vec::new();
    for step in steps {
        match step {
            Step::Write(ops) => {
                let answer = wait(store.write(append(ops.clone())));
                match (model.after(&ops), answer) {
                    (Some(next), Ok(written)) => {
                        model = next;
                        history.push(ops);
                        assert_eq!(written.revision.0, history.len() as u64);
                    }
                    (None, Err(WriteError::Unsound(_))) => {}
                    (expected, answer) => panic!("sound: {}, but: {answer:?}\n{ops:?}", expected.is_some()),
                }
            }
            Step::Reopen => {
                drop(store);
                store = Embedded::open(folder.path(), EmbeddedOptions::default()).unwrap();
            }
        }
    }
    compare(&model, &*store.view().unwrap());
    let journal: Vec<_> = store.transactions(Revision(0), 1000).unwrap().into_iter().map(|row| row.ops).collect();
    assert_eq!(journal, history);
    drop(store);
    assert_eq!(verify(folder.path()).entities, model.0.len() as u64);
}

proptest! {
    // Each case is some 30 synced commits; more cases find no more in a minute than these do.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_writes_agree_with_a_plain_model(steps in proptest::collection::vec(any_step(), 1..40)) {
        play(steps);
    }
}
