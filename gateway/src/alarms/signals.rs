//! What is remembered of each unit for the rules: when it was last heard, where it is, what happened to it lately.
//!
//! **Every value is the newest of its kind by its own time**, so folding records again that are in it already changes nothing:
//! after a restart a tail of the spool is folded over what the snapshot kept.
//!
//! Bounds: [`UNITS_MAX`] units of about 250 bytes; beyond that a new unit takes the place of the one that was silent longest.

use fieldpost_protocol::{Duty, EventCode, Power, SensorEvent, Status};
use serde::{Deserialize, Serialize};

use super::distance_m;
use super::rules::{Rest, Trigger};
use crate::live::unit::UnitId;
use crate::live::unit_map::UnitMap;
use crate::spool::Lsn;

/// Most units remembered.
pub const UNITS_MAX: usize = 50_000;
/// What happened longer ago is not asked for by any rule: the longest window that a file may name is a day, but what a
/// snapshot keeps is this.
pub const MEMORY_MS: u64 = 15 * 60_000;
/// A position this old says nothing about who is near.
pub const PLACE_FRESH_MS: u64 = 120_000;
/// Slower is standing; a receiver at rest wanders by as much.
const STILL_CMPS_MAX: u16 = 50;
/// A step this far is motion, in metres.
const STEP_M: f64 = 15.0;

/// Something that happened, and the record that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The record.
    pub lsn: Lsn,
}

/// Where a unit was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// When, Unix ms.
    pub at_ms: u64,
    /// (longitude, latitude) in micro-degrees.
    pub place_udeg: (i32, i32),
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signals {
    /// When anything of it was last received, Unix ms by the gateway's clock.
    pub heard_ms: u64,
    /// Where it is.
    pub spot: Option<Spot>,
    /// Where it last stood still from, and since when.
    still: Option<Spot>,
    /// How it is powered and what its wearer does, with the time of that status.
    status: Option<(u64, Power, Duty)>,
    /// What happened, one of each trigger; a handful at most.
    pub(super) seen: Vec<(Trigger, Seen)>,
    /// Until when it is quiet: a CED in training use, or under test.
    pub(super) training_until_ms: u64,
    /// Since when its heart rate is unusual.
    heart_since: Option<Seen>,
    /// When its satellites were last lost, and where it was.
    pub(super) silent_fix: Option<(Seen, (i32, i32))>,
}

/// What a snapshot keeps of one unit: what a rule may still ask for that a tail of the spool may not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    unit: String,
    heard_ms: u64,
    training_until_ms: u64,
    seen: Vec<(Trigger, Seen)>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct SignalMap(UnitMap<Signals>);

impl SignalMap {
    /// One unit.
    #[must_use]
    pub fn get(&self, unit: &UnitId) -> Option<&Signals> {
        self.0.get(unit)
    }

    /// One unit, made if it is new.
    pub(super) fn of(&mut self, unit: &UnitId) -> &mut Signals {
        if self.0.len() >= UNITS_MAX && self.0.get(unit).is_none() {
            let silent = self.0.iter().min_by_key(|(_, signals)| signals.heard_ms);
            let silent = silent.map(|(unit, _)| unit.clone());
            silent.map(|unit| self.0.remove(&unit));
        }
        self.0.get_or_insert_with(unit, Signals::default)
    }

    /// Every unit, by identity.
    pub fn iter(&self) -> impl Iterator<Item = (&UnitId, &Signals)> {
        self.0.iter()
    }

    /// Units other than `unit` within `radius_m` of a place, seen not long before `at_ms`.
    #[must_use]
    pub fn near_count(&self, unit: &UnitId, place_udeg: (i32, i32), radius_m: u32, at_ms: u64) -> usize {
        let is_near = |(other, signals): &(&UnitId, &Signals)| {
            *other != unit
                && signals.spot.is_some_and(|spot| {
                    spot.at_ms + PLACE_FRESH_MS >= at_ms
                        && distance_m(spot.place_udeg, place_udeg) <= f64::from(radius_m)
                })
        };
        self.0.iter().filter(is_near).count()
    }

    /// What a snapshot keeps: units to which something happened in the last [`MEMORY_MS`].
    #[must_use]
    pub fn memory(&self, now_ms: u64) -> Vec<Memory> {
        let memorable = self.0.iter().filter(|(_, signals)| signals.is_memorable(now_ms));
        let memory = |(unit, signals): (&UnitId, &Signals)| Memory {
            unit: unit.to_string(),
            heard_ms: signals.heard_ms,
            training_until_ms: signals.training_until_ms,
            seen: signals.seen.clone(),
        };
        memorable.map(memory).collect()
    }

    /// The clock went back by so much: what is remembered moves with it.
    pub(super) fn go_back(&mut self, by_ms: u64) {
        self.0.for_each_mut(|_, signals| signals.heard_ms = signals.heard_ms.saturating_sub(by_ms));
    }
}

