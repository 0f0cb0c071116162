//! The rules at work, driven by records alone as the product is.

use std::sync::Arc;

use bytes::Bytes;
use fieldpost_protocol::{
    Alarm as AlarmBody, AlarmCancel, AlarmCause, BootId, CancelReason, Class, ClockQuality, DeviceId, Duty,
    Envelope, EventCode, FixSource, ForceId, Head, Health, Lane, Mode, Position, Power, ReportReason,
    ResetReason, SensorEvent, Seq, Status,
};

use super::super::rules::{BUILT_IN, Rules};
use super::*;
use crate::live::fold::fold;
use crate::live::order::ClockBounds;
use crate::live::state::State;
use crate::live::unit::UnitId;
use crate::record::{Record, RecordKind};

pub(super) const START_MS: u64 = 1_795_000_000_000;
/// A hundred metres of latitude, in micro-degrees.
const HUNDRED_M_UDEG: i32 = 899;

/// Records as they would be in the spool.
#[derive(Default)]
pub(super) struct Tape {
    pub(super) records: Vec<Record>,
    seq: u32,
}

impl Tape {
    fn push(
        &mut self,
        device: &str,
        kind: RecordKind,
        at_ms: u64,
        made_ms: u64,
        lane: Lane,
        frame: Frame<'_>,
    ) {
        let head = Head {
            version: 1,
            class: frame.0,
            mode: Mode::Test,
            clock: ClockQuality::Gnss,
            boot: BootId(1),
            seq: Seq(self.seq),
            time_ms: made_ms,
        };
        self.seq += 1;
        let mut buffer = [0; 2048];
        let payload = Envelope { head, body: frame.1, trailer: None }.encode(&mut buffer).unwrap();
        self.own(Record {
            lsn: Lsn(0),
            received_at_ms: at_ms,
            force: ForceId::try_new("sim").unwrap(),
            device: DeviceId::try_new(device).unwrap(),
            ceiling: Mode::Test,
            lane,
            kind,
            payload: Bytes::copy_from_slice(payload),
        });
    }

    pub(super) fn own(&mut self, mut record: Record) {
        record.lsn = Lsn(self.records.len() as u64 + 1);
        self.records.push(record);
    }

    pub(super) fn event(&mut self, device: &str, at_ms: u64, code: EventCode, value: i32) -> AlarmId {
        let mut buffer = [0; 64];
        let event = SensorEvent { code, index: 0, value };
        let body = event.encode(&mut buffer).unwrap();
        let id = self.id(device);
        self.push(device, RecordKind::Envelope, at_ms, at_ms, Lane::Live, (Class::SENSOR_EVENT, body));
        id
    }

    pub(super) fn alarm(
        &mut self,
        device: &str,
        at_ms: u64,
        cause: AlarmCause,
        place: Option<i32>,
    ) -> AlarmId {
        let mut buffer = [0; 64];
        let alarm = AlarmBody { cause, silent: false, position: place.map(position), position_age_s: 0 };
        let body = alarm.encode(&mut buffer).unwrap();
        let id = self.id(device);
        self.push(device, RecordKind::Envelope, at_ms, at_ms, Lane::Alarm, (Class::ALARM, body));
        id
    }

    pub(super) fn at(&mut self, device: &str, at_ms: u64, latitude_udeg: i32) {
        let mut buffer = [0; 64];
        let body = position(latitude_udeg);
        let body = body.encode(&mut buffer).unwrap();
        self.push(device, RecordKind::Envelope, at_ms, at_ms, Lane::Live, (Class::POSITION, body));
    }

    fn status(&mut self, device: &str, at_ms: u64, power: Power, duty: Duty) {
        let status = Status {
            duty,
            battery_pct: 81,
            power,
            signal_dbm: -90,
            satellites: 9,
            temperature_degc: 20,
            storage_pct: 3,
            outbox_owed: 0,
            reset_reason: ResetReason::POWER_ON,
            firmware: [1, 2, 3],
            uptime_s: 60,
        };
        let mut buffer = [0; 64];
        let body = status.encode(&mut buffer).unwrap();
        self.push(device, RecordKind::Envelope, at_ms, at_ms, Lane::Live, (Class::STATUS, body));
    }

