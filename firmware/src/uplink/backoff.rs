//! Exponential backoff with full jitter, so that a force whose gateway restarts does not come back as one.
//!
//! **A delay is uniform between 0 and `min(cap, base * 2^attempt)`.** Source: Brooker, "Exponential Backoff And Jitter",
//! AWS Architecture Blog, 2015.

/// Uniform random numbers, from the caller: a hardware generator on a device, a seed in a test.
pub trait Random {
    /// The next 32 random bits.
    fn next_u32(&mut self) -> u32;
}

impl<F: FnMut() -> u32> Random for F {
    fn next_u32(&mut self) -> u32 {
        self()
    }
}

/// Counts attempts and draws delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    base_ms: u32,
    cap_ms: u32,
    attempt: u32,
}

impl Backoff {
    pub(super) fn new(base_ms: u32, cap_ms: u32) -> Self {
        Self { base_ms, cap_ms, attempt: 0 }
    }

    /// The delay before the next attempt, in ms.
    pub(super) fn draw_ms(&mut self, random: &mut dyn Random) -> u64 {
        let ceiling = u64::from(self.base_ms) << self.attempt.min(31);
        let ceiling_ms = ceiling.min(u64::from(self.cap_ms));
        self.attempt = self.attempt.saturating_add(1);
        // Multiply and shift: uniform without a division, and never above the ceiling.
        (u64::from(random.next_u32()) * (ceiling_ms + 1)) >> 32
    }

    /// The last connection was good.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_delay_never_passes_its_ceiling(bits in any::<u32>(), attempts in 0u32..100) {
            let mut backoff = Backoff::new(1000, 60_000);
            let mut random = || bits;
            for attempt in 0..=attempts {
                let ceiling = (1000u64 << attempt.min(20)).min(60_000);
                assert!(backoff.draw_ms(&mut random) <= ceiling);
            }
        }
    }

    #[test]
    fn delays_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(1000, 60_000);
        assert_eq!(backoff.draw_ms(&mut || 0), 0);
        assert_eq!(backoff.draw_ms(&mut || u32::MAX), 2000);
        for _ in 0..10 {
            backoff.draw_ms(&mut || 0);
        }
        assert_eq!(backoff.draw_ms(&mut || u32::MAX), 60_000, "the cap");
        backoff.reset();
        assert_eq!(backoff.draw_ms(&mut || u32::MAX), 1000, "a good connection starts afresh");
    }
}
