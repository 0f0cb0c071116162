//! What the lanes promise, whatever order they read in: against a fold of the same records one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fieldpost_protocol::{
    AlarmCancel, AlarmCause, Body, BootId, CancelReason, Class, Duty, Lane, Mode, Receipt, Seq,
};
use proptest::prelude::*;

use super::ahead::look_ahead;
use super::fold::fold;
use super::order::ClockBounds;
use super::state::State;
use super::state::tests::{Device, NOW_MS, position};
use super::unit::UnitId;
use super::view;
use crate::alarms::UNIT_OPEN_MAX;
use crate::alarms::{
    Acceptance, Acknowledgement, Action, Alarm, AlarmId, AlarmRow, Book, ClockSaid, Confirmed, EventKind,
    Origin, Outcome, Said,
};
use crate::record::{QuarantineReason, Record, RecordKind};
use crate::spool::{EntryClass, Lsn};

/// What may be in a spool, in its order.
#[derive(Default)]
struct Tape {
    records: Vec<(EntryClass, Record)>,
    alarms: Vec<AlarmId>,
    /// Raised or taken back above their device's quota, so not in the alarm lane, or under a repeated identity: what becomes of them may wait
    /// for its place.
    late: BTreeSet<(UnitId, BootId, Seq)>,
}

/// One thing that happens: what, to which device, seconds since the one before, a value.
type Act = (u8, u8, u16, u8);

impl Tape {
    fn of(acts: &[Act]) -> Self {
        let mut devices: Vec<Device> = (0..3).map(|_| Device::new()).collect();
        let (mut tape, mut at_ms) = (Self::default(), NOW_MS);
        for &(what, number, seconds, value) in acts {
            at_ms += u64::from(seconds % 40) * 1_000;
            let device = &mut devices[usize::from(number % 3)];
            if let Some((class, mut record)) = tape.record(what % 16, value, device, at_ms) {
                if !record.kind.is_gateways_own() {
                    record.device = format!("pc-{}", number % 3).parse().unwrap();
                }
                tape.push(class, record);
            }
        }
        tape
    }

    fn push(&mut self, class: EntryClass, mut record: Record) {
        record.lsn = Lsn(self.records.len() as u64 + 1);
        if let Some(envelope) = record.envelope()
            && envelope.head.class.is_alarm_family()
            && envelope.head.class != Class::ALARM_CANCEL
        {
            let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
            let (boot, seq, repeat) = (envelope.head.boot, envelope.head.seq, record.repeat());
            let id = AlarmId { unit, boot, seq, repeat };
            let (boot, seq) = (id.boot, id.seq);
            if class == EntryClass::Live
                || self.alarms.iter().any(|of| (&of.unit, of.boot, of.seq) == (&id.unit, boot, seq))
            {
                self.late.insert((id.unit.clone(), boot, seq));
            }
            self.alarms.push(id);
        }
        if class == EntryClass::Live
            && let Some(envelope) = record.envelope()
            && let Ok(Body::AlarmCancel(cancel)) = Body::decode(&envelope.head, envelope.body)
        {
            let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
            self.late.insert((unit, cancel.boot, cancel.seq));
        }
        self.records.push((class, record));
    }

