//! What the page knows: a fold of committed records.
//!
//! **Pure: the same records give the same state**, whether they came live or are replayed after a restart. No clock, no
//! disk, no network in here; what depends on the present (connections, staleness) is told to it.
//!
//! | record | effect |
//! |---|---|
//! | position, live | moves the marker if it is newer ([`super::order`]) |
//! | position, backlog | moves the marker only if newer, and marks it history |
//! | status | duty, battery; off duty or on a break hides the position |
//! | any but a repeated one | what is missing of its unit ([`super::gaps`]), a loss included |
//! | alarm family, known or not | an alarm in the queue, whatever becomes of its unit |
//! | alarm cancel | a mark on the alarm |
//! | acknowledged | the alarm has its owner |
//! | delivered | a force system has the alarm |
//! | quarantined alarm whose head is readable | an alarm of unknown cause |
//! | under a repeated identity | the same, its alarm beside the other; the page says whose identities repeat |
//! | health | nothing: it is not for this page |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fieldpost_protocol::{Alarm as AlarmBody, Body, Class, Envelope, Head, Heard, Lane, Position, Status};

use super::order::{ClockBounds, JudgedTime, Order};
use super::unit::{Place, Unit, UnitId, UnitName};
use super::unit_map::UnitMap;
use crate::alarms::{
    Acknowledgement, Alarm, AlarmId, Book, Cause, ClockSaid, Confirmed, Delivered, Observed, Owner,
    ReceiptState, RulesSaid, Said, rules::Trigger,
};
use crate::config::roster::Roster;
use crate::fingerprint::Fingerprint;
use crate::people::Wearers;
use crate::record::{QuarantineReason, Record, RecordKind};
use crate::spool::Lsn;

/// Everything the page shows.
#[derive(Debug)]
pub struct State {
    units: UnitMap<Unit>,
    connected: BTreeSet<UnitId>,
    dirty: Vec<UnitId>,
    /// The alarm queue.
    pub alarms: Book,
    bounds: ClockBounds,
    units_max: usize,
    roster: Arc<Roster>,
    wearers: Wearers,
    /// The assignments that the names are of: their revision, and when the next begins or ends.
    worn: (u64, Option<u64>),
    folded: Lsn,
    refused_count: u64,
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

    /// One unit.
    #[must_use]
    pub fn unit(&self, id: &UnitId) -> Option<&Unit> {
        self.units.get(id)
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

    /// The newest record folded.
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
            if silent && !unit.connected && self.alarms.of_unit(id).is_none() {
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
    fn note_repeater(&mut self, told: &Told<'_>) {
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
    fn observe(&mut self, told: &Told<'_>, body: Option<&Body<'_>>, is_new: bool) {
        // Only these can make a rule raise an alarm, which names the unit.
        let may_fire = told.repeat.is_some() || matches!(body, Some(Body::SensorEvent(_) | Body::Health(_)));
        let callsign = may_fire.then(|| self.name_at(&told.id, told.received_at_ms).callsign);
        self.alarms.observe(&told.observed(callsign.as_deref().unwrap_or_default()), body, is_new);
        self.touch(&told.id);
    }

    fn unit_or_new(&mut self, id: &UnitId, head: &Head, at_ms: u64) -> Option<&mut Unit> {
        if self.units.get_mut(id).is_none() {
            if self.units.len() >= self.units_max {
                self.refused_count += 1;
                return None;
            }
            let mut unit = Unit::new(self.name_at(id, at_ms), head.mode);
            unit.connected = self.connected.contains(id);
            return Some(self.units.get_or_insert_with(id, || unit));
        }
        self.units.get_mut(id)
    }
}

/// One record's circumstances, worked out once.
struct Told<'a> {
    id: UnitId,
    head: &'a Head,
    lsn: Lsn,
    lane: Lane,
    received_at_ms: u64,
    time: JudgedTime,
    order: Order,
    /// Set if the record's identity was used before.
    repeat: Option<Fingerprint>,
}

impl Told<'_> {
    fn observed<'r>(&'r self, callsign: &'r str) -> Observed<'r> {
        Observed {
            unit: &self.id,
            boot: self.head.boot,
            seq: self.head.seq,
            repeat: self.repeat,
            lsn: self.lsn,
            received_at_ms: self.received_at_ms,
            at_ms: self.time.believed_ms(self.received_at_ms).unwrap_or(self.received_at_ms),
            lane: self.lane,
            mode: self.head.mode,
            callsign,
        }
    }

    fn alarm_id(&self) -> AlarmId {
        AlarmId { unit: self.id.clone(), boot: self.head.boot, seq: self.head.seq, repeat: self.repeat }
    }
}

/// Folds one committed record into `state`. Records must come in ascending LSN.
pub fn fold(state: &mut State, record: &Record) {
    state.folded = state.folded.max(record.lsn);
    let to_alarms = state.alarms.takes(record.lsn);
    // What time does comes first: a record must not be judged by a shelf or a ladder that is over.
    if to_alarms && record.kind != RecordKind::Clock {
        state.alarms.advance(record.received_at_ms);
    }
    match record.kind {
        RecordKind::Acknowledged if to_alarms => fold_acknowledged(state, record),
        RecordKind::Delivered if to_alarms => fold_delivered(state, record),
        RecordKind::AlarmAction if to_alarms => fold_action(state, record),
        RecordKind::Confirmed if to_alarms => fold_confirmed(state, record),
        RecordKind::Clock if to_alarms => fold_clock(state, record),
        RecordKind::Rules if to_alarms => fold_rules(state, record),
        kind if kind.is_gateways_own() => {}
        // A frame above its device's ceiling must never look real, so not even its alarm is raised.
        RecordKind::Quarantine(QuarantineReason::AboveCeiling) => {}
        RecordKind::Quarantine(_) => {
            if let Ok(envelope) = Envelope::decode(&record.payload)
                && envelope.head.class.is_alarm_family()
                && envelope.head.class != Class::ALARM_CANCEL
                && to_alarms
            {
                let mut told = tell(state, record, &envelope.head);
                // Kept twice under one identity: not a redelivery that was known for one, so possibly another alarm.
                let is_known = state.alarms.get(&told.alarm_id()).is_some();
                told.repeat = is_known.then(|| Fingerprint::of_envelope(&envelope));
                fold_report(state, &told);
                state.observe(&told, None, to_alarms);
                fold_alarm(state, &told, None);
            }
        }
        RecordKind::Envelope | RecordKind::Repeated => {
            if let Ok(envelope) = Envelope::decode(&record.payload) {
                fold_envelope(state, record, &envelope, to_alarms);
            }
        }
        _ => {}
    }
}

fn tell<'a>(state: &State, record: &Record, head: &'a Head) -> Told<'a> {
    let time = JudgedTime::of(head, record.received_at_ms, state.bounds);
    let order = Order::of(head, time, record.lane, record.received_at_ms);
    let id = UnitId { force: record.force.clone(), device: record.device.clone() };
    let (repeat, lsn) = (record.repeat(), record.lsn);
    Told { id, head, lsn, lane: record.lane, received_at_ms: record.received_at_ms, time, order, repeat }
}

