//! The hashes that tie history and state together.
//!
//! `head` chains every transaction to the one before it, so that two nodes with one head have one history; `state` is a
//! sum over all entities, kept up to date by adding and subtracting, so that two nodes with one sum have one state. With
//! a cluster key both are keyed: who can write the file or the keyspace, but has no key, cannot forge them.

use weir_model::{Id, Kind, Revision};

/// Makes the hashes of one store.
#[derive(Clone)]
pub(crate) struct Hashes {
    key: Option<[u8; 32]>,
}

impl Hashes {
    pub(crate) fn new(key: Option<[u8; 32]>) -> Self {
        Self { key }
    }
    // The purpose goes in first, so that no hash of one purpose can pass for one of another.
    fn begin(&self, purpose: &[u8]) -> blake3::Hasher {
        let mut hasher = self.key.as_ref().map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        hasher.update(purpose);
        hasher
    }
    /// The head of the empty history of a cluster.
    pub(crate) fn genesis(&self, cluster: Id) -> [u8; 32] {
        *self.begin(b"weir genesis\0").update(cluster.as_bytes()).finalize().as_bytes()
    }
    /// Tells, without the history, whether a file was written with this key.
    pub(crate) fn key_check(&self, cluster: Id) -> [u8; 32] {
        *self.begin(b"weir key check\0").update(cluster.as_bytes()).finalize().as_bytes()
    }
    /// Why a store of that cluster, which was begun with such a check, is not this node's to read; nothing if it is.
    pub(crate) fn key_fault(&self, cluster: Id, check: &[u8; 32]) -> Option<&'static str> {
        let unkeyed = || Self::new(None).key_check(cluster);
        match &self.key {
            _ if *check == self.key_check(cluster) => None,
            None => Some(
                "the store was begun with a cluster_key, and this node has none; set cluster_key_file to a copy of the file that the \
                 other nodes have",
            ),
            Some(_) if *check == unkeyed() => Some(
                "the store was begun without a cluster_key, and this node has one; start it without cluster_key_file, or begin \
                 another keyspace with it",
            ),
            Some(_) => Some(
                "this node has another cluster_key than the store; set cluster_key_file to a copy of the file that the other nodes have",
            ),
        }
    }
    /// The head after a transaction.
    pub(crate) fn head(&self, previous: &[u8; 32], revision: Revision, format: u32, ops: &[u8], state: &StateSum) -> [u8; 32] {
        let mut hasher = self.begin(b"weir transaction\0");
        hasher.update(previous);
        hasher.update(&revision.0.to_le_bytes());
        hasher.update(&format.to_le_bytes());
        hasher.update(&(ops.len() as u64).to_le_bytes());
        hasher.update(ops);
        hasher.update(&state.0);
        *hasher.finalize().as_bytes()
    }
    /// Seals what a checkpoint says of itself.
    pub(crate) fn checkpoint(&self, text: &[u8]) -> [u8; 32] {
        *self.begin(b"weir checkpoint\0").update(text).finalize().as_bytes()
    }
    /// Stands for a counted window, whose key may be a secret or an address of a caller.
    pub(crate) fn window(&self, key: &[u8], period: u8, start: i64) -> [u8; 32] {
        let mut hasher = self.begin(b"weir window\0");
        hasher.update(&[period]);
        hasher.update(&start.to_le_bytes());
        hasher.update(key);
        *hasher.finalize().as_bytes()
    }
    /// What an entity adds to the sum of the state.
    pub(crate) fn entity(&self, kind: Kind, id: Id, body: &[u8]) -> [u8; 32] {
        let mut hasher = self.begin(b"weir entity\0");
        hasher.update(&[kind.number()]);
        hasher.update(id.as_bytes());
        hasher.update(body);
        *hasher.finalize().as_bytes()
    }
}

/// The sum, modulo 2^256 and little-endian, of the hashes of all entities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StateSum(pub(crate) [u8; 32]);

impl StateSum {
    pub(crate) fn add(&mut self, hash: &[u8; 32]) {
        let mut carry = 0u16;
        for (sum, byte) in self.0.iter_mut().zip(hash) {
            carry += u16::from(*sum) + u16::from(*byte);
            *sum = (carry & 0xff) as u8;
            carry >>= 8;
        }
    }
    pub(crate) fn subtract(&mut self, hash: &[u8; 32]) {
        let mut borrow = 0i16;
        for (sum, byte) in self.0.iter_mut().zip(hash) {
            let difference = i16::from(*sum) - i16::from(*byte) - borrow;
            borrow = i16::from(difference < 0);
            *sum = (difference & 0xff) as u8;
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    weir_model::Digest::from_bytes(*bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtracting_undoes_adding_in_any_order() {
        let hashes = Hashes::new(None);
        let all: Vec<_> = (0..50u8).map(|n| hashes.entity(Kind::Route, Id::from_bytes([n; 16]), &[n])).collect();
        let mut sum = StateSum::default();
        all.iter().for_each(|hash| sum.add(hash));
        let mut backwards = StateSum::default();
        all.iter().rev().for_each(|hash| backwards.add(hash));
        assert_eq!(sum, backwards);
        all.iter().skip(1).for_each(|hash| sum.subtract(hash));
        assert_eq!(sum.0, all[0]);
        sum.subtract(&all[0]);
        assert_eq!(sum, StateSum::default());
    }

    #[test]
    fn the_sum_wraps_around() {
        let mut sum = StateSum([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        sum.add(&one);
        assert_eq!(sum, StateSum::default());
        sum.subtract(&one);
        assert_eq!(sum, StateSum([0xff; 32]));
    }

    #[test]
    fn who_has_which_key_is_told() {
        let id = Id::from_bytes([1; 16]);
        let (plain, one, two) = (Hashes::new(None), Hashes::new(Some([1; 32])), Hashes::new(Some([2; 32])));
        for hashes in [&plain, &one, &two] {
            assert_eq!(hashes.key_fault(id, &hashes.key_check(id)), None);
        }
        let said = |node: &Hashes, store: &Hashes| node.key_fault(id, &store.key_check(id)).unwrap();
        assert!(said(&plain, &one).contains("begun with a cluster_key, and this node has none"));
        assert!(said(&one, &plain).contains("begun without a cluster_key, and this node has one"));
        assert!(said(&one, &two).contains("another cluster_key than the store"));
    }

    #[test]
    fn a_key_changes_every_hash() {
        let (plain, keyed) = (Hashes::new(None), Hashes::new(Some([7; 32])));
        let id = Id::from_bytes([1; 16]);
        assert_ne!(plain.genesis(id), keyed.genesis(id));
        assert_ne!(plain.entity(Kind::Route, id, b"{}"), keyed.entity(Kind::Route, id, b"{}"));
        assert_ne!(plain.key_check(id), plain.genesis(id));
    }
}
