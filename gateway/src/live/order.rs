//! Which of two records of one device is newer.
//!
//! **A device's clock decides nothing that its counters can decide.** Boot id and sequence only ever grow, so within one
//! boot the sequence is the truth and the clock is not asked; a later boot is newer than an earlier one. Only a *lower*
//! boot id (a device that was wiped and counts anew, or history of an earlier boot) is compared by time, and then by a
//! time that cannot lie in the future: a clock ahead of ours is cut to the receive time.
//!
//! | what happens to the clock | what the marker does |
//! |---|---|
//! | jumps years ahead, and back | follows the device: sequences go on |
//! | was never set | follows the device; positions show the receive time |
//! | history arrives after newer state | stays: history has lower sequences |

use fieldpost_protocol::{BootId, ClockQuality, Head, Lane, Seq};

use crate::sabotage::{self, Sabotage};

/// How far a device's time may be from ours and still be believed. From `[clock]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBounds {
    /// Milliseconds ahead of the receive time.
    pub ahead_ms_max: u64,
    /// Milliseconds behind the receive time.
    pub behind_ms_max: u64,
}

impl Default for ClockBounds {
    /// A minute ahead; a week behind, the longest outbox.
    fn default() -> Self {
        Self { ahead_ms_max: 60_000, behind_ms_max: 7 * 24 * 3_600_000 }
    }
}

/// A record's place in its device's own history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    boot: BootId,
    seq: Seq,
    /// Unix ms at which the record was true, as far as we can tell; 0 if only its counters are known.
    at_ms: u64,
}

/// A device's time, judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedTime {
    /// What the device said, Unix ms (ms since its start if its clock is unset).
    pub device_time_ms: u64,
    /// How far to believe it: what the device said of its clock, or `Unset` if we do not believe it.
    pub clock: ClockQuality,
}

impl JudgedTime {
    /// Judges the time in `head` against the time of receipt.
    #[must_use]
    pub fn of(head: &Head, received_at_ms: u64, bounds: ClockBounds) -> Self {
        let ahead_ms = head.time_ms.saturating_sub(received_at_ms);
        let behind_ms = received_at_ms.saturating_sub(head.time_ms);
        let within = ahead_ms <= bounds.ahead_ms_max && behind_ms <= bounds.behind_ms_max;
        let clock = if within { head.clock } else { ClockQuality::Unset };
        Self { device_time_ms: head.time_ms, clock }
    }

    /// The device's time if it is believed, never later than `received_at_ms`.
    #[must_use]
    pub fn believed_ms(self, received_at_ms: u64) -> Option<u64> {
        (self.clock != ClockQuality::Unset).then(|| self.device_time_ms.min(received_at_ms))
    }
}

impl Order {
    /// The place of a record that came by `lane`.
    #[must_use]
    pub fn of(head: &Head, time: JudgedTime, lane: Lane, received_at_ms: u64) -> Self {
        // History without a believable time has no time at all: when it arrived says nothing about when it was true.
        let unknown_ms = if lane == Lane::Backlog { 0 } else { received_at_ms };
        let at_ms = time.believed_ms(received_at_ms).unwrap_or(unknown_ms);
        Self { boot: head.boot, seq: head.seq, at_ms }
    }

    /// Whether both are of one boot, so that their sequences alone say which is newer.
    #[must_use]
    pub fn is_of_boot_of(self, other: Self) -> bool {
        self.boot == other.boot
    }

    /// Whether a record at `self` says something newer than one at `other` of the same device.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        if sabotage::is(Sabotage::NewestByArrival) {
            return true;
        }
        if self.boot < other.boot {
            return self.at_ms > other.at_ms;
        }
        (self.boot, self.seq) > (other.boot, other.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldpost_protocol::{Class, Mode};
    use proptest::prelude::*;

    const NOW_MS: u64 = 1_795_000_000_000;

    fn order(
        boot: u32,
        seq: u32,
        time_ms: u64,
        clock: ClockQuality,
        lane: Lane,
        received_at_ms: u64,
    ) -> Order {
        let head = Head {
            version: 1,
            class: Class::POSITION,
            mode: Mode::Test,
            clock,
            boot: BootId(boot),
            seq: Seq(seq),
            time_ms,
        };
        Order::of(&head, JudgedTime::of(&head, received_at_ms, ClockBounds::default()), lane, received_at_ms)
    }

    #[test]
    fn a_wiped_device_that_counts_anew_is_not_frozen() {
        let before = order(57, 900, NOW_MS, ClockQuality::Gnss, Lane::Live, NOW_MS);
        let anew = order(1, 0, NOW_MS + 60_000, ClockQuality::Gnss, Lane::Live, NOW_MS + 60_000);
        let anew_unset = order(1, 0, 17, ClockQuality::Unset, Lane::Live, NOW_MS + 60_000);
        assert!(anew.is_after(before));
        assert!(anew_unset.is_after(before));
    }

    #[test]
    fn history_of_an_earlier_boot_is_older_whatever_its_clock_says() {
        let now = order(3, 0, NOW_MS, ClockQuality::Gnss, Lane::Live, NOW_MS);
        let past = order(2, 900, NOW_MS - 60_000, ClockQuality::Gnss, Lane::Backlog, NOW_MS + 1_000);
        let no_clock = order(2, 901, 5, ClockQuality::Unset, Lane::Backlog, NOW_MS + 1_000);
        let future = order(2, 902, NOW_MS * 2, ClockQuality::Gnss, Lane::Backlog, NOW_MS + 1_000);
        assert!(!past.is_after(now));
        assert!(!no_clock.is_after(now));
        assert!(!future.is_after(now));
    }

    proptest! {
        /// Whatever its clock does, the device's next live record is newer than everything before it.
        #[test]
        fn no_clock_can_freeze_a_device(
            times in prop::collection::vec((any::<u64>(), 0u8..4, any::<bool>()), 2..40)
        ) {
            let mut newest: Option<Order> = None;
            for (seq, (time_ms, clock, restart)) in (0u32..).zip(times) {
                let boot = newest.map_or(1, |order| order.boot.0 + u32::from(restart));
                let received_at_ms = NOW_MS + u64::from(seq) * 1_000;
                let next =
                    order(boot, seq, time_ms, ClockQuality::from_bits(clock), Lane::Live, received_at_ms);
                prop_assert!(newest.is_none_or(|newest| next.is_after(newest)));
                newest = Some(next);
            }
        }

        /// Two records are never each newer than the other.
        #[test]
        fn order_is_asymmetric(
            a in (0u32..3, 0u32..3, any::<u64>(), 0u8..4, any::<bool>()),
            b in (0u32..3, 0u32..3, any::<u64>(), 0u8..4, any::<bool>()),
        ) {
            let make = |(boot, seq, time_ms, clock, live): (u32, u32, u64, u8, bool)| {
                let lane = if live { Lane::Live } else { Lane::Backlog };
                order(boot, seq, time_ms % (2 * NOW_MS), ClockQuality::from_bits(clock), lane, NOW_MS)
            };
            let (a, b) = (make(a), make(b));
            // A lower boot may be newer by time while the higher boot is newer by count: then the latest to arrive wins,
            // which is what a wiped device needs. Within one boot the order is strict.
            if a.boot == b.boot {
                prop_assert!(!(a.is_after(b) && b.is_after(a)));
            }
        }
    }
}
