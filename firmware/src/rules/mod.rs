//! What raises an alarm on the device, and how the wearer takes it back.
//!
//! | rule | trigger | pre-alarm | alarm | what else ends the pre-alarm |
//! |---|---|---|---|---|
//! | R1 | emergency button | none | button | |
//! | R2 | down (tilt and no motion) for 20 s | 15 s | officer down | getting up |
//! | R3 | weapon drawn | - | none: an event | |
//! | R4 | CED trigger or arc | none | CED fired | |
//! | R5 | a fall within 60 s of drawing a weapon | 5 s | weapon and fall | |
//! | R6 | major impact, rollover | 10 s | crash | |
//! | R6 | severe impact | none | crash | |
//! | R8 | no check-in in time | 60 s | check-in | checking in |
//! | R12 | case opened, buttons dead | none, silent | tamper | |
//!
//! The times are [`RuleSettings`]. Grades are the gateway's: it sees what happened before and who is near.
//!
//! **Human-triggered beats inferred**: the button ends every running pre-alarm by raising its alarm, and no state of the
//! device holds it back. An emergency lasts until the wearer takes it back or puts the device into its dock or on its charger;
//! a restart does not end it. After a silent call everything is silent, pre-alarms too, until it is taken back. Every pre-alarm can be cancelled by the wearer, who takes back all of them at once.
//!
//! **At rest nothing is inferred**: in the dock, on a charger, at the station or off duty R2 to R8 and R12 say nothing, and
//! what was running ends. A CED test covers that weapon for 10 s, training for 15 min or until it is holstered or made
//! safe: **neither ever alarms**.

mod check_in;
mod posture;
mod pre_alarm;
mod weapon;

use fieldpost_protocol::{AlarmCause, BootId, Duty, EventCode, Power, Print, SensorEvent, Seq};

use self::{check_in::CheckIn, posture::Watch, pre_alarm::PreAlarms, weapon::Weapons};
use crate::sensor::motion::Severity;

/// How patient the rules are. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RuleSettings {
    /// R2: down this long, and the pre-alarm begins.
    pub down_ms_min: u32,
    /// R2: from the pre-alarm to the alarm.
    pub pre_alarm_ms: u32,
    /// R5: a fall counts this long after the weapon was drawn.
    pub fall_window_ms: u32,
    /// R5: from the pre-alarm to the alarm.
    pub fall_pre_alarm_ms: u32,
    /// R6: from the pre-alarm to the alarm.
    pub crash_pre_alarm_ms: u32,
    /// R8: from the pre-alarm to the alarm.
    pub check_in_pre_alarm_ms: u32,
}

impl RuleSettings {
    /// The table above.
    pub const DEFAULT: Self = Self {
        down_ms_min: 20_000,
        pre_alarm_ms: 15_000,
        fall_window_ms: 60_000,
        fall_pre_alarm_ms: 5_000,
        crash_pre_alarm_ms: 10_000,
        check_in_pre_alarm_ms: 60_000,
    };
}

/// Alarms that one cancellation takes back.
pub(crate) const ACTIVE_COUNT_MAX: usize = 4;

/// Identity of an alarm on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AlarmId {
    /// The start it was raised in.
    pub boot: BootId,
    /// Its sequence.
    pub seq: Seq,
}

/// What the accelerometer makes of the wearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Posture {
    /// Upright or moving.
    Up,
    /// Tilted by more than 60 degrees and without motion.
    Down,
}

/// What a rule wants now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Warn the wearer: the alarm comes at this time unless cancelled.
    PreAlarm {
        cause: AlarmCause,
        alarm_at_ms: u64,
    },
    /// No pre-alarm runs any more.
    PreAlarmEnded,
    Raise(AlarmCause),
    /// Take this alarm back.
    Cancel(AlarmId),
}

/// An alarm that the wearer has not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Active {
    pub(crate) id: AlarmId,
    pub(crate) cause: AlarmCause,
    pub(crate) silent: bool,
    /// What it may have been sent as: a receipt must name one of them. `None` if nobody remembers.
    pub(crate) prints: Option<[Print; 2]>,
    /// `None` if an earlier start raised it: then a new press is a new call.
    pub(crate) raised_ms: Option<u64>,
}

/// Oldest first.
pub(crate) type ActiveAlarms = heapless::Vec<Active, ACTIVE_COUNT_MAX>;

/// The rules' state.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    settings: RuleSettings,
    active: ActiveAlarms,
    pre_alarms: PreAlarms,
    watch: Watch,
    weapons: Weapons,
    check_in: CheckIn,
    power: Power,
    duty: Duty,
}

