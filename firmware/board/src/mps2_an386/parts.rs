//! What is on the sensors' bus of this board, and two stand-ins for parts that QEMU does not have.
//!
//! | address | part | is |
//! |---|---|---|
//! | 0x20 | MAX7310 | buttons, switches, the wearer's light |
//! | 0x48 | TMP105 | device temperature |
//! | 0x68 | DS1338 | real-time clock |
//! | 0x1e | LSM303DLHC, its magnetometer | **stand-in** for an accelerometer |
//! | 0x49 | TMP105, if it is there | **stand-in** for a battery gauge: degrees are percent |

use embedded_hal::i2c::I2c;
use fieldpost_firmware::sensor::{
    Fault,
    accelerometer::{Accelerometer, Sample, Samples},
    gauge::{BatteryGauge, Charge},
    inputs::Expander,
    temperature,
};
use fieldpost_protocol::Power;

pub(crate) const TEMPERATURE: u8 = 0x48;
pub(crate) const CLOCK: u8 = 0x68;
/// The light that says: control room has seen it, or an alarm is about to go out.
pub(crate) const LIGHT: u8 = 1 << 7;
const GAUGE: u8 = 0x49;
const FIELD: u8 = 0x1E;

/// Buttons and switches; the light is the one output.
pub(crate) fn expander() -> Expander {
    Expander::new(0x20, LIGHT)
}

/// The accelerometer: three axes of a magnetometer, which the rig can set. QEMU's cannot be negative, so the middle of its range
/// is 0 g. It has no FIFO and no rate of its own: one read is one sample.
pub(crate) struct FieldAsAcceleration<'b, B>(pub(crate) &'b mut B);

/// First of six output registers: x, z, y, high byte first [LSM303DLHC, DocID018771, table 17].
const OUT_X_HIGH: u8 = 0x03;
const ZERO_G: i32 = 1024;
const COUNTS_PER_G: i32 = 256;

impl<B: I2c> Accelerometer for FieldAsAcceleration<'_, B> {
    fn period_ms(&self) -> u16 {
        crate::task::sense::ROUND_MS
    }

    fn read(&mut self) -> Result<Samples, Fault> {
        let mut out = [0; 6];
        self.0.write_read(FIELD, &[OUT_X_HIGH], &mut out).map_err(|_| Fault::NoAnswer)?;
        let axis = |at: usize| {
            let counts = i32::from(i16::from_be_bytes([out[at], out[at + 1]]));
            i16::try_from((counts - ZERO_G) * 1000 / COUNTS_PER_G).map_err(|_| Fault::Implausible)
        };
        let sample = Sample { x_mg: axis(0)?, z_mg: axis(2)?, y_mg: axis(4)? };
        Ok(Samples::from_iter([sample]))
    }
}

/// The battery gauge: a thermometer whose degrees are percent. A board without it has no gauge, which is no fault.
pub(crate) struct TemperatureAsCharge<'b, B>(pub(crate) &'b mut B);

impl<B: I2c> BatteryGauge for TemperatureAsCharge<'_, B> {
    fn read(&mut self) -> Result<Charge, Fault> {
        let percent = temperature::read_degc(self.0, GAUGE)?;
        let battery_pct = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
        Ok(Charge { battery_pct: battery_pct.ok_or(Fault::Implausible)?, power: Power::BATTERY })
    }
}
