//! The wearer needs help, or takes it back.

use serde::{Deserialize, Serialize};

use super::Position;
use crate::{
    code::{AlarmCause, CancelReason},
    identity::{BootId, Seq},
    wire::DecodeError,
};

/// Someone needs help. Its identity is the envelope's (device, boot id, sequence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Alarm {
    /// What raised it.
    pub cause: AlarmCause,
    /// The device must not sound, light or vibrate: the wearer may be watched.
    pub silent: bool,
    /// The last known position, unless the duty gate holds it back.
    pub position: Option<Position>,
    /// Age of that position in seconds; 0 without a position.
    pub position_age_s: u16,
}

impl Alarm {
    pub(crate) fn checked(self) -> Result<Self, DecodeError> {
        self.position.map_or(Ok(()), |position| position.checked().map(drop))?;
        Ok(self)
    }
}

/// The wearer takes an alarm back. The control room sees the mark and decides; nothing closes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AlarmCancel {
    /// Boot id of the alarm.
    pub boot: BootId,
    /// Sequence of the alarm.
    pub seq: Seq,
    /// Why.
    pub reason: CancelReason,
}