    fn record(&self, what: u8, value: u8, device: &mut Device, at_ms: u64) -> Option<(EntryClass, Record)> {
        let latitude = 51_500_000 + i32::from(value);
        let alarm = self.alarms.get(usize::from(value) % self.alarms.len().max(1)).cloned();
        let live = |record| Some((EntryClass::Live, record));
        // Above its quota an alarm, or what takes it back, is stored as live.
        let class = if value % 5 == 1 { EntryClass::Live } else { EntryClass::Alarm };
        let of_alarm = |record| Some((class, record));
        let own = |record| Some((EntryClass::Internal, record));
        let done = |action| alarm.clone().map(|alarm| said(alarm, action, at_ms).record());
        match what {
            0 | 1 => live(device.position(latitude, Lane::Live, at_ms, at_ms)),
            2 | 3 => {
                let made_ms = at_ms - 600_000 + u64::from(value) * 2_000;
                Some((EntryClass::Backlog, device.position(latitude, Lane::Backlog, made_ms, at_ms)))
            }
            4 => live(
                device.status(if value.is_multiple_of(3) { Duty::OFF_DUTY } else { Duty::AVAILABLE }, at_ms),
            ),
            5 => {
                // Restarted, or wiped: it counts anew.
                device.boot = if value.is_multiple_of(4) { 1 } else { device.boot + 1 };
                device.seq = u32::from(value % 3);
                live(device.position(latitude, Lane::Live, at_ms, at_ms))
            }
            6 => {
                // Overtaken on its way: sequences come in another order than they were issued.
                device.seq += 2;
                let record = device.position(latitude, Lane::Live, at_ms, at_ms);
                device.seq -= 3;
                live(record)
            }
            7 | 8 => {
                let place = (value.is_multiple_of(2)).then(|| position(latitude));
                let mut record = device.alarm(AlarmCause(value % 9), place, at_ms);
                if value % 16 == 3 {
                    record.kind = RecordKind::Repeated;
                }
                of_alarm(record)
            }
            9 => {
                let mut record = device.record(Class::ALARM, &[], Lane::Alarm, at_ms, at_ms);
                let is_above = value.is_multiple_of(2);
                let (above, body) = (QuarantineReason::AboveCeiling, QuarantineReason::Body);
                record.kind = RecordKind::Quarantine(if is_above { above } else { body });
                Some((EntryClass::Alarm, record))
            }
            10 => {
                let (boot, seq) = alarm.map_or((BootId(1), Seq(0)), |id| (id.boot, id.seq));
                let mut buffer = [0; 64];
                let cancel = AlarmCancel { boot, seq, reason: CancelReason::WEARER };
                let body = cancel.encode(&mut buffer).unwrap();
                of_alarm(device.record(Class::ALARM_CANCEL, body, Lane::Alarm, at_ms, at_ms))
            }
            11 => {
                let id = alarm?;
                let operator = ["anna", "ben"][usize::from(value % 2)].to_owned();
                own(Acknowledgement { alarm: id.to_string(), operator, at_ms, seen_as: None }.record(&id))
            }
            12 => own(Acceptance { by: "sink".to_owned(), at_ms }.record(&alarm?)),
            13 => {
                let receipt = if value.is_multiple_of(2) { Receipt::Seen } else { Receipt::Delivered };
                own(Confirmed { alarm: alarm?, receipt, told_ms: at_ms, at_ms }.record())
            }
            14 if value.is_multiple_of(2) => {
                own(done(Action::Close { outcome: Outcome::Genuine, note: String::new() })?)
            }
            14 => own(done(Action::Shelve { minutes: 5, reason: "seen".to_owned() })?),
            _ => own(ClockSaid { at_ms, watch: None }.record()),
        }
    }
}

fn said(alarm: AlarmId, action: Action, at_ms: u64) -> Said {
    Said { alarm, operator: "anna".to_owned(), at_ms, seen_as: None, action }
}

fn state() -> State {
    State::new(Book::default(), ClockBounds::default(), 100, Arc::default())
}

fn fold_all(records: &[(EntryClass, Record)]) -> State {
    let mut state = state();
    records.iter().for_each(|(_, record)| fold(&mut state, record));
    state
}

/// The three readers, moved by hand.
struct Lanes<'t> {
    tape: &'t Tape,
    state: State,
    /// So many records has each been through.
    in_order: usize,
    alarms: usize,
    live: usize,
    /// A wearer was told.
    has_told: bool,
}

impl<'t> Lanes<'t> {
    fn new(tape: &'t Tape) -> Self {
        Self { tape, state: state(), in_order: 0, alarms: 0, live: 0, has_told: false }
    }

    fn step(&mut self, which: u8) {
        let records = &self.tape.records;
        match which % 5 {
            0 | 1 => {
                let Some((_, record)) = records.get(self.in_order) else { return };
                fold(&mut self.state, record);
                self.in_order += 1;
                self.state.catch_up(record.lsn);
            }
            2 => {
                let classes = [EntryClass::Alarm, EntryClass::Internal];
                self.alarms = self.look(self.alarms, &classes);
            }
            3 => self.live = self.look(self.live, &[EntryClass::Live]),
            _ => {
                let owed = self.state.shown().receipts_owed().find(|(_, receipt)| *receipt == Receipt::Seen);
                self.has_told |= owed.is_some();
                owed.iter().for_each(|owed| self.state.told(owed, NOW_MS + u64::from(which)));
            }
        }
    }

    /// Shows the next record of these classes; returns where the lane is then.
    fn look(&mut self, at: usize, classes: &[EntryClass]) -> usize {
        let at = at.max(self.in_order);
        let next = self.tape.records[at..].iter().position(|(class, _)| classes.contains(class));
        let Some(next) = next.map(|next| at + next) else { return at };
        look_ahead(&mut self.state, &self.tape.records[next].1);
        next + 1
    }

