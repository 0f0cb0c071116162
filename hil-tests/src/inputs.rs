//! What the world does to the board: pins, sensor values, NMEA.
//!
//! Pins are those of the port expander (max7310 at 0x20); their meaning is the firmware's. The accelerometer of the emulated
//! board is a stand-in: QEMU's magnetometer `lsm303dlhc_mag`, whose counts from 0 to 2047 the image reads as -4 g to +4 g.

use std::time::Duration;

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

/// At rest, upright: gravity on the third axis.
pub const AT_REST_MG: [i32; 3] = [0, 0, 1000];
/// The stand-in's counts at 0 g: QEMU's model takes no negative fields.
const ZERO_COUNTS: i32 = 1024;
const COUNTS_PER_G: i32 = 256;
/// The stand-in's properties, and its counts for a field of 100,000 at the gain it has after reset.
const AXES: [(&str, i64); 3] = [("mag-x", 1100), ("mag-y", 1100), ("mag-z", 980)];

/// An NMEA RMC sentence with its checksum: a fix at a place (millionths of a degree) and a UTC second of a day.
#[must_use]
pub fn rmc(day: Day, second: u32, latitude_udeg: i32, longitude_udeg: i32) -> String {
    let angle = |udeg: i32, width: usize, letters: [char; 2]| {
        let (whole, rest) = (udeg.unsigned_abs() / 1_000_000, udeg.unsigned_abs() % 1_000_000);
        // Ten-thousandths of a minute, as receivers print them.
        let minutes = rest * 6 / 10;
        let letter = letters[usize::from(udeg < 0)];
        format!("{whole:0width$}{:02}.{:04},{letter}", minutes / 10_000, minutes % 10_000)
    };
    let time = format!("{:02}{:02}{:02}.00", second / 3600, second / 60 % 60, second % 60);
    let (latitude, longitude) = (angle(latitude_udeg, 2, ['N', 'S']), angle(longitude_udeg, 3, ['E', 'W']));
    sentence(&format!(
        "GPRMC,{time},A,{latitude},{longitude},5.0,90.0,{:02}{:02}{:02},,,A",
        day.day,
        day.month,
        day.year % 100
    ))
}

/// A date for fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// Year, 2000 to 2079.
    pub year: u16,
    /// Month from 1.
    pub month: u8,
    /// Day from 1.
    pub day: u8,
}

/// An NMEA sentence around its contents.
#[must_use]
pub fn sentence(contents: &str) -> String {
    let checksum = contents.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${contents}*{checksum:02X}\r\n")
}
