//! Loss is data: exactly which sequences the device dropped, and why.

use serde::{Deserialize, Serialize};

use crate::{
    code::LossReason,
    identity::{BootId, Seq},
    limits::SEQ_RANGES_MAX,
    wire::DecodeError,
};

/// Consecutive sequences: `first`, and `more` after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SeqRange {
    /// The first sequence.
    pub first: Seq,
    /// How many follow it.
    pub more: u32,
}

impl SeqRange {
    /// The last sequence, or `None` if the range runs past the largest sequence.
    #[must_use]
    pub fn last(self) -> Option<Seq> {
        self.first.0.checked_add(self.more).map(Seq)
    }
}

/// Records of one boot that will never arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Loss {
    /// The boot the sequences belong to: this one or an earlier one.
    pub boot: BootId,
    /// Why they went.
    pub reason: LossReason,
    /// Which, in ascending order.
    pub ranges: heapless::Vec<SeqRange, SEQ_RANGES_MAX>,
}

impl Loss {
    pub(crate) fn checked(self) -> Result<Self, DecodeError> {
        let valid = self.ranges.iter().all(|range| range.last().is_some());
        if valid { Ok(self) } else { Err(DecodeError::OutOfRange) }
    }
}
