//! What a party is told, and when: positions, alerts, their end, and nothing that is not released.

use fieldpost_protocol::{Class, Duty, ForceId, Mode, Power, ResetReason, Status};

use crate::alarms::{AlarmId, Cause, Grade, Origin, Queue};
use crate::config::roster::UnitKind;
use crate::forward::cot::message::{Cot, Kind};
use crate::forward::cot::picture::{Picture, Said, Spans};
use crate::forward::cot::{alert, scope, uid};
use crate::forward::event::PassedOver;
use crate::forward::release::{self, Field, Fields, Forces, Kinds, Release};
use crate::forward::testing::{RECEIVED_MS, alarm_record, head, position_record, record_of};
use crate::live::order::ClockBounds;
use crate::live::standing::StandingAlarm;
use crate::live::unit::{UnitId, UnitName};
use crate::record::Record;

const SPANS: Spans = Spans {
    sends_every_position: false,
    position_stale_ms: 90_000,
    alarm_repeat_ms: 30_000,
    alarm_stale_ms: 300_000,
    clock: ClockBounds { ahead_ms_max: 60_000, behind_ms_max: 3_600_000 },
};

fn unit() -> UnitId {
    "sim/pc-0001".parse().unwrap()
}

fn name() -> UnitName {
    UnitName { callsign: "VT21".into(), kind: UnitKind::Vehicle, wearer: Default::default() }
}

/// The alarm that [`alarm_record`] raises, as the book has it.
fn standing(record: &Record) -> StandingAlarm {
    let head = record.envelope().unwrap().head;
    StandingAlarm {
        id: AlarmId { unit: unit(), boot: head.boot, seq: head.seq, repeat: None },
        callsign: "VT21".to_owned(),
        cause: Cause::OfficerDown,
        grade: Grade::P1,
        mode: Mode::Test,
        origin: Origin::Device,
        queue: Queue::Operations,
        raised_at_ms: RECEIVED_MS - 1_000,
        position_udeg: None,
        is_acknowledged: false,
        is_taken_back: false,
        closed_at_ms: None,
    }
}

fn said(record: Record) -> Said {
    let alarm = standing(&record).id;
    let is_alarm = record.envelope().unwrap().head.class.is_alarm_family();
    Said { key: record.key(), alarm: is_alarm.then_some(alarm), record: record.into(), has_name: true }
}

fn kinds(cots: &[Cot]) -> Vec<Kind> {
    cots.iter().map(|cot| cot.kind).collect()
}

#[test]
fn an_older_position_never_moves_a_marker_back() {
    let mut picture = Picture::new(SPANS);
    let mut take = |lsn| picture.take(&said(position_record(lsn)), &name(), &[], RECEIVED_MS);
    assert_eq!(kinds(&take(5).unwrap()), [Kind::Vehicle]);
    assert_eq!(take(4), Err(PassedOver::Older));
    assert_eq!(take(5), Err(PassedOver::Older));
    let newer = take(6).unwrap();
    assert_eq!(newer[0].uid, uid::of(&unit(), Mode::Test));
    assert_eq!(newer[0].stale_ms, newer[0].at_ms + SPANS.position_stale_ms);
}

#[test]
fn where_every_position_is_wanted_an_older_one_is_stale_from_the_first() {
    let mut picture = Picture::new(Spans { sends_every_position: true, ..SPANS });
    let mut take =
        |lsn| picture.take(&said(position_record(lsn)), &name(), &[], RECEIVED_MS).unwrap().remove(0);
    let newest = take(5);
    let older = take(4);
    assert_eq!(older.stale_ms, older.at_ms);
    assert_eq!(take(5), newest, "delivered again it is as current as it was");
    assert_eq!(picture.begin(RECEIVED_MS), [newest]);
}

#[test]
fn a_status_is_on_the_log_with_the_position_that_its_battery_goes_along_with_once_a_connection() {
    let mut picture = Picture::new(SPANS);
    let status = Status {
        duty: Duty::ON_DUTY,
        battery_pct: 77,
        power: Power::BATTERY,
        signal_dbm: 0,
        satellites: 255,
        temperature_degc: -128,
        storage_pct: 255,
        outbox_owed: 0,
        reset_reason: ResetReason::POWER_ON,
        firmware: [1, 0, 0],
        uptime_s: 1,
    };
    let status = record_of(5, head(Class::STATUS, 5), status.encode(&mut [0; 64]).unwrap());
    let mut take = |record: Record| picture.take(&said(record), &name(), &[], RECEIVED_MS);
    assert_eq!(take(status), Err(PassedOver::NoWord));
    let key = |cot: &Cot| (cot.battery_pct, cot.battery_key.clone());
    let status_key = Some("sim.pc-0001.3.5".to_owned());
    assert_eq!(key(&take(position_record(6)).unwrap()[0]), (Some(77), status_key.clone()));
    assert_eq!(key(&take(position_record(7)).unwrap()[0]), (Some(77), None));
    assert_eq!(key(&picture.begin(RECEIVED_MS)[0]), (Some(77), status_key));
    assert_eq!(
        key(&picture.take(&said(position_record(8)), &name(), &[], RECEIVED_MS).unwrap()[0]),
        (Some(77), None)
    );
}

