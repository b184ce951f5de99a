//! What every store must do, as checks that run on any of them unchanged.
//!
//! Knows the trait only. A store's own tests call [`run`] with a way to make a fresh, empty store; a promise that is not
//! checked here is not a promise of the trait.

// A failed check is a failed test.
#![allow(clippy::panic, clippy::unwrap_used)]

use crate::{BoxFuture, Breach, Plan, Planned, Store, StoreError, WriteError, Written};
use serde_json::{Map, Value, json};
use std::any::Any;
use std::sync::Arc;
use weir_model::{Digest, Entity, Id, Kind, Op, Refusal, Revision, Selection, View};

/// A fresh store, and what must live as long as it does (its folder).
pub struct Fresh {
    /// Empty, at revision 0.
    pub store: Arc<dyn Store>,
    /// Dropped after the store.
    pub guard: Box<dyn Any>,
}

type Check = fn(Arc<dyn Store>) -> BoxFuture<'static, ()>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), |store| Box::pin($name(store)))),*] };
}

const CHECKS: &[(&str, Check)] = checks![
    an_empty_store_is_at_revision_zero,
    a_write_is_durable_visible_and_in_the_journal,
    a_refused_write_leaves_nothing_behind,
    a_write_with_nothing_to_do_makes_no_revision,
    an_entity_knows_the_revision_that_wrote_it,
    a_panicking_plan_fails_only_itself,
    a_plan_that_would_break_the_state_is_refused,
    a_missing_blob_is_a_breach,
    unique_keys_may_move_within_a_transaction,
    a_parent_goes_with_all_that_points_to_it,
    a_transaction_has_limits,
    writers_that_collide_have_one_winner,
    no_increment_is_lost,
    a_view_never_changes,
    the_journal_continues_from_any_revision,
    the_watch_moves_after_each_commit,
    listings_select_and_page,
    tags_are_listed_in_order,
    unique_keys_are_found_and_forgotten,
    blobs_come_back_by_their_digest,
    equal_states_have_equal_hashes,
];

/// Runs every check, each on its own fresh store.
pub fn run(fresh: impl Fn() -> Fresh) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (name, check) in CHECKS {
        println!("conformance: {name}");
        let Fresh { store, guard } = fresh();
        runtime.block_on(check(store));
        drop(guard);
    }
}

/// An id that is easy to tell.
pub fn id(number: u32) -> Id {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    Id::from_bytes(bytes)
}

/// An entity with these fields and its id.
pub fn entity(kind: Kind, number: u32, fields: Value) -> Entity {
    let id = id(number);
    let Value::Object(mut body) = fields else { panic!("fields are an object") };
    body.insert("id".to_owned(), Value::String(id.to_string()));
    Entity { kind, id, body }
}

/// A service with a name.
pub fn service(number: u32, name: &str) -> Entity {
    entity(Kind::Service, number, json!({ "name": name, "host": "origin", "port": 80 }))
}

/// A route of a service.
pub fn route(number: u32, name: &str, service: u32) -> Entity {
    entity(Kind::Route, number, json!({ "name": name, "service": { "id": id(service).to_string() }, "paths": ["/"] }))
}

/// A plan that appends these ops whatever the state is.
pub fn put(entities: Vec<Entity>) -> Plan {
    append(entities.into_iter().map(Op::Put).collect())
}

/// A plan that appends these ops whatever the state is.
pub fn append(ops: Vec<Op>) -> Plan {
    Box::new(move |_| Ok(Planned { ops: ops.clone(), answer: json!("done") }))
}

fn delete(kind: Kind, number: u32) -> Op {
    Op::Delete { kind, id: id(number) }
}

async fn an_empty_store_is_at_revision_zero(store: Arc<dyn Store>) {
    let view = store.view().unwrap();
    assert_eq!(view.revision(), Revision(0));
    for kind in Kind::ALL {
        assert_eq!(view.count(kind).unwrap(), 0);
        assert_eq!(view.list(kind, &Selection::All, None, 10).unwrap(), weir_model::Page::default());
    }
    assert_eq!(store.transactions(Revision(0), 10).unwrap(), []);
    assert_eq!(store.status().revision, Revision(0));
    assert_eq!(store.status().holding, None);
}

