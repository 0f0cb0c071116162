//! Sensors: from a part on a bus, or bytes from a receiver, to what it means.
//!
//! ```text
//!  part --driver--> sample, level, time --detector--> posture, fall, impact, press --> rules
//! ```
//!
//! | module | part | gives |
//! |---|---|---|
//! | [`nmea`] | any NMEA 0183 receiver | fixes |
//! | [`gnss`] | - | whether the fixes make sense, and whether there are any |
//! | [`accelerometer`] | LIS2DH12, or any [`accelerometer::Accelerometer`] | samples in mg |
//! | [`motion`] | - | posture, fall, impact, rollover |
//! | [`inputs`] | PCA9538 or MAX7310 port expander | eight levels |
//! | [`panel`] | - | presses, holster, duty switch, dock, CED safety |
//! | [`temperature`] | LM75 and compatible (TMP105) | degrees Celsius |
//! | [`rtc`] | DS1338, DS1307 | Unix time |
//! | [`gauge`] | any [`gauge::BatteryGauge`] | charge |
//!
//! Drivers are blocking, over [`embedded_hal::i2c::I2c`], and keep no bus: `&mut bus` is a bus. **A part that does not
//! answer, or answers nonsense, is a [`Fault`] and never a panic**; the caller tells the device of every read by
//! [`Device::on_sensor`](crate::Device::on_sensor), which reports a sensor that keeps failing.

pub mod accelerometer;
pub mod gauge;
pub mod gnss;
pub mod inputs;
pub mod motion;
pub mod nmea;
pub mod panel;
pub mod rtc;
pub mod temperature;
mod watch;

use embedded_hal::i2c;

pub(crate) use self::watch::{Change, SensorWatch};

/// Which sensor. The number is the index of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Sensor {
    /// Device temperature.
    Temperature = 0,
    /// Buttons, switches and holster: without it the emergency button is dead.
    Inputs = 1,
    /// Acceleration: without it nobody notices a fall.
    Accelerometer = 2,
    /// Real-time clock.
    Rtc = 3,
    /// Battery gauge.
    Battery = 4,
}

impl Sensor {
    /// All sensors, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Temperature, Self::Inputs, Self::Accelerometer, Self::Rtc, Self::Battery];
}

/// What is wrong with a part. The number is the value of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fault {
    /// The part does not acknowledge its address or a byte.
    NoAnswer = 1,
    /// The bus itself failed: arbitration, a stuck line, an overrun.
    Bus = 2,
    /// Another part than expected answers at this address.
    WrongPart = 3,
    /// The value cannot be: beyond what the part can measure, digits that are none.
    Implausible = 4,
    /// The part says itself that it stopped, so its value is old.
    Stopped = 5,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoAnswer => "the part does not answer",
            Self::Bus => "the bus failed",
            Self::WrongPart => "another part answers at this address",
            Self::Implausible => "the part answered with an impossible value",
            Self::Stopped => "the part has stopped",
        })
    }
}

impl core::error::Error for Fault {}

/// Sorts a bus error: the part's silence apart from the bus's own trouble.
fn fault_of(error: &impl i2c::Error) -> Fault {
    match error.kind() {
        i2c::ErrorKind::NoAcknowledge(_) => Fault::NoAnswer,
        _ => Fault::Bus,
    }
}
