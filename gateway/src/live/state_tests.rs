use super::*;
use crate::alarms::{Acknowledgement, Alarm, Cause, Kept, Owner};
use crate::fingerprint::Fingerprint;
use crate::live::fold::fold;
use crate::record::{QuarantineReason, Record, RecordKind};
use bytes::Bytes;
use fieldpost_protocol::{
    Alarm as AlarmBody, AlarmCancel, AlarmCause, BootId, CancelReason, Class, ClockQuality, DeviceId, Duty,
    Envelope, FixSource, ForceId, Head, Heard, Lane, Mode, Position, Power, Receipt, ReportReason,
    ResetReason, Seq, Status,
};

pub(in crate::live) const NOW_MS: u64 = 1_795_000_000_000;

/// A device that counts its records, with every knob.
pub(in crate::live) struct Device {
    pub(in crate::live) boot: u32,
    pub(in crate::live) seq: u32,
    lsn: u64,
    mode: Mode,
    clock: ClockQuality,
    /// The device's clock against ours.
    clock_offset_ms: i64,
}

impl Device {
    pub(in crate::live) fn new() -> Self {
        Self { boot: 1, seq: 0, lsn: 0, mode: Mode::Test, clock: ClockQuality::Gnss, clock_offset_ms: 0 }
    }

    fn head(&self, class: Class, at_ms: u64) -> Head {
        Head {
            version: 1,
            class,
            mode: self.mode,
            clock: self.clock,
            boot: BootId(self.boot),
            seq: Seq(self.seq),
            time_ms: at_ms.saturating_add_signed(self.clock_offset_ms),
        }
    }

