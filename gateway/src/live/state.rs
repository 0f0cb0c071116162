//! What the page knows, and what it is told of the present: connections, names, time.
//!
//! **Pure: the same records give the same state** ([`super::fold`]). No clock, no disk, no network in here. What lanes have
//! read ahead of the fold ([`super::ahead`]) lies over it, for the screen alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fieldpost_protocol::Body;

use super::order::ClockBounds;
use super::told::Told;
use super::unit::{Unit, UnitId, UnitName};
use super::unit_map::UnitMap;
use crate::alarms::{Ahead, AlarmId, Book, Owed, Shown};
use crate::config::roster::Roster;
use crate::people::Wearers;
use crate::spool::Lsn;

/// Everything the page shows.
#[derive(Debug)]
pub struct State {
    units: UnitMap<Unit>,
    connected: BTreeSet<UnitId>,
    dirty: Vec<UnitId>,
    /// The alarm queue, by the records in order.
    pub alarms: Book,
    /// What the alarm lane has read ahead of it.
    pub(super) alarms_ahead: Ahead,
    pub(super) bounds: ClockBounds,
    units_max: usize,
    roster: Arc<Roster>,
    wearers: Wearers,
    /// The assignments that the names are of: their revision, and when the next begins or ends.
    worn: (u64, Option<u64>),
    pub(super) folded: Lsn,
    pub(super) refused_count: u64,
    repeaters: BTreeMap<UnitId, u64>,
}

/// Devices with repeated identities that are remembered, those that did it last.
const REPEATERS_MAX: usize = 64;

impl State {
    /// Knows nothing but the alarms in `alarms`.
    #[must_use]
    pub fn new(alarms: Book, bounds: ClockBounds, units_max: usize, roster: Arc<Roster>) -> Self {
        Self {
            units: UnitMap::default(),
            connected: BTreeSet::new(),
            dirty: Vec::new(),
            alarms,
            alarms_ahead: Ahead::default(),
            bounds,
            units_max,
            roster,
            wearers: Wearers::default(),
            worn: (0, None),
            folded: Lsn(0),
            refused_count: 0,
            repeaters: BTreeMap::new(),
        }
    }

