//! Places of the index, and their hashes.
//!
//! Pure. A place is a host pattern (or none) and what the paths of its routes begin with. Its hash is made eight bytes at a
//! time, and the state after each eight is the hash of the beginning up to there: one pass over a path gives the hashes of all
//! beginnings that the index may hold.

use super::host::{HostPattern, HostShape};
use std::hash::{BuildHasher, RandomState};

/// The host's part of a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// Unset: routes without hosts.
    shape: Option<HostShape>,
    port: Option<u16>,
    /// As in [`HostPattern`].
    text: &'a [u8],
}

impl<'a> Scope<'a> {
    /// Of routes without hosts.
    pub(crate) const ANY: Scope<'static> = Scope { shape: None, port: None, text: &[] };

    pub(crate) fn new(shape: HostShape, port: Option<u16>, text: &'a [u8]) -> Self {
        Self { shape: Some(shape), port, text }
    }
    pub(crate) fn of(pattern: &'a HostPattern) -> Self {
        Self::new(pattern.shape, pattern.port, pattern.text.bytes())
    }
    /// A number that no other shape, port and length has.
    fn kind(&self) -> u64 {
        let shape = match self.shape {
            None => 0,
            Some(HostShape::Exact) => 1,
            Some(HostShape::Ending) => 2,
            Some(HostShape::Beginning) => 3,
        };
        let port = self.port.map_or(0, |port| 1 << 16 | u64::from(port));
        shape | port << 2 | (self.text.len() as u64) << 20
    }
}

impl PartialEq for Scope<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.port == other.port && equal(self.text, other.text)
    }
}

/// A place: host pattern, and what the path begins with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) path: &'a [u8],
}

impl Key<'_> {
    /// Whether a request of that host pattern and that path is for this place.
    pub(crate) fn begins(&self, scope: &Scope<'_>, path: &[u8]) -> bool {
        path.get(..self.path.len()).is_some_and(|beginning| equal(beginning, self.path)) && self.scope == *scope
    }
    /// Whether it is of that host pattern and begins so.
    pub(crate) fn begins_with(&self, scope: &Scope<'_>, beginning: &[u8]) -> bool {
        self.path.starts_with(beginning) && self.scope == *scope
    }
}

/// A key that owns its texts.
#[derive(Clone)]
pub(crate) struct OwnedKey {
    shape: Option<HostShape>,
    port: Option<u16>,
    host: Box<[u8]>,
    path: Box<[u8]>,
}

impl OwnedKey {
    pub(crate) fn new(key: Key<'_>) -> Self {
        let Scope { shape, port, text } = key.scope;
        Self { shape, port, host: text.into(), path: key.path.into() }
    }
    pub(crate) fn key(&self) -> Key<'_> {
        Key { scope: Scope { shape: self.shape, port: self.port, text: &self.host }, path: &self.path }
    }
}

/// Bytes that are hashed at once.
pub(crate) const CHUNK: usize = 8;

/// Makes hashes with two numbers that nobody outside of the process can know, so that nobody can choose texts that collide.
#[derive(Clone, Copy)]
pub(crate) struct KeyHasher {
    seed: u64,
    /// Odd, or the upper bits of what it multiplies would be lost.
    factor: u64,
    /// The bits that are left of a hash: what cannot happen by chance must be right too.
    #[cfg(test)]
    kept: u64,
}

impl Default for KeyHasher {
    fn default() -> Self {
        // The standard library's own source of such numbers: the hash of anything under a random key.
        let random = RandomState::new();
        Self {
            seed: random.hash_one(0_u8),
            factor: random.hash_one(1_u8) | 1,
            #[cfg(test)]
            kept: u64::MAX,
        }
    }
}

impl KeyHasher {
    /// The first step of a walk along a path.
    pub(crate) fn walk<'t>(&self, scope: &Scope<'_>, path: &'t [u8]) -> Walk<'t> {
        let mut state = self.seed;
        for chunk in scope.text.chunks(CHUNK) {
            state = self.mix(state ^ word(chunk));
        }
        Walk { hasher: *self, state: self.mix(state ^ scope.kind()), rest: path }
    }
    /// Mixes the state with what was read; hard to foresee without the factor, but its bits are not yet spread evenly.
    fn mix(&self, word: u64) -> u64 {
        fold(word, self.factor)
    }
    /// The hash of a state: any bits of it may be used. With the factor alone one number in thirty is an unlucky one, whose
    /// hashes crowd in the bits that the table takes.
    fn finish(&self, state: u64) -> u64 {
        let hash = fold(state, SPREAD);
        #[cfg(test)]
        let hash = hash & self.kept;
        hash
    }
}

