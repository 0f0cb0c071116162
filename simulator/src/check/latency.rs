//! Latencies in bounded memory: buckets 2 % apart, so a percentile is at most 2 % off.

use serde::Serialize;

/// Width of a bucket: each is this much wider than the one before.
const GROWTH: f64 = 1.02;
/// 1.02 to the 1,100th is about 48 minutes in microseconds; what is slower counts as that.
const BUCKET_COUNT: usize = 1_100;

/// How often each latency was seen.
#[derive(Debug, Clone)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

/// Two percentiles, in milliseconds; `None` if nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half were faster.
    pub p50: Option<f64>,
    /// One in a hundred was slower.
    pub p99: Option<f64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKET_COUNT], count: 0 }
    }
}

impl Latencies {
    /// Counts one, in microseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the logarithm of a u64 is far below the bucket count's type"
    )]
    pub fn add(&mut self, latency_us: u64) {
        let bucket = ((latency_us.max(1) as f64).ln() / GROWTH.ln()).floor() as usize;
        self.buckets[bucket.min(BUCKET_COUNT - 1)] += 1;
        self.count += 1;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The median and the 99th percentile.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        Percentiles { p50: self.percentile_ms(50), p99: self.percentile_ms(99) }
    }

    /// The upper edge of the bucket that holds the percentile, in milliseconds.
    fn percentile_ms(&self, percent: u64) -> Option<f64> {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        })?;
        let edge_us = GROWTH.powi(i32::try_from(bucket + 1).unwrap_or(i32::MAX));
        Some((edge_us / 10.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_two_percent() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), Percentiles { p50: None, p99: None });
        for latency_ms in 1..=1_000 {
            latencies.add(latency_ms * 1_000);
        }
        let Percentiles { p50, p99 } = latencies.percentiles();
        assert!((490.0..=520.0).contains(&p50.unwrap()), "{p50:?}");
        assert!((980.0..=1_015.0).contains(&p99.unwrap()), "{p99:?}");
    }
}