    /// The alarm queue as the screen has it.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        Shown::new(&self.alarms, &self.alarms_ahead)
    }

    /// The alarms that look different since the last call.
    pub fn take_changed_alarms(&mut self) -> BTreeSet<AlarmId> {
        let mut changed = self.alarms.take_changed();
        changed.append(&mut self.alarms_ahead.take_changed());
        changed
    }

    /// A receipt has been handed to its device's connection.
    pub fn told(&mut self, owed: &Owed, at_ms: u64) {
        self.alarms_ahead.told(&mut self.alarms, owed, at_ms);
    }

    /// Every record up to `through` is folded or will never come: nothing before is ahead any more.
    pub fn catch_up(&mut self, through: Lsn) {
        self.folded = self.folded.max(through);
        self.alarms_ahead.catch_up(through, &mut self.alarms);
    }

    /// One unit.
    #[must_use]
    pub fn unit(&self, id: &UnitId) -> Option<&Unit> {
        self.units.get(id)
    }

    pub(super) fn unit_mut(&mut self, id: &UnitId) -> Option<&mut Unit> {
        self.units.get_mut(id)
    }

    /// How many units are known.
    #[must_use]
    pub fn units_count(&self) -> usize {
        self.units.len()
    }

    /// Records of units beyond the most that are kept, since the start.
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.refused_count
    }

    /// Every record up to here is folded or will never come.
    #[must_use]
    pub fn folded(&self) -> Lsn {
        self.folded
    }

    /// How many devices have a connection.
    #[must_use]
    pub fn connected_count(&self) -> usize {
        self.connected.len()
    }

    /// Whether a device has a connection.
    #[must_use]
    pub fn is_connected(&self, id: &UnitId) -> bool {
        self.connected.contains(id)
    }

    /// A device connected or disconnected.
    pub fn set_connected(&mut self, id: &UnitId, connected: bool) {
        if connected {
            self.connected.insert(id.clone());
        } else {
            self.connected.remove(id);
        }
        if let Some(unit) = self.units.get_mut(id)
            && unit.connected != connected
        {
            unit.connected = connected;
            self.touch(id);
        }
    }

    /// Exactly these devices have a connection.
    pub fn set_all_connected(&mut self, connected: &BTreeSet<UnitId>) {
        let changed: Vec<UnitId> = self.connected.symmetric_difference(connected).cloned().collect();
        for id in &changed {
            self.set_connected(id, connected.contains(id));
        }
    }

    /// The names of today.
    #[must_use]
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Takes a new roster; every unit gets its name anew, those of the shift at the next [`State::sweep`].
    pub fn rename(&mut self, roster: Arc<Roster>) {
        self.units.for_each_mut(|id, unit| unit.name = UnitName::of(id, &roster));
        self.roster = roster;
        self.worn = (u64::MAX, None);
        let ids: Vec<UnitId> = self.units.iter().map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| self.touch(id));
    }

    /// From now on names are also of `wearers`.
    pub fn wear(&mut self, wearers: Wearers) {
        self.wearers = wearers;
    }

    /// The unit's name as it is, or was, at `at_ms`.
    #[must_use]
    pub fn name_at(&self, id: &UnitId, at_ms: u64) -> UnitName {
        UnitName::at(id, &self.roster, &self.wearers, at_ms)
    }

    /// Gives units the names of `now_ms`, if an assignment was written, began or ended since the last call.
    fn follow_assignments(&mut self, now_ms: u64) {
        let (revision, due_ms) = self.worn;
        let known = self.wearers.revision();
        if known == revision && due_ms.is_none_or(|due_ms| now_ms < due_ms) {
            return;
        }
        self.worn = (known, self.wearers.next_change_after(now_ms));
        let named: Vec<(UnitId, UnitName)> = self
            .units
            .iter()
            .map(|(id, unit)| (id, unit, self.name_at(id, now_ms)))
            .filter(|(_, unit, name)| unit.name != *name)
            .map(|(id, _, name)| (id.clone(), name))
            .collect();
        for (id, name) in named {
            if let Some(unit) = self.units.get_mut(&id) {
                unit.name = name;
            }
            self.touch(&id);
        }
    }

    /// From the next record on, device clocks are believed within `bounds`.
    pub fn believe_clocks(&mut self, bounds: ClockBounds) {
        self.bounds = bounds;
    }

    /// Marks units stale, and forgets those that were silent for `forget_after_ms` without an open alarm.
    pub fn sweep(&mut self, now_ms: u64, forget_after_ms: u64) -> Vec<UnitId> {
        self.follow_assignments(now_ms);
        let mut changed = Vec::new();
        let mut forgotten = Vec::new();
        self.units.for_each_mut(|id, unit| {
            let stale = unit.is_stale_at(now_ms);
            if stale != unit.stale {
                unit.stale = stale;
                changed.push(id.clone());
            }
            let silent = now_ms.saturating_sub(unit.heard_ms) > forget_after_ms;
            if silent && !unit.connected && Shown::new(&self.alarms, &self.alarms_ahead).of_unit(id).is_none()
            {
                forgotten.push(id.clone());
            }
        });
        self.repeaters.retain(|_, at_ms| now_ms.saturating_sub(*at_ms) <= forget_after_ms);
        changed.iter().for_each(|id| self.touch(id));
        for id in &forgotten {
            self.units.remove(id);
        }
        forgotten
    }

    /// Units changed since the last call. Some may have been forgotten since.
    pub fn take_dirty(&mut self) -> Vec<UnitId> {
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            if let Some(unit) = self.units.get_mut(id) {
                unit.dirty = false;
            }
        }
        dirty
    }

    /// Forgets where a unit's picture came from; returns when the record behind it was received.
    pub(super) fn take_changed_by(&mut self, id: &UnitId) -> Option<u64> {
        self.units.get_mut(id)?.changed_by_ms.take()
    }

    /// Forgets it for every unit.
    pub(super) fn forget_changed_by(&mut self) {
        self.units.for_each_mut(|_, unit| unit.changed_by_ms = None);
    }

    /// Marks a unit changed; its `alarm` may have.
    pub(super) fn touch(&mut self, id: &UnitId) {
        if let Some(unit) = self.units.get_mut(id)
            && !unit.dirty
        {
            unit.dirty = true;
            self.dirty.push(id.clone());
        }
    }

    /// A device repeats identities: a person has to look at it.
    pub(super) fn note_repeater(&mut self, told: &Told<'_>) {
        self.repeaters.insert(told.id.clone(), told.received_at_ms);
        if self.repeaters.len() > REPEATERS_MAX {
            let oldest = self.repeaters.iter().min_by_key(|(_, at_ms)| **at_ms).map(|(id, _)| id.clone());
            oldest.map(|id| self.repeaters.remove(&id));
        }
    }

    /// Devices that repeated identities in the last day or so, with when they last did, Unix ms.
    #[must_use]
    pub fn repeaters(&self) -> &BTreeMap<UnitId, u64> {
        &self.repeaters
    }

    /// Lets the rules judge a record. The unit's marker may show another alarm then.
    pub(super) fn observe(&mut self, told: &Told<'_>, body: Option<&Body<'_>>, is_new: bool) {
        // Only these can make a rule raise an alarm, which names the unit.
        let may_fire = told.repeat.is_some() || matches!(body, Some(Body::SensorEvent(_) | Body::Health(_)));
        let callsign = may_fire.then(|| self.name_at(&told.id, told.received_at_ms).callsign);
        self.alarms.observe(&told.observed(callsign.as_deref().unwrap_or_default()), body, is_new);
        self.touch(&told.id);
    }

    /// The unit of a record, made if it is new and there is room.
    pub(super) fn unit_or_new(&mut self, told: &Told<'_>) -> Option<&mut Unit> {
        let id = &told.id;
        if self.units.get_mut(id).is_none() {
            if self.units.len() >= self.units_max {
                return None;
            }
            let mut unit = Unit::new(self.name_at(id, told.received_at_ms), told.head.mode);
            unit.connected = self.connected.contains(id);
            return Some(self.units.get_or_insert_with(id, || unit));
        }
        self.units.get_mut(id)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(super) mod tests;