async fn a_write_is_durable_visible_and_in_the_journal(store: Arc<dyn Store>) {
    let (parent, child) = (service(1, "a"), route(2, "r", 1));
    let written = store.write(put(vec![parent.clone(), child.clone()])).await.unwrap();
    assert_eq!(written, Written { revision: Revision(1), answer: json!("done") });
    let view = store.view().unwrap();
    assert_eq!(view.revision(), Revision(1));
    assert_eq!(view.get(Kind::Service, id(1)).unwrap().as_ref(), Some(&parent));
    assert_eq!(view.get(Kind::Route, id(1)).unwrap(), None, "ids are per kind");
    assert_eq!(view.count(Kind::Route).unwrap(), 1);
    let transactions = store.transactions(Revision(0), 10).unwrap();
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions[0].revision, Revision(1));
    assert_eq!(transactions[0].ops, [Op::Put(parent), Op::Put(child)]);
}

async fn a_refused_write_leaves_nothing_behind(store: Arc<dyn Store>) {
    let refuse: Plan = Box::new(|view: &dyn View| {
        assert_eq!(view.revision(), Revision(0));
        Err(Refusal::Conflict("no".to_owned()))
    });
    let before = store.status();
    let error = store.write(refuse).await.unwrap_err();
    assert!(matches!(error, WriteError::Refused(Refusal::Conflict(_))), "{error}");
    assert_eq!(store.view().unwrap().revision(), Revision(0));
    assert_eq!(store.status().head, before.head);
}

async fn a_write_with_nothing_to_do_makes_no_revision(store: Arc<dyn Store>) {
    store.write(put(vec![service(1, "a")])).await.unwrap();
    let nothing: Plan = Box::new(|view: &dyn View| {
        let there = view.get(Kind::Service, id(1))?.is_some();
        Ok(Planned { ops: Vec::new(), answer: json!(there) })
    });
    let written = store.write(nothing).await.unwrap();
    assert_eq!(written, Written { revision: Revision(1), answer: json!(true) });
    assert_eq!(store.view().unwrap().revision(), Revision(1));
}

async fn an_entity_knows_the_revision_that_wrote_it(store: Arc<dyn Store>) {
    let of = |view: &dyn View, number| view.revision_of(Kind::Service, id(number)).unwrap();
    assert_eq!(of(store.view().unwrap().as_ref(), 1), None);
    store.write(put(vec![service(1, "a")])).await.unwrap();
    // Asked for together, so that a store that groups writes shows each plan what those before it in its group have done.
    let next = |name: &'static str| -> Plan {
        Box::new(move |view: &dyn View| {
            assert_eq!(view.revision_of(Kind::Service, id(1))?, Some(view.revision()), "only this entity is written");
            Ok(Planned { ops: vec![Op::Put(service(1, name))], answer: Value::Null })
        })
    };
    let written = tokio::join!(store.write(next("b")), store.write(next("c")), store.write(next("d")));
    let last = [written.0, written.1, written.2].map(|written| written.unwrap().revision).into_iter().max();
    store.write(put(vec![service(2, "other")])).await.unwrap();
    let view = store.view().unwrap();
    assert_eq!((of(view.as_ref(), 1), of(view.as_ref(), 2)), (last, Some(Revision(5))));
    store.write(append(vec![delete(Kind::Service, 1)])).await.unwrap();
    assert_eq!((of(store.view().unwrap().as_ref(), 1), of(view.as_ref(), 1)), (None, last), "a view never changes");
}

async fn a_panicking_plan_fails_only_itself(store: Arc<dyn Store>) {
    let broken: Plan = Box::new(|_| panic!("a bug in a plan"));
    let (broken, sound) = tokio::join!(store.write(broken), store.write(put(vec![service(1, "a")])));
    assert!(matches!(broken, Err(WriteError::Panicked(text)) if text.contains("a bug in a plan")));
    assert_eq!(sound.unwrap().revision, Revision(1));
}