    /// A record made at `made_ms` by our clock, received at `received_at_ms`.
    pub(in crate::live) fn record(
        &mut self,
        class: Class,
        body: &[u8],
        lane: Lane,
        made_ms: u64,
        received_at_ms: u64,
    ) -> Record {
        let head = self.head(class, made_ms);
        let mut buffer = [0; 2048];
        let payload = Envelope { head, body, trailer: None }.encode(&mut buffer).unwrap();
        self.seq += 1;
        self.lsn += 1;
        Record {
            lsn: Lsn(self.lsn),
            received_at_ms,
            force: ForceId::try_new("sim").unwrap(),
            device: DeviceId::try_new("pc-0001").unwrap(),
            ceiling: Mode::Test,
            lane,
            kind: RecordKind::Envelope,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    pub(in crate::live) fn position(
        &mut self,
        latitude_udeg: i32,
        lane: Lane,
        made_ms: u64,
        received_at_ms: u64,
    ) -> Record {
        let mut buffer = [0; 64];
        let body = position(latitude_udeg);
        let body = body.encode(&mut buffer).unwrap();
        self.record(Class::POSITION, body, lane, made_ms, received_at_ms)
    }

    pub(in crate::live) fn status(&mut self, duty: Duty, at_ms: u64) -> Record {
        let status = Status {
            duty,
            battery_pct: 81,
            power: Power::BATTERY,
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
        self.record(Class::STATUS, body, Lane::Live, at_ms, at_ms)
    }

    pub(in crate::live) fn alarm(
        &mut self,
        cause: AlarmCause,
        position: Option<Position>,
        at_ms: u64,
    ) -> Record {
        let alarm = AlarmBody { cause, silent: true, position, position_age_s: 4 };
        let mut buffer = [0; 64];
        let body = alarm.encode(&mut buffer).unwrap();
        self.record(Class::ALARM, body, Lane::Alarm, at_ms, at_ms)
    }
}

pub(in crate::live) fn position(latitude_udeg: i32) -> Position {
    Position {
        latitude_udeg,
        longitude_udeg: -1_000_000,
        speed_cmps: Some(150),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn state() -> State {
    State::new(Book::default(), ClockBounds::default(), 100, Arc::new(Roster::default()))
}

fn id() -> UnitId {
    UnitId { force: ForceId::try_new("sim").unwrap(), device: DeviceId::try_new("pc-0001").unwrap() }
}

fn latitude(state: &State) -> Option<i32> {
    state.unit(&id())?.report().place.map(|place| place.position.latitude_udeg)
}

fn alarms(state: &State) -> Vec<Alarm> {
    state.alarms.iter().cloned().collect()
}

#[test]
fn a_future_clock_never_freezes_the_marker() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.position(1, Lane::Live, NOW_MS, NOW_MS));
    device.clock_offset_ms = 10 * 365 * 86_400_000;
    fold(&mut state, &device.position(2, Lane::Live, NOW_MS + 1_000, NOW_MS + 1_000));
    assert_eq!(latitude(&state), Some(2));
    let judged = state.unit(&id()).unwrap().report().place.unwrap().time.clock;
    assert_eq!(judged, ClockQuality::Unset, "the page is told that the time is not to be believed");
    device.clock_offset_ms = 0;
    fold(&mut state, &device.position(3, Lane::Live, NOW_MS + 2_000, NOW_MS + 2_000));
    assert_eq!(latitude(&state), Some(3));
}

#[test]
fn a_clock_slightly_ahead_and_corrected_does_not_hold_the_marker_back() {
    let (mut state, mut device) = (state(), Device::new());
    device.clock_offset_ms = 50_000;
    fold(&mut state, &device.position(1, Lane::Live, NOW_MS, NOW_MS));
    device.clock_offset_ms = 0;
    device.boot = 2;
    device.seq = 0;
    fold(&mut state, &device.position(2, Lane::Live, NOW_MS + 1_000, NOW_MS + 1_000));
    assert_eq!(latitude(&state), Some(2));
}

#[test]
fn history_never_moves_the_marker_backwards() {
    let (mut state, mut device) = (state(), Device::new());
    let old: Vec<Record> =
        (1..=5).map(|n| device.position(n, Lane::Backlog, NOW_MS - 60_000, NOW_MS + 1_000)).collect();
    fold(&mut state, &device.position(100, Lane::Live, NOW_MS, NOW_MS));
    for record in &old {
        fold(&mut state, record);
        assert_eq!(latitude(&state), Some(100));
        assert!(!state.unit(&id()).unwrap().report().place.unwrap().history);
    }
    assert_eq!(state.unit(&id()).unwrap().report().last_report_ms, NOW_MS, "history is not a fresh report");
}

#[test]
fn history_fills_in_what_nobody_knew_and_says_so() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.position(7, Lane::Backlog, NOW_MS - 60_000, NOW_MS));
    let unit = state.unit(&id()).unwrap();
    assert!(unit.report().place.unwrap().history);
    assert_eq!(unit.report().last_report_ms, NOW_MS - 60_000);
}

#[test]
fn off_duty_hides_the_position_and_nothing_old_comes_out_when_duty_begins() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.position(1, Lane::Live, NOW_MS, NOW_MS));
    let late = device.position(2, Lane::Backlog, NOW_MS + 500, NOW_MS + 9_000);
    fold(&mut state, &device.status(Duty::OFF_DUTY, NOW_MS + 1_000));
    assert_eq!(latitude(&state), None);
    fold(&mut state, &device.position(3, Lane::Live, NOW_MS + 2_000, NOW_MS + 2_000));
    assert_eq!(latitude(&state), None, "whatever a device sends while off duty");
    fold(&mut state, &device.status(Duty::AVAILABLE, NOW_MS + 3_000));
    fold(&mut state, &late);
    assert_eq!(latitude(&state), None);
    fold(&mut state, &device.position(4, Lane::Live, NOW_MS + 4_000, NOW_MS + 4_000));
    assert_eq!(latitude(&state), Some(4));
}