#[test]
fn an_alert_stands_for_hours_without_a_gap_until_a_person_closes_it() {
    let (record, mut picture) = (alarm_record(7), Picture::new(SPANS));
    let mut alarm = standing(&record);
    let first = picture.take(&said(record.clone()), &name(), &[], RECEIVED_MS).unwrap();
    assert_eq!(kinds(&first), [Kind::Vehicle, Kind::Emergency], "where, and the alert");
    let mut stands_until_ms = first[1].stale_ms;
    let mut now_ms = RECEIVED_MS;
    while now_ms < RECEIVED_MS + 10 * 3_600_000 {
        assert!(now_ms < stands_until_ms, "it vanished at {now_ms}");
        for cot in picture.due(std::slice::from_ref(&alarm), now_ms) {
            assert_eq!(cot.kind, Kind::Emergency);
            stands_until_ms = cot.stale_ms;
        }
        now_ms += 7_000;
    }
    // A wearer's own cancel and an acknowledgement are told, and end nothing.
    alarm.is_taken_back = true;
    alarm.is_acknowledged = true;
    let told = picture.due(std::slice::from_ref(&alarm), now_ms);
    assert!(told[0].kind == Kind::Emergency && told[0].remarks.contains("taken it back"), "{told:?}");
    alarm.closed_at_ms = Some(now_ms);
    assert_eq!(kinds(&picture.due(std::slice::from_ref(&alarm), now_ms)), [Kind::Cancel]);
    assert_eq!(picture.due(std::slice::from_ref(&alarm), now_ms + 60_000), []);
}

#[test]
fn after_a_reconnection_everything_is_told_again_and_a_cancel_too() {
    let (record, mut picture) = (alarm_record(7), Picture::new(SPANS));
    let alarm = standing(&record);
    drop(picture.take(&said(position_record(9)), &name(), &[], RECEIVED_MS));
    drop(picture.take(&said(record.clone()), &name(), &[], RECEIVED_MS));
    assert_eq!(kinds(&picture.begin(RECEIVED_MS)), [Kind::Vehicle]);
    assert_eq!(kinds(&picture.due(std::slice::from_ref(&alarm), RECEIVED_MS)), [Kind::Emergency]);
    let closed = StandingAlarm { closed_at_ms: Some(RECEIVED_MS), ..alarm.clone() };
    assert_eq!(kinds(&picture.due(std::slice::from_ref(&closed), RECEIVED_MS)), [Kind::Cancel]);
    drop(picture.begin(RECEIVED_MS + 1_000));
    assert_eq!(kinds(&picture.due(std::slice::from_ref(&closed), RECEIVED_MS + 1_000)), [Kind::Cancel]);
    assert_eq!(picture.begin(RECEIVED_MS + SPANS.position_stale_ms), [], "stale ones are not");
    // The gateway itself was started again: it does not know what it told.
    let mut anew = Picture::new(SPANS);
    assert_eq!(kinds(&anew.due(std::slice::from_ref(&closed), RECEIVED_MS + 1_000)), [Kind::Cancel]);
    assert_eq!(anew.due(std::slice::from_ref(&closed), RECEIVED_MS + 2_000), []);
    assert_eq!(
        kinds(&Picture::new(SPANS).take(&said(record.clone()), &name(), &[closed], RECEIVED_MS).unwrap()),
        [Kind::Vehicle]
    );
}