async fn a_plan_that_would_break_the_state_is_refused(store: Arc<dyn Store>) {
    store.write(put(vec![service(1, "a"), route(2, "r", 1)])).await.unwrap();
    let mut wrong_id = service(9, "x");
    wrong_id.body.insert("id".to_owned(), json!(id(8).to_string()));
    let cases: Vec<(&str, Plan)> = vec![
        ("twice", append(vec![Op::Put(service(3, "c")), delete(Kind::Service, 3)])),
        ("wrong id", put(vec![wrong_id])),
        ("unique against the state", put(vec![service(3, "a")])),
        ("unique within", put(vec![service(3, "c"), service(4, "c")])),
        ("dangling", put(vec![route(5, "q", 77)])),
        ("dangling within", append(vec![delete(Kind::Service, 1), Op::Put(route(2, "r", 1))])),
        ("still referenced", append(vec![delete(Kind::Service, 1)])),
    ];
    let before = store.status();
    for (name, plan) in cases {
        let error = store.write(plan).await.unwrap_err();
        let WriteError::Unsound(breach) = error else { panic!("{name}: {error}") };
        let expected = match name {
            "twice" => matches!(breach, Breach::Twice { .. }),
            "wrong id" => matches!(breach, Breach::WrongId { .. }),
            "unique against the state" | "unique within" => matches!(breach, Breach::Unique { index: "name", .. }),
            "dangling" | "dangling within" => matches!(breach, Breach::Dangling { field: "service", .. }),
            _ => matches!(breach, Breach::StillReferenced { by: Kind::Route, .. }),
        };
        assert!(expected, "{name}: {breach}");
        assert_eq!(store.status().head, before.head, "{name}");
    }
}

fn component(number: u32, digest: Digest) -> Entity {
    entity(Kind::Component, number, json!({ "name": "c", "version": "1.0.0", "digest": digest.to_string() }))
}

async fn a_missing_blob_is_a_breach(store: Arc<dyn Store>) {
    let bytes = b"component".to_vec();
    let digest = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
    let error = store.write(put(vec![component(1, digest)])).await.unwrap_err();
    assert!(matches!(error, WriteError::Unsound(Breach::MissingBlob { .. })), "{error}");
    store.put_blob(bytes).await.unwrap();
    store.write(put(vec![component(1, digest)])).await.unwrap();
}

async fn unique_keys_may_move_within_a_transaction(store: Arc<dyn Store>) {
    store.write(put(vec![service(1, "a"), service(2, "b"), service(3, "c")])).await.unwrap();
    store.write(put(vec![service(1, "b"), service(2, "a")])).await.unwrap();
    store.write(append(vec![delete(Kind::Service, 3), Op::Put(service(4, "c"))])).await.unwrap();
    let view = store.view().unwrap();
    let holder = |name| view.find(Kind::Service, "name", name).unwrap();
    assert_eq!([holder("a"), holder("b"), holder("c")], [Some(id(2)), Some(id(1)), Some(id(4))]);
    assert_eq!(view.count(Kind::Service).unwrap(), 3);
}

async fn a_parent_goes_with_all_that_points_to_it(store: Arc<dyn Store>) {
    store.write(put(vec![service(1, "a"), route(2, "r", 1), route(3, "s", 1)])).await.unwrap();
    let half = store.write(append(vec![delete(Kind::Service, 1), delete(Kind::Route, 2)])).await;
    assert!(matches!(half, Err(WriteError::Unsound(Breach::StillReferenced { by_id, .. })) if by_id == id(3)));
    let whole = vec![delete(Kind::Service, 1), delete(Kind::Route, 2), delete(Kind::Route, 3)];
    store.write(append(whole)).await.unwrap();
    let view = store.view().unwrap();
    assert_eq!(view.count(Kind::Route).unwrap() + view.count(Kind::Service).unwrap(), 0);
    assert_eq!(store.status().state, "0".repeat(64), "nothing is left that would add to the sum");
}