fn fold_envelope(state: &mut State, record: &Record, envelope: &Envelope<'_>, to_alarms: bool) {
    let head = &envelope.head;
    // By class, not by lane: an alarm is taken from every lane, and must show from every lane.
    let told = tell(state, record, head);
    let body = Body::decode(head, envelope.body);
    state.observe(&told, body.as_ref().ok(), to_alarms);
    // It is for one rule, if somebody turned that on, and for no page.
    if head.class == Class::HEALTH {
        return;
    }
    fold_report(state, &told);
    if told.repeat.is_some() {
        state.note_repeater(&told);
    } else if let Some(unit) = state.units.get_mut(&told.id) {
        let at_ms = told.time.believed_ms(told.received_at_ms).unwrap_or(told.received_at_ms);
        unit.gaps.note(head.boot.0, head.seq.0, at_ms, told.received_at_ms);
    }
    match body {
        Ok(Body::Position(position)) => fold_position(state, &told, position, told.time),
        Ok(Body::Status(status)) => fold_status(state, &told, status),
        Ok(Body::Loss(loss)) => {
            if let Some(unit) = state.units.get_mut(&told.id) {
                unit.gaps.lose(&loss);
            }
        }
        Ok(Body::Heard(heard)) if to_alarms => fold_heard(state, &told, &heard),
        Ok(Body::AlarmCancel(cancel)) if to_alarms => {
            let id = AlarmId { unit: told.id.clone(), boot: cancel.boot, seq: cancel.seq, repeat: None };
            let at_ms = told.time.believed_ms(told.received_at_ms).unwrap_or(told.received_at_ms);
            state.alarms.cancel(&id, at_ms);
            state.touch(&told.id);
        }
        Ok(Body::Alarm(alarm)) => {
            if to_alarms {
                fold_alarm(state, &told, Some(&alarm));
            }
            fold_alarm_position(state, &told, &alarm);
        }
        // An unknown class of the alarm family, or an alarm whose body is not readable: still an alarm.
        Ok(Body::Unknown(_)) | Err(_)
            if to_alarms && head.class.is_alarm_family() && head.class != Class::ALARM_CANCEL =>
        {
            fold_alarm(state, &told, None);
        }
        _ => {}
    }
}

/// Whatever it says, the device has reported.
fn fold_report(state: &mut State, told: &Told<'_>) {
    let Some(unit) = state.unit_or_new(&told.id, told.head, told.received_at_ms) else { return };
    let reported_ms = match told.lane {
        // When history arrived says nothing of how fresh it is.
        Lane::Backlog if unit.last_report_ms > 0 => told.time.believed_ms(told.received_at_ms).unwrap_or(0),
        Lane::Backlog => told.time.believed_ms(told.received_at_ms).unwrap_or(told.received_at_ms),
        _ => told.received_at_ms,
    };
    unit.heard_ms = unit.heard_ms.max(told.received_at_ms);
    unit.last_report_ms = unit.last_report_ms.max(reported_ms);
    if unit.newest.is_none_or(|newest| told.order.is_after(newest)) {
        unit.newest = Some(told.order);
        unit.mode = told.head.mode;
    }
    // The first record since the last picture: the one that waited longest.
    if told.lane != Lane::Backlog {
        unit.changed_by_ms.get_or_insert(told.received_at_ms);
    }
    state.touch(&told.id);
}

