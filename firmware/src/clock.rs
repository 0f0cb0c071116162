//! The device's clock: what time it is, and how far that can be believed.
//!
//! It runs on the caller's monotonic milliseconds and is set by satellite fixes or, failing them, by the gateway or, failing
//! both, by a real-time clock.
//!
//! **One insane time never moves the clock.** A time is judged before it is taken:
//!
//! | the time is | then |
//! |---|---|
//! | before the floor or after the ceiling | refused for ever (a receiver whose week counter rolled over is 19.6 years off) |
//! | within 2 s of the clock (and 100 ppm since it was set), or the clock is not set | taken |
//! | further off | held as suspect; taken once it has agreed with itself 5 times in a row over at least 4 s |
//!
//! The gateway's time is taken only while no satellite time is fresh. What was set goes stale after an hour: the time
//! stays, its quality becomes holdover. A real-time clock is heard only while nothing else has set the time; it is worth
//! holdover from the start, and the gateway's time replaces it at once however far off it was: one is authenticated, the
//! other a cell and a crystal.

use fieldpost_protocol::ClockQuality;

/// Largest step taken without confirmation, in ms: a receiver's sentence may be more than a second late.
const STEP_MS_MAX: u64 = 2000;
/// A clock that ran free may be off by 100 ppm, five times what a crystal should be.
const DRIFT_DIVISOR: u64 = 10_000;
/// Suspect times must agree with each other this well, in ms.
const AGREEMENT_MS_MAX: u64 = 1000;
const CONFIRMATIONS: u8 = 5;
const CONFIRMATION_MS_MIN: u64 = 4000;
/// A 20 ppm crystal drifts 72 ms in this time.
const FRESH_MS_MAX: u64 = 3_600_000;

/// 2026-01-01, before which no firmware of this line can run.
const FLOOR_UNIX_MS: u64 = 1_767_225_600_000;
/// 2080-01-01, where two-digit years end.
const CEILING_UNIX_MS: u64 = 3_471_292_800_000;

/// What times are possible at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClockPolicy {
    /// Earliest believable Unix time in ms.
    pub floor_unix_ms: u64,
    /// Latest believable Unix time in ms.
    pub ceiling_unix_ms: u64,
    /// Take every satellite time between floor and ceiling at once, whatever the clock said before. Only for replaying
    /// a recording, whose time runs at another speed than the caller's and may hold two captures.
    pub follows_recording: bool,
}

impl ClockPolicy {
    /// For a device in the field: nothing before 2026, nothing after 2079.
    pub const DEVICE: Self =
        Self { floor_unix_ms: FLOOR_UNIX_MS, ceiling_unix_ms: CEILING_UNIX_MS, follows_recording: false };

    /// For a recording: its own time, as old as it may be.
    pub const REPLAY: Self =
        Self { floor_unix_ms: 0, ceiling_unix_ms: CEILING_UNIX_MS, follows_recording: true };
}

/// A time and what it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stamp {
    /// Unix time in ms; milliseconds since start if the quality is unset.
    pub time_ms: u64,
    /// How far it can be believed.
    pub quality: ClockQuality,
}

/// Who says what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TimeSource {
    /// A satellite fix.
    Gnss,
    /// The gateway.
    Network,
    /// A real-time clock in the device.
    Rtc,
}

/// What became of a time offered to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Judgement {
    /// The clock has this time now.
    Taken,
    /// Too far off; more of the same would confirm it.
    Suspect,
    /// Outside floor and ceiling.
    Refused,
    /// A better source is fresh.
    NotNeeded,
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    unix_ms: u64,
    now_ms: u64,
    quality: ClockQuality,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    first_now_ms: u64,
    unix_ms: u64,
    now_ms: u64,
    agreed: u8,
}

/// The clock. Holds the last setting and one suspect.
#[derive(Debug, Clone)]
pub struct Clock {
    policy: ClockPolicy,
    setting: Option<Setting>,
    suspect: Option<Suspect>,
    steps: u32,
    refusals: u32,
}