    /// A fold of what any reader has been through.
    fn fold_of_what_was_read(&self) -> State {
        let records = self.tape.records.iter().enumerate().filter(|(n, (class, _))| match class {
            EntryClass::Live => *n < self.live.max(self.in_order),
            EntryClass::Alarm | EntryClass::Internal => *n < self.alarms.max(self.in_order),
            EntryClass::Backlog => *n < self.in_order,
        });
        let mut state = state();
        records.for_each(|(_, (_, record))| fold(&mut state, record));
        state
    }

    fn fold_the_rest(&mut self) {
        while self.in_order < self.tape.records.len() {
            self.step(0);
        }
    }
}

/// All that a page shows, and all that a snapshot keeps.
fn picture(state: &mut State) -> (Vec<String>, Vec<Alarm>, Vec<Alarm>, String) {
    let units = state.take_dirty();
    let units = units.iter().map(|id| {
        let mut json = Vec::new();
        let unit = state.unit(id).unwrap();
        view::write_unit(&mut json, id, unit, state.shown().of_unit(id).as_ref());
        String::from_utf8(json).unwrap()
    });
    let mut units: Vec<String> = units.collect();
    units.sort();
    let book = &state.alarms;
    let kept = book.iter().chain(book.waiting()).chain(book.closed()).cloned().collect();
    let shown = state.shown().all().map(std::borrow::Cow::into_owned).collect();
    let time = format!("{:?} {:?} {}", book.time(), book.folded(), book.unacknowledged_count());
    (units, kept, shown, time)
}

/// What people and devices have done to an alarm: all that is laid over it.
fn done_to(alarm: &Alarm) -> impl PartialEq + std::fmt::Debug + use<> {
    let receipts = (alarm.receipt, alarm.delivered, alarm.accepted.clone());
    (alarm.owner.clone(), alarm.cancelled_at_ms, receipts)
}

/// Which picture of an alarm it is, as a page tells.
fn picture_of(alarm: &Alarm) -> u64 {
    serde_json::to_value(AlarmRow::from(alarm)).unwrap()["revision"].as_u64().unwrap()
}

/// Takes out what no record says: when its wearer was told.
fn forget_told(alarms: &mut [Alarm]) {
    for alarm in alarms {
        let mut story = serde_json::to_value(&alarm.standing.story).unwrap();
        story.as_array_mut().unwrap().retain(|line| line["what"] != "told");
        alarm.standing.story = serde_json::from_value(story).unwrap();
        (alarm.standing.told_ms, alarm.standing.revision) = (None, 0);
    }
}