impl FromIterator<Memory> for SignalMap {
    fn from_iter<T: IntoIterator<Item = Memory>>(memories: T) -> Self {
        let signals = |memory: Memory| {
            let Memory { unit, heard_ms, training_until_ms, seen } = memory;
            let signals = Signals { heard_ms, training_until_ms, seen, ..Signals::default() };
            Some((unit.parse().ok()?, signals))
        };
        Self(memories.into_iter().filter_map(signals).collect())
    }
}

impl Signals {
    /// Something was received of it.
    pub(super) fn hear(&mut self, received_at_ms: u64) {
        self.heard_ms = self.heard_ms.max(received_at_ms);
    }

    /// It was somewhere.
    pub(super) fn stand(&mut self, at_ms: u64, place_udeg: (i32, i32), speed_cmps: Option<u16>) {
        if self.spot.is_some_and(|spot| spot.at_ms > at_ms) {
            return;
        }
        let spot = Spot { at_ms, place_udeg };
        self.spot = Some(spot);
        let moves = speed_cmps.is_some_and(|speed| speed > STILL_CMPS_MAX);
        let stays = |still: &Spot| distance_m(still.place_udeg, place_udeg) <= STEP_M;
        if moves || !self.still.as_ref().is_some_and(stays) {
            self.still = Some(spot);
        }
    }

    /// Since when it has not moved.
    #[must_use]
    pub fn still_since_ms(&self) -> Option<u64> {
        self.still.map(|still| still.at_ms)
    }

    /// It said how it is.
    pub(super) fn say(&mut self, at_ms: u64, status: Status) {
        if self.status.is_none_or(|(known_ms, ..)| known_ms <= at_ms) {
            self.status = Some((at_ms, status.power, status.duty));
        }
    }

    /// Something happened to it.
    pub(super) fn note(&mut self, trigger: Trigger, seen: Seen) {
        match self.seen.iter_mut().find(|(known, _)| *known == trigger) {
            Some((_, known)) => *known = (*known).max(seen),
            None => self.seen.push((trigger, seen)),
        }
    }

    /// When a trigger was last seen, if within so long of `at_ms`, before or after.
    #[must_use]
    pub fn within(&self, trigger: Trigger, at_ms: u64, within_ms: u64) -> Option<Seen> {
        let seen = self.seen.iter().find(|(known, _)| *known == trigger).map(|(_, seen)| *seen);
        seen.filter(|seen| seen.at_ms.abs_diff(at_ms) <= within_ms)
    }

    /// A sensor changed.
    pub(super) fn sense(&mut self, event: SensorEvent, seen: Seen, rest: &Rest) {
        let until_ms = |patience_ms| seen.at_ms + patience_ms;
        match event.code {
            EventCode::UNHOLSTERED => self.note(Trigger::WeaponDrawn, seen),
            EventCode::CED_TRIGGER | EventCode::CED_ARC => self.note(Trigger::CedFired, seen),
            EventCode::CRASH | EventCode::ROLLOVER => self.note(Trigger::Crash, seen),
            EventCode::CED_TRAINING => {
                self.training_until_ms = self.training_until_ms.max(until_ms(rest.training_ms));
            }
            EventCode::CED_TEST => {
                let until_ms = until_ms(rest.test_ms);
                self.training_until_ms = self.training_until_ms.max(until_ms);
            }
            EventCode::CED_SAFE | EventCode::HOLSTERED => {
                self.training_until_ms = self.training_until_ms.min(seen.at_ms);
            }
            EventCode::GNSS_SILENT => {
                self.silent_fix = self.spot.map(|spot| (seen, spot.place_udeg));
            }
            EventCode::GNSS_BACK => self.silent_fix = None,
            _ => {}
        }
    }

    /// A heart rate; since when it has been unusual.
    pub(super) fn beat(&mut self, is_unusual: bool, seen: Seen) -> Option<Seen> {
        self.heart_since = is_unusual.then(|| self.heart_since.unwrap_or(seen));
        self.heart_since
    }

    /// Why the gateway's own rules are quiet about it; `None` if they are not.
    #[must_use]
    pub fn rests(&self, at_ms: u64, rest: &Rest) -> Option<&'static str> {
        if at_ms < self.training_until_ms {
            return Some("in training or under test");
        }
        let (_, power, duty) = self.status?;
        if rest.power.contains(&power) {
            return Some("in its dock or on its charger");
        }
        rest.duty.contains(&duty).then_some("not on the street")
    }

    /// Whether a snapshot has to keep what happened to it.
    pub(super) fn is_memorable(&self, now_ms: u64) -> bool {
        let is_recent = |(_, seen): &(Trigger, Seen)| seen.at_ms + MEMORY_MS >= now_ms;
        self.training_until_ms > now_ms || self.seen.iter().any(is_recent)
    }
}