    fn heart(&mut self, device: &str, at_ms: u64, heart_rate_bpm: u8) {
        let mut buffer = [0; 64];
        let body = Health { heart_rate_bpm, confidence_pct: 90 };
        let body = body.encode(&mut buffer).unwrap();
        self.push(device, RecordKind::Envelope, at_ms, at_ms, Lane::Health, (Class::HEALTH, body));
    }

    pub(super) fn clock(&mut self, at_ms: u64) {
        self.own(ClockSaid { at_ms, watch: None }.record());
    }

    fn watch(&mut self, at_ms: u64, unlocked: u32) {
        self.own(
            ClockSaid { at_ms, watch: Some(Watch { consoles: unlocked, unlocked, ..Watch::default() }) }
                .record(),
        );
    }

    fn rules(&mut self, at_ms: u64, text: &str) {
        let rules = crate::config::rules::from_text(std::path::Path::new("rules.toml"), text).unwrap();
        self.own(RulesSaid::new(&rules, at_ms).record());
    }

    pub(super) fn acknowledge(&mut self, id: &AlarmId, at_ms: u64) {
        self.acknowledge_as(id, "anna", at_ms);
    }

    pub(super) fn acknowledge_as(&mut self, id: &AlarmId, operator: &str, at_ms: u64) {
        let said =
            Acknowledgement { alarm: id.to_string(), operator: operator.to_owned(), at_ms, seen_as: None };
        self.own(said.record(id));
    }

    pub(super) fn cancel(&mut self, device: &str, at_ms: u64, seq: u32) {
        let mut buffer = [0; 64];
        let cancel = AlarmCancel { boot: BootId(1), seq: Seq(seq), reason: CancelReason::WEARER };
        let body = cancel.encode(&mut buffer).unwrap();
        self.push(device, RecordKind::Envelope, at_ms, at_ms, Lane::Alarm, (Class::ALARM_CANCEL, body));
    }

    pub(super) fn act(&mut self, id: &AlarmId, at_ms: u64, action: Action) {
        let said = Said { alarm: id.clone(), operator: "anna".to_owned(), at_ms, seen_as: None, action };
        self.own(said.record());
    }

    /// The identity of the next record.
    fn id(&self, device: &str) -> AlarmId {
        format!("sim/{device}/1/{}", self.seq).parse().unwrap()
    }

    pub(super) fn fold(&self) -> State {
        self.fold_over(Book::default())
    }

    pub(super) fn fold_over(&self, book: Book) -> State {
        let mut state = State::new(book, ClockBounds::default(), 1_000, Arc::default());
        self.records.iter().for_each(|record| fold(&mut state, record));
        state
    }
}

type Frame<'a> = (Class, &'a [u8]);