/// The line of its story that says so.
fn line_of(alarm: &Alarm, what: EventKind) -> Option<usize> {
    alarm.standing.story.lines().iter().position(|line| line.what == what)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the lanes read, and when: once the fold has been through the records, everything is as if there were no lanes.
    #[test]
    fn every_order_of_reading_comes_to_the_same(
        acts in prop::collection::vec(any::<Act>(), 1..60),
        steps in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        let tape = Tape::of(&acts);
        let mut lanes = Lanes::new(&tape);
        steps.iter().for_each(|step| lanes.step(*step));
        lanes.fold_the_rest();
        let mut whole = fold_all(&tape.records);
        // The same ones are dirty, so the same ones are compared.
        let (mut by_lanes, mut in_order) = (picture(&mut lanes.state), picture(&mut whole));
        if lanes.has_told {
            for (_, kept, shown, _) in [&mut by_lanes, &mut in_order] {
                forget_told(kept);
                forget_told(shown);
            }
        }
        prop_assert_eq!(by_lanes, in_order);
        let owed = |state: &State| state.shown().receipts_owed().collect::<Vec<_>>();
        prop_assert_eq!(owed(&lanes.state), owed(&whole));
        prop_assert_eq!(lanes.state.folded(), whole.folded());
        prop_assert_eq!(lanes.state.units_count(), whole.units_count());
        prop_assert!(lanes.state.alarms_ahead.is_empty());
    }

    /// What the alarm lane has been through is on the screen as the records up to there make it, however far behind the fold is;
    /// and no alarm leaves the screen or shows an older picture than before.
    #[test]
    fn the_screen_has_what_the_alarm_lane_has_read(
        acts in prop::collection::vec(any::<Act>(), 1..60),
        steps in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        let tape = Tape::of(&acts);
        let mut lanes = Lanes::new(&tape);
        let mut pictures: BTreeMap<AlarmId, Alarm> = BTreeMap::new();
        for step in steps {
            lanes.step(step);
            let shown = lanes.state.shown();
            for (id, before) in &pictures {
                // What a repeated identity means is known in its place: two lanes may have met its records the other way round.
                if id.repeat.is_some() && tape.late.contains(&(id.unit.clone(), id.boot, id.seq)) {
                    continue;
                }
                let now = shown.find(id);
                prop_assert!(now.is_some(), "{id}");
                let now = now.unwrap();
                prop_assert!(picture_of(&now) >= picture_of(before), "{now:?} {before:?}");
                if picture_of(&now) == picture_of(before) {
                    let (lines, before_lines) = (&now.standing.story, &before.standing.story);
                    prop_assert_eq!(lines.lines().len(), before_lines.lines().len());
                }
            }
            pictures = shown.all().map(|alarm| (alarm.id.clone(), alarm.into_owned())).collect();
            for alarm in pictures.values() {
                if let Some(told) = line_of(alarm, EventKind::Told) {
                    let taken = line_of(alarm, EventKind::Acknowledged);
                    prop_assert!(taken.is_some_and(|taken| taken < told), "{:?}", alarm.standing.story);
                }
            }
            if step % 5 != 2 || lanes.alarms <= lanes.in_order {
                continue;
            }
            let up_to_there = lanes.fold_of_what_was_read();
            for alarm in up_to_there.alarms.iter() {
                // An alarm of a rule is no device's: it waits for its place.
                let is_late = tape.late.contains(&(alarm.id.unit.clone(), alarm.id.boot, alarm.id.seq));
                if alarm.standing.origin == Origin::Device && alarm.id.repeat.is_none() && !is_late {
                    let shown = shown.find(&alarm.id);
                    prop_assert!(shown.is_some(), "{}", alarm.id);
                    prop_assert_eq!(done_to(&shown.unwrap()), done_to(alarm));
                }
            }
            let open = shown.all().filter(|a| a.owner.is_none() && a.standing.closed.is_none()).count();
            prop_assert_eq!(shown.unacknowledged_count(), open);
        }
    }
}

#[test]
fn the_newest_is_shown_before_the_history_that_came_first_and_no_gap_with_it() {
    let mut device = Device::new();
    let mut tape = Tape::default();
    tape.push(EntryClass::Live, device.position(1, Lane::Live, NOW_MS, NOW_MS));
    let newest_ms = NOW_MS + 100_000;
    let history: Vec<Record> = (1..=8)
        .map(|n| {
            device.position(1 + n, Lane::Backlog, NOW_MS + u64::try_from(n).unwrap() * 10_000, newest_ms)
        })
        .collect();
    history.into_iter().for_each(|record| tape.push(EntryClass::Backlog, record));
    tape.push(EntryClass::Live, device.position(100, Lane::Live, newest_ms, newest_ms));
    let mut lanes = Lanes::new(&tape);
    lanes.step(0);
    lanes.step(3);
    let id = "sim/pc-0001".parse().unwrap();
    let shown = |lanes: &Lanes<'_>| {
        let unit = lanes.state.unit(&id).unwrap();
        let place = unit.report().place.unwrap();
        (place.position.latitude_udeg, place.history, unit.gaps.shown().count())
    };
    assert_eq!(shown(&lanes), (100, false, 0));
    for _ in 0..tape.records.len() {
        lanes.step(0);
        assert_eq!(shown(&lanes), (100, false, 0));
    }
}

#[test]
fn off_duty_read_ahead_hides_the_position_at_once() {
    let mut device = Device::new();
    let mut tape = Tape::default();
    tape.push(EntryClass::Live, device.position(1, Lane::Live, NOW_MS, NOW_MS));
    tape.push(EntryClass::Backlog, device.position(2, Lane::Backlog, NOW_MS + 1_000, NOW_MS + 9_000));
    tape.push(EntryClass::Live, device.status(Duty::OFF_DUTY, NOW_MS + 2_000));
    let mut lanes = Lanes::new(&tape);
    [0, 3, 0, 0].iter().enumerate().for_each(|(n, step)| {
        lanes.step(*step);
        let place = lanes.state.unit(&"sim/pc-0001".parse().unwrap()).unwrap().report().place;
        assert_eq!(place.is_some(), n == 0, "step {n}");
    });
}

