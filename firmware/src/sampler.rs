//! Which fixes become readings: reporting intervals that follow what the wearer is doing.
//!
//! | state | body-worn | vehicle |
//! |---|---|---|
//! | emergency, first 2 minutes | every 2 s | every 1 s |
//! | emergency, after that | every 5 s | every 5 s |
//! | weapon out or camera recording | every 5 s | every 5 s |
//! | blue lights, or faster than 2 m/s | - | every 2 s |
//! | otherwise | every 30 s or 50 m | every 5 s |
//!
//! A command's interval replaces the last two rows; it never slows the others. The profile [`Profile::Every`] reports
//! every fix, for recordings. **The duty gate is not here but above it: a gated fix never reaches the sampler.**

use fieldpost_protocol::{EventCode, Position, ReportReason, SensorEvent};

/// Fixes come with jitter: one that is this much early still counts, or a 5 s interval would become 6 s.
const EARLY_MS: u64 = 300;
const EMERGENCY_FAST_MS: u64 = 120_000;
const DISTANCE_CM_MAX: f32 = 5000.0;
/// No fix for this long, and the next one is "regained".
const FIX_LOST_MS: u64 = 10_000;

/// What kind of device decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Profile {
    /// Worn by an officer.
    BodyWorn,
    /// Fixed in a vehicle.
    Vehicle,
    /// Every fix is reported: replay of a recording.
    Every,
}

#[derive(Debug, Clone, Copy)]
struct Reported {
    now_ms: u64,
    latitude_udeg: i32,
    longitude_udeg: i32,
}

/// Decides per fix. Holds the state that intervals follow.
#[derive(Debug, Clone)]
pub struct Sampler {
    profile: Profile,
    weapons_out: u32,
    recording: bool,
    blue_lights: bool,
    emergency_since_ms: Option<u64>,
    command_interval_ms: Option<u64>,
    request_is_open: bool,
    reported: Option<Reported>,
    last_fix_ms: Option<u64>,
}

impl Sampler {
    /// A sampler that has reported nothing.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            weapons_out: 0,
            recording: false,
            blue_lights: false,
            emergency_since_ms: None,
            command_interval_ms: None,
            request_is_open: false,
            reported: None,
            last_fix_ms: None,
        }
    }

    /// Follows what the sensors say.
    pub fn on_event(&mut self, event: &SensorEvent) {
        let weapon = 1u32 << (event.index & 31);
        match event.code {
            EventCode::UNHOLSTERED => self.weapons_out |= weapon,
            EventCode::HOLSTERED => self.weapons_out &= !weapon,
            EventCode::CAMERA_RECORDING => self.recording = true,
            EventCode::CAMERA_OFF | EventCode::CAMERA_BUFFERING => self.recording = false,
            EventCode::BLUE_LIGHTS => self.blue_lights = event.value != 0,
            _ => {}
        }
    }

    /// An emergency begins, or begins anew.
    pub fn begin_emergency(&mut self, now_ms: u64) {
        self.emergency_since_ms = Some(now_ms);
    }

    /// The wearer took the emergency back.
    pub fn end_emergency(&mut self) {
        self.emergency_since_ms = None;
    }

    /// A command's interval; `None` returns to the profile's own.
    pub fn set_interval(&mut self, interval_ms: Option<u64>) {
        self.command_interval_ms = interval_ms;
    }

    /// The next fix is reported, whatever the interval.
    pub fn request_report(&mut self) {
        self.request_is_open = true;
    }

    /// Forgets where the device was: the duty gate closed.
    pub fn forget(&mut self) {
        self.reported = None;
        self.last_fix_ms = None;
    }

    /// Whether this fix is reported, and why.
    pub fn on_fix(&mut self, now_ms: u64, position: &Position) -> Option<ReportReason> {
        let last_fix_ms = self.last_fix_ms.replace(now_ms);
        let reason = self.judge(now_ms, position, last_fix_ms)?;
        self.request_is_open = false;
        self.reported = Some(Reported {
            now_ms,
            latitude_udeg: position.latitude_udeg,
            longitude_udeg: position.longitude_udeg,
        });
        Some(reason)
    }

    fn judge(&self, now_ms: u64, position: &Position, last_fix_ms: Option<u64>) -> Option<ReportReason> {
        let urgent_ms = self.urgent_interval_ms(now_ms);
        let emergency = self.emergency_since_ms.is_some();
        let Some(reported) = self.reported else {
            return Some(if emergency { ReportReason::EMERGENCY } else { ReportReason::ENTERED_SERVICE });
        };
        if self.request_is_open {
            return Some(ReportReason::REQUESTED);
        }
        if self.profile == Profile::Every {
            return Some(if emergency { ReportReason::EMERGENCY } else { ReportReason::INTERVAL });
        }
        let own_ms = self.command_interval_ms.unwrap_or_else(|| self.routine_interval_ms(position));
        let interval_ms = urgent_ms.map_or(own_ms, |urgent_ms| urgent_ms.min(own_ms));
        let elapsed_ms = now_ms.saturating_sub(reported.now_ms);
        if elapsed_ms + EARLY_MS >= interval_ms {
            return Some(if emergency { ReportReason::EMERGENCY } else { ReportReason::INTERVAL });
        }
        if last_fix_ms.is_some_and(|last_ms| now_ms.saturating_sub(last_ms) >= FIX_LOST_MS) {
            return Some(ReportReason::REGAINED_FIX);
        }
        let by_distance = self.profile == Profile::BodyWorn && self.command_interval_ms.is_none();
        let from = (reported.latitude_udeg, reported.longitude_udeg);
        let to = (position.latitude_udeg, position.longitude_udeg);
        (by_distance && distance_cm(from, to) >= DISTANCE_CM_MAX).then_some(ReportReason::DISTANCE)
    }

    fn urgent_interval_ms(&self, now_ms: u64) -> Option<u64> {
        if let Some(since_ms) = self.emergency_since_ms {
            let fast = now_ms.saturating_sub(since_ms) < EMERGENCY_FAST_MS;
            return Some(match (fast, self.profile) {
                (false, _) => 5000,
                (true, Profile::Vehicle) => 1000,
                (true, _) => 2000,
            });
        }
        (self.weapons_out != 0 || self.recording).then_some(5000)
    }

    fn routine_interval_ms(&self, position: &Position) -> u64 {
        match self.profile {
            Profile::Every => 0,
            Profile::BodyWorn => 30_000,
            Profile::Vehicle if self.blue_lights || position.speed_cmps.is_some_and(|speed| speed > 200) => {
                2000
            }
            Profile::Vehicle => 5000,
        }
    }
}

/// Distance between two (latitude, longitude) in micro-degrees, on a sphere small enough to be flat. Good to 1 % below 80
/// degrees latitude, which a 50 m trigger bears.
pub(crate) fn distance_cm(from: (i32, i32), to: (i32, i32)) -> f32 {
    const CM_PER_UDEG: f32 = 11.119_5;
    let north = (to.0 - from.0) as f32 * CM_PER_UDEG;
    let east_udeg = i64::from(to.1) - i64::from(from.1);
    // Across the date line the short way round.
    let east_udeg = (east_udeg + 540_000_000) % 360_000_000 - 180_000_000;
    let shrink = libm::cosf((to.0 as f32 * 1e-6).to_radians());
    let east = east_udeg as f32 * CM_PER_UDEG * shrink;
    libm::hypotf(north, east)
}
