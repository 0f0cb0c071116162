//! What one device may take of what all share.
//!
//! **No device can keep the others waiting**: of each group commit it gets at most a share, so whoever comes after it finds
//! room in the same one; of the reserve that a full spool keeps for alarms it gets so many alarms, so the first alarm of
//! everybody else finds room however many it sends. Nothing is refused for it: what is over the share waits for the next
//! commit, and an alarm over its number is stored where any record is.

use crate::spool::Lsn;

/// A share is the pending batch's bound divided by this.
const SHARE_DIVISOR: usize = 8;
/// And at least this: 16 of the largest frames.
const SHARE_BYTES_MIN: usize = 16 * 1024;

/// Alarms of one device that may use the reserve: of the largest 4 MiB, an eighth of its default.
const ALARMS_MAX: u32 = 4096;
/// How soon another one may: more often nobody can look.
const ALARM_MS: u64 = 10_000;

/// One device's account.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// Bytes appended since everything of the device was committed.
    uncommitted_bytes: usize,
    alarms_left: u32,
    /// Up to when `alarms_left` has been filled up, Unix ms.
    filled_up_ms: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { uncommitted_bytes: 0, alarms_left: ALARMS_MAX, filled_up_ms: 0 }
    }
}

impl Quota {
    /// Whether the device may append `bytes` more now: `newest` is its newest entry, `committed` the newest committed one. An
    /// entry larger than the share goes alone.
    pub fn admits(&mut self, bytes: usize, newest: Lsn, committed: Lsn, pending_bytes_max: usize) -> bool {
        if newest <= committed {
            self.uncommitted_bytes = 0;
        }
        let share = (pending_bytes_max / SHARE_DIVISOR).max(SHARE_BYTES_MIN);
        self.uncommitted_bytes == 0 || self.uncommitted_bytes + bytes <= share
    }

    /// The device has appended so much.
    pub fn appended(&mut self, bytes: usize) {
        self.uncommitted_bytes += bytes;
    }

    /// Whether an alarm may use the reserve now.
    pub fn may_use_reserve(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.filled_up_ms) / ALARM_MS;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.alarms_left = self.alarms_left.saturating_add(earned).min(ALARMS_MAX);
            self.filled_up_ms = now_ms;
        }
        self.alarms_left > 0
    }

    /// An alarm was appended that may have used it.
    pub fn used_reserve(&mut self) {
        self.alarms_left = self.alarms_left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: usize = 1 << 20;

    #[test]
    fn a_device_gets_its_share_of_a_commit_and_after_it_the_next() {
        let mut quota = Quota::default();
        let mut taken = 0;
        while quota.admits(1000, Lsn(9), Lsn(3), PENDING) {
            quota.appended(1000);
            taken += 1000;
        }
        assert_eq!(taken / 1000, PENDING / SHARE_DIVISOR / 1000);
        assert!(!quota.admits(1000, Lsn(9), Lsn(8), PENDING), "only a part of it is committed");
        assert!(quota.admits(1000, Lsn(9), Lsn(9), PENDING));
    }

    #[test]
    fn an_entry_larger_than_the_share_goes_alone() {
        let mut quota = Quota::default();
        assert!(quota.admits(PENDING, Lsn(0), Lsn(0), PENDING));
        quota.appended(PENDING);
        assert!(!quota.admits(1, Lsn(1), Lsn(0), PENDING));
    }

    #[test]
    fn a_flood_of_alarms_leaves_the_reserve_to_others_and_its_device_one_every_ten_seconds() {
        let mut quota = Quota::default();
        let mut takes = |now_ms| {
            let takes = quota.may_use_reserve(now_ms);
            if takes {
                quota.used_reserve();
            }
            takes
        };
        let now_ms = 1_790_000_000_000;
        assert_eq!((0..10_000).filter(|_| takes(now_ms)).count(), ALARMS_MAX as usize);
        assert!(!takes(now_ms + ALARM_MS - 1));
        assert!(takes(now_ms + ALARM_MS) && !takes(now_ms + ALARM_MS));
        assert!(!takes(0), "a clock that goes back gives nothing");
    }
}