#[test]
fn off_duty_hides_a_position_that_an_alarm_ahead_of_it_has_shown() {
    let mut device = Device::new();
    let mut tape = Tape::default();
    tape.push(EntryClass::Live, device.position(1, Lane::Live, NOW_MS, NOW_MS));
    tape.push(EntryClass::Live, device.status(Duty::OFF_DUTY, NOW_MS + 1_000));
    let button = device.alarm(AlarmCause::BUTTON, Some(position(2)), NOW_MS + 2_000);
    tape.push(EntryClass::Alarm, button);
    let mut lanes = Lanes::new(&tape);
    let is_shown = [0, 2, 0, 0].map(|step| {
        lanes.step(step);
        lanes.state.unit(&"sim/pc-0001".parse().unwrap()).unwrap().report().place.is_some()
    });
    assert_eq!(is_shown, [true, true, false, false]);
}

#[test]
fn a_device_that_takes_its_alarm_back_for_ever_fills_nothing() {
    let mut device = Device::new();
    let mut tape = Tape::default();
    tape.push(EntryClass::Alarm, device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    let id = tape.alarms[0].clone();
    for n in 0..50 {
        let mut buffer = [0; 64];
        let cancel = AlarmCancel { boot: id.boot, seq: id.seq, reason: CancelReason::WEARER };
        let body = cancel.encode(&mut buffer).unwrap();
        let class = if n % 2 == 0 { EntryClass::Live } else { EntryClass::Alarm };
        tape.push(class, device.record(Class::ALARM_CANCEL, body, Lane::Alarm, NOW_MS, NOW_MS));
    }
    let mut lanes = Lanes::new(&tape);
    [2, 2, 3].repeat(25).into_iter().for_each(|step| lanes.step(step));
    assert!(lanes.state.shown().get(&id).unwrap().cancelled_at_ms.is_some());
    assert!(lanes.state.alarms_ahead.deeds_count() <= 3, "raised, and taken back in each lane");
}

#[test]
fn an_alarm_that_was_shown_stays_when_the_fold_finds_no_room_for_it() {
    let mut device = Device::new();
    let mut tape = Tape::default();
    for _ in 1..UNIT_OPEN_MAX {
        tape.push(EntryClass::Alarm, device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    }
    tape.push(EntryClass::Live, device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    tape.push(EntryClass::Alarm, device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    let id = tape.alarms[UNIT_OPEN_MAX].clone();
    let taken =
        Acknowledgement { alarm: id.to_string(), operator: "anna".to_owned(), at_ms: NOW_MS, seen_as: None };
    tape.push(EntryClass::Internal, taken.record(&id));
    let mut lanes = Lanes::new(&tape);
    (1..UNIT_OPEN_MAX).for_each(|_| lanes.step(0));
    for step in [2, 2, 0, 0, 0] {
        lanes.step(step);
        let shown = lanes.state.shown().find(&id).map(|alarm| alarm.owner.is_some());
        assert_eq!(shown, Some(lanes.alarms == tape.records.len()), "step {step}");
    }
}

#[test]
fn an_alarm_that_is_seen_before_its_place_is_owed_to_its_wearer_once() {
    let mut device = Device::new();
    let mut tape = Tape::default();
    for n in 0..3 {
        tape.push(EntryClass::Backlog, device.position(n, Lane::Backlog, NOW_MS, NOW_MS));
    }
    tape.push(EntryClass::Alarm, device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    let id = tape.alarms[0].clone();
    let acknowledged =
        Acknowledgement { alarm: id.to_string(), operator: "anna".to_owned(), at_ms: NOW_MS, seen_as: None };
    tape.push(EntryClass::Internal, acknowledged.record(&id));
    let mut lanes = Lanes::new(&tape);
    let owed = (id.clone(), Receipt::Seen);
    [2, 2].into_iter().for_each(|step| lanes.step(step));
    assert_eq!(lanes.state.shown().receipts_owed().collect::<Vec<_>>(), std::slice::from_ref(&owed));
    lanes.state.told(&owed, NOW_MS + 7);
    lanes.fold_the_rest();
    let alarm = lanes.state.alarms.get(&id).unwrap();
    assert_eq!(alarm.standing.told_ms, Some(NOW_MS + 7), "that it was sent is known by nobody else");
    assert_eq!(lanes.state.shown().receipts_owed().collect::<Vec<_>>(), [owed]);
    assert_eq!(alarm.mode, Mode::Test);
}
