//! Opt-in health of the wearer: sensitive data, on its own topic, off by default, never an alarm by itself.

use serde::{Deserialize, Serialize};

/// A heart-rate reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Health {
    /// Heart rate in beats per minute; 0 not known.
    pub heart_rate_bpm: u8,
    /// The sensor's own confidence in percent; 255 not known.
    pub confidence_pct: u8,
}