/// The same cause so soon after an alarm is the same alarm, in ms.
fn repeat_ms(cause: AlarmCause) -> u64 {
    match cause {
        AlarmCause::BUTTON => 30_000,
        // A CED is triggered every few seconds, a rolling car hits more than once.
        AlarmCause::CED | AlarmCause::CRASH | AlarmCause::WEAPON_AND_FALL => 60_000,
        AlarmCause::TAMPER => 900_000,
        _ => 0,
    }
}

impl Rules {
    pub(crate) fn new(settings: RuleSettings, duty: Duty) -> Self {
        Self {
            settings,
            active: ActiveAlarms::new(),
            pre_alarms: PreAlarms::default(),
            watch: Watch::Up,
            weapons: Weapons::default(),
            check_in: CheckIn::default(),
            power: Power::BATTERY,
            duty,
        }
    }

    /// Whether somebody needs help: tampering is no such thing.
    pub(crate) fn emergency_lasts(&self) -> bool {
        self.active.iter().any(|active| is_emergency(active.cause))
    }

    /// Whether the wearer has called silently and not taken it back: then nothing may sound, light or vibrate.
    pub(crate) fn silence_lasts(&self) -> bool {
        self.active.iter().any(|active| active.silent && is_emergency(active.cause))
    }

    /// R1: the emergency button was held or pressed twice.
    pub(crate) fn on_button(&mut self, now_ms: u64) -> Option<Demand> {
        if self.is_repeat(now_ms, AlarmCause::BUTTON) {
            return None;
        }
        self.watch.answer();
        self.check_in.answer(now_ms);
        self.pre_alarms.clear();
        Some(Demand::Raise(AlarmCause::BUTTON))
    }

    /// R2: the accelerometer's opinion changed.
    pub(crate) fn on_posture(&mut self, now_ms: u64, posture: Posture) -> Option<Demand> {
        match posture {
            Posture::Down => {
                if !self.rests() {
                    self.watch.on_down(now_ms);
                }
                None
            }
            Posture::Up => {
                self.watch = Watch::Up;
                self.pre_alarms.end(AlarmCause::OFFICER_DOWN).then_some(Demand::PreAlarmEnded)
            }
        }
    }

    /// R3, R4, R12: a sensor changed.
    pub(crate) fn on_event(&mut self, now_ms: u64, event: &SensorEvent) -> Option<Demand> {
        let is_fired = self.weapons.on_event(now_ms, event);
        if is_fired {
            return self.raise(now_ms, AlarmCause::CED);
        }
        match event.code {
            EventCode::CASE_OPEN => self.on_tamper(now_ms),
            _ => None,
        }
    }

    /// R12: the device itself is touched or broken.
    pub(crate) fn on_tamper(&mut self, now_ms: u64) -> Option<Demand> {
        self.raise(now_ms, AlarmCause::TAMPER)
    }

    /// R5: the wearer fell.
    pub(crate) fn on_fall(&mut self, now_ms: u64) -> Option<Demand> {
        let is_armed = self.weapons.drawn_within(now_ms, self.settings.fall_window_ms);
        if !is_armed {
            return None;
        }
        self.pre_alarm(now_ms, AlarmCause::WEAPON_AND_FALL, self.settings.fall_pre_alarm_ms)
    }

    /// R6: the vehicle was hit.
    pub(crate) fn on_impact(&mut self, now_ms: u64, severity: Severity) -> Option<Demand> {
        match severity {
            Severity::Minor => None,
            Severity::Major => self.pre_alarm(now_ms, AlarmCause::CRASH, self.settings.crash_pre_alarm_ms),
            Severity::Severe => self.raise(now_ms, AlarmCause::CRASH),
        }
    }

    /// R6: the vehicle lies on its side or roof.
    pub(crate) fn on_rollover(&mut self, now_ms: u64) -> Option<Demand> {
        self.pre_alarm(now_ms, AlarmCause::CRASH, self.settings.crash_pre_alarm_ms)
    }

    /// R8: check-ins are expected this far apart; `None` ends them.
    pub(crate) fn expect_check_ins(&mut self, now_ms: u64, interval_ms: Option<u64>) -> Option<Demand> {
        self.check_in.expect(now_ms, interval_ms);
        self.pre_alarms.end(AlarmCause::CHECK_IN).then_some(Demand::PreAlarmEnded)
    }

    pub(crate) fn on_power(&mut self, now_ms: u64, power: Power) -> Option<Demand> {
        let rested = self.rests();
        self.power = power;
        self.settle_rest(now_ms, rested)
    }

    pub(crate) fn on_duty(&mut self, now_ms: u64, duty: Duty) -> Option<Demand> {
        let rested = self.rests();
        self.duty = duty;
        if duty == Duty::OFF_DUTY {
            self.check_in.expect(now_ms, None);
        }
        self.settle_rest(now_ms, rested)
    }