async fn a_transaction_has_limits(store: Arc<dyn Store>) {
    let many = (0..10_001).map(|number| service(number, &format!("s{number}"))).collect();
    let error = store.write(put(many)).await.unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { unit: "entities", limit: 10_000, .. }), "{error}");
    let large = entity(Kind::Service, 1, json!({ "name": "x".repeat(9 << 20) }));
    let error = store.write(put(vec![large])).await.unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { unit: "bytes", .. }), "{error}");
    assert_eq!(store.view().unwrap().revision(), Revision(0));
    let fits = (0..10_000).map(|number| service(number, &format!("s{number}"))).collect();
    assert_eq!(store.write(put(fits)).await.unwrap().revision, Revision(1));
    assert_eq!(store.view().unwrap().count(Kind::Service).unwrap(), 10_000);
    store.write(put(vec![entity(Kind::Service, 1, json!({ "name": "x".repeat(7 << 20) }))])).await.unwrap();
}

// Creates a service if its name is free, as the Admin API does.
fn create(number: u32, name: String) -> Plan {
    Box::new(move |view: &dyn View| match view.find(Kind::Service, "name", &name)? {
        Some(holder) => Err(Refusal::PrimaryKey(Kind::Service, holder)),
        None => Ok(Planned { ops: vec![Op::Put(service(number, &name))], answer: Value::Null }),
    })
}

async fn writers_that_collide_have_one_winner(store: Arc<dyn Store>) {
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..200u32 {
        let store = store.clone();
        writers.spawn(async move { (number, store.write(create(number, format!("name-{}", number % 20))).await) });
    }
    let mut revisions = Vec::new();
    while let Some(done) = writers.join_next().await {
        match done.unwrap() {
            (_, Ok(written)) => revisions.push(written.revision.0),
            (_, Err(WriteError::Refused(Refusal::PrimaryKey(..)))) => {}
            (number, Err(error)) => panic!("{number}: {error}"),
        }
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=20).collect::<Vec<_>>(), "each name has one winner, and each winner its own revision");
    assert_eq!(store.view().unwrap().count(Kind::Service).unwrap(), 20);
}

async fn no_increment_is_lost(store: Arc<dyn Store>) {
    let increment = || -> Plan {
        Box::new(|view: &dyn View| {
            let old = view.get(Kind::Service, id(1))?;
            let count = old.and_then(|entity| entity.body.get("count")?.as_u64()).unwrap_or(0) + 1;
            let ops = vec![Op::Put(entity(Kind::Service, 1, json!({ "count": count })))];
            Ok(Planned { ops, answer: json!(count) })
        })
    };
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (store, plan) = (store.clone(), increment());
        writers.spawn(async move { store.write(plan).await });
    }
    while let Some(done) = writers.join_next().await {
        let written = done.unwrap().unwrap();
        assert_eq!(written.answer, json!(written.revision.0), "each saw exactly the writes before it");
    }
    let view = store.view().unwrap();
    assert_eq!(view.get(Kind::Service, id(1)).unwrap().unwrap().body["count"], json!(100));
}

async fn a_view_never_changes(store: Arc<dyn Store>) {
    store.write(put(vec![service(1, "a")])).await.unwrap();
    let view = store.view().unwrap();
    for number in 2..50 {
        store.write(put(vec![service(number, &format!("s{number}"))])).await.unwrap();
    }
    store.write(append(vec![delete(Kind::Service, 1)])).await.unwrap();
    assert_eq!(view.revision(), Revision(1));
    assert_eq!(view.count(Kind::Service).unwrap(), 1);
    assert_eq!(view.get(Kind::Service, id(1)).unwrap(), Some(service(1, "a")));
    assert_eq!(view.list(Kind::Service, &Selection::All, None, 100).unwrap().entities.len(), 1);
    assert_eq!(store.view().unwrap().count(Kind::Service).unwrap(), 48);
}

