//! What the sensors say: the inputs of a device beside the network's.

use fieldpost_protocol::{Class, Duty, EventCode, Health, Position, Power, SensorEvent};

use super::{BATTERY_LOW_PCT, BATTERY_UNKNOWN, Device, LastFix, Notice};
use crate::{
    clock::{Judgement, Stamp, TimeSource},
    rules::Posture,
    sampler::Profile,
    sensor::{
        Change, Fault, Sensor,
        accelerometer::Sample,
        gnss::{GnssNews, Silence, Verdict},
        inputs::Inputs,
        motion::Motion,
        nmea::Fix,
        panel::Act,
    },
    storage::Storage,
};

impl<S: Storage> Device<S> {
    /// Bytes from the GNSS receiver, cut anyhow.
    pub fn on_nmea(&mut self, now_ms: u64, bytes: &[u8]) {
        let whole = self.receiver.counters().whole();
        for byte in bytes {
            if let Some(fix) = self.receiver.push(*byte) {
                self.on_fix(now_ms, &fix);
            }
        }
        if !bytes.is_empty() {
            self.gnss.on_bytes(now_ms);
        }
        if self.receiver.counters().whole() != whole {
            self.gnss.on_sentence(now_ms);
        }
    }

    /// A fix that arrived just now, from [`Device::on_nmea`] or from a synthetic world.
    ///
    /// The reading carries the fix's own time if the clock took it; else, the device's. A fix that cannot be true is held
    /// back, see [`crate::sensor::gnss`]; not so with [`Profile::Every`], which passes recordings on as they are.
    pub fn on_fix(&mut self, now_ms: u64, fix: &Fix) {
        let judgement = self.clock.offer_gnss(now_ms, fix.unix_ms);
        self.note_judgement(TimeSource::Gnss, judgement);
        let stamp = match judgement {
            Judgement::Taken => Stamp { time_ms: fix.unix_ms, ..self.clock.stamp(now_ms) },
            _ => self.clock.stamp(now_ms),
        };
        self.satellites = fix.satellites;
        if !self.gate_is_open() {
            self.counters.fixes_gated = self.counters.fixes_gated.wrapping_add(1);
            return;
        }
        let Ok(position) = Position::try_new(fix.position) else {
            self.counters.fixes_invalid = self.counters.fixes_invalid.wrapping_add(1);
            return;
        };
        if !self.is_plausible(now_ms, &position) {
            self.counters.fixes_implausible = self.counters.fixes_implausible.wrapping_add(1);
            return;
        }
        self.last_fix = Some(LastFix { now_ms, stamp, position });
        if let Some(reason) = self.sampler.on_fix(now_ms, &position) {
            self.issue_position(now_ms, stamp, &Position { reason, ..position });
        }
    }

    /// A sensor changed. Reported at once; intervals and rules follow it.
    pub fn on_event(&mut self, now_ms: u64, event: SensorEvent) {
        self.sampler.on_event(&event);
        self.issue_event(now_ms, event);
        let demand = self.rules.on_event(now_ms, &event);
        self.obey(now_ms, demand, false);
    }

    /// Levels of the buttons and switches, read just now; call it every 10 to 20 ms, changed or not. What they mean is in
    /// [`crate::sensor::panel`].
    pub fn on_inputs(&mut self, now_ms: u64, inputs: Inputs) {
        for act in self.panel.push(now_ms, inputs) {
            match act {
                Act::Help { silent } => self.on_button(now_ms, silent),
                Act::Well => self.on_well(now_ms),
                Act::TakeBack => self.on_cancel(now_ms),
                Act::Duty(is_on) => self.on_duty_switch(now_ms, is_on),
                Act::Dock(is_docked) => self.on_dock(now_ms, is_docked),
                Act::Event(code) => self.on_event(now_ms, SensorEvent { code, index: 0, value: 0 }),
            }
        }
    }

    /// Samples of the accelerometer, oldest first, `period_ms` apart (5 to 100), the last one taken just now.
    pub fn on_acceleration(&mut self, now_ms: u64, period_ms: u16, samples: &[Sample]) {
        for (later_count, sample) in (0..samples.len() as u64).rev().zip(samples) {
            let at_ms = now_ms.saturating_sub(later_count * u64::from(period_ms));
            for motion in self.motion.push(at_ms, period_ms, *sample) {
                self.on_motion(now_ms, motion);
            }
        }
    }

