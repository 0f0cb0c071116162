//! What raises an alarm on the device, and how the wearer takes it back.
//!
//! | trigger | pre-alarm | alarm |
//! |---|---|---|
//! | emergency button | none | at once |
//! | down (tilt and no motion) for 20 s | 15 s, the wearer can end it | officer down |
//!
//! The times are [`RuleSettings`].
//!
//! **Human-triggered beats inferred**: the button ends a running pre-alarm by raising the alarm. In the dock or on a charger
//! nobody is down. CED test and training are sensor events like any other here: no rule of this module reads them.

use fieldpost_protocol::{AlarmCause, BootId, Power, Seq};

/// How patient the rules are. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RuleSettings {
    /// Down this long, and the pre-alarm begins.
    pub down_ms_min: u32,
    /// From the pre-alarm to the alarm.
    pub pre_alarm_ms: u32,
}

impl RuleSettings {
    /// Down for 20 s, then 15 s of pre-alarm.
    pub const DEFAULT: Self = Self { down_ms_min: 20_000, pre_alarm_ms: 15_000 };
}

/// Alarms that one cancellation takes back.
const ACTIVE_COUNT_MAX: usize = 8;
/// A press this soon after the last is the same call for help.
const BUTTON_REPEAT_MS: u64 = 30_000;

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
        alarm_at_ms: u64,
    },
    PreAlarmEnded,
    Raise(AlarmCause),
    /// Take this alarm back.
    Cancel(AlarmId),
}

#[derive(Debug, Clone, Copy)]
struct Active {
    id: AlarmId,
    cause: AlarmCause,
    raised_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Up,
    Down {
        since_ms: u64,
    },
    PreAlarm {
        alarm_at_ms: u64,
    },
    /// The alarm went out, or the wearer ended the pre-alarm: quiet until upright again.
    Answered,
}

/// The rules' state.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    settings: RuleSettings,
    /// Oldest first.
    active: heapless::Vec<Active, ACTIVE_COUNT_MAX>,
    watch: Watch,
    power: Power,
}

impl Rules {
    pub(crate) fn new(settings: RuleSettings) -> Self {
        Self { settings, active: heapless::Vec::new(), watch: Watch::Up, power: Power::BATTERY }
    }

    pub(crate) fn emergency_lasts(&self) -> bool {
        !self.active.is_empty()
    }

    /// The emergency button was held or pressed twice.
    pub(crate) fn on_button(&mut self, now_ms: u64) -> Option<Demand> {
        let is_repeat = self.active.iter().any(|active| {
            active.cause == AlarmCause::BUTTON && now_ms.saturating_sub(active.raised_ms) < BUTTON_REPEAT_MS
        });
        if is_repeat {
            return None;
        }
        if self.watch != Watch::Up {
            self.watch = Watch::Answered;
        }
        Some(Demand::Raise(AlarmCause::BUTTON))
    }

    pub(crate) fn on_posture(&mut self, now_ms: u64, posture: Posture) -> Option<Demand> {
        let rests = matches!(self.power, Power::DOCKED | Power::CHARGING);
        match (posture, self.watch) {
            (Posture::Down, Watch::Up) if !rests => {
                self.watch = Watch::Down { since_ms: now_ms };
                None
            }
            (Posture::Up, Watch::PreAlarm { .. }) => {
                self.watch = Watch::Up;
                Some(Demand::PreAlarmEnded)
            }
            (Posture::Up, _) => {
                self.watch = Watch::Up;
                None
            }
            (Posture::Down, _) => None,
        }
    }

    pub(crate) fn on_power(&mut self, power: Power) -> Option<Demand> {
        self.power = power;
        if !matches!(power, Power::DOCKED | Power::CHARGING) {
            return None;
        }
        let had_pre_alarm = matches!(self.watch, Watch::PreAlarm { .. });
        self.watch = Watch::Up;
        had_pre_alarm.then_some(Demand::PreAlarmEnded)
    }

    /// The wearer cancels: a running pre-alarm, else the newest active alarm; call again for the one before it.
    pub(crate) fn on_cancel(&mut self) -> Option<Demand> {
        if matches!(self.watch, Watch::PreAlarm { .. }) {
            self.watch = Watch::Answered;
            return Some(Demand::PreAlarmEnded);
        }
        self.active.last().map(|active| Demand::Cancel(active.id))
    }

    /// The alarm that was demanded has an identity now.
    pub(crate) fn note_raised(&mut self, now_ms: u64, id: AlarmId, cause: AlarmCause) {
        if self.active.is_full() {
            self.active.remove(0);
        }
        self.active.push(Active { id, cause, raised_ms: now_ms }).expect("has room: the oldest gave way");
    }

    /// The cancellation is in the outbox.
    pub(crate) fn note_cancelled(&mut self, alarm: AlarmId) {
        self.active.retain(|active| active.id != alarm);
    }

    /// What time has brought.
    pub(crate) fn step(&mut self, now_ms: u64) -> Option<Demand> {
        match self.watch {
            Watch::Down { since_ms } if now_ms >= since_ms + u64::from(self.settings.down_ms_min) => {
                let alarm_at_ms = now_ms + u64::from(self.settings.pre_alarm_ms);
                self.watch = Watch::PreAlarm { alarm_at_ms };
                Some(Demand::PreAlarm { alarm_at_ms })
            }
            Watch::PreAlarm { alarm_at_ms } if now_ms >= alarm_at_ms => {
                self.watch = Watch::Answered;
                Some(Demand::Raise(AlarmCause::OFFICER_DOWN))
            }
            _ => None,
        }
    }

    /// When [`Rules::step`] has something to do.
    pub(crate) fn step_at(&self) -> Option<u64> {
        match self.watch {
            Watch::Down { since_ms } => Some(since_ms + u64::from(self.settings.down_ms_min)),
            Watch::PreAlarm { alarm_at_ms } => Some(alarm_at_ms),
            Watch::Up | Watch::Answered => None,
        }
    }
}
