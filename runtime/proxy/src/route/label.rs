//! Short byte strings that stand where they are used: no further cache line to read.

use std::fmt;

/// A byte string; up to `N` bytes of it need no allocation.
#[derive(Clone)]
pub(crate) enum Label<const N: usize> {
    Inline(u8, [u8; N]),
    Heap(Box<[u8]>),
}

impl<const N: usize> Label<N> {
    /// The length of an inline one is one byte.
    const FITS: () = assert!(N <= u8::MAX as usize);

    pub(crate) fn new(bytes: &[u8]) -> Self {
        const { Self::FITS };
        let mut inline = [0; N];
        match inline.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                // At most N.
                Self::Inline(bytes.len() as u8, inline)
            }
            None => Self::Heap(bytes.into()),
        }
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Heap(bytes) => bytes,
        }
    }
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline(length, _) => usize::from(*length),
            Self::Heap(bytes) => bytes.len(),
        }
    }
    /// How many leading bytes are the same.
    pub(crate) fn common(&self, text: &[u8]) -> usize {
        self.bytes().iter().zip(text).take_while(|(a, b)| a == b).count()
    }
}

impl<const N: usize> From<&str> for Label<N> {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl<const N: usize> PartialEq for Label<N> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl<const N: usize> Eq for Label<N> {}

impl<const N: usize> fmt::Debug for Label<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_its_bytes_on_both_sides_of_the_limit() {
        for length in 0..8 {
            let bytes: Vec<u8> = (0..length).collect();
            let label = Label::<4>::new(&bytes);
            assert_eq!((label.bytes(), label.len()), (&*bytes, bytes.len()));
            assert_eq!(matches!(label, Label::Inline(..)), length <= 4);
            assert_eq!(label.common(&[0, 1, 9]), bytes.len().min(2));
        }
    }
}