    /// What acceleration means, from [`Device::on_acceleration`], from a vehicle's own crash sensor or from a synthetic
    /// world.
    pub fn on_motion(&mut self, now_ms: u64, motion: Motion) {
        let event = |code, value| SensorEvent { code, index: 0, value };
        let demand = match motion {
            Motion::Posture(posture) => self.rules.on_posture(now_ms, posture),
            Motion::Fall => self.rules.on_fall(now_ms),
            Motion::Impact(impact) => {
                self.issue_event(now_ms, event(EventCode::CRASH, impact.delta_v_cmps.into()));
                self.rules.on_impact(now_ms, impact.severity)
            }
            Motion::Rollover { roll_deg } => {
                self.issue_event(now_ms, event(EventCode::ROLLOVER, roll_deg.into()));
                self.rules.on_rollover(now_ms)
            }
        };
        self.obey(now_ms, demand, false);
    }

    /// The accelerometer's opinion changed.
    pub fn on_posture(&mut self, now_ms: u64, posture: Posture) {
        self.on_motion(now_ms, Motion::Posture(posture));
    }

    /// The emergency button was held for a second, or pressed twice. `silent`: the wearer may be watched.
    pub fn on_button(&mut self, now_ms: u64, silent: bool) {
        let demand = self.rules.on_button(now_ms);
        self.obey(now_ms, demand, silent);
    }

    /// The wearer is well: ends running pre-alarms without a record, or checks in. Raised alarms stay.
    pub fn on_well(&mut self, now_ms: u64) {
        let demand = self.rules.on_well(now_ms);
        self.obey(now_ms, demand, false);
    }

    /// The wearer cancels: running pre-alarms leave no record; else raised alarms are marked, never removed.
    pub fn on_cancel(&mut self, now_ms: u64) {
        let demand = self.rules.on_cancel(now_ms);
        self.obey(now_ms, demand, false);
    }

    /// The wearer's duty state, from the radio, the crew or a command. Remembered across restarts.
    pub fn on_duty(&mut self, now_ms: u64, duty: Duty) {
        if duty == self.duty() {
            return;
        }
        self.remember(|remembered| {
            remembered.duty = duty;
            if duty == Duty::OFF_DUTY {
                remembered.check_in_s = 0;
            }
        });
        let demand = self.rules.on_duty(now_ms, duty);
        self.settle_gate(now_ms);
        self.obey(now_ms, demand, false);
        self.report_status(now_ms);
    }

    /// Battery charge in percent and how the device is powered. In the dock it is docked, whatever this says.
    pub fn on_battery(&mut self, now_ms: u64, battery_pct: u8, power: Power) {
        let was_low = self.battery_pct <= BATTERY_LOW_PCT;
        self.battery_pct = battery_pct;
        self.gauge_power = power;
        let power_changed = self.settle_power(now_ms);
        if power_changed || (battery_pct <= BATTERY_LOW_PCT && !was_low) {
            self.report_status(now_ms);
        }
    }

    /// Radio signal in dBm, for the next status.
    pub fn on_signal(&mut self, signal_dbm: i8) {
        self.signal_dbm = signal_dbm;
    }

    /// Device temperature in degrees Celsius, for the next status.
    pub fn on_temperature(&mut self, temperature_degc: i8) {
        self.temperature_degc = temperature_degc;
    }

    /// A heart-rate reading. The caller has the wearer's consent, or does not call.
    pub fn on_health(&mut self, now_ms: u64, health: Health) {
        self.issue_body(now_ms, Class::HEALTH, |buffer| health.encode(buffer).ok());
    }

    /// Unix time of a real-time clock, read just now. Once after the start is enough: it is only heard until somebody
    /// better speaks.
    pub fn on_rtc(&mut self, now_ms: u64, unix_ms: u64) {
        let judgement = self.clock.offer_rtc(now_ms, unix_ms);
        self.note_judgement(TimeSource::Rtc, judgement);
    }

