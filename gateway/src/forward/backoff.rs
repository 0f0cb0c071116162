//! Jittered exponential backoff: bounded, and random only through its caller.
//!
//! **A delay is never longer than `delay_ms_max` and never shorter than half its step**, so that a thousand gateways
//! do not come back to a sink at the same instant, and none hammers it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Numbers uniform over `u32`, given by the caller so that a run can be repeated.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> u32 + Send + Sync>);

impl Random {
    /// Draws from `number`.
    pub fn new(number: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        Self(Arc::new(number))
    }

    /// The system's randomness. It is for jitter only: without a source the delay is the shortest of its step.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let mut bytes = [0; 4];
            match aws_lc_rs::rand::fill(&mut bytes) {
                Ok(()) => u32::from_le_bytes(bytes),
                Err(_) => 0,
            }
        })
    }

    /// The next number.
    #[must_use]
    pub fn number(&self) -> u32 {
        (self.0)()
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffSettings {
    /// First step in ms; at least 1.
    pub delay_ms_min: u64,
    /// Longest step in ms.
    pub delay_ms_max: u64,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self { delay_ms_min: 200, delay_ms_max: 30_000 }
    }
}

/// The state between attempts.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    settings: BackoffSettings,
    failures_count: u32,
}

impl Backoff {
    /// A backoff at its first step.
    #[must_use]
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, failures_count: 0 }
    }

    /// The attempt went well: the next failure starts at the first step again.
    pub fn reset(&mut self) {
        self.failures_count = 0;
    }

    /// Failures since the last reset.
    #[must_use]
    pub fn failures_count(&self) -> u32 {
        self.failures_count
    }

    /// The delay after one more failure: step `min * 2^n`, at most `max`, of which a part between half and all.
    /// `random` is uniform over `u32`.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        // 2^20 steps of 1 ms are 17 minutes: past any sensible maximum, and far from overflow.
        let doublings = self.failures_count.min(20);
        self.failures_count = self.failures_count.saturating_add(1);
        let step_ms = (self.settings.delay_ms_min.max(1) << doublings).min(self.settings.delay_ms_max.max(1));
        let half_ms = step_ms / 2;
        let jitter_ms = (u128::from(step_ms - half_ms) * u128::from(random)) >> 32;
        Duration::from_millis(half_ms + u64::try_from(jitter_ms).expect("less than the step, which is a u64"))
    }

    /// The longest delay, jittered: for a sink that must be slowed, not retried.
    #[must_use]
    pub fn longest_delay(&self, random: u32) -> Duration {
        let mut longest = Self { failures_count: 20, ..*self };
        longest.next_delay(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BackoffSettings = BackoffSettings { delay_ms_min: 100, delay_ms_max: 1_000 };

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(SETTINGS);
        let longest: Vec<_> = (0..6).map(|_| backoff.next_delay(u32::MAX).as_millis()).collect();
        assert_eq!(longest, [99, 199, 399, 799, 999, 999]);
        assert_eq!(backoff.failures_count(), 6);
        backoff.reset();
        assert_eq!(backoff.next_delay(0).as_millis(), 50);
        assert_eq!(backoff.longest_delay(0).as_millis(), 500);
    }

    #[test]
    fn no_delay_leaves_its_bounds_however_long_the_outage() {
        let mut backoff = Backoff::new(BackoffSettings { delay_ms_min: 3_600_000, delay_ms_max: u64::MAX });
        for _ in 0..100 {
            assert!(backoff.next_delay(u32::MAX) < Duration::from_hours(2_000_000));
        }
    }
}
