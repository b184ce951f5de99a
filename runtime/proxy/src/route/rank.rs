//! Which of several matching routes is taken: one number, the higher goes first.
//!
//! Kong's order of its default router, so that a configuration moved here keeps its meaning: how many attributes are set, then
//! whether all hosts are without wildcard, then how many headers are named, then regex before prefix, then the regex's own
//! priority or the prefix's length.

/// The rank of a route through one of its paths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank(u64);

/// The path's part of a rank.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PathRank {
    /// The route has no paths.
    None,
    /// Of that many bytes.
    Prefix(usize),
    /// With that `regex_priority`.
    Regex(i64),
}

const ATTRIBUTES_AT: u32 = 61;
const PLAIN_HOSTS_AT: u32 = 60;
const HEADERS_AT: u32 = 52;
const REGEX_AT: u32 = 51;
const REGEX_PRIORITY_AT: u32 = 19;
/// 8 bits hold the number of headers; more count as this many.
const MAX_HEADERS: u64 = 0xFF;
/// 19 bits hold the length; a longer prefix than 512 KiB does not fit into a request anyway.
const MAX_PREFIX: u64 = 0x7_FFFF;

impl Rank {
    /// From how many attributes are set, whether hosts are set and none has a wildcard, how many headers are named.
    pub(crate) fn new(attributes: usize, plain_hosts: bool, headers: usize, path: PathRank) -> Self {
        let (regex, priority, length) = match path {
            PathRank::None => (0, 0, 0),
            PathRank::Prefix(length) => (0, 0, (length as u64).min(MAX_PREFIX)),
            // Shifted to begin at zero: a negative priority comes after zero, and only regexes are compared with regexes here.
            PathRank::Regex(priority) => {
                let clamped = priority.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                (1, (clamped - i64::from(i32::MIN)) as u64, 0)
            }
        };
        Self(
            ((attributes as u64) << ATTRIBUTES_AT)
                | (u64::from(plain_hosts) << PLAIN_HOSTS_AT)
                | ((headers as u64).min(MAX_HEADERS) << HEADERS_AT)
                | (regex << REGEX_AT)
                | (priority << REGEX_PRIORITY_AT)
                | length,
        )
    }
}

/// How many routes have how many attributes: says how high a rank can be among them without looking at any.
#[derive(Clone, Default)]
pub(crate) struct Census([usize; ATTRIBUTES + 1]);

/// Methods, hosts, headers, paths.
const ATTRIBUTES: usize = 4;

impl Census {
    /// Counts a route in.
    pub(crate) fn add(&mut self, attributes: usize) {
        if let Some(count) = self.0.get_mut(attributes) {
            *count += 1;
        }
    }
    /// Counts a route out.
    pub(crate) fn subtract(&mut self, attributes: usize) {
        if let Some(count) = self.0.get_mut(attributes) {
            *count = count.saturating_sub(1);
        }
    }
    /// No route in here ranks higher, unless all of its hosts are without wildcard.
    pub(crate) fn ceiling(&self) -> Rank {
        let attributes = self.0.iter().rposition(|count| *count > 0).unwrap_or(0);
        Rank::new(attributes, false, usize::MAX, PathRank::Regex(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_at_or_above_every_route_without_plain_hosts_and_falls_when_they_go() {
        let mut census = Census::default();
        census.add(1);
        census.add(2);
        let highest = |attributes| Rank::new(attributes, false, 300, PathRank::Regex(i64::MAX));
        assert!(highest(2) <= census.ceiling() && Rank::new(2, true, 0, PathRank::None) > census.ceiling());
        census.subtract(2);
        assert!(highest(1) <= census.ceiling() && Rank::new(2, false, 0, PathRank::None) > census.ceiling());
    }

    #[test]
    fn each_criterion_outweighs_all_that_come_after_it() {
        use PathRank::{None, Prefix, Regex};
        let rank = Rank::new;
        let ascending = [
            rank(1, false, 0, None),
            rank(1, false, 0, Prefix(1)),
            rank(1, false, 0, Prefix(2)),
            rank(1, false, 0, Prefix(usize::MAX)),
            rank(1, false, 0, Regex(i64::MIN)),
            rank(1, false, 0, Regex(-1)),
            rank(1, false, 0, Regex(0)),
            rank(1, false, 0, Regex(i64::MAX)),
            rank(1, false, 1, None),
            rank(1, false, 1000, Regex(i64::MAX)),
            rank(1, true, 0, None),
            rank(1, true, 1000, Regex(i64::MAX)),
            rank(2, false, 0, None),
            rank(4, true, 1000, Regex(i64::MAX)),
        ];
        assert!(ascending.windows(2).all(|pair| pair[0] < pair[1]), "{ascending:?}");
    }
}
