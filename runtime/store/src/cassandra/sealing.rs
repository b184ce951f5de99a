//! Seals what leaves the process, so that who reads the keyspace reads no secret: `docs/decisions/payloads-are-sealed.md`.
//!
//! A payload is sealed for one place and opens at no other. Without a cluster key it stands in the clear. Knows no table.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use std::borrow::Cow;
use weir_model::{Digest, Id, Revision};

/// In front, and drawn by lot: 192 bits, so that no number of payloads makes two alike, whichever nodes write them.
const NONCE_BYTES: usize = 24;
/// Behind: what shows that nothing was altered.
const TAG_BYTES: usize = 16;
/// What sealing adds at most.
pub(super) const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

// A key for each purpose: neither is the key that the hashes take, though all come from one file.
const PAYLOADS: &str = "weir 2026 payloads in Cassandra, XChaCha20-Poly1305";
const NAMES: &str = "weir 2026 names of components in Cassandra, BLAKE3";

/// Where a payload belongs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'p> {
    /// The changes of the row that continues this revision and head.
    Row { cluster: Id, base: Revision, head: &'p [u8; 32] },
    /// A piece of the checkpoint of this revision.
    Part { cluster: Id, revision: Revision, number: usize },
    /// The component with this digest.
    Component(Digest),
}

impl Place<'_> {
    /// As bytes. Of one length for each sort, so that no two places read alike.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Row { cluster, base, head } => {
                [b"row\0", cluster.as_bytes().as_slice(), &base.0.to_le_bytes(), head.as_slice()].concat()
            }
            Self::Part { cluster, revision, number } => {
                [b"part\0", cluster.as_bytes().as_slice(), &revision.0.to_le_bytes(), &(*number as u64).to_le_bytes()].concat()
            }
            Self::Component(digest) => [b"component\0", digest.as_bytes().as_slice()].concat(),
        }
    }
}

/// Seals and opens payloads with what a cluster key gives; passes them through without one.
#[derive(Clone)]
pub(super) struct Sealing {
    keys: Option<Keys>,
}

#[derive(Clone)]
struct Keys {
    payloads: XChaCha20Poly1305,
    names: [u8; 32],
}

impl Sealing {
    pub(super) fn new(cluster_key: Option<&[u8; 32]>) -> Self {
        let keys = cluster_key.map(|key| Keys {
            payloads: XChaCha20Poly1305::new(&blake3::derive_key(PAYLOADS, key).into()),
            names: blake3::derive_key(NAMES, key),
        });
        Self { keys }
    }