    /// The wearer is well: ends running pre-alarms, or checks in.
    pub(crate) fn on_well(&mut self, now_ms: u64) -> Option<Demand> {
        self.check_in.answer(now_ms);
        if !self.pre_alarms.clear() {
            return None;
        }
        self.watch.answer();
        Some(Demand::PreAlarmEnded)
    }

    /// The wearer cancels: running pre-alarms, else the newest active alarm; call again for the one before it.
    pub(crate) fn on_cancel(&mut self, now_ms: u64) -> Option<Demand> {
        self.on_well(now_ms).or_else(|| self.newest())
    }

    /// The newest active alarm, to be taken back.
    pub(crate) fn newest(&self) -> Option<Demand> {
        self.active.last().map(|active| Demand::Cancel(active.id))
    }

    /// Alarms that the wearer has not taken back.
    pub(crate) fn active(&self) -> &ActiveAlarms {
        &self.active
    }

    /// The alarm that was demanded has an identity now, or had one in an earlier start.
    pub(crate) fn note_raised(&mut self, active: Active) {
        if self.active.is_full() {
            // A case that is opened again and again must not end the silence of a call.
            let gives_way = self.active.iter().position(|active| !is_emergency(active.cause)).unwrap_or(0);
            self.active.remove(gives_way);
        }
        self.active.push(active).expect("has room: one gave way");
    }

    /// The device was put away: what was raised stays with the control room, and is no business of the next wearer.
    pub(crate) fn forget_active(&mut self) {
        self.active.clear();
    }

    /// The cancellation is in the outbox.
    pub(crate) fn note_cancelled(&mut self, alarm: AlarmId) {
        self.active.retain(|active| active.id != alarm);
    }

    /// What time has brought; call again until `None`.
    pub(crate) fn step(&mut self, now_ms: u64) -> Option<Demand> {
        if let Some(cause) = self.pre_alarms.take_due(now_ms) {
            return Some(Demand::Raise(cause));
        }
        if self.watch.is_due(now_ms, self.settings.down_ms_min) {
            self.watch = Watch::Answered;
            return self.pre_alarm(now_ms, AlarmCause::OFFICER_DOWN, self.settings.pre_alarm_ms);
        }
        if self.check_in.take_due(now_ms) {
            return self.pre_alarm(now_ms, AlarmCause::CHECK_IN, self.settings.check_in_pre_alarm_ms);
        }
        None
    }

    /// When [`Rules::step`] has something to do.
    pub(crate) fn step_at(&self) -> Option<u64> {
        let down_at_ms = self.watch.due_at(self.settings.down_ms_min);
        [self.pre_alarms.due_at(), down_at_ms, self.check_in.due_at()].into_iter().flatten().min()
    }

    /// Whether nothing is inferred: see the module.
    fn rests(&self) -> bool {
        matches!(self.power, Power::DOCKED | Power::CHARGING)
            || matches!(self.duty, Duty::AT_STATION | Duty::OFF_DUTY)
    }

    fn settle_rest(&mut self, now_ms: u64, rested: bool) -> Option<Demand> {
        if !self.rests() {
            if rested {
                self.check_in.answer(now_ms);
            }
            return None;
        }
        self.watch = Watch::Up;
        self.pre_alarms.clear().then_some(Demand::PreAlarmEnded)
    }

    fn is_repeat(&self, now_ms: u64, cause: AlarmCause) -> bool {
        let raised = self.active.iter().filter(|active| active.cause == cause);
        raised
            .filter_map(|active| active.raised_ms)
            .any(|raised_ms| now_ms.saturating_sub(raised_ms) < repeat_ms(cause))
    }

    fn raise(&mut self, now_ms: u64, cause: AlarmCause) -> Option<Demand> {
        if self.rests() || self.is_repeat(now_ms, cause) {
            return None;
        }
        self.pre_alarms.end(cause);
        Some(Demand::Raise(cause))
    }

    fn pre_alarm(&mut self, now_ms: u64, cause: AlarmCause, pre_alarm_ms: u32) -> Option<Demand> {
        if self.rests() || self.is_repeat(now_ms, cause) {
            return None;
        }
        let alarm_at_ms = now_ms + u64::from(pre_alarm_ms);
        self.pre_alarms.begin(cause, alarm_at_ms).then_some(Demand::PreAlarm { cause, alarm_at_ms })
    }
}

/// Whether somebody needs help.
pub(crate) fn is_emergency(cause: AlarmCause) -> bool {
    cause != AlarmCause::TAMPER
}
