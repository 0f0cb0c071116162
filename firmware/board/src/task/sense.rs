//! The sensors of the I2C bus, read in rounds.
//!
//! Each read is told to the device, also one that failed: it decides what a dead sensor means.

use embassy_time::{Duration, Instant, Timer};
use embedded_hal::i2c::I2c;
use fieldpost_firmware::sensor::{
    Sensor, accelerometer::Accelerometer, gauge::BatteryGauge, inputs::Expander, rtc, temperature,
};

use crate::{
    board::parts::{self, FieldAsAcceleration, TemperatureAsCharge},
    executor,
    guard::{self, Watched},
    wearer,
    wire::{SENSED, SET_RTC, Sensed},
};

/// Buttons are debounced over 30 ms, so they are read at least every 20.
pub(crate) const ROUND_MS: u16 = 20;
/// Ten seconds.
const ROUNDS_PER_SLOW: u32 = 10_000 / ROUND_MS as u32;

/// What is known of the bus.
pub(crate) struct Senses<B> {
    bus: B,
    expander: Expander,
    is_configured: bool,
    has_gauge: bool,
    /// As last driven.
    light: bool,
}

impl<B: I2c> Senses<B> {
    pub(crate) fn new(bus: B) -> Self {
        Self { bus, expander: parts::expander(), is_configured: false, has_gauge: false, light: false }
    }

    /// Reads for ever.
    pub(crate) async fn run(&mut self) -> ! {
        let round = Duration::from_millis(ROUND_MS.into());
        SENSED.send(self.rtc()).await;
        let mut due = Instant::now();
        let mut rounds_to_slow: u32 = 0;
        loop {
            Timer::at(due).await;
            guard::note_late(executor::waited_since(due));
            guard::report(Watched::Sense);
            // A round that came late does not make the next ones come early.
            due = (due + round).max(Instant::now());
            SENSED.send(self.inputs()).await;
            SENSED.send(self.acceleration()).await;
            if rounds_to_slow == 0 {
                rounds_to_slow = ROUNDS_PER_SLOW;
                self.slow_round().await;
            }
            rounds_to_slow -= 1;
        }
    }

    async fn slow_round(&mut self) {
        SENSED.send(Sensed::Temperature(temperature::read_degc(&mut self.bus, parts::TEMPERATURE))).await;
        let charge = TemperatureAsCharge(&mut self.bus).read();
        self.has_gauge |= charge.is_ok();
        if self.has_gauge {
            SENSED.send(Sensed::Battery(charge)).await;
        }
        if let Some(unix_ms) = SET_RTC.try_take() {
            let outcome = rtc::set_unix_ms(&mut self.bus, parts::CLOCK, unix_ms);
            SENSED.send(Sensed::Outcome(Sensor::Rtc, outcome)).await;
        }
    }

    fn rtc(&mut self) -> Sensed {
        Sensed::Rtc(rtc::read_unix_ms(&mut self.bus, parts::CLOCK))
    }

    fn inputs(&mut self) -> Sensed {
        Sensed::Inputs(self.try_inputs().inspect_err(|_| self.is_configured = false))
    }

    fn acceleration(&mut self) -> Sensed {
        Sensed::Acceleration(FieldAsAcceleration(&mut self.bus).read())
    }

    fn try_inputs(
        &mut self,
    ) -> Result<fieldpost_firmware::sensor::inputs::Inputs, fieldpost_firmware::sensor::Fault> {
        let light = wearer::is_lit();
        if !self.is_configured {
            self.expander.configure(&mut self.bus)?;
            (self.is_configured, self.light) = (true, false);
        }
        if light != self.light {
            self.expander.drive(&mut self.bus, if light { parts::LIGHT } else { 0 })?;
            self.light = light;
        }
        self.expander.read(&mut self.bus)
    }
}
