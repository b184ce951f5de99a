//! Where each fact of the state stands: the keys of the state table.
//!
//! The first byte says what a key is of. Keys sort as listings do: entities by kind and id, tags by text, kind and id.
//! Secrets that are unique (a consumer's key) stand in no index key: those hold a hash of the value.

use crate::row::{Malformed, malformed};
use weir_model::{Digest, Id, Kind};

const ENTITY: u8 = b'e';
const UNIQUE: u8 = b'u';
const FOREIGN: u8 = b'f';
const TAG: u8 = b't';
const COUNT: u8 = b'c';
const BLOB: u8 = b'b';
const BLOB_USE: u8 = b'r';
/// The one row with the tip, the floor and whose file this is.
pub(crate) const META: &[u8] = b"m";

/// Kind and id to revision and body.
pub(crate) fn entity(kind: Kind, id: Id) -> [u8; 18] {
    let mut key = [0; 18];
    key[0] = ENTITY;
    key[1] = kind.number();
    key[2..].copy_from_slice(id.as_bytes());
    key
}
/// All entities of a kind.
pub(crate) fn entities(kind: Kind) -> [u8; 2] {
    [ENTITY, kind.number()]
}
/// All entities.
pub(crate) const ENTITIES: &[u8] = &[ENTITY];
/// All unique keys.
pub(crate) const UNIQUES: &[u8] = &[UNIQUE];
/// All foreign keys.
pub(crate) const FOREIGNS: &[u8] = &[FOREIGN];
/// All tags.
pub(crate) const TAGS: &[u8] = &[TAG];
/// All blobs.
pub(crate) const BLOBS: &[u8] = &[BLOB];
/// All uses of blobs.
pub(crate) const BLOB_USES: &[u8] = &[BLOB_USE];

/// A value of a unique index, to the id that holds it.
pub(crate) fn unique(kind: Kind, index: &str, value: &str) -> [u8; 33] {
    let mut hasher = blake3::Hasher::new();
    // The length separates index and value, so that no two pairs run together.
    hasher.update(&[kind.number()]);
    hasher.update(&(index.len() as u64).to_le_bytes());
    hasher.update(index.as_bytes());
    hasher.update(value.as_bytes());
    let mut key = [UNIQUE; 33];
    key[1..].copy_from_slice(hasher.finalize().as_bytes());
    key
}

/// All entities of `kind` whose `field` points to `target`.
pub(crate) fn foreign(kind: Kind, field: &str, target: Id) -> [u8; 22] {
    let mut key = [0; 22];
    key[0] = FOREIGN;
    key[1] = kind.number();
    key[2..6].copy_from_slice(&field_mark(field));
    key[6..].copy_from_slice(target.as_bytes());
    key
}
/// That the entity `id` of `kind` points with `field` to `target`; no value.
pub(crate) fn foreign_entry(kind: Kind, field: &str, target: Id, id: Id) -> [u8; 38] {
    let mut key = [0; 38];
    key[..22].copy_from_slice(&foreign(kind, field, target));
    key[22..].copy_from_slice(id.as_bytes());
    key
}
// Four bytes that stand for a field's name, whatever its place in the schema is; a test keeps them apart.
fn field_mark(field: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = *blake3::hash(field.as_bytes()).as_bytes();
    [a, b, c, d]
}

/// All entries of a tag.
pub(crate) fn tag(tag: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(tag.len() + 20);
    key.push(TAG);
    // Zero bytes are doubled with 0xff and the text ends with two, so that keys sort exactly as the texts do.
    for byte in tag.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend([0, 0]);
    key
}
/// All entities of a kind with a tag.
pub(crate) fn tag_of_kind(text: &str, kind: Kind) -> Vec<u8> {
    let mut key = tag(text);
    key.push(kind.number());
    key
}
/// That an entity carries a tag; no value.
pub(crate) fn tag_entry(text: &str, kind: Kind, id: Id) -> Vec<u8> {
    let mut key = tag_of_kind(text, kind);
    key.extend(id.as_bytes());
    key
}
/// Reads the key of `tag_entry`.
pub(crate) fn parse_tag_entry(key: &[u8]) -> Result<(String, Kind, Id), Malformed> {
    let wrong = || malformed("the key of a tag");
    let (text, rest) = key.split_last_chunk::<17>().map(|(text, rest)| (text, *rest)).ok_or_else(wrong)?;
    let text = text.strip_prefix(&[TAG]).and_then(|text| text.strip_suffix(&[0, 0])).ok_or_else(wrong)?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut input = text.iter();
    while let Some(&byte) = input.next() {
        bytes.push(byte);
        if byte == 0 {
            input.next();
        }
    }
    let [kind, id @ ..] = rest;
    let kind = Kind::from_number(kind).ok_or_else(wrong)?;
    Ok((String::from_utf8(bytes).map_err(|_| wrong())?, kind, Id::from_bytes(id)))
}

/// How many entities of a kind there are.
pub(crate) fn count(kind: Kind) -> [u8; 2] {
    [COUNT, kind.number()]
}
/// What is known of a blob.
pub(crate) fn blob(digest: Digest) -> [u8; 33] {
    let mut key = [BLOB; 33];
    key[1..].copy_from_slice(digest.as_bytes());
    key
}
/// All entities that use a blob.
pub(crate) fn blob_uses(digest: Digest) -> [u8; 33] {
    let mut key = [BLOB_USE; 33];
    key[1..].copy_from_slice(digest.as_bytes());
    key
}
/// That an entity uses a blob; no value.
pub(crate) fn blob_use(digest: Digest, kind: Kind, id: Id) -> [u8; 50] {
    let mut key = [0; 50];
    key[..33].copy_from_slice(&blob_uses(digest));
    key[33] = kind.number();
    key[34..].copy_from_slice(id.as_bytes());
    key
}
/// The last 16 bytes of a key, where they are an id.
pub(crate) fn last_id(key: &[u8]) -> Result<Id, Malformed> {
    let id = key.last_chunk::<16>().ok_or_else(|| malformed("a key is too short"))?;
    Ok(Id::from_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_keys_sort_as_their_texts_and_come_back() {
        let id = Id::from_bytes([9; 16]);
        let mut texts = ["", "a", "a\0", "a\0b", "a\0\u{1}", "ab", "b", "ä", "\u{10ffff}"].map(String::from);
        texts.sort();
        let keys: Vec<_> = texts.iter().map(|text| tag_entry(text, Kind::Route, id)).collect();
        assert!(keys.is_sorted());
        for (key, text) in keys.iter().zip(&texts) {
            assert_eq!(parse_tag_entry(key).unwrap(), (text.clone(), Kind::Route, id));
        }
        assert!(parse_tag_entry(b"t").is_err());
    }

    #[test]
    fn no_two_foreign_fields_of_a_kind_share_a_mark() {
        for kind in Kind::ALL {
            let mut marks: Vec<_> = kind.foreign_fields().iter().map(|(field, _)| field_mark(field)).collect();
            let all = marks.len();
            marks.sort_unstable();
            marks.dedup();
            assert_eq!(marks.len(), all, "{kind:?}");
        }
    }

    #[test]
    fn unique_keys_hold_no_secret() {
        let key = unique(Kind::KeyAuth, "key", "very-secret");
        assert!(!key.windows(6).any(|part| part == b"secret"));
        assert_ne!(unique(Kind::Consumer, "ab", "c"), unique(Kind::Consumer, "a", "bc"));
    }
}