impl Clock {
    /// An unset clock.
    #[must_use]
    pub fn new(policy: ClockPolicy) -> Self {
        Self { policy, setting: None, suspect: None, steps: 0, refusals: 0 }
    }

    /// The time now.
    #[must_use]
    pub fn stamp(&self, now_ms: u64) -> Stamp {
        match &self.setting {
            None => Stamp { time_ms: now_ms, quality: ClockQuality::Unset },
            Some(setting) => {
                let since_ms = now_ms.saturating_sub(setting.now_ms);
                let fresh = since_ms <= FRESH_MS_MAX;
                let quality = if fresh { setting.quality } else { ClockQuality::Holdover };
                Stamp { time_ms: setting.unix_ms + since_ms, quality }
            }
        }
    }

    /// Whether somebody outside the device has said the time since its start, however long ago: a real-time clock alone
    /// may be years off, and must not make anyone refuse a certificate.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.setting.is_some_and(|setting| setting.quality != ClockQuality::Holdover)
    }

    /// Offers the time of a satellite fix that arrived just now.
    pub fn offer_gnss(&mut self, now_ms: u64, unix_ms: u64) -> Judgement {
        self.offer(now_ms, unix_ms, ClockQuality::Gnss)
    }

    /// Offers the gateway's time, which arrived just now.
    pub fn offer_network(&mut self, now_ms: u64, unix_ms: u64) -> Judgement {
        if self.stamp(now_ms).quality == ClockQuality::Gnss {
            return Judgement::NotNeeded;
        }
        self.offer(now_ms, unix_ms, ClockQuality::Network)
    }

    /// Offers the time of a real-time clock, read just now.
    pub fn offer_rtc(&mut self, now_ms: u64, unix_ms: u64) -> Judgement {
        if self.setting.is_some() {
            return Judgement::NotNeeded;
        }
        self.offer(now_ms, unix_ms, ClockQuality::Holdover)
    }

    /// Times that moved the clock by more than two seconds. Wraps.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Times outside floor and ceiling. Wraps.
    #[must_use]
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    fn offer(&mut self, now_ms: u64, unix_ms: u64, quality: ClockQuality) -> Judgement {
        if !(self.policy.floor_unix_ms..self.policy.ceiling_unix_ms).contains(&unix_ms) {
            self.refusals = self.refusals.wrapping_add(1);
            return Judgement::Refused;
        }
        let is_step = self.setting.is_some_and(|setting| {
            let drift_ms = now_ms.saturating_sub(setting.now_ms) / DRIFT_DIVISOR;
            self.stamp(now_ms).time_ms.abs_diff(unix_ms) > STEP_MS_MAX + drift_ms
        });
        let is_from_rtc = self.setting.is_some_and(|setting| setting.quality == ClockQuality::Holdover);
        let trusted = !is_step
            || (self.policy.follows_recording && quality == ClockQuality::Gnss)
            || (is_from_rtc && quality == ClockQuality::Network);
        if !trusted && !self.confirms(now_ms, unix_ms) {
            return Judgement::Suspect;
        }
        if is_step {
            self.steps = self.steps.wrapping_add(1);
        }
        self.suspect = None;
        self.setting = Some(Setting { unix_ms, now_ms, quality });
        Judgement::Taken
    }

    /// Whether a suspect time has agreed with itself long enough.
    fn confirms(&mut self, now_ms: u64, unix_ms: u64) -> bool {
        let agreeing = self.suspect.filter(|suspect| {
            let expected_ms = suspect.unix_ms + now_ms.saturating_sub(suspect.now_ms);
            expected_ms.abs_diff(unix_ms) <= AGREEMENT_MS_MAX && unix_ms != suspect.unix_ms
        });
        let suspect = match agreeing {
            None => Suspect { first_now_ms: now_ms, unix_ms, now_ms, agreed: 1 },
            Some(old) => Suspect { unix_ms, now_ms, agreed: old.agreed.saturating_add(1), ..old },
        };
        self.suspect = Some(suspect);
        suspect.agreed >= CONFIRMATIONS && now_ms.saturating_sub(suspect.first_now_ms) >= CONFIRMATION_MS_MIN
    }
}
