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
        let mut digits = [0; 32];
        for (state, half) in self.state.iter_mut().zip(digits.as_chunks_mut::<16>().0) {
            // SplitMix64: every state once before any comes again, and neighbours look unrelated. It is no secret: who sees ids can
            // compute others, so an id is never a credential.
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            for (pair, byte) in half.as_chunks_mut::<2>().0.iter_mut().zip(mixed.to_be_bytes()) {
                *pair = [digit(byte >> 4), digit(byte & 15)];
            }
        }
        text.clear();
        // Digits are ASCII.
        text.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }
}

/// The digit of a number below 16. Computed, so that all of an id's are computed at once.
fn digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
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
