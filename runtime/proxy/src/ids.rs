//! Request ids: 128 bits in hexadecimal, unique over all nodes, made without a system call.

/// One worker's source of ids.
pub struct Ids {
    state: [u64; 2],
}

impl Ids {
    /// Begins at a random place.
    pub fn new() -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self { state: [high, low] }
    }
    /// Writes the next id into `text`, reusing its memory.
    pub fn next_into(&mut self, text: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        text.clear();
        for state in &mut self.state {
            // SplitMix64: every state once before any comes again, and neighbours look unrelated. It is no secret: who sees ids can
            // compute others, so an id is never a credential.
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            for byte in mixed.to_be_bytes() {
                let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble & 15)).unwrap_or(&b'0'));
                text.push(digit(byte >> 4));
                text.push(digit(byte));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_thirty_two_digits_and_do_not_repeat() {
        let (mut ids, mut seen) = (Ids::new(), HashSet::new());
        for _ in 0..10_000 {
            let mut id = String::new();
            ids.next_into(&mut id);
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert!(seen.insert(id));
        }
    }
}