async fn the_journal_continues_from_any_revision(store: Arc<dyn Store>) {
    for number in 1..=7 {
        store.write(put(vec![service(number, &format!("s{number}"))])).await.unwrap();
    }
    let revisions = |after, limit| -> Vec<u64> {
        store.transactions(Revision(after), limit).unwrap().iter().map(|transaction| transaction.revision.0).collect()
    };
    assert_eq!(revisions(0, 3), [1, 2, 3]);
    assert_eq!(revisions(3, 100), [4, 5, 6, 7]);
    assert_eq!(revisions(7, 100), [] as [u64; 0]);
    assert!(matches!(store.transactions(Revision(8), 1), Err(StoreError::Ahead { tip: Revision(7), .. })));
}

async fn the_watch_moves_after_each_commit(store: Arc<dyn Store>) {
    let mut early = store.revisions();
    let written = store.write(put(vec![service(1, "a")])).await.unwrap();
    assert!(early.has_changed().unwrap(), "it moves before the write is answered");
    assert_eq!(*early.borrow_and_update(), written.revision);
    let late = store.revisions();
    assert_eq!(*late.borrow(), written.revision);
    assert!(!late.has_changed().unwrap());
    let error = store.write(put(vec![service(2, "a")])).await;
    assert!(error.is_err() && !early.has_changed().unwrap());
}

async fn listings_select_and_page(store: Arc<dyn Store>) {
    let tagged = |number: u32, tags: &[&str]| {
        let mut entity = route(number, &format!("r{number}"), 1 + number % 2);
        entity.body.insert("tags".to_owned(), json!(tags));
        entity
    };
    let mut entities = vec![service(1, "a"), service(2, "b")];
    entities.extend((10..30).map(|number| match number % 3 {
        0 => tagged(number, &["x"]),
        1 => tagged(number, &["x", "y"]),
        _ => tagged(number, &["y", "z"]),
    }));
    store.write(put(entities)).await.unwrap();
    let view = store.view().unwrap();
    let all = |selection: Selection, limit: usize| {
        let (mut numbers, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = view.list(Kind::Route, &selection, after, limit).unwrap();
            assert!(page.entities.len() <= limit && (page.next.is_none() || page.entities.len() == limit));
            numbers.extend(page.entities.iter().map(|entity| u32::from(entity.id.as_bytes()[15])));
            pages += 1;
            match page.next {
                Some(next) => after = Some(next),
                None => return (numbers, pages),
            }
        }
    };
    let expected = |keep: fn(u32) -> bool| (10..30).filter(|number| keep(*number)).collect::<Vec<_>>();
    let texts = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(all(Selection::All, 5), (expected(|_| true), 4), "a last page that is full has no next");
    let of_service = Selection::Foreign { field: "service".to_owned(), id: id(1) };
    assert_eq!(all(of_service, 3).0, expected(|n| n % 2 == 0));
    assert_eq!(all(Selection::AllTags(texts(&["x", "y"])), 2).0, expected(|n| n % 3 == 1));
    assert_eq!(all(Selection::AnyTag(texts(&["z", "x"])), 4).0, expected(|_| true));
    assert_eq!(all(Selection::AnyTag(texts(&["x", "nobody"])), 4).0, expected(|n| n % 3 != 2));
    assert_eq!(all(Selection::AllTags(texts(&["x", "nobody"])), 4).0, [] as [u32; 0]);
    let unknown = Selection::Foreign { field: "certificate".to_owned(), id: id(1) };
    assert_eq!(all(unknown, 4).0, [] as [u32; 0]);
}

