//! Sets of addresses, asked in logarithmic time: a list of ten thousand blocks costs a request no more than one of ten.

use std::net::{IpAddr, Ipv6Addr};

/// First and last address of a block. Addresses of version 4 are the mapped ones of version 6 (`::ffff:a.b.c.d`), so that a
/// client is the same one however its connection came in.
pub type Block = (u128, u128);

/// Disjoint blocks in ascending order.
#[derive(Default)]
pub struct Ranges(Vec<Block>);

impl Ranges {
    pub fn new(mut blocks: Vec<Block>) -> Self {
        blocks.sort_unstable();
        let mut merged: Vec<Block> = Vec::with_capacity(blocks.len());
        for (first, last) in blocks {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|(_, last)| address <= *last)
    }
}

/// Reads `address` or `address/length`. Bits after the length are ignored, as in `10.1.2.3/8`.
pub fn block(text: &str) -> Option<Block> {
    let (address, length) = match text.split_once('/') {
        // `u32` would read "+8" too.
        Some((address, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            (address, Some(length.parse::<u32>().ok()?))
        }
        Some(_) => return None,
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let free = bits - length.map_or(Some(bits), |length| (length <= bits).then_some(length))?;
    let below = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    let number = number(address);
    Some((number & !below, number | below))
}

fn number(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(list: &[&str], address: &str) -> bool {
        Ranges::new(list.iter().map(|text| block(text).unwrap()).collect()).contain(address.parse().unwrap())
    }

    #[test]
    fn a_block_has_its_first_and_last_address_and_no_others() {
        let list = ["10.0.0.0/8", "192.168.1.7", "2001:db8::/32"];
        for inside in ["10.0.0.0", "10.255.255.255", "192.168.1.7", "2001:db8::1", "::ffff:10.1.2.3"] {
            assert!(contains(&list, inside), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.168.1.6", "192.168.1.8", "2001:db9::", "::a00:1"] {
            assert!(!contains(&list, outside), "{outside}");
        }
    }

    #[test]
    fn blocks_may_overlap_and_come_in_any_order() {
        let list = ["10.0.0.128/25", "10.0.0.0/24", "10.0.0.5", "0.0.0.0/32"];
        assert!(contains(&list, "10.0.0.5") && contains(&list, "10.0.0.255") && contains(&list, "0.0.0.0"));
        assert!(!contains(&list, "10.0.1.0") && !contains(&list, "0.0.0.1"));
        assert!(contains(&["0.0.0.0/0"], "255.255.255.255") && !contains(&["0.0.0.0/0"], "2001:db8::1"));
        assert!(contains(&["::/0"], "2001:db8::1") && contains(&["::/0"], "10.0.0.1"));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0.0/8/8", "example.com"] {
            assert!(block(text).is_none(), "{text}");
        }
    }
}