    /// How a read of a sensor ended; call it for each. A sensor that fails three times in a row is reported, and what it
    /// measured is not known any more. **Without its inputs a device cannot call for help, so that is an alarm**: tamper.
    pub fn on_sensor(&mut self, now_ms: u64, sensor: Sensor, outcome: Result<(), Fault>) {
        let Some(change) = self.sensors.on_read(sensor, outcome) else { return };
        let index = sensor as u8;
        match change {
            Change::Failing(fault) => {
                match sensor {
                    Sensor::Temperature => self.temperature_degc = i8::MIN,
                    Sensor::Battery => self.battery_pct = BATTERY_UNKNOWN,
                    _ => {}
                }
                let value = fault as i32;
                self.issue_event(now_ms, SensorEvent { code: EventCode::SENSOR_FAILED, index, value });
                self.notices.add_minor(Notice::SensorFailing { sensor, fault });
                if sensor == Sensor::Inputs {
                    let demand = self.rules.on_tamper(now_ms);
                    self.obey(now_ms, demand, true);
                }
            }
            Change::Back => {
                self.issue_event(now_ms, SensorEvent { code: EventCode::SENSOR_BACK, index, value: 0 });
                self.notices.add_minor(Notice::SensorBack { sensor });
            }
        }
    }

    /// What time has brought to the receiver.
    pub(super) fn step_gnss(&mut self, now_ms: u64) {
        if let Some(silence) = self.gnss.step(now_ms) {
            self.say_silent(now_ms, silence);
        }
    }

    /// Says once that the clock's opinion of a source has changed: a receiver repeats its time every second.
    pub(super) fn note_judgement(&mut self, source: TimeSource, judgement: Judgement) {
        if self.judgements[source as usize].replace(judgement) != Some(judgement) {
            self.notices.add_minor(Notice::Time { source, judgement });
        }
    }

    fn say_silent(&mut self, now_ms: u64, silence: Silence) {
        let value = silence as i32;
        self.issue_event(now_ms, SensorEvent { code: EventCode::GNSS_SILENT, index: 0, value });
        self.notices.add_minor(Notice::Gnss(GnssNews::Silent(silence)));
    }

    fn is_plausible(&mut self, now_ms: u64, position: &Position) -> bool {
        if self.settings.profile == Profile::Every {
            return true;
        }
        let (verdict, is_back) = self.gnss.on_fix(now_ms, position);
        if is_back {
            self.issue_event(now_ms, SensorEvent { code: EventCode::GNSS_BACK, index: 0, value: 0 });
            self.notices.add_minor(Notice::Gnss(GnssNews::Back));
        }
        if let Verdict::Jump(Some(distance_m)) = verdict {
            let value = distance_m.into();
            self.issue_event(now_ms, SensorEvent { code: EventCode::GNSS_JUMP, index: 0, value });
            self.notices.add_minor(Notice::Gnss(GnssNews::Jump { distance_m }));
        }
        verdict == Verdict::Good
    }

    /// The switch was moved, now or while the device was off. A position that was seen before decides nothing: a command
    /// may have changed duty since. On duty it leaves the finer state alone.
    fn on_duty_switch(&mut self, now_ms: u64, is_on: bool) {
        if self.remembered.switch == Some(is_on) {
            return;
        }
        self.remember(|remembered| remembered.switch = Some(is_on));
        match (is_on, self.duty()) {
            (true, Duty::OFF_DUTY) => self.on_duty(now_ms, Duty::ON_DUTY),
            (true, _) => {}
            (false, _) => self.on_duty(now_ms, Duty::OFF_DUTY),
        }
    }

    fn on_dock(&mut self, now_ms: u64, is_docked: bool) {
        self.is_docked = is_docked;
        if self.settle_power(now_ms) {
            self.report_status(now_ms);
        }
    }

    /// Tells the rules how the device is powered; true if that changed.
    fn settle_power(&mut self, now_ms: u64) -> bool {
        let power = if self.is_docked { Power::DOCKED } else { self.gauge_power };
        let is_away = |power| matches!(power, Power::DOCKED | Power::CHARGING);
        let before = core::mem::replace(&mut self.power, power);
        let demand = self.rules.on_power(now_ms, power);
        self.obey(now_ms, demand, false);
        if is_away(power) && !is_away(before) {
            self.forget_alarms(now_ms);
        }
        power != before
    }

    fn issue_event(&mut self, now_ms: u64, event: SensorEvent) {
        self.issue_body(now_ms, Class::SENSOR_EVENT, |buffer| event.encode(buffer).ok());
    }
}
