//! The form by itself: what a writer makes a reader takes, and nothing that differs from it in any byte.

use super::{FORMAT, FileFault, Header, LINE_BYTES_MOST, Line, ORDER, Reader, Writer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use weir_model::{Digest, Entity, Id, Kind, Revision};

fn entity(kind: Kind, number: u8, mut body: Value) -> Entity {
    let id = Id::from_bytes([number; 16]);
    body["id"] = json!(id.to_string());
    let Value::Object(body) = body else { unreachable!("written so above") };
    Entity { kind, id, body }
}

fn header() -> Header {
    let counts = BTreeMap::from([("services".to_owned(), 2)]);
    Header { format: FORMAT, weir: "0.1.0".to_owned(), cluster: "c".to_owned(), revision: Revision(7), counts }
}

/// An export with an entity of each kind, and the lines of it.
fn whole() -> (String, Vec<Line>) {
    let bytes = vec![7_u8; 1000];
    let digest = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
    let nested = json!({ "a": { "b": [1, -2.5e-7, null, "ä\n\u{2028}\"😀"] } });
    let entities = [
        entity(Kind::Service, 1, json!({ "name": "eins", "tags": ["ü", "x"] })),
        entity(Kind::Service, 2, json!({ "name": null })),
        entity(Kind::Route, 1, json!({ "paths": ["/"] })),
        entity(Kind::Consumer, 9, json!({ "username": "ada" })),
        entity(Kind::KeyAuth, 0, json!({ "key": "k", "ttl": 5 })),
        entity(Kind::Component, 3, json!({ "digest": digest, "size": bytes.len() })),
        entity(Kind::Plugin, 1, json!({ "config": nested })),
    ];
    let (mut writer, mut lines) = (Writer::default(), vec![Line::Header(header())]);
    let mut text = writer.header(&header());
    for entity in entities {
        text += &writer.entity(&entity);
        let is_component = entity.kind == Kind::Component;
        lines.push(Line::Entity(entity));
        if is_component {
            for (offset, chunk) in [(0, &bytes[..600]), (600, &bytes[600..])] {
                text += &writer.bytes(digest, offset, chunk);
                lines.push(Line::Bytes(chunk.to_vec()));
            }
        }
    }
    text += &writer.end();
    (text, lines)
}

fn read(text: &[u8]) -> Result<Vec<Line>, FileFault> {
    let (mut reader, mut lines) = (Reader::new(text), Vec::new());
    while let Some(line) = reader.next_line()? {
        lines.push(line);
    }
    Ok(lines)
}

fn refused(text: &str) -> String {
    read(text.as_bytes()).expect_err("it is not as it should be").to_string()
}

#[test]
fn what_was_written_is_read() {
    let (text, mut lines) = whole();
    let read = read(text.as_bytes()).unwrap();
    let Some(Line::End(end)) = read.last().cloned() else { panic!("{read:?}") };
    assert_eq!(end.lines, lines.len() as u64);
    lines.push(Line::End(end));
    assert_eq!(read, lines);
}

#[test]
fn a_text_that_is_cut_anywhere_is_refused() {
    let (text, _) = whole();
    for length in 0..text.len() {
        assert!(read(&text.as_bytes()[..length]).is_err(), "cut after {length} bytes");
    }
    let three: String = text.split_inclusive('\n').take(3).collect();
    assert_eq!(refused(&three), "line 4: it ends here, before its last line: it was cut");
    assert_eq!(refused(""), "line 1: it is empty");
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let (text, _) = whole();
    let mut bytes = text.clone().into_bytes();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x20] {
            bytes[at] ^= bit;
            // A hexadecimal digit of the last line may be written large or small: it is the same digest.
            let same = read(&bytes).is_ok() && at > text.rfind("digest").unwrap() && bit == 0x20;
            assert!(same || read(&bytes).is_err(), "byte {at}, bit {bit:#x}");
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn lines_that_are_left_out_doubled_or_swapped_are_refused() {
    let (text, _) = whole();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for at in 0..lines.len() {
        let without: String = lines.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, line)| *line).collect();
        assert!(read(without.as_bytes()).is_err(), "without line {}", at + 1);
        let doubled: String = lines.iter().enumerate().flat_map(|(o, l)| vec![*l; if o == at { 2 } else { 1 }]).collect();
        assert!(read(doubled.as_bytes()).is_err(), "line {} twice", at + 1);
        let mut swapped = lines.clone();
        swapped.swap(at, (at + 1) % lines.len());
        assert!(read(swapped.concat().as_bytes()).is_err(), "line {} and the next swapped", at + 1);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let head = Writer::default().header(&header());
    let newer = head.replace("\"format\":1", "\"format\":2").replace("0.1.0", "9.0.0");
    assert_eq!(refused(&newer), "line 1: the export has format 2, made by weir 9.0.0; this version reads format 1: use that one");
    assert!(refused(&(head.clone() + "nonsense\n")).starts_with("line 2: no JSON object"));
    assert!(refused(&(head.clone() + "{\"gadgets\":{}}\n")).contains("no kind of entity 'gadgets'"));
    assert!(refused(&(head.clone() + "{\"services\":{}}\n")).contains("no 'id'"));
    assert!(refused("{\"services\":{}}\n").contains("no 'id'"));
    assert!(refused("{\"a\":1,\"b\":2}\n").contains("no line of an export"));
    assert!(refused("{\"_format_version\":\"3.0\"}\n").contains("no line of an export"));
    let failed = head.clone() + &Writer::failed("the disk is gone");
    assert_eq!(refused(&failed), "line 2: the node could not finish this export: the disk is gone");
    let long = head + "\"" + &"x".repeat(LINE_BYTES_MOST + 1);
    assert!(refused(&long).contains("longer than"));
}

#[test]
fn bytes_have_the_digest_of_their_component() {
    let digest = Digest::from_bytes(*blake3::hash(b"right").as_bytes());
    let component = entity(Kind::Component, 3, json!({ "digest": digest, "size": 5 }));
    let of = |bytes: &[u8]| {
        let mut writer = Writer::default();
        let mut text = writer.header(&header()) + &writer.entity(&component);
        text += &writer.bytes(digest, 0, bytes);
        text += &writer.end();
        text
    };
    assert!(read(of(b"right").as_bytes()).is_ok());
    assert!(refused(&of(b"wrong")).contains("do not have its digest"));
    assert!(refused(&of(b"righ")).contains("4 of 5 bytes"));
    assert!(refused(&of(b"right!")).contains("more bytes"));
}

#[test]
fn each_kind_points_to_kinds_before_it_only() {
    for (place, kind) in ORDER.into_iter().enumerate() {
        for (field, target) in kind.foreign_fields() {
            let before = ORDER.iter().position(|other| other == target).unwrap();
            assert!(before < place, "'{field}' of {kind:?}: an import puts entities line by line, and within a kind by id");
        }
    }
    assert!(Kind::ALL.iter().all(|kind| ORDER.contains(kind)), "a kind would be missing from every export");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|map| Value::Object(Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_body_comes_back(bodies in prop::collection::btree_map(any::<(u8, u8)>(), json_value(), 0..8)) {
            let mut entities = Vec::new();
            for ((kind, number), value) in bodies {
                let kinds = [Kind::Service, Kind::Route, Kind::Consumer, Kind::Plugin];
                entities.push(entity(kinds[kind as usize % kinds.len()], number, json!({ "value": value })));
            }
            let place = |entity: &Entity| (ORDER.iter().position(|kind| *kind == entity.kind), entity.id);
            entities.sort_by_key(place);
            entities.dedup_by_key(|entity| place(entity));
            let mut writer = Writer::default();
            let mut text = writer.header(&header());
            entities.iter().for_each(|entity| text += &writer.entity(entity));
            text += &writer.end();
            let came: Vec<Entity> = read(text.as_bytes()).unwrap().into_iter().filter_map(|line| match line {
                Line::Entity(entity) => Some(entity),
                _ => None,
            }).collect();
            prop_assert_eq!(came, entities);
        }
    }
}
