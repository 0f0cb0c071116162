//! Whether the receiver can be believed: it says nothing, it says rubbish, it has no fix, it jumps.
//!
//! | the receiver | then |
//! |---|---|
//! | gives no fix for a minute on duty | said once, with the reason; said again when a fix is back |
//! | jumps: faster than 100 m/s beyond 150 m | the fix is held back, and the jump said at most every 5 minutes |
//! | stays where it jumped to: 5 fixes that agree over 4 s | believed from then on |
//! | comes back | as if nothing had been |
//!
//! **A lone wild fix is never reported**, and a jump is a signal of spoofing, not an alarm: reflections between houses look
//! the same. Insane times are the business of [`crate::clock`], broken sentences of [`super::nmea`].

use fieldpost_protocol::Position;

/// No fix for this long, in ms, and it is said.
const SILENT_MS: u64 = 60_000;
/// No ground vehicle drives 360 km/h; a receiver wanders less than 150 m.
const SPEED_MPS_MAX: u64 = 100;
const WANDER_M_MAX: u64 = 150;
/// After an hour without a fix the device may be anywhere.
const PLACE_AGE_MS_MAX: u64 = 3_600_000;
const CONFIRMATIONS: u8 = 5;
const CONFIRMATION_MS_MIN: u64 = 4000;
const JUMP_SAID_MS_MIN: u64 = 300_000;

/// Why there is no fix. The number is the value of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Silence {
    /// The receiver sends nothing: unplugged, or broken.
    NoBytes = 1,
    /// Bytes, and no good sentence among them: the wrong speed, a bad line.
    Garbage = 2,
    /// Good sentences without a fix: indoors, or jammed.
    NoFix = 3,
}

/// What is to be said of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GnssNews {
    /// No fix for a minute.
    Silent(Silence),
    /// A fix is back.
    Back,
    /// The fix is this many metres from where the device can be, and held back.
    Jump {
        /// Metres, at most 65,535.
        distance_m: u16,
    },
}

/// Whether a fix may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// Held back; `Some`: and worth saying.
    Jump(Option<u16>),
}

#[derive(Debug, Clone, Copy)]
struct Place {
    now_ms: u64,
    latitude_udeg: i32,
    longitude_udeg: i32,
}

impl Place {
    fn of(now_ms: u64, position: &Position) -> Self {
        let Position { latitude_udeg, longitude_udeg, .. } = *position;
        Self { now_ms, latitude_udeg, longitude_udeg }
    }

    /// Metres to another place, on a sphere small enough to be flat: beyond 100 km only the size is right.
    fn distance_m(&self, other: &Self) -> u64 {
        let from = (self.latitude_udeg, self.longitude_udeg);
        let to = (other.latitude_udeg, other.longitude_udeg);
        (crate::sampler::distance_cm(from, to) / 100.0) as u64
    }

    /// The distance, if it cannot have been travelled.
    fn jump_m(&self, later: &Self) -> Option<u64> {
        let elapsed_ms = later.now_ms.saturating_sub(self.now_ms);
        let distance_m = self.distance_m(later);
        let reach_m = WANDER_M_MAX + elapsed_ms * SPEED_MPS_MAX / 1000;
        (elapsed_ms <= PLACE_AGE_MS_MAX && distance_m > reach_m).then_some(distance_m)
    }
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    first_ms: u64,
    place: Place,
    agreed: u8,
}

/// Watches the receiver. Forgets everything while the duty gate is closed.
#[derive(Debug, Clone, Default)]
pub(crate) struct GnssWatch {
    /// Waiting for a fix since then; `None`: not on duty.
    waiting_since_ms: Option<u64>,
    bytes_ms: Option<u64>,
    sentence_ms: Option<u64>,
    is_silent: bool,
    place: Option<Place>,
    suspect: Option<Suspect>,
    jump_said_ms: Option<u64>,
}

impl GnssWatch {
    /// Coordinates may leave from now on: a fix is expected.
    pub(crate) fn on_gate_open(&mut self, now_ms: u64) {
        self.waiting_since_ms = Some(now_ms);
    }

    /// Forgets where the device was. The receiver may sleep.
    pub(crate) fn on_gate_closed(&mut self) {
        *self = Self { jump_said_ms: self.jump_said_ms, ..Self::default() };
    }

    pub(crate) fn on_bytes(&mut self, now_ms: u64) {
        self.bytes_ms = Some(now_ms);
    }

    pub(crate) fn on_sentence(&mut self, now_ms: u64) {
        self.sentence_ms = Some(now_ms);
    }

    /// A fix passed the gate. Returns what became of it, and whether fixes are back.
    pub(crate) fn on_fix(&mut self, now_ms: u64, position: &Position) -> (Verdict, bool) {
        self.waiting_since_ms = Some(now_ms);
        let is_back = core::mem::take(&mut self.is_silent);
        (self.judge(Place::of(now_ms, position)), is_back)
    }

    /// What time has brought.
    pub(crate) fn step(&mut self, now_ms: u64) -> Option<Silence> {
        if self.step_at().is_none_or(|at_ms| now_ms < at_ms) {
            return None;
        }
        self.is_silent = true;
        let is_recent =
            |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < SILENT_MS);
        Some(match (is_recent(self.bytes_ms), is_recent(self.sentence_ms)) {
            (false, _) => Silence::NoBytes,
            (true, false) => Silence::Garbage,
            (true, true) => Silence::NoFix,
        })
    }

    /// When [`GnssWatch::step`] has something to say.
    pub(crate) fn step_at(&self) -> Option<u64> {
        self.waiting_since_ms.filter(|_| !self.is_silent).map(|since_ms| since_ms + SILENT_MS)
    }

    fn judge(&mut self, place: Place) -> Verdict {
        let Some(distance_m) = self.place.and_then(|before| before.jump_m(&place)) else {
            self.believe(place);
            return Verdict::Good;
        };
        let agreeing = self.suspect.filter(|suspect| suspect.place.jump_m(&place).is_none());
        let suspect = match agreeing {
            None => Suspect { first_ms: place.now_ms, place, agreed: 1 },
            Some(old) => Suspect { place, agreed: old.agreed.saturating_add(1), ..old },
        };
        let is_confirmed = suspect.agreed >= CONFIRMATIONS
            && place.now_ms.saturating_sub(suspect.first_ms) >= CONFIRMATION_MS_MIN;
        if is_confirmed {
            self.believe(place);
            return Verdict::Good;
        }
        self.suspect = Some(suspect);
        let was_said =
            self.jump_said_ms.is_some_and(|said_ms| place.now_ms.saturating_sub(said_ms) < JUMP_SAID_MS_MIN);
        if was_said {
            return Verdict::Jump(None);
        }
        self.jump_said_ms = Some(place.now_ms);
        Verdict::Jump(Some(u16::try_from(distance_m).unwrap_or(u16::MAX)))
    }

    fn believe(&mut self, place: Place) {
        self.place = Some(place);
        self.suspect = None;
    }
}