async fn tags_are_listed_in_order(store: Arc<dyn Store>) {
    let tagged = |kind, number, tags: Value| entity(kind, number, json!({ "tags": tags }));
    store
        .write(put(vec![
            tagged(Kind::Service, 1, json!(["b", "a", "b"])),
            tagged(Kind::Consumer, 2, json!(["a"])),
            tagged(Kind::Service, 3, json!(["a"])),
            tagged(Kind::Service, 4, Value::Null),
        ]))
        .await
        .unwrap();
    let view = store.view().unwrap();
    let tag = |text: &str, kind, number| (text.to_owned(), kind, id(number));
    let all = [tag("a", Kind::Service, 1), tag("a", Kind::Service, 3), tag("a", Kind::Consumer, 2), tag("b", Kind::Service, 1)];
    assert_eq!(view.tags(None, None, 10).unwrap(), all);
    assert_eq!(view.tags(None, None, 2).unwrap(), all[..2]);
    assert_eq!(view.tags(None, Some(all[1].clone()), 10).unwrap(), all[2..]);
    assert_eq!(view.tags(Some("a"), Some(all[0].clone()), 10).unwrap(), all[1..3]);
    assert_eq!(view.tags(Some("b"), None, 10).unwrap(), all[3..]);
    assert_eq!(view.tags(Some("c"), None, 10).unwrap(), []);
}

async fn unique_keys_are_found_and_forgotten(store: Arc<dyn Store>) {
    let key = |secret: &str| entity(Kind::KeyAuth, 2, json!({ "key": secret, "consumer": { "id": id(1).to_string() } }));
    let consumer = entity(Kind::Consumer, 1, json!({ "username": "alice", "custom_id": null }));
    store.write(put(vec![consumer, key("old")])).await.unwrap();
    store.write(put(vec![key("new")])).await.unwrap();
    let view = store.view().unwrap();
    assert_eq!(view.find(Kind::KeyAuth, "key", "new").unwrap(), Some(id(2)));
    assert_eq!(view.find(Kind::KeyAuth, "key", "old").unwrap(), None);
    assert_eq!(view.find(Kind::Consumer, "username", "alice").unwrap(), Some(id(1)));
    assert_eq!(view.find(Kind::Consumer, "custom_id", "alice").unwrap(), None);
    assert_eq!(view.find(Kind::Service, "username", "alice").unwrap(), None);
}

async fn blobs_come_back_by_their_digest(store: Arc<dyn Store>) {
    for size in [0, 1, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, 3 << 20] {
        let bytes: Vec<u8> = (0..size).map(|n: usize| (n * 7 + n / 251) as u8).collect();
        let digest = store.put_blob(bytes.clone()).await.unwrap();
        assert_eq!(digest.as_bytes(), blake3::hash(&bytes).as_bytes());
        assert_eq!(store.put_blob(bytes.clone()).await.unwrap(), digest, "again is the same");
        assert!(store.blob(digest).await.unwrap() == Some(bytes), "{size} bytes");
    }
    assert_eq!(store.blob(Digest::from_bytes([0; 32])).await.unwrap(), None);
    assert_eq!(store.view().unwrap().revision(), Revision(0), "a blob is no transaction");
    let error = store.put_blob(vec![0; (32 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { unit: "bytes", .. }), "{error}");
}

async fn equal_states_have_equal_hashes(store: Arc<dyn Store>) {
    let status = || (store.status().head, store.status().state);
    store.write(put(vec![service(1, "a")])).await.unwrap();
    let first = status();
    // The same fields in another order, and numbers that come back as they were written.
    let mut turned = Map::new();
    for (name, value) in service(1, "a").body.into_iter().rev() {
        turned.insert(name, value);
    }
    store.write(put(vec![Entity { kind: Kind::Service, id: id(1), body: turned }])).await.unwrap();
    assert_eq!(status().1, first.1);
    store.write(put(vec![entity(Kind::Service, 1, json!({ "ratio": 0.1 + 0.2, "name": "b" }))])).await.unwrap();
    assert_ne!(status().1, first.1);
    store.write(put(vec![service(1, "a")])).await.unwrap();
    assert_eq!(status().1, first.1, "the state is what it was");
    assert_ne!(status().0, first.0, "the history is not");
}
