//! The device's own state: at start, at every change of duty, then every 15 minutes.

use serde::{Deserialize, Serialize};

use crate::code::{Duty, Power, ResetReason};

/// What the device says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Status {
    /// What the officer is doing.
    pub duty: Duty,
    /// Battery charge in percent; 255 not known.
    pub battery_pct: u8,
    /// How the device is powered.
    pub power: Power,
    /// Radio signal in dBm; 0 not known.
    pub signal_dbm: i8,
    /// Satellites used in the last fix; 255 not known.
    pub satellites: u8,
    /// Device temperature in degrees Celsius; -128 not known.
    pub temperature_degc: i8,
    /// Storage in use in percent; 255 not known.
    pub storage_pct: u8,
    /// Records in the outbox that are not STORED yet.
    pub outbox_owed: u16,
    /// Why the device last started.
    pub reset_reason: ResetReason,
    /// Firmware version: major, minor, patch.
    pub firmware: [u8; 3],
    /// Time since start in seconds.
    pub uptime_s: u32,
}