/// An odd number without pattern (the fraction of the golden ratio).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Both halves of a product: every bit of it knows all bits below, and the low bits of the upper half know them all.
#[inline]
fn fold(word: u64, factor: u64) -> u64 {
    let product = u128::from(word) * u128::from(factor);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A walk along a path, one chunk at each step.
pub(crate) struct Walk<'t> {
    hasher: KeyHasher,
    state: u64,
    rest: &'t [u8],
}

impl Walk<'_> {
    /// How much of the path is ahead.
    pub(crate) fn ahead(&self) -> usize {
        self.rest.len()
    }
    /// The hash of what is behind.
    pub(crate) fn here(&self) -> u64 {
        self.hasher.finish(self.state)
    }
    /// The hash of a place that ends so many bytes ahead, at most [`CHUNK`] of them: another one than that of the place where
    /// the walk will be.
    pub(crate) fn end(&self, bytes: usize) -> u64 {
        let word = word(self.rest.get(..bytes).unwrap_or(self.rest));
        self.hasher.finish(self.hasher.mix(self.state.rotate_left(32).wrapping_add(bytes as u64 + 1) ^ word))
    }
    /// One chunk further.
    pub(crate) fn step(&mut self) {
        let (chunk, rest) = self.rest.split_at_checked(CHUNK).unwrap_or((self.rest, &[]));
        self.state = self.hasher.mix(self.state ^ word(chunk));
        self.rest = rest;
    }
}

/// Up to eight bytes as a number; texts of the same length have different ones.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    if let Some(whole) = bytes.first_chunk() {
        return u64::from_le_bytes(*whole);
    }
    // From both ends, overlapping: no loop over bytes.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    let byte = |at: usize| u64::from(bytes.get(at).copied().unwrap_or(0));
    byte(0) | byte(1) << 8 | byte(2) << 16
}

/// Whether two texts are the same. Texts of a few words are compared here: the C library's call and its set-up cost more than
/// the comparison, on every look-up.
#[inline]
fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.last_chunk::<CHUNK>(), other.last_chunk::<CHUNK>()) {
        (Some(a), Some(b)) => {
            let words = one.chunks_exact(CHUNK).zip(other.chunks_exact(CHUNK));
            a == b && words.into_iter().all(|(one, other)| word(one) == word(other))
        }
        _ => word(one) == word(other),
    }
}

#[cfg(test)]
impl KeyHasher {
    /// One whose hashes have no other bits, and are the same in every run.
    pub(crate) fn fixed(kept: u64) -> Self {
        Self { seed: 0xD134_2543_DE82_EF95, factor: 0xAF25_1AF3_B0F0_25B5, kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn places_that_differ_in_one_thing_have_different_hashes() {
        let hasher = KeyHasher::default();
        let mut hashes = HashSet::new();
        let mut count = 0;
        for (shape, port) in [(HostShape::Exact, None), (HostShape::Exact, Some(80)), (HostShape::Ending, None)] {
            for host in [&b"a"[..], b"a\0", b"", b"b.example"] {
                for path in [&b""[..], b"/", b"/\0", b"/a", b"/abcdef", b"/abcdefg", b"/abcdefgh", b"/abcdefg\0"] {
                    let mut walk = hasher.walk(&Scope::new(shape, port, host), path);
                    while walk.ahead() > CHUNK {
                        walk.step();
                    }
                    hashes.extend([walk.end(walk.ahead()), walk.here()]);
                    count += 1;
                }
            }
        }
        // Of the paths, six are within one chunk and have the same beginning; two have another.
        assert_eq!(hashes.len(), count + 12 * 2);
    }

    #[test]
    fn texts_are_equal_if_all_their_bytes_are() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..40 {
            assert!(equal(&text[..length], &text.clone()[..length]) && !equal(&text[..length], &text[..length + 1]));
            for at in 0..length {
                let mut other = text[..length].to_vec();
                other[at] ^= 0x80;
                assert!(!equal(&text[..length], &other), "{length} bytes, different at {at}");
                assert!(length > CHUNK || word(&text[..length]) != word(&other));
            }
        }
    }

    #[test]
    fn numbers_in_a_path_spread_over_the_bits_that_the_table_uses() {
        let random = |number: u64| (u128::from(number).wrapping_mul(0xD134_2543_DE82_EF95_9E37_79B9_7F4A_7C15) >> 64) as u64;
        for turn in 1..50 {
            let hasher = KeyHasher { seed: random(turn), factor: random(turn + 50) | 1, kept: u64::MAX };
            for shift in [0, 48] {
                let hash = |number: u32| {
                    let path = format!("/r/{number:05}");
                    hasher.walk(&Scope::ANY, path.as_bytes()).end(8) >> shift & 0xFFFF
                };
                let different: HashSet<u64> = (0..1_000).map(hash).collect();
                assert!(different.len() > 950, "{} of 1000 are different, turn {turn}, from bit {shift}", different.len());
            }
        }
    }
}