fn fold_position(state: &mut State, told: &Told<'_>, position: Position, time: JudgedTime) {
    let Some(unit) = state.units.get_mut(&told.id) else { return };
    if unit.newest_place.is_some_and(|newest| !told.order.is_after(newest)) {
        return;
    }
    unit.newest_place = Some(told.order);
    if unit.is_gated() {
        return;
    }
    unit.place = Some(Place {
        position,
        time,
        received_at_ms: told.received_at_ms,
        history: told.lane == Lane::Backlog,
    });
}

fn fold_status(state: &mut State, told: &Told<'_>, status: Status) {
    let Some(unit) = state.units.get_mut(&told.id) else { return };
    if unit.newest_status.is_some_and(|newest| !told.order.is_after(newest)) {
        return;
    }
    unit.newest_status = Some(told.order);
    unit.duty = Some(status.duty);
    unit.battery_pct = (status.battery_pct <= 100).then_some(status.battery_pct);
    if unit.is_gated() {
        unit.place = None;
        // What was true before the gate closed must not come out when it opens again.
        if unit.newest_place.is_none_or(|newest| told.order.is_after(newest)) {
            unit.newest_place = Some(told.order);
        }
    }
}

fn fold_alarm(state: &mut State, told: &Told<'_>, body: Option<&AlarmBody>) {
    let position = body.and_then(|body| body.position);
    let raised_at_ms = told.time.believed_ms(told.received_at_ms).unwrap_or(told.received_at_ms);
    let place = position.map(|position| (position.longitude_udeg, position.latitude_udeg));
    let trigger = body.map_or(Trigger::UnknownAlarm, |body| Trigger::of(body.cause));
    let standing = state.alarms.judge(&told.observed(""), trigger, place);
    state.alarms.raise(Alarm {
        id: told.alarm_id(),
        callsign: state.name_at(&told.id, raised_at_ms).callsign.to_string(),
        cause: body.map_or(Cause::Unknown, |body| body.cause.into()),
        mode: told.head.mode,
        raised_at_ms,
        received_at_ms: told.received_at_ms,
        position_udeg: place,
        cancelled_at_ms: None,
        owner: None,
        receipt: ReceiptState::None,
        accepted: None,
        delivered: ReceiptState::None,
        standing,
    });
    state.touch(&told.id);
}

/// The alarm may overtake the very position it quotes, so it moves the marker too.
fn fold_alarm_position(state: &mut State, told: &Told<'_>, alarm: &AlarmBody) {
    if let Some(position) = alarm.position {
        let age_ms = u64::from(alarm.position_age_s) * 1000;
        let device_time_ms = told.time.device_time_ms.saturating_sub(age_ms);
        fold_position(state, told, position, JudgedTime { device_time_ms, clock: told.time.clock });
    }
}

fn fold_delivered(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<Delivered>(&record.payload) else { return };
    let Ok(id) = said.alarm.parse::<AlarmId>() else { return };
    state.alarms.accept(&id, said.acceptance);
}

fn fold_acknowledged(state: &mut State, record: &Record) {
    // Written by this gateway; a payload that is not readable was written by a newer one, and changes nothing here.
    let Ok(said) = serde_json::from_slice::<Acknowledgement>(&record.payload) else { return };
    let Ok(id) = said.alarm.parse::<AlarmId>() else { return };
    state.alarms.acknowledge(&id, Owner { operator: said.operator, at_ms: said.at_ms });
    state.touch(&id.unit);
}

fn fold_action(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<Said>(&record.payload) else { return };
    state.alarms.act(&said);
    state.touch(&said.alarm.unit);
}

fn fold_confirmed(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<Confirmed>(&record.payload) else { return };
    state.alarms.confirm(&said);
}

/// The device itself says that it has a receipt: of the alarm that said so, if its identity was used twice.
fn fold_heard(state: &mut State, told: &Told<'_>, heard: &Heard) {
    let AlarmId { unit, .. } = told.alarm_id();
    for repeat in [Some(Fingerprint(heard.print.0)), None] {
        let alarm = AlarmId { unit: unit.clone(), boot: heard.boot, seq: heard.seq, repeat };
        if state.alarms.awaits(&alarm, heard.receipt) {
            let (told_ms, at_ms) = (told.received_at_ms, told.received_at_ms);
            state.alarms.confirm(&Confirmed { alarm, receipt: heard.receipt, told_ms, at_ms });
            state.touch(&unit);
            return;
        }
    }
}

fn fold_clock(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<ClockSaid>(&record.payload) else { return };
    state.alarms.tick(said);
}

fn fold_rules(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<RulesSaid>(&record.payload) else { return };
    if !state.alarms.adopt(&said) {
        tracing::error!(
            version = said.version,
            "rules of a newer version cannot be read: the old ones stay in force"
        );
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
