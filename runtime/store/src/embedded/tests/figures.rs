//! Figures of this machine, printed and not asserted: `cargo test -p weir-store figures -- --nocapture`.
//!
//! `WEIR_STORE_FIGURES=1000000` sets how many consumers with a key the file has.

use super::*;
use crate::conformance::{entity, id};
use serde_json::json;
use std::time::Instant;
use weir_model::Kind;

fn consumer_with_key(number: u32) -> [weir_model::Entity; 2] {
    let consumer = json!({ "username": format!("consumer-{number}"), "custom_id": null, "created_at": 1, "tags": null });
    let key = json!({
        "key": format!("secret-key-of-{number}"), "consumer": { "id": id(number).to_string() },
        "created_at": 1, "ttl": null, "tags": null
    });
    [entity(Kind::Consumer, number, consumer), entity(Kind::KeyAuth, number, key)]
}

#[test]
fn figures_of_a_file_with_many_consumers() {
    let consumers: u32 = std::env::var("WEIR_STORE_FIGURES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let (folder, store) = fresh();
    let begun = Instant::now();
    for first in (0..consumers).step_by(4000) {
        let entities = (first..(first + 4000).min(consumers)).flat_map(consumer_with_key).collect();
        wait(store.write(put(entities))).unwrap();
    }
    let status = store.status();
    println!("{consumers} consumers with keys: loaded in {:.1?}, file of {} MiB", begun.elapsed(), status.file_bytes >> 20);

    // As after kill -9: a copy of the file that was never closed.
    let copy = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    let begun = Instant::now();
    let killed = Embedded::open(copy.path(), EmbeddedOptions::default()).unwrap();
    println!("opened after a kill in {:.1?}", begun.elapsed());
    assert_eq!(killed.status().head, status.head);
    drop(killed);

    let view = store.view().unwrap();
    for round in ["cold", "warm"] {
        let begun = Instant::now();
        let lookups = 20_000u32;
        for number in 0..lookups {
            let number = (number.wrapping_mul(2_654_435_761)) % consumers;
            let found = view.find(Kind::KeyAuth, "key", &format!("secret-key-of-{number}")).unwrap();
            let credential = view.get(Kind::KeyAuth, found.unwrap()).unwrap().unwrap();
            assert_eq!(credential.foreign("consumer"), Some(id(number)));
        }
        println!("credential by key, {round}: {:.2?} each", begun.elapsed() / lookups);
    }
    let begun = Instant::now();
    for _ in 0..10_000 {
        store.view().unwrap();
    }
    println!("a view: {:.0?} each", begun.elapsed() / 10_000);

    let begun = Instant::now();
    let each = 200u32;
    std::thread::scope(|scope| {
        for writer in 0..10 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..each {
                    let number = 100_000_000 + writer * each + number;
                    wait(store.write(put(vec![service(number, &format!("s{number}"))]))).unwrap();
                }
            });
        }
    });
    println!("ten writers: {:.0} writes a second", f64::from(10 * each) / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for number in 0..100 {
        wait(store.write(put(vec![service(200_000_000 + number, &format!("t{number}"))]))).unwrap();
    }
    println!("one writer: {:.2?} a write", begun.elapsed() / 100);
    drop((view, store));
    let begun = Instant::now();
    verify(folder.path());
    println!("checked from end to end in {:.1?}", begun.elapsed());
}
