//! One position, at most 16 bytes.

use serde::{Deserialize, Serialize};

use crate::{
    code::{FixSource, ReportReason},
    limits::SPEED_CMPS_MAX,
    wire::DecodeError,
};

const LATITUDE_UDEG_MAX: i32 = 90_000_000;
const LONGITUDE_UDEG_MAX: i32 = 180_000_000;

/// A latitude, longitude or speed is outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PositionError;

/// Where the device was, WGS 84. The time of the fix is the envelope's.
///
/// Micro-degrees resolve 11 cm of latitude: finer than any receiver a person wears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Position {
    /// Latitude in micro-degrees, north positive; 4 bytes, little end first.
    #[serde(with = "postcard::fixint::le")]
    pub latitude_udeg: i32,
    /// Longitude in micro-degrees, east positive; 4 bytes, little end first.
    #[serde(with = "postcard::fixint::le")]
    pub longitude_udeg: i32,
    /// Speed over ground in cm/s, at most [`SPEED_CMPS_MAX`].
    pub speed_cmps: Option<u16>,
    /// Course over ground in 1/256 of a turn, clockwise from true north.
    pub course_turn256: Option<u8>,
    /// Radius in metres that holds the true position with 95 % probability; 0 not known, 255 that or more.
    pub accuracy_m: u8,
    /// Where the fix comes from.
    pub source: FixSource,
    /// Why it was reported.
    pub reason: ReportReason,
}

impl Position {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`PositionError`] if latitude, longitude or speed is outside its range.
    pub fn try_new(position: Self) -> Result<Self, PositionError> {
        let in_range = (-LATITUDE_UDEG_MAX..=LATITUDE_UDEG_MAX).contains(&position.latitude_udeg)
            && (-LONGITUDE_UDEG_MAX..=LONGITUDE_UDEG_MAX).contains(&position.longitude_udeg)
            && position.speed_cmps.is_none_or(|speed| speed <= SPEED_CMPS_MAX);
        if in_range { Ok(position) } else { Err(PositionError) }
    }

    pub(crate) fn checked(self) -> Result<Self, DecodeError> {
        Self::try_new(self).map_err(|_| DecodeError::OutOfRange)
    }
}
