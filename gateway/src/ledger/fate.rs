//! What can become of a sequence, and how many of each there are.

use std::ops::{Index, IndexMut};

use fieldpost_protocol::LossReason;
use serde::{Deserialize, Serialize};

use crate::record::QuarantineReason;

/// The state of one sequence. Closed: a name in the API and on the command line.
///
/// **A later word only ever improves a state**: what is stored stays stored, whatever its device says of it afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Fate {
    /// Committed as a record.
    Stored,
    /// Committed to quarantine: an envelope whose body is not one of its class.
    QuarantinedBody,
    /// Committed to quarantine: more real than the device's enrolment.
    QuarantinedAboveCeiling,
    /// Committed to quarantine: on a lane where its class does not belong.
    QuarantinedWrongLane,
    /// The device's outbox was full and it gave way.
    Evicted,
    /// Older than the device's policy keeps.
    Expired,
    /// The device's storage returned damaged bytes.
    Damaged,
    /// The device's storage was formatted.
    Formatted,
    /// Declared lost by the device for a reason that this version does not know.
    LostOtherwise,
    /// Not heard of, though a later sequence was: the device still owes it.
    Owed,
    /// From before the ledger began, or of what it had to forget: it may be any of the others.
    Unaccounted,
}

impl Fate {
    /// Every state, in the order of [`Counts`].
    pub const ALL: [Self; 11] = [
        Self::Stored,
        Self::QuarantinedBody,
        Self::QuarantinedAboveCeiling,
        Self::QuarantinedWrongLane,
        Self::Evicted,
        Self::Expired,
        Self::Damaged,
        Self::Formatted,
        Self::LostOtherwise,
        Self::Owed,
        Self::Unaccounted,
    ];

    /// The state as the API and the command line name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::QuarantinedBody => "quarantined-body",
            Self::QuarantinedAboveCeiling => "quarantined-above-ceiling",
            Self::QuarantinedWrongLane => "quarantined-wrong-lane",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Formatted => "formatted",
            Self::LostOtherwise => "lost-otherwise",
            Self::Owed => "owed",
            Self::Unaccounted => "unaccounted",
        }
    }

    /// The state of a quarantined record whose head is readable; `None` for bytes that are no envelope, which have no
    /// sequence.
    #[must_use]
    pub fn quarantined(reason: QuarantineReason) -> Option<Self> {
        match reason {
            QuarantineReason::Envelope => None,
            QuarantineReason::Body => Some(Self::QuarantinedBody),
            QuarantineReason::AboveCeiling => Some(Self::QuarantinedAboveCeiling),
            QuarantineReason::WrongLane => Some(Self::QuarantinedWrongLane),
        }
    }

    /// The state of what a device declares lost.
    #[must_use]
    pub fn lost(reason: LossReason) -> Self {
        match reason {
            LossReason::EVICTED => Self::Evicted,
            LossReason::EXPIRED => Self::Expired,
            LossReason::DAMAGED => Self::Damaged,
            LossReason::FORMATTED => Self::Formatted,
            _ => Self::LostOtherwise,
        }
    }

    /// Which of two words about one sequence stands: stored over quarantined over declared lost; the first of equals.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Stored => 3,
            Self::QuarantinedBody | Self::QuarantinedAboveCeiling | Self::QuarantinedWrongLane => 2,
            Self::Evicted | Self::Expired | Self::Damaged | Self::Formatted | Self::LostOtherwise => 1,
            Self::Owed | Self::Unaccounted => 0,
        }
    }
}

/// How many sequences are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts([u64; Fate::ALL.len()]);

impl Counts {
    /// Of all states together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another count, state by state.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The states that occur, with how often.
    pub fn occurring(&self) -> impl Iterator<Item = (Fate, u64)> + '_ {
        Fate::ALL.into_iter().map(|fate| (fate, self[fate])).filter(|(_, count)| *count > 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0
    }
}

impl Index<Fate> for Counts {
    type Output = u64;

    fn index(&self, fate: Fate) -> &u64 {
        &self.0[fate as usize]
    }
}

impl IndexMut<Fate> for Counts {
    fn index_mut(&mut self, fate: Fate) -> &mut u64 {
        &mut self.0[fate as usize]
    }
}
