//! Latencies in buckets of a fixed relative width, so that recording is an increment and memory does not grow.
//!
//! Each power of two is cut into 64 buckets: a value read back is at most 1.6 % above the one recorded.

use std::time::Duration;

/// Buckets of one power of two. 64 keeps the error under 2 % with a table of 3,776 counters.
const CUTS_BITS: u32 = 6;
const CUTS: u64 = 1 << CUTS_BITS;
const BUCKETS: usize = ((64 - CUTS_BITS as usize) + 1) * CUTS as usize;

/// Latencies of one round.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// The latency that `share` (0 to 1) of all requests did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper_bound(index).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }
}

fn bucket(nanos: u64) -> usize {
    // Below CUTS every value has its own bucket; above, the exponent picks the row and the next six bits the column.
    let Some(exponent) = nanos.checked_ilog2().filter(|e| *e >= CUTS_BITS) else { return nanos as usize };
    let row = u64::from(exponent - CUTS_BITS + 1);
    let column = (nanos >> (exponent - CUTS_BITS)) - CUTS;
    (row * CUTS + column) as usize
}

fn upper_bound(index: usize) -> u64 {
    let (row, column) = (index as u64 / CUTS, index as u64 % CUTS);
    if row == 0 {
        return column;
    }
    let width = 1u64 << (row - 1);
    (CUTS + column).saturating_mul(width).saturating_add(width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_two_percent() {
        let mut histogram = Histogram::new();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let got = histogram.quantile(share).as_nanos() as f64 / 1000.0;
            assert!((got / micros - 1.0).abs() < 0.02, "{share}: {got} instead of {micros}");
        }
        assert_eq!(histogram.quantile(1.0), Duration::from_micros(10_000));
    }

    #[test]
    fn every_value_has_a_bucket_that_contains_it() {
        for nanos in (0..63).map(|e| 1u64 << e).flat_map(|p| [p - 1, p, p + 1]).chain([u64::MAX]) {
            let index = bucket(nanos);
            assert!(index < BUCKETS && upper_bound(index) >= nanos, "{nanos} in {index}");
            assert!(index == 0 || upper_bound(index - 1) < nanos, "{nanos} in {index}");
        }
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        assert_eq!(Histogram::new().quantile(0.99), Duration::ZERO);
    }
}
