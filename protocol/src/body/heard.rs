//! Behind a broker nobody but the device can say that a receipt reached it.

use serde::{Deserialize, Serialize};

use crate::{
    downlink::Receipt,
    identity::{BootId, Seq},
    print::Print,
};

/// The device has a receipt for an alarm of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Heard {
    /// Which step.
    pub receipt: Receipt,
    /// Boot id of the alarm.
    pub boot: BootId,
    /// Sequence of the alarm.
    pub seq: Seq,
    /// What the alarm said, as the receipt had it.
    pub print: Print,
}