#[test]
fn an_old_status_does_not_open_the_gate() {
    let (mut state, mut device) = (state(), Device::new());
    let old = device.status(Duty::AVAILABLE, NOW_MS);
    fold(&mut state, &device.status(Duty::REFRESHMENTS, NOW_MS + 1_000));
    fold(&mut state, &old);
    fold(&mut state, &device.position(1, Lane::Live, NOW_MS + 2_000, NOW_MS + 2_000));
    assert_eq!(latitude(&state), None);
    assert_eq!(state.unit(&id()).unwrap().report().duty, Some(Duty::REFRESHMENTS));
}

#[test]
fn an_alarm_moves_the_marker_to_the_position_it_quotes() {
    let (mut state, mut device) = (state(), Device::new());
    let overtaken = device.position(1, Lane::Live, NOW_MS, NOW_MS + 10);
    fold(&mut state, &device.alarm(AlarmCause::OFFICER_DOWN, Some(position(2)), NOW_MS));
    fold(&mut state, &overtaken);
    assert_eq!(latitude(&state), Some(2));
    let place = state.unit(&id()).unwrap().report().place.unwrap();
    assert_eq!(place.time.device_time_ms, NOW_MS - 4_000);
    let raised = &alarms(&state)[0];
    assert_eq!((raised.cause, raised.position_udeg), (Cause::OfficerDown, Some((-1_000_000, 2))));
}

#[test]
fn an_unknown_class_of_the_alarm_family_is_an_alarm() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.record(Class(0x1A), b"from the future", Lane::Alarm, NOW_MS, NOW_MS));
    assert_eq!(alarms(&state)[0].cause, Cause::Unknown);
    assert_eq!(state.alarms.of_unit(&id()).unwrap().to_string(), "sim/pc-0001/1/0");
}

#[test]
fn an_alarm_is_raised_by_whichever_lane_it_came() {
    for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
        let (mut state, mut device) = (state(), Device::new());
        fold(&mut state, &device.record(Class(0x1A), b"from the future", lane, NOW_MS, NOW_MS));
        assert_eq!(alarms(&state).len(), 1, "{lane:?}");
    }
}

#[test]
fn an_alarm_whose_body_is_in_quarantine_is_still_an_alarm_unless_it_pretends_to_be_real() {
    let (mut state, mut device) = (state(), Device::new());
    let mut broken = device.record(Class::ALARM, &[], Lane::Alarm, NOW_MS, NOW_MS);
    broken.kind = RecordKind::Quarantine(QuarantineReason::Body);
    fold(&mut state, &broken);
    assert_eq!(alarms(&state).len(), 1);
    device.mode = Mode::Actual;
    let mut pretender = device.record(Class::ALARM, &[], Lane::Alarm, NOW_MS, NOW_MS);
    pretender.kind = RecordKind::Quarantine(QuarantineReason::AboveCeiling);
    fold(&mut state, &pretender);
    assert_eq!(alarms(&state).len(), 1);
}

#[test]
fn a_ced_test_is_no_alarm() {
    let (mut state, mut device) = (state(), Device::new());
    let event =
        fieldpost_protocol::SensorEvent { code: fieldpost_protocol::EventCode::CED_TEST, index: 0, value: 0 };
    let mut buffer = [0; 64];
    let body = event.encode(&mut buffer).unwrap().to_vec();
    fold(&mut state, &device.record(Class::SENSOR_EVENT, &body, Lane::Live, NOW_MS, NOW_MS));
    assert!(alarms(&state).is_empty());
}

#[test]
fn a_cancel_marks_the_alarm_it_names() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    let cancel = AlarmCancel { boot: BootId(1), seq: Seq(0), reason: CancelReason::WEARER };
    let mut buffer = [0; 64];
    let body = cancel.encode(&mut buffer).unwrap().to_vec();
    fold(&mut state, &device.record(Class::ALARM_CANCEL, &body, Lane::Alarm, NOW_MS + 5_000, NOW_MS + 5_000));
    let alarms = alarms(&state);
    assert_eq!(alarms.len(), 1, "a cancel is not an alarm, and does not remove one");
    assert_eq!(alarms[0].cancelled_at_ms, Some(NOW_MS + 5_000));
    assert_eq!(alarms[0].owner, None);
}

