//! What the world does to the board: pins, sensor values, NMEA.
//!
//! Pins are those of the port expander (max7310 at 0x20); their meaning is the firmware's. The accelerometer of the emulated
//! board is a stand-in: QEMU's magnetometer `lsm303dlhc_mag`, whose counts from 0 to 2047 the image reads as -4 g to +4 g.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::{Failure, qemu::Board};

/// Inputs of the port expander.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Pin {
    /// High: the weapon is in its holster.
    Holster = 0,
    /// High: on duty.
    Duty = 2,
    /// High: the panic button is pressed.
    Panic = 3,
    /// High: the cancel button is pressed.
    Cancel = 4,
    /// High: in the dock, on a charger.
    Dock = 5,
    /// High: the conducted energy device's safety is off.
    CedArmed = 6,
}

/// The output that lights or vibrates for the wearer.
pub const WEARER_OUTPUT: u8 = 7;

impl Board {
    /// Sets an input pin.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn set_pin(&mut self, pin: Pin, level: bool) -> Result<(), Failure> {
        self.qtest().drive("io0", pin as u8, level)
    }

    /// Watches the output for the wearer from now on.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn watch_wearer(&mut self) -> Result<(), Failure> {
        self.qtest().watch("io0")
    }

    /// Waits for the output for the wearer.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub fn wait_for_wearer(&mut self, on: bool, wait: Duration) -> Result<(), Failure> {
        self.qtest().wait_for_output(WEARER_OUTPUT, on, wait)
    }

    /// Sets the temperature in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn set_temperature(&mut self, millidegc: i32) -> Result<(), Failure> {
        self.qmp().set("t0", "temperature", json!(millidegc))
    }

    /// Sets the acceleration on three axes, in mg from -4000 to +3996.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn set_acceleration(&mut self, axes_mg: [i32; 3]) -> Result<(), Failure> {
        for ((name, gain), mg) in AXES.into_iter().zip(axes_mg) {
            let counts = i64::from(ZERO_COUNTS + mg * COUNTS_PER_G / 1000);
            // Rounded up: QEMU rounds down on its way back to counts.
            let field = (counts * 100_000 + gain - 1) / gain;
            self.qmp().set("a0", name, json!(field))?;
        }
        Ok(())
    }
}

/// Standing still: gravity on the axis that a body-worn device calls up.
pub const UPRIGHT_MG: [i32; 3] = [0, 1000, 0];
/// Lying still on the back.
pub const LYING_MG: [i32; 3] = [0, 0, 1000];
/// The stand-in's counts at 0 g: QEMU's model takes no negative fields.
const ZERO_COUNTS: i32 = 1024;
const COUNTS_PER_G: i32 = 256;
/// The stand-in's properties, and its counts for a field of 100,000 at the gain it has after reset.
const AXES: [(&str, i64); 3] = [("mag-x", 1100), ("mag-y", 1100), ("mag-z", 980)];

/// What a receiver says of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fix {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// Millionths of a degree.
    pub latitude_udeg: i32,
    /// Millionths of a degree.
    pub longitude_udeg: i32,
    /// Tenths of a knot.
    pub speed: u32,
    /// Tenths of a degree from north.
    pub course: u32,
}

/// An NMEA RMC sentence with its checksum.
#[must_use]
pub fn rmc(fix: &Fix) -> String {
    let angle = |udeg: i32, width: usize, letters: [char; 2]| {
        let (whole, rest) = (udeg.unsigned_abs() / 1_000_000, udeg.unsigned_abs() % 1_000_000);
        // Ten-thousandths of a minute, as receivers print them.
        let minutes = rest * 6 / 10;
        let letter = letters[usize::from(udeg < 0)];
        format!("{whole:0width$}{:02}.{:04},{letter}", minutes / 10_000, minutes % 10_000)
    };
    let (second, (year, month, day)) = (fix.unix_s % 86_400, date(fix.unix_s / 86_400));
    let time = format!("{:02}{:02}{:02}.00", second / 3600, second / 60 % 60, second % 60);
    let latitude = angle(fix.latitude_udeg, 2, ['N', 'S']);
    let longitude = angle(fix.longitude_udeg, 3, ['E', 'W']);
    let motion = format!("{}.{},{}.{}", fix.speed / 10, fix.speed % 10, fix.course / 10, fix.course % 10);
    sentence(&format!(
        "GPRMC,{time},A,{latitude},{longitude},{motion},{day:02}{month:02}{:02},,,A",
        year % 100
    ))
}

/// Seconds since 1970 on this machine: certificates issued a moment ago are valid from about then.
#[must_use]
pub fn unix_s_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("this machine's clock stands after 1970").as_secs()
}

/// Year, month and day of a number of days since 1970. Source: Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`, for days that are not negative.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// An NMEA sentence around its contents.
#[must_use]
pub fn sentence(contents: &str) -> String {
    let checksum = contents.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${contents}*{checksum:02X}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_has_the_checksum_of_a_receiver() {
        let known = "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n";
        assert_eq!(sentence(&known[1..known.len() - 5]), known);
    }

    #[test]
    fn fix_says_its_date_and_place() {
        // 2026-11-22 01:02:03 UTC.
        let (latitude_udeg, longitude_udeg) = (54_321_098, -3_456_789);
        let fix = rmc(&Fix { unix_s: 1_795_309_323, latitude_udeg, longitude_udeg, speed: 52, course: 905 });
        assert!(fix.starts_with("$GPRMC,010203.00,A,5419.2658,N,00327.4073,W,5.2,90.5,221126,,,A*"), "{fix}");
        assert_eq!((date(0), date(11_016), date(20_512)), ((1970, 1, 1), (2000, 2, 29), (2026, 2, 28)));
    }
}
