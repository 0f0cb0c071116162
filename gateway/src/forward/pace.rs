//! How many entries go to a sink in one call.
//!
//! **As many as it takes in a quarter of a second**, so that a backlog goes fast where the sink is fast, and an alarm waits no
//! longer for the call before it where the sink is slow. Never more than the configuration says, and never fewer than
//! [`COUNT_MIN`]: what a sink is slow with whatever it is sent does not get faster in smaller pieces.

use std::time::Duration;

/// What a call may take: an alarm that just missed one waits for it and has most of its second left.
const CALL_MAX: Duration = Duration::from_millis(250);
/// Below this a call costs more than what is in it.
const COUNT_MIN: usize = 500;

/// The size of the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    count: usize,
    count_max: usize,
}

impl Pace {
    /// Begins with small calls; never more than `count_max` entries in one.
    pub(super) fn new(count_max: usize) -> Self {
        let count_max = count_max.max(1);
        Self { count: count_max.min(COUNT_MIN), count_max }
    }

    /// Entries in the next call at most.
    pub(super) fn count(self) -> usize {
        self.count
    }

    /// The sink took a call of `count` entries in that time. A call that was not full (`is_full`: the lane went on behind it) says
    /// nothing about larger ones, unless it was slow.
    pub(super) fn note(&mut self, count: usize, is_full: bool, took: Duration) {
        if !is_full && took <= CALL_MAX {
            return;
        }
        // What was withheld counts in a full one: it is about as much of the next.
        let count = if is_full { self.count } else { count };
        let fits = CALL_MAX.as_micros().saturating_mul(count as u128) / took.as_micros().max(1);
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        // No single measurement is trusted further than this.
        let next = fits.clamp(self.count / 2, self.count.saturating_mul(2));
        self.count = next.clamp(self.count_max.min(COUNT_MIN), self.count_max);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sink that takes `call` for each call and `each` for each entry.
    fn after(calls: u32, count_max: usize, call: Duration, each: Duration) -> Pace {
        let mut pace = Pace::new(count_max);
        for _ in 0..calls {
            let count = pace.count();
            pace.note(count, true, call + each * u32::try_from(count).unwrap());
        }
        pace
    }

    #[test]
    fn a_fast_sink_is_soon_sent_all_that_the_configuration_allows() {
        let pace = after(5, 5_000, Duration::from_millis(5), Duration::from_micros(20));
        assert_eq!(pace.count(), 5_000);
        assert_eq!(Pace::new(200).count(), 200, "and never more");
    }

    #[test]
    fn a_slow_sink_is_sent_what_it_takes_in_a_quarter_of_a_second() {
        let pace = after(20, 5_000, Duration::from_millis(10), Duration::from_micros(200));
        assert!((1_150..=1_250).contains(&pace.count()), "{}", pace.count());
    }

    #[test]
    fn a_sink_that_is_slow_with_any_call_is_sent_no_crumbs() {
        let pace = after(20, 5_000, Duration::from_secs(2), Duration::ZERO);
        assert_eq!(pace.count(), COUNT_MIN);
    }

    #[test]
    fn a_small_call_says_nothing_about_large_ones_unless_it_was_slow() {
        let mut pace = after(20, 5_000, Duration::ZERO, Duration::from_micros(50));
        pace.note(3, false, Duration::from_millis(1));
        assert_eq!(pace.count(), 5_000);
        pace.note(3, false, Duration::from_secs(1));
        assert_eq!(pace.count(), 2_500);
    }

    proptest! {
        #[test]
        fn no_measurement_leaves_the_bounds(
            count_max in 0..20_000_usize,
            calls in proptest::collection::vec((0..20_000_usize, proptest::bool::ANY, 0..10_000_000_u64), 0..50),
        ) {
            let mut pace = Pace::new(count_max);
            for (count, is_full, took_us) in calls {
                pace.note(count, is_full, Duration::from_micros(took_us));
                prop_assert!((1..=count_max.max(1)).contains(&pace.count()));
                prop_assert!(pace.count() >= count_max.clamp(1, COUNT_MIN));
            }
        }
    }
}