fn position(latitude_udeg: i32) -> Position {
    Position {
        latitude_udeg,
        longitude_udeg: -1_000_000,
        speed_cmps: Some(0),
        course_turn256: None,
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn graded_of(state: &State, id: &AlarmId) -> (Grade, String, bool) {
    let standing = &state.alarms.get(id).unwrap().standing;
    (standing.grade, standing.rule.id.clone(), standing.is_fact)
}

fn facts(state: &State, id: &AlarmId) -> Vec<String> {
    state.alarms.get(id).unwrap().standing.facts.iter().map(|fact| fact.text.clone()).collect()
}

fn story(state: &State, id: &AlarmId) -> Vec<EventKind> {
    state.alarms.find(id).unwrap().standing.story.lines().iter().map(|line| line.what).collect()
}

#[test]
fn each_cause_of_a_device_has_its_rule_and_grade() {
    use Grade::{P1, P2, P3};
    let table = [
        (AlarmCause::BUTTON, P1, "R1", true),
        (AlarmCause::OFFICER_DOWN, P2, "R2", false),
        (AlarmCause::CED, P2, "R4", true),
        (AlarmCause::WEAPON_AND_FALL, P1, "R5", false),
        (AlarmCause::CRASH, P1, "R6", false),
        (AlarmCause::CHECK_IN, P2, "R8", false),
        (AlarmCause::TAMPER, P3, "R12", false),
        (AlarmCause(200), P1, "R0", true),
    ];
    for (cause, grade, rule, is_fact) in table {
        let mut tape = Tape::default();
        let id = tape.alarm("pc-1", START_MS, cause, None);
        let state = tape.fold();
        assert_eq!(graded_of(&state, &id), (grade, rule.to_owned(), is_fact), "{cause:?}");
        let alarm = state.alarms.get(&id).unwrap();
        assert_eq!((alarm.standing.rule.version, alarm.standing.origin), (1, Origin::Device));
        assert_eq!(alarm.standing.facts[0].record, Some(Lsn(1)), "the record that says so");
        let is_security = alarm.standing.queue == Queue::Security;
        assert_eq!(is_security, cause == AlarmCause::TAMPER);
    }
}

#[test]
fn a_fall_after_a_drawn_weapon_is_a_p1_whichever_came_first() {
    for is_drawn_first in [true, false] {
        let mut tape = Tape::default();
        let draw = |tape: &mut Tape, at_ms| _ = tape.event("pc-1", at_ms, EventCode::UNHOLSTERED, 0);
        if is_drawn_first {
            draw(&mut tape, START_MS);
        }
        let down = tape.alarm("pc-1", START_MS + 100_000, AlarmCause::OFFICER_DOWN, None);
        if !is_drawn_first {
            draw(&mut tape, START_MS + 399_000);
        }
        assert_eq!(graded_of(&tape.fold(), &down).0, Grade::P1, "drawn first: {is_drawn_first}");
        assert!(facts(&tape.fold(), &down).contains(&"Weapon drawn".to_owned()));
    }
    let mut tape = Tape::default();
    tape.event("pc-1", START_MS, EventCode::UNHOLSTERED, 0);
    let late = tape.alarm("pc-1", START_MS + 300_001, AlarmCause::OFFICER_DOWN, None);
    assert_eq!(graded_of(&tape.fold(), &late).0, Grade::P2, "five minutes are over");
    let mut tape = Tape::default();
    tape.event("pc-2", START_MS, EventCode::UNHOLSTERED, 0);
    let other = tape.alarm("pc-1", START_MS + 1_000, AlarmCause::OFFICER_DOWN, None);
    assert_eq!(graded_of(&tape.fold(), &other).0, Grade::P2, "somebody else's weapon");
}

#[test]
fn a_drawn_weapon_is_graver_if_nobody_is_near() {
    for (metres, grade) in [(1, Grade::P3), (3, Grade::P2)] {
        let mut tape = Tape::default();
        tape.at("pc-1", START_MS, 51_500_000);
        tape.at("pc-2", START_MS, 51_500_000 + metres * HUNDRED_M_UDEG);
        let id = tape.event("pc-1", START_MS + 1_000, EventCode::UNHOLSTERED, 0);
        let state = tape.fold();
        assert_eq!(graded_of(&state, &id), (grade, "R3".to_owned(), true));
        let alarm = state.alarms.get(&id).unwrap();
        assert_eq!((alarm.cause, alarm.standing.origin), (Cause::Weapon, Origin::Rule));
        assert_eq!(alarm.position_udeg, Some((-1_000_000, 51_500_000)));
    }
    let mut tape = Tape::default();
    let id = tape.event("pc-1", START_MS, EventCode::UNHOLSTERED, 0);
    assert_eq!(
        graded_of(&tape.fold(), &id).0,
        Grade::P3,
        "not knowing where it is says nothing of who is near"
    );
}

#[test]
fn a_weapon_drawn_again_adds_to_its_alarm_and_back_in_its_holster_clears_it() {
    let mut tape = Tape::default();
    let id = tape.event("pc-1", START_MS, EventCode::UNHOLSTERED, 0);
    tape.event("pc-1", START_MS + 2_000, EventCode::UNHOLSTERED, 0);
    assert_eq!(tape.fold().alarms.iter().count(), 1);
    tape.event("pc-1", START_MS + 5_000, EventCode::HOLSTERED, 0);
    tape.acknowledge(&id, START_MS + 6_000);
    let state = tape.fold();
    let alarm = state.alarms.get(&id).unwrap();
    assert_eq!(
        (alarm.state(), alarm.receipt),
        (AlarmState::Cleared, ReceiptState::None),
        "the wearer knows nothing of it"
    );
    assert_eq!(state.alarms.receipts_owed().count(), 0);
    let again = tape.event("pc-1", START_MS + 60_000, EventCode::UNHOLSTERED, 0);
    assert_eq!(
        tape.fold().alarms.get(&again).unwrap().state(),
        AlarmState::Unacknowledged,
        "that is another time"
    );
}

#[test]
fn at_rest_and_in_training_the_gateways_own_rules_say_nothing() {
    let draws = |prepare: &dyn Fn(&mut Tape)| {
        let mut tape = Tape::default();
        prepare(&mut tape);
        tape.event("pc-1", START_MS + 10_000, EventCode::UNHOLSTERED, 0);
        tape.fold().alarms.iter().count()
    };
    assert_eq!(draws(&|_| {}), 1);
    assert_eq!(draws(&|tape| tape.status("pc-1", START_MS, Power::DOCKED, Duty::ON_DUTY)), 0);
    assert_eq!(draws(&|tape| tape.status("pc-1", START_MS, Power::CHARGING, Duty::ON_DUTY)), 0);
    assert_eq!(draws(&|tape| tape.status("pc-1", START_MS, Power::BATTERY, Duty::AT_STATION)), 0);
    assert_eq!(draws(&|tape| tape.status("pc-1", START_MS, Power::BATTERY, Duty::AVAILABLE)), 1);
    assert_eq!(draws(&|tape| _ = tape.event("pc-1", START_MS, EventCode::CED_TRAINING, 0)), 0);
    assert_eq!(
        draws(&|tape| _ = tape.event("pc-1", START_MS, EventCode::CED_TEST, 0)),
        1,
        "a test covers ten seconds"
    );
    assert_eq!(draws(&|tape| _ = tape.event("pc-2", START_MS, EventCode::CED_TRAINING, 0)), 1);
}

#[test]
fn in_an_armoury_rules_are_quiet_but_what_a_device_reports_is_shown_and_a_button_is_a_button() {
    let zone = "[[zone]]\nname = \"Armoury\"\ncentre = \"51.5,-1.0\"\nradius_m = 60\nrules = [\"R3\", \"R4\", \"R5\"]\n";
    let mut tape = Tape::default();
    tape.rules(START_MS, &format!("{BUILT_IN}\n{zone}"));
    tape.at("pc-1", START_MS, 51_500_000);
    tape.event("pc-1", START_MS + 1_000, EventCode::UNHOLSTERED, 0);
    let fired = tape.alarm("pc-1", START_MS + 2_000, AlarmCause::CED, Some(51_500_000));
    let button = tape.alarm("pc-1", START_MS + 3_000, AlarmCause::BUTTON, Some(51_500_000));
    let state = tape.fold();
    assert_eq!(state.alarms.iter().count(), 2, "the drawn weapon is no alarm");
    assert_eq!((graded_of(&state, &fired).0, graded_of(&state, &button).0), (Grade::P4, Grade::P1));
    assert!(state.alarms.get(&fired).unwrap().standing.escalation.is_none());
}

#[test]
fn what_comes_late_from_an_outbox_is_history_for_the_rules() {
    let mut tape = Tape::default();
    let mut buffer = [0; 64];
    let body = SensorEvent { code: EventCode::UNHOLSTERED, index: 0, value: 0 };
    let body = body.encode(&mut buffer).unwrap();
    let frame = (Class::SENSOR_EVENT, body);
    tape.push("pc-1", RecordKind::Envelope, START_MS, START_MS - LATE_MS - 1, Lane::Backlog, frame);
    assert_eq!(tape.fold().alarms.iter().count(), 0);
}

#[test]
fn an_unacknowledged_alarm_climbs_its_ladder_and_an_acknowledged_one_does_not() {
    let mut tape = Tape::default();
    let open = tape.alarm("pc-1", START_MS, AlarmCause::BUTTON, None);
    let taken = tape.alarm("pc-2", START_MS, AlarmCause::BUTTON, None);
    tape.acknowledge(&taken, START_MS + 5_000);
    assert_eq!(tape.fold().alarms.due_ms(), Some(START_MS + 10_000));
    for (at_s, step, targets) in [
        (9, 0, &[][..]),
        (10, 1, &["control room"][..]),
        (20, 2, &["control room", "supervisor"][..]),
        (41, 3, &["control room", "supervisor", "force duty officer"][..]),
    ] {
        tape.clock(START_MS + at_s * 1_000);
        let state = tape.fold();
        let escalation = state.alarms.get(&open).unwrap().standing.escalation.clone().unwrap();
        assert_eq!(
            (escalation.step, escalation.targets),
            (step, targets.iter().map(|t| (*t).to_owned()).collect())
        );
        assert!(state.alarms.get(&taken).unwrap().standing.escalation.is_none());
    }
    let state = tape.fold();
    assert_eq!(state.alarms.get(&open).unwrap().standing.escalation.as_ref().unwrap().next_ms, None);
    assert_eq!(state.alarms.get(&open).unwrap().state(), AlarmState::Unacknowledged, "time ends nothing");
}

#[test]
fn steps_that_were_due_while_the_gateway_was_down_are_taken_at_once() {
    let mut tape = Tape::default();
    let open = tape.alarm("pc-1", START_MS, AlarmCause::BUTTON, None);
    tape.clock(START_MS + 3_600_000);
    assert_eq!(tape.fold().alarms.get(&open).unwrap().standing.escalation.as_ref().unwrap().step, 3);
}

#[test]
fn silence_after_an_alarm_raises_it_once_and_silence_alone_raises_nothing() {
    let mut tape = Tape::default();
    tape.at("pc-9", START_MS, 51_500_000);
    let down = tape.alarm("pc-1", START_MS, AlarmCause::OFFICER_DOWN, None);
    tape.acknowledge(&down, START_MS + 5_000);
    for s in 1..=5 {
        tape.clock(START_MS + s * 15_000);
    }
    tape.at("pc-1", START_MS + 80_000, 51_500_000);
    for s in 6..=11 {
        tape.clock(START_MS + s * 15_000);
        assert_eq!(graded_of(&tape.fold(), &down).0, Grade::P2, "heard {} s ago", s * 15 - 80);
    }
    tape.clock(START_MS + 171_000);
    let state = tape.fold();
    assert_eq!(graded_of(&state, &down).0, Grade::P1);
    assert!(facts(&state, &down).iter().any(|fact| fact.starts_with("No signal for 90 s")));
    assert_eq!(state.alarms.get(&down).unwrap().owner.as_ref().unwrap().operator, "anna", "it stays hers");
    assert_eq!(state.alarms.iter().count(), 1);
    assert_eq!(state.alarms.due_ms(), None, "it is counted once");
}

#[test]
fn that_the_gateway_was_down_is_no_units_silence() {
    let mut tape = Tape::default();
    let down = tape.alarm("pc-1", START_MS, AlarmCause::OFFICER_DOWN, None);
    tape.acknowledge(&down, START_MS + 5_000);
    tape.clock(START_MS + 600_000);
    assert_eq!(graded_of(&tape.fold(), &down).0, Grade::P2);
    for s in 1..=7 {
        tape.clock(START_MS + 600_000 + s * 15_000);
    }
    assert_eq!(graded_of(&tape.fold(), &down).0, Grade::P1, "but ninety seconds after it was back");
}

#[test]
fn a_device_that_was_put_away_is_not_silent() {
    let mut tape = Tape::default();
    let down = tape.alarm("pc-1", START_MS, AlarmCause::OFFICER_DOWN, None);
    tape.acknowledge(&down, START_MS + 5_000);
    tape.status("pc-1", START_MS + 10_000, Power::DOCKED, Duty::AT_STATION);
    for s in 1..=10 {
        tape.clock(START_MS + s * 15_000);
    }
    assert_eq!(graded_of(&tape.fold(), &down).0, Grade::P2);
}

#[test]
fn that_nobody_is_watching_is_a_step_of_its_own() {
    let mut tape = Tape::default();
    tape.watch(START_MS - 60_000, 1);
    let id = tape.alarm("pc-1", START_MS, AlarmCause::CED, None);
    tape.watch(START_MS + 1_000, 0);
    tape.clock(START_MS + 10_999);
    assert_eq!(tape.fold().alarms.get(&id).unwrap().standing.escalation.as_ref().unwrap().step, 0);
    tape.clock(START_MS + 11_000);
    let escalation = tape.fold().alarms.get(&id).unwrap().standing.escalation.clone().unwrap();
    assert_eq!((escalation.step, escalation.unwatched), (1, true));
    assert_eq!(escalation.targets, ["supervisor", "force duty officer"]);
    tape.watch(START_MS + 12_000, 1);
    assert!(!tape.fold().alarms.get(&id).unwrap().standing.escalation.as_ref().unwrap().unwatched);
}

#[test]
fn a_page_of_another_force_is_nobody_watching() {
    let mut tape = Tape::default();
    tape.watch(START_MS - 60_000, 1);
    let id = tape.alarm("pc-1", START_MS, AlarmCause::CED, None);
    let unwatched = ["sim".to_owned()].into();
    let watch = Watch { consoles: 1, unlocked: 1, unwatched };
    tape.own(ClockSaid { at_ms: START_MS + 1_000, watch: Some(watch) }.record());
    tape.clock(START_MS + 11_000);
    let is_unwatched =
        |tape: &Tape| tape.fold().alarms.get(&id).unwrap().standing.escalation.as_ref().unwrap().unwatched;
    assert!(is_unwatched(&tape));
    tape.watch(START_MS + 12_000, 1);
    assert!(!is_unwatched(&tape), "somebody of that force is back");
}

#[test]
fn a_shelf_ends_by_itself_and_at_once_if_the_alarm_becomes_a_p1() {
    let mut tape = Tape::default();
    let id = tape.alarm("pc-1", START_MS, AlarmCause::OFFICER_DOWN, None);
    tape.act(&id, START_MS + 1_000, shelve(10));
    tape.clock(START_MS + 60_000);
    let state = tape.fold();
    assert_eq!(state.alarms.get(&id).unwrap().state(), AlarmState::Shelved);
    assert_eq!(
        state.alarms.get(&id).unwrap().standing.escalation.as_ref().unwrap().step,
        0,
        "it does not climb"
    );
    let mut raised = Tape { records: tape.records.clone(), seq: tape.seq };
    raised.event("pc-1", START_MS + 61_000, EventCode::UNHOLSTERED, 0);
    let state = raised.fold();
    assert_eq!(state.alarms.get(&id).unwrap().state(), AlarmState::Unacknowledged);
    tape.clock(START_MS + 601_000);
    let state = tape.fold();
    assert_eq!(state.alarms.get(&id).unwrap().state(), AlarmState::Unacknowledged);
    assert!(story(&state, &id).contains(&EventKind::ShelfEnded));
    assert!(
        state.alarms.get(&id).unwrap().standing.escalation.as_ref().unwrap().step > 0,
        "and climbs at once"
    );
}

#[test]
fn alarms_near_each_other_are_one_incident_with_a_common_first_alarm() {
    let mut tape = Tape::default();
    let first = tape.alarm("pc-1", START_MS, AlarmCause::BUTTON, Some(51_500_000));
    let near =
        tape.alarm("pc-2", START_MS + 60_000, AlarmCause::CRASH, Some(51_500_000 + 2 * HUNDRED_M_UDEG));
    let chained =
        tape.alarm("pc-3", START_MS + 120_000, AlarmCause::BUTTON, Some(51_500_000 + 4 * HUNDRED_M_UDEG));
    let far = tape.alarm("pc-4", START_MS + 120_000, AlarmCause::BUTTON, Some(51_510_000));
    let late = tape.alarm("pc-5", START_MS + 400_000, AlarmCause::BUTTON, Some(51_500_000));
    let state = tape.fold();
    let incident = |id: &AlarmId| state.alarms.get(id).unwrap().standing.incident.clone();
    assert_eq!(
        [incident(&first), incident(&near), incident(&chained)],
        [Some(first.clone()), Some(first.clone()), Some(first)]
    );
    assert_eq!([incident(&far), incident(&late)], [None, None]);
}

#[test]
fn several_devices_that_lose_their_satellites_together_are_jammed_and_one_in_a_garage_is_not() {
    let mut tape = Tape::default();
    for (device, metres) in [("pc-1", 0), ("pc-2", 2), ("pc-3", 4)] {
        tape.at(device, START_MS, 51_500_000 + metres * HUNDRED_M_UDEG);
    }
    for (device, s) in [("pc-1", 10), ("pc-2", 20)] {
        tape.event(device, START_MS + s * 1_000, EventCode::GNSS_SILENT, 3);
        assert_eq!(tape.fold().alarms.iter().count(), 0);
    }
    let id = tape.event("pc-3", START_MS + 30_000, EventCode::GNSS_SILENT, 3);
    let state = tape.fold();
    assert_eq!(graded_of(&state, &id), (Grade::P3, "R12".to_owned(), false));
    let jump = tape.event("pc-9", START_MS + 31_000, EventCode::GNSS_JUMP, 65_535);
    assert_eq!(tape.fold().alarms.get(&jump).unwrap().standing.queue, Queue::Security);
}

#[test]
fn an_unusual_heart_alone_is_no_alarm_and_with_no_motion_only_where_it_is_turned_on() {
    let beats = |text: Option<&str>, moves: bool| {
        let mut tape = Tape::default();
        text.into_iter().for_each(|text| tape.rules(START_MS, text));
        for s in 0..20 {
            let latitude_udeg = 51_500_000 + if moves { s * HUNDRED_M_UDEG } else { 0 };
            tape.at("pc-1", START_MS + u64::from(s.unsigned_abs()) * 10_000, latitude_udeg);
        }
        tape.heart("pc-1", START_MS + 200_000, 190);
        assert_eq!(tape.fold().alarms.iter().count(), 0, "once is not enough");
        tape.heart("pc-1", START_MS + 230_000, 190);
        tape.fold().alarms.iter().count()
    };
    let on = BUILT_IN.replace("enabled = false", "enabled = true");
    assert_eq!((beats(None, false), beats(Some(&on), true), beats(Some(&on), false)), (0, 0, 1));
}

#[test]
fn a_new_rule_file_judges_what_comes_after_it_and_a_snapshot_keeps_it() {
    let two = BUILT_IN.replace("version = 1", "version = 2").replace("grade = \"P2\"", "grade = \"P3\"");
    let mut tape = Tape::default();
    let before = tape.alarm("pc-1", START_MS, AlarmCause::CED, None);
    tape.rules(START_MS + 1_000, &two);
    let after = tape.alarm("pc-1", START_MS + 2_000, AlarmCause::CED, None);
    let state = tape.fold();
    let of = |state: &State, id: &AlarmId| {
        let standing = &state.alarms.get(id).unwrap().standing;
        (standing.grade, standing.rule.version)
    };
    assert_eq!((of(&state, &before), of(&state, &after)), ((Grade::P2, 1), (Grade::P3, 2)));
    let dir = tempfile::tempdir().unwrap();
    snapshot::write(&RealDisk, dir.path(), &snapshot::render(&state.alarms)).unwrap();
    let book = snapshot::read(&RealDisk, dir.path()).unwrap().unwrap();
    assert_eq!((book.rules().version, book.rules().text == two), (2, true));
}

#[test]
fn a_clock_put_back_moves_what_is_to_come_with_it() {
    let mut tape = Tape::default();
    let id = tape.alarm("pc-1", START_MS, AlarmCause::BUTTON, None);
    let hour_ms = 3_600_000;
    tape.clock(START_MS + 2_000 - hour_ms);
    assert_eq!(tape.fold().alarms.due_ms(), Some(START_MS + 12_000 - hour_ms));
    tape.clock(START_MS + 15_000 - hour_ms);
    assert_eq!(tape.fold().alarms.get(&id).unwrap().standing.escalation.as_ref().unwrap().step, 1);
}

/// What the records made of the alarms. When a receipt was sent is not theirs to say.
pub(super) fn picture(state: &State) -> Vec<Alarm> {
    let book = &state.alarms;
    book.iter().chain(book.waiting()).chain(book.closed()).cloned().collect()
}

pub(super) mod replay {
    use proptest::prelude::*;

    use super::*;

    /// Anything that may be in a spool: (what, which device, seconds since the one before, a value).
    pub(in super::super) fn tape(acts: &[(u8, u8, u16, u8)]) -> Tape {
        let mut tape = Tape::default();
        let mut ids: Vec<AlarmId> = Vec::new();
        let mut at_ms = START_MS;
        for (what, device, seconds, value) in acts {
            at_ms += u64::from(*seconds % 200) * 1_000;
            let device = format!("pc-{}", device % 4);
            let alarm = ids.get(usize::from(*value) % ids.len().max(1)).cloned();
            match (what % 12, alarm) {
                (0, _) => {
                    let cause = AlarmCause(value % 9);
                    ids.push(tape.alarm(&device, at_ms, cause, Some(51_500_000 + i32::from(*value) * 100)));
                }
                (1, _) => tape.at(&device, at_ms, 51_500_000 + i32::from(*value) * 300),
                (2, _) => {
                    let codes = [
                        EventCode::UNHOLSTERED,
                        EventCode::HOLSTERED,
                        EventCode::CED_TRAINING,
                        EventCode::GNSS_SILENT,
                        EventCode::GNSS_JUMP,
                        EventCode::CRASH,
                    ];
                    ids.push(tape.event(&device, at_ms, codes[usize::from(*value) % 6], 700));
                }
                (3, _) => {
                    let power = if value % 2 == 0 { Power::BATTERY } else { Power::DOCKED };
                    tape.status(&device, at_ms, power, Duty::ON_DUTY);
                }
                (4, _) => tape.clock(at_ms),
                (5, _) => tape.watch(at_ms, u32::from(value % 2)),
                (6, Some(id)) => tape.acknowledge(&id, at_ms),
                (7, Some(id)) => tape.act(&id, at_ms, shelve(5)),
                (8, Some(id)) => tape.act(&id, at_ms, close()),
                (9, Some(id)) => {
                    let lower = Action::Lower { grade: Grade::P3, reason: "seen".to_owned() };
                    tape.act(&id, at_ms, lower);
                }
                (10, Some(id)) => {
                    let confirmed = Confirmed { alarm: id, receipt: Receipt::Seen, told_ms: at_ms, at_ms };
                    tape.own(confirmed.record());
                }
                (11, _) => {
                    let text = BUILT_IN.replace("version = 1", &format!("version = {}", 2 + value % 3));
                    tape.rules(at_ms, &text);
                }
                _ => tape.clock(at_ms),
            }
        }
        tape
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// The same records give the same alarms: at once, and with a restart in the middle that reads a snapshot and then some
        /// of the records behind it again.
        #[test]
        fn a_replay_gives_the_same_alarms(
            acts in prop::collection::vec(any::<(u8, u8, u16, u8)>(), 1..120),
            stop in any::<prop::sample::Index>(),
        ) {
            let tape = tape(&acts);
            let whole = tape.fold();
            prop_assert_eq!(picture(&whole), picture(&tape.fold()));

            let stop = stop.index(tape.records.len());
            let first = Tape { records: tape.records[..stop].to_vec(), seq: 0 }.fold();
            let dir = tempfile::tempdir().unwrap();
            snapshot::write(&RealDisk, dir.path(), &snapshot::render(&first.alarms)).unwrap();
            let book = snapshot::read(&RealDisk, dir.path()).unwrap().unwrap();
            let restarted = tape.fold_over(book);
            prop_assert_eq!(picture(&whole), picture(&restarted));
            prop_assert_eq!(whole.alarms.due_ms(), restarted.alarms.due_ms());
        }

        /// Nothing but a person lowers a grade or ends an alarm, whatever comes.
        #[test]
        fn no_record_of_a_device_lowers_or_ends_an_alarm(
            acts in prop::collection::vec(any::<(u8, u8, u16, u8)>(), 1..80)
        ) {
            let people = [6, 7, 8, 9];
            let acts: Vec<_> = acts.into_iter().filter(|act| !people.contains(&(act.0 % 12))).collect();
            let tape = tape(&acts);
            let mut state = Tape::default().fold();
            let mut grades = std::collections::BTreeMap::new();
            for record in &tape.records {
                fold(&mut state, record);
                for (id, before) in &grades {
                    let alarm = state.alarms.get(id);
                    prop_assert!(alarm.is_some_and(|alarm| alarm.standing.grade <= *before), "{}", id);
                    prop_assert_eq!(alarm.unwrap().state(), AlarmState::Unacknowledged);
                }
                grades = state.alarms.iter().map(|alarm| (alarm.id.clone(), alarm.standing.grade)).collect();
            }
        }
    }
}

#[test]
fn a_unit_s_memory_for_the_rules_stays_within_its_stated_size() {
    assert!(size_of::<signals::Signals>() <= 250, "{}", size_of::<signals::Signals>());
    assert_eq!(Rules::built_in().version, 1);
    _ = UnitId { force: ForceId::try_new("a").unwrap(), device: DeviceId::try_new("b").unwrap() };
}