#[test]
fn the_first_committed_acknowledgement_owns_the_alarm() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    for (operator, at_ms) in [("ben", NOW_MS + 2), ("anna", NOW_MS + 1)] {
        let said = Acknowledgement {
            alarm: "sim/pc-0001/1/0".into(),
            operator: operator.into(),
            at_ms,
            seen_as: None,
        };
        let mut record = device.record(Class::STATUS, &[], Lane::Alarm, NOW_MS, NOW_MS);
        record.kind = RecordKind::Acknowledged;
        record.payload = serde_json::to_vec(&said).unwrap().into();
        fold(&mut state, &record);
    }
    let owner = alarms(&state)[0].owner.clone().unwrap();
    assert_eq!(owner.operator, "ben", "first in the spool, whatever the times say");
}

#[test]
fn replay_over_a_snapshot_changes_nothing_that_is_in_it() {
    let (mut before, mut device) = (state(), Device::new());
    let records = [
        device.alarm(AlarmCause::BUTTON, None, NOW_MS),
        device.position(1, Lane::Live, NOW_MS, NOW_MS),
        device.alarm(AlarmCause::CRASH, None, NOW_MS + 1),
    ];
    fold(&mut before, &records[0]);
    before
        .alarms
        .acknowledge(&"sim/pc-0001/1/0".parse().unwrap(), Owner { operator: "anna".into(), at_ms: NOW_MS });
    let kept = Kept { alarms: alarms(&before), folded: before.alarms.folded(), ..Kept::default() };
    let book = Book::restored(kept);
    let mut after = State::new(book, ClockBounds::default(), 100, Arc::default());
    records.iter().for_each(|record| fold(&mut after, record));
    let alarms = alarms(&after);
    assert_eq!(alarms.len(), 2);
    assert_eq!(alarms[0].owner.as_ref().unwrap().operator, "anna");
    assert_eq!(latitude(&after), Some(1), "units are rebuilt from the same records");
}

#[test]
fn units_beyond_the_bound_are_counted_and_their_alarms_are_raised_all_the_same() {
    let mut state = State::new(Book::default(), ClockBounds::default(), 1, Arc::default());
    let mut device = Device::new();
    fold(&mut state, &device.position(1, Lane::Live, NOW_MS, NOW_MS));
    let mut other = device.alarm(AlarmCause::BUTTON, None, NOW_MS);
    other.device = DeviceId::try_new("pc-0002").unwrap();
    fold(&mut state, &other);
    assert_eq!((state.units_count(), state.refused_count(), alarms(&state).len()), (1, 1, 1));
}

#[test]
fn a_silent_unit_turns_stale_then_leaves_unless_it_has_an_alarm() {
    const DAY_MS: u64 = 86_400_000;
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.position(1, Lane::Live, NOW_MS, NOW_MS));
    state.take_dirty();
    state.sweep(NOW_MS + 90_000, DAY_MS);
    assert!(!state.unit(&id()).unwrap().stale);
    state.sweep(NOW_MS + 90_001, DAY_MS);
    assert!(state.unit(&id()).unwrap().stale);
    assert_eq!(state.take_dirty(), [id()], "turning stale is news");
    fold(&mut state, &device.alarm(AlarmCause::BUTTON, None, NOW_MS));
    assert!(state.sweep(NOW_MS + 2 * DAY_MS, DAY_MS).is_empty());
    let mut without_alarm = self::state();
    fold(&mut without_alarm, &device.position(1, Lane::Live, NOW_MS, NOW_MS));
    without_alarm.set_connected(&id(), true);
    assert!(without_alarm.sweep(NOW_MS + 2 * DAY_MS, DAY_MS).is_empty(), "not while it is connected");
    without_alarm.set_connected(&id(), false);
    assert_eq!(without_alarm.sweep(NOW_MS + 2 * DAY_MS, DAY_MS), [id()]);
}