    /// What is to be stored.
    pub(super) fn seal<'b>(&self, place: &Place<'_>, clear: &'b [u8]) -> Result<Cow<'b, [u8]>, String> {
        let Some(keys) = &self.keys else { return Ok(Cow::Borrowed(clear)) };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| format!("this machine gives no random numbers: {error}"))?;
        let mut sealed = Vec::with_capacity(clear.len() + OVERHEAD_BYTES);
        sealed.extend(nonce);
        sealed.extend(clear);
        let tag = keys
            .payloads
            .encrypt_inout_detached(&nonce.into(), &place.bytes(), (&mut sealed[NONCE_BYTES..]).into())
            .map_err(|_| "a payload is too large to be sealed".to_owned())?;
        sealed.extend(tag);
        Ok(Cow::Owned(sealed))
    }

    /// What was sealed for that place; nothing if this is something else.
    pub(super) fn open(&self, place: &Place<'_>, mut stored: Vec<u8>) -> Option<Vec<u8>> {
        let Some(keys) = &self.keys else { return Some(stored) };
        let tag: [u8; TAG_BYTES] = *stored.last_chunk()?;
        stored.truncate(stored.len() - TAG_BYTES);
        let (nonce, sealed) = stored.split_first_chunk_mut::<NONCE_BYTES>()?;
        keys.payloads.decrypt_inout_detached(&(*nonce).into(), &place.bytes(), sealed.into(), &tag.into()).ok()?;
        stored.drain(..NONCE_BYTES);
        Some(stored)
    }

    /// What a component is stored under. Its digest would tell whoever has a component, or guesses one, that it is in use.
    pub(super) fn name(&self, digest: Digest) -> Digest {
        match &self.keys {
            Some(keys) => Digest::from_bytes(*blake3::keyed_hash(&keys.names, digest.as_bytes()).as_bytes()),
            None => digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id::from_bytes([number; 16])
    }

    #[test]
    fn a_payload_opens_at_its_place_and_with_its_key_alone() {
        let sealing = Sealing::new(Some(&[1; 32]));
        let (head, other) = ([3; 32], [4; 32]);
        let row = Place::Row { cluster: id(1), base: Revision(7), head: &head };
        let part = Place::Part { cluster: id(1), revision: Revision(7), number: 0 };
        let component = Place::Component(Digest::from_bytes(head));
        let elsewhere = [
            row,
            Place::Row { cluster: id(2), base: Revision(7), head: &head },
            Place::Row { cluster: id(1), base: Revision(8), head: &head },
            Place::Row { cluster: id(1), base: Revision(7), head: &other },
            part,
            Place::Part { cluster: id(2), revision: Revision(7), number: 0 },
            Place::Part { cluster: id(1), revision: Revision(8), number: 0 },
            Place::Part { cluster: id(1), revision: Revision(7), number: 1 },
            component,
            Place::Component(Digest::from_bytes(other)),
        ];
        for (index, place) in elsewhere.iter().enumerate() {
            let sealed = sealing.seal(place, b"secret").unwrap().into_owned();
            for (at, there) in elsewhere.iter().enumerate() {
                let opened = sealing.open(there, sealed.clone());
                assert_eq!(opened, (at == index).then(|| b"secret".to_vec()), "{place:?} at {there:?}");
            }
            assert_eq!(Sealing::new(Some(&[2; 32])).open(place, sealed), None);
        }
    }

    #[test]
    fn whatever_is_altered_or_cut_does_not_open() {
        let sealing = Sealing::new(Some(&[1; 32]));
        let place = Place::Component(Digest::from_bytes([0; 32]));
        for clear in [b"".as_slice(), b"x", &[5; 100]] {
            let sealed = sealing.seal(&place, clear).unwrap().into_owned();
            assert_eq!(sealed.len(), clear.len() + OVERHEAD_BYTES);
            assert_eq!(sealing.open(&place, sealed.clone()).as_deref(), Some(clear));
            for at in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[at] ^= 1;
                assert_eq!(sealing.open(&place, altered), None, "byte {at}");
                assert_eq!(sealing.open(&place, sealed[..at].to_vec()), None, "cut at {at}");
            }
            assert_eq!(sealing.open(&place, clear.to_vec()), None, "what stands in the clear is not taken either");
        }
    }

    #[test]
    fn one_payload_never_looks_the_same_twice_and_shows_nothing() {
        let sealing = Sealing::new(Some(&[1; 32]));
        let place = Place::Part { cluster: id(1), revision: Revision(1), number: 0 };
        let sealed = |clear: &[u8]| sealing.seal(&place, clear).unwrap().into_owned();
        assert_ne!(sealed(b"the same"), sealed(b"the same"));
        let text = sealed(&b"secret ".repeat(100));
        assert!(!text.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn without_a_key_everything_stands_in_the_clear() {
        let sealing = Sealing::new(None);
        let (digest, place) = (Digest::from_bytes([7; 32]), Place::Component(Digest::from_bytes([7; 32])));
        assert_eq!(&*sealing.seal(&place, b"clear").unwrap(), b"clear");
        assert_eq!(sealing.open(&place, b"clear".to_vec()).as_deref(), Some(b"clear".as_slice()));
        assert_eq!(sealing.name(digest), digest);
        let (one, other) = (Sealing::new(Some(&[1; 32])), Sealing::new(Some(&[2; 32])));
        assert!(one.name(digest) != digest && one.name(digest) != other.name(digest));
    }
}