#[test]
fn every_alarm_of_a_unit_is_told_and_ends_for_itself_whatever_else_stands() {
    let mut picture = Picture::new(SPANS);
    let first = standing(&alarm_record(7));
    let book = std::slice::from_ref(&first);
    assert_eq!(kinds(&picture.due(book, RECEIVED_MS)), [Kind::Emergency]);
    let told = picture.take(&said(alarm_record(8)), &name(), book, RECEIVED_MS).unwrap();
    assert_eq!(told.last().unwrap().key, alert::key(&standing(&alarm_record(8)).id), "it hides behind none");
    let second = StandingAlarm { cause: Cause::Ced, is_acknowledged: true, ..standing(&alarm_record(8)) };
    let minor = StandingAlarm { grade: Grade::P3, origin: Origin::Rule, ..standing(&alarm_record(9)) };
    assert_eq!(picture.due(&[minor], RECEIVED_MS), [], "a rule's P3 is nothing for TAK");
    let both = picture.due(&[first.clone(), second.clone()], RECEIVED_MS + SPANS.alarm_repeat_ms);
    assert_eq!(kinds(&both), [Kind::Emergency, Kind::InContact]);
    assert_ne!(both[0].uid, both[1].uid);
    let closed = StandingAlarm { closed_at_ms: Some(RECEIVED_MS + 40_000), ..first };
    let ends = picture.due(&[closed.clone(), second.clone()], RECEIVED_MS + 40_000);
    assert_eq!(
        ends.iter().map(|cot| (cot.kind, &cot.uid)).collect::<Vec<_>>(),
        [(Kind::Cancel, &both[0].uid)]
    );
    let second = StandingAlarm { closed_at_ms: Some(RECEIVED_MS + 41_000), ..second };
    let ends = picture.due(&[closed, second], RECEIVED_MS + 41_000);
    assert_eq!(
        ends.iter().map(|cot| (cot.kind, &cot.uid)).collect::<Vec<_>>(),
        [(Kind::Cancel, &both[1].uid)]
    );
}

#[test]
fn a_cancel_is_told_once_a_connection_for_as_long_as_its_alert_could_stand() {
    let (record, mut picture) = (alarm_record(7), Picture::new(SPANS));
    drop(picture.due(&[standing(&record)], RECEIVED_MS));
    let closed = StandingAlarm { closed_at_ms: Some(RECEIVED_MS + 20_000), ..standing(&record) };
    let cancels = (20_000..700_000).step_by(500).filter(|after_ms| {
        let said = picture.due(std::slice::from_ref(&closed), RECEIVED_MS + after_ms);
        assert!(said.iter().all(|cot| cot.kind == Kind::Cancel));
        !said.is_empty()
    });
    assert_eq!(cancels.collect::<Vec<_>>(), [20_000]);
}

#[test]
fn an_older_alarm_that_was_closed_ends_none_that_the_book_has_not_got_yet() {
    let mut picture = Picture::new(SPANS);
    let closed = StandingAlarm { closed_at_ms: Some(RECEIVED_MS - 500), ..standing(&alarm_record(3)) };
    let told = picture.take(&said(alarm_record(7)), &name(), std::slice::from_ref(&closed), RECEIVED_MS);
    let alert = told.unwrap().pop().unwrap();
    let ends = picture.due(&[closed], RECEIVED_MS + 10);
    assert!(ends.iter().all(|cot| cot.kind == Kind::Cancel && cot.uid != alert.uid), "{ends:?}");
}

#[test]
fn an_alarm_from_the_book_is_cut_like_its_record() {
    let record = alarm_record(7);
    let alarm = StandingAlarm { position_udeg: Some((-127_758, 51_507_400)), ..standing(&record) };
    assert_eq!(alert::key(&alarm.id), record.key());
    let whole = Release::everything();
    assert_eq!(scope::alarm(&whole, &alarm), Some(alarm.clone()));
    let only = |fields: &[Field]| Release { fields: Fields::of(fields), ..Release::everything() };
    let bare = scope::alarm(&only(&[Field::Alarm]), &alarm).unwrap();
    assert_eq!((bare.position_udeg, &*bare.callsign), (None, "pc-0001"));
    assert_eq!(scope::alarm(&only(&[Field::Position]), &alarm), None, "not what alarms say");
    let others = Forces::Only([ForceId::try_new("met").unwrap()].into());
    assert_eq!(scope::alarm(&Release { forces: others, ..Release::everything() }, &alarm), None);
    let rough = scope::alarm(&Release { precision_m: 1_000, ..Release::everything() }, &alarm).unwrap();
    assert_ne!(rough.position_udeg, alarm.position_udeg);
}

#[test]
fn what_sensors_and_cancels_said_goes_only_where_they_are_released() {
    let alarm = StandingAlarm { is_taken_back: true, ..standing(&alarm_record(7)) };
    let concluded = StandingAlarm { origin: Origin::Rule, ..alarm.clone() };
    let whole = Release::everything();
    assert_eq!(scope::alarm(&whole, &concluded), Some(concluded.clone()));
    let alarms = Release { classes: Kinds::of(&[release::Kind::Alarm]), ..whole.clone() };
    assert_eq!(scope::alarm(&alarms, &concluded), None);
    let without = Release { fields: Fields::of(&[Field::Alarm, Field::Position]), ..whole };
    assert_eq!(scope::alarm(&without, &concluded), None);
    assert!(!scope::alarm(&alarms, &alarm).unwrap().is_taken_back);
}