#[test]
fn health_leaves_no_trace_on_the_page() {
    let (mut state, mut device) = (state(), Device::new());
    fold(&mut state, &device.record(Class::HEALTH, &[60, 0, 0, 0], Lane::Health, NOW_MS, NOW_MS));
    assert_eq!(state.units_count(), 0);
}

#[test]
fn a_unit_stays_within_its_stated_memory() {
    // With its key twice (state, board), about 450 bytes of JSON and the maps' overhead: about 1 KiB.
    assert!(size_of::<Unit>() <= 320, "{}", size_of::<Unit>());
    assert!(size_of::<UnitId>() <= 160, "{}", size_of::<UnitId>());
}

#[test]
fn what_a_device_has_heard_twice_confirms_no_other_alarm_of_the_same_number() {
    let (mut state, mut device) = (state(), Device::new());
    let first = device.alarm(AlarmCause::BUTTON, None, NOW_MS);
    let mut second = Device::new().alarm(AlarmCause::BUTTON, Some(position(51_500_000)), NOW_MS);
    second.lsn = device.alarm(AlarmCause::BUTTON, None, NOW_MS).lsn;
    second.kind = RecordKind::Repeated;
    [&first, &second].into_iter().for_each(|record| fold(&mut state, record));
    let envelope = second.envelope().unwrap();
    let (Head { boot, seq, .. }, print) = (envelope.head, Fingerprint::of_envelope(&envelope));
    let own = AlarmId { unit: id(), boot, seq, repeat: None };
    let repeated = AlarmId { repeat: Some(print), ..own.clone() };
    for alarm in [&own, &repeated] {
        state.alarms.acknowledge(alarm, Owner { operator: "bea".to_owned(), at_ms: NOW_MS });
    }
    let owed: Vec<_> = state.alarms.receipts_owed().collect();
    assert_eq!(owed, [(own.clone(), Receipt::Seen), (repeated, Receipt::Seen)], "each press is its wearer's");
    for _ in 0..2 {
        let heard = Heard { receipt: Receipt::Seen, boot, seq, print: print.print() };
        let mut body = [0; 32];
        let body = heard.encode(&mut body).unwrap();
        fold(&mut state, &device.record(Class::HEARD, body, Lane::Live, NOW_MS + 5, NOW_MS + 5));
    }
    assert_eq!(state.alarms.receipts_owed().collect::<Vec<_>>(), [(own, Receipt::Seen)]);
}

#[test]
fn what_a_device_says_it_has_heard_confirms_the_receipt_of_that_alarm_alone() {
    let (mut state, mut device) = (state(), Device::new());
    let record = device.alarm(AlarmCause::BUTTON, None, NOW_MS);
    fold(&mut state, &record);
    let envelope = record.envelope().unwrap();
    let Head { boot, seq, .. } = envelope.head;
    let alarm = AlarmId { unit: id(), boot, seq, repeat: None };
    state.alarms.acknowledge(&alarm, Owner { operator: "bea".to_owned(), at_ms: NOW_MS });
    let owed = |state: &State| state.alarms.receipts_owed().collect::<Vec<_>>();
    assert_eq!(owed(&state), [(alarm.clone(), Receipt::Seen)]);
    let print = Fingerprint::of_envelope(&envelope).print();
    let mut says = |state: &mut State, receipt, seq| {
        let heard = Heard { receipt, boot, seq, print };
        let mut body = [0; 32];
        let body = heard.encode(&mut body).unwrap();
        fold(state, &device.record(Class::HEARD, body, Lane::Live, NOW_MS + 5, NOW_MS + 5));
    };
    says(&mut state, Receipt::Delivered, seq);
    says(&mut state, Receipt::Seen, Seq(seq.0 + 1));
    assert_eq!(owed(&state).len(), 1, "another receipt, another alarm");
    says(&mut state, Receipt::Seen, seq);
    assert_eq!(owed(&state), []);
    assert_eq!(state.alarms.get(&alarm).unwrap().standing.confirmed_ms, Some(NOW_MS + 5));
}
