//! A sensor changed: holster, CED, camera, lights, siren, doors, ignition, crash.

use serde::{Deserialize, Serialize};

use crate::code::EventCode;

/// One change of one sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SensorEvent {
    /// What happened.
    pub code: EventCode,
    /// Which of several alike, from 0: the second holster is 1.
    pub index: u8,
    /// The amount, in the unit that [`EventCode`] gives; 0 if it gives none.
    pub value: i32,
}
