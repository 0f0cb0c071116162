//! Which numbers of a boot were used, and when.

use fieldpost_protocol::{BootId, ClockQuality, Head};
use serde::{Deserialize, Serialize};

/// What has been seen of one boot.
#[derive(Debug)]
pub(super) struct BootSeen {
    pub(super) boot: BootId,
    /// First and last sequence, ascending, with a hole between any two.
    pub(super) ranges: Vec<(u32, u32)>,
    pub(super) times: BootTimes,
}

/// What the times of a boot's records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BootTimes {
    /// Earliest time by a clock set from outside, Unix ms.
    #[serde(rename = "t0", default, skip_serializing_if = "Option::is_none")]
    pub(super) first_ms: Option<u64>,
    /// Latest time by a clock that is set, Unix ms.
    #[serde(rename = "t1", default, skip_serializing_if = "Option::is_none")]
    last_ms: Option<u64>,
    /// The boot id was used again: its times say nothing any more.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_repeated: bool,
}

impl BootSeen {
    /// Whether a record of this sequence was appended.
    pub(super) fn contains(&self, seq: u32) -> bool {
        // From the end: a device mostly sends its newest.
        let candidate = self.ranges.iter().rev().find(|(first, _)| *first <= seq);
        candidate.is_some_and(|(_, last)| seq <= *last)
    }

    /// Whether everything that was appended comes before this sequence: of what is forgotten the lowest went first.
    pub(super) fn ends_before(&self, seq: u32) -> bool {
        self.ranges.last().is_none_or(|(_, last)| *last < seq)
    }

    /// Adds `first..=last`, joining what it touches.
    pub(super) fn insert(&mut self, first: u32, last: u32, ranges_max: usize) {
        // What ends before `first` and does not touch it stays in front; what begins after `last` likewise behind.
        let from =
            self.ranges.partition_point(|(_, end)| end.checked_add(1).is_some_and(|next| next < first));
        let to = self.ranges.partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        if from == to {
            self.ranges.insert(from, (first, last));
            if self.ranges.len() > ranges_max {
                self.ranges.remove(0);
            }
        } else {
            let joined = (first.min(self.ranges[from].0), last.max(self.ranges[to - 1].1));
            self.ranges[from] = joined;
            self.ranges.drain(from + 1..to);
        }
    }
}

impl BootTimes {
    /// Whether a record of forgotten content may be one of the boot's.
    pub(super) fn allow(self, head: &Head) -> bool {
        let is_set = head.clock != ClockQuality::Unset;
        is_set && !self.is_repeated && self.last_ms.is_some_and(|last| head.time_ms <= last)
    }

    /// Notes a record of the boot, and whether it repeats an identity.
    pub fn note(&mut self, head: &Head, repeats: bool) {
        self.is_repeated |= repeats;
        if self.is_repeated || head.clock == ClockQuality::Unset {
            return;
        }
        self.last_ms = self.last_ms.max(Some(head.time_ms));
        if head.clock != ClockQuality::Holdover {
            self.first_ms = Some(self.first_ms.map_or(head.time_ms, |first| first.min(head.time_ms)));
        }
    }
}
