//! What a release promises.

use std::collections::BTreeSet;

use fieldpost_protocol::{
    AlarmCancel, Body, BootId, CancelReason, Class, Duty, EventCode, ForceId, Loss, LossReason, Position,
    Power, ResetReason, SensorEvent, Seq, SeqRange, Status,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::event::{ClockBounds, Event, Renderer, Withheld};
use super::super::testing::{alarm_record, head, position, position_record, record_of};
use super::*;
use crate::record::Record;

fn release(fields: &[Field]) -> Release {
    Release { fields: Fields::of(fields), ..Release::everything() }
}

fn event(release: &Release, record: &Record) -> Result<Event, Withheld> {
    Renderer::new(ClockBounds::default(), release.clone()).event(record)
}

fn data(event: &Event) -> Value {
    serde_json::from_slice::<Value>(&event.json).unwrap()["data"].clone()
}

fn status_record() -> Record {
    let status = Status {
        duty: Duty::EN_ROUTE,
        battery_pct: 71,
        power: Power::VEHICLE,
        signal_dbm: -80,
        satellites: 9,
        temperature_degc: 21,
        storage_pct: 12,
        outbox_owed: 3,
        reset_reason: ResetReason::UPDATE,
        firmware: [1, 2, 3],
        uptime_s: 77,
    };
    let mut buffer = [0; 64];
    record_of(2, head(Class::STATUS, 2), status.encode(&mut buffer).unwrap())
}

fn records() -> [Record; 6] {
    let mut buffer = [0; 64];
    let sensor = SensorEvent { code: EventCode::UNHOLSTERED, index: 0, value: 0 };
    let sensor = record_of(3, head(Class::SENSOR_EVENT, 3), sensor.encode(&mut buffer).unwrap());
    let cancel = AlarmCancel { boot: BootId(3), seq: Seq(4), reason: CancelReason::WEARER };
    let cancel = record_of(5, head(Class::ALARM_CANCEL, 5), cancel.encode(&mut buffer).unwrap());
    let ranges = [SeqRange { first: Seq(5), more: 9 }].into_iter().collect();
    let loss = Loss { boot: BootId(2), reason: LossReason::EVICTED, ranges };
    let loss = record_of(6, head(Class::LOSS, 6), loss.encode(&mut buffer).unwrap());
    [position_record(1), status_record(), sensor, alarm_record(4), cancel, loss]
}

#[test]
fn a_force_that_is_not_released_is_withheld_whole() {
    let of = |force: &str| Release {
        forces: Forces::Only(BTreeSet::from([ForceId::try_new(force).unwrap()])),
        ..Release::everything()
    };
    for record in records() {
        assert_eq!(event(&of("met"), &record).unwrap_err(), Withheld::Force);
        assert!(event(&of("sim"), &record).is_ok());
    }
    let nobody = Release { forces: Forces::Only(BTreeSet::new()), ..Release::everything() };
    assert_eq!(event(&nobody, &position_record(1)).unwrap_err(), Withheld::Force);
}

#[test]
fn only_the_released_classes_go() {
    for kind in Kind::ALL {
        let one = Release { classes: Kinds::of(&[kind]), ..Release::everything() };
        let gone: Vec<_> = records().iter().filter_map(|record| event(&one, record).ok()).collect();
        let expected = usize::from(kind != Kind::UnknownAlarm);
        assert_eq!(gone.len(), expected, "{kind:?}");
        assert!(gone.iter().all(|event| event.route.contains(&format!(".{}.", kind.as_str()))));
    }
}

#[test]
fn a_position_without_its_movement_has_none_anywhere() {
    let event = event(&release(&[Field::Position]), &position_record(1)).unwrap();
    let data = data(&event);
    assert!(data["speed_mps"].is_null() && data["course_deg"].is_null(), "{data}");
    let record = event.record.unwrap();
    let envelope = record.envelope().unwrap();
    let Ok(Body::Position(left)) = Body::decode(&envelope.head, envelope.body) else { panic!("a position") };
    assert_eq!(left, Position { speed_cmps: None, course_turn256: None, ..position() });
}

#[test]
fn a_status_is_duty_or_device_or_both() {
    let duty = event(&release(&[Field::Duty]), &status_record()).unwrap();
    assert_eq!(data(&duty), json!({"duty": "en-route"}));
    let bytes = duty.record.unwrap().payload.clone();
    assert!(
        !bytes.windows(3).any(|three| three == [1, 2, 3]),
        "the firmware's version is gone from the record"
    );
    let device = event(&release(&[Field::Device]), &status_record()).unwrap();
    assert!(data(&device)["duty"].is_null() && data(&device)["battery_pct"] == 71);
    assert_eq!(device.marking, Marking::Official);
    assert_eq!(event(&release(&[Field::Position]), &status_record()).unwrap_err(), Withheld::Fields);
}

#[test]
fn an_alarm_goes_without_its_place_but_never_without_its_cause() {
    let alarm = event(&release(&[Field::Alarm]), &alarm_record(9)).unwrap();
    assert_eq!(data(&alarm), json!({"cause": "officer-down", "silent": true}));
    assert!(alarm.alarm.is_some(), "its wearer is still told");
    assert_eq!(event(&release(&[Field::Position]), &alarm_record(9)).unwrap_err(), Withheld::Fields);
}

#[test]
fn bytes_that_nobody_understands_go_only_where_everything_goes() {
    let unknown = record_of(4, head(Class(0x1C), 4), b"future");
    let part = event(&release(&[Field::Alarm, Field::Position]), &unknown).unwrap();
    assert_eq!(data(&part), json!({"class": 28}));
    assert!(part.record.unwrap().envelope().unwrap().body.is_empty());
    let rounded = Release { precision_m: 100, ..Release::everything() };
    assert_eq!(data(&event(&rounded, &unknown).unwrap()), json!({"class": 28}));
    assert_eq!(data(&event(&Release::everything(), &unknown).unwrap())["body_base64"], "ZnV0dXJl");
}

#[test]
fn what_newer_firmware_adds_behind_a_body_is_not_released() {
    let mut buffer = [0; 64];
    let mut body = position().encode(&mut buffer).unwrap().to_vec();
    body.extend_from_slice(b"newer");
    let record = record_of(1, head(Class::POSITION, 1), &body);
    let cut = event(&release(&[Field::Position, Field::Movement]), &record).unwrap().record.unwrap();
    assert!(!cut.payload.windows(5).any(|five| five == b"newer"));
}

#[test]
fn the_key_does_not_depend_on_who_is_told() {
    let mut repeated = position_record(7);
    repeated.kind = crate::record::RecordKind::Repeated;
    let rounded = Release { precision_m: 1_000, ..release(&[Field::Position]) };
    let whole = event(&Release::everything(), &repeated).unwrap();
    assert_eq!(event(&rounded, &repeated).unwrap().key, whole.key);
}

#[test]
fn an_output_below_the_marking_is_refused_the_record() {
    let official = Release { marking: Marking::Official, ..Release::everything() };
    let outcomes = records().map(|record| event(&official, &record).map(|event| event.marking));
    let [position, status, sensor, alarm, cancel, loss] = outcomes;
    for sensitive in [position, status, sensor, alarm, cancel] {
        assert_eq!(sensitive.unwrap_err(), Withheld::Marking);
    }
    assert_eq!(loss.unwrap(), Marking::Official);
    let device = Release { marking: Marking::Official, ..release(&[Field::Device]) };
    assert_eq!(event(&device, &status_record()).unwrap().marking, Marking::Official);
}

#[test]
fn every_event_states_its_marking() {
    for record in records() {
        let event = event(&Release::everything(), &record).unwrap();
        let json: Value = serde_json::from_slice(&event.json).unwrap();
        assert_eq!(json["fieldpostmarking"], event.marking.as_str());
    }
}

fn place() -> impl Strategy<Value = Position> {
    (-89_000_000..89_000_000, -179_000_000..179_000_000)
        .prop_map(|(latitude_udeg, longitude_udeg)| Position { latitude_udeg, longitude_udeg, ..position() })
}

fn any_fields() -> impl Strategy<Value = Fields> {
    proptest::sample::subsequence(Field::ALL.to_vec(), 0..=Field::ALL.len())
        .prop_map(|fields| Fields::of(&fields))
}

/// Every member that a field gives to `data`, alarms' nested position included.
fn members(field: Field) -> &'static [&'static str] {
    match field {
        Field::Position => &["latitude_deg", "longitude_deg", "accuracy_m", "position"],
        Field::Movement => &["speed_mps", "course_deg"],
        Field::Duty => &["duty"],
        Field::Device => &["battery_pct", "signal_dbm", "firmware", "uptime_s", "outbox_owed_count"],
        Field::Sensor => &["event", "index"],
        Field::Alarm => &["cause", "silent", "alarm"],
        Field::Callsign => &["callsign"],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is released: no member of another field is in the JSON, and the JSON is what the cut record alone gives.
    #[test]
    fn nothing_of_a_field_that_is_not_released_is_in_json_or_record(fields in any_fields(), metres in 0_u32..5_000) {
        let some = Release { fields, precision_m: metres, ..Release::everything() };
        for record in records() {
            let Ok(event) = event(&some, &record) else { continue };
            let text = String::from_utf8(event.json.to_vec()).unwrap();
            for field in Field::ALL.into_iter().filter(|field| !fields.has(*field)) {
                for member in members(field) {
                    prop_assert!(!text.contains(&format!("\"{member}\":")), "{member} in {text}");
                }
            }
            let left = event.record.as_deref().unwrap();
            let all_of_it = Renderer::new(ClockBounds::default(), Release { precision_m: 0, ..some.clone() });
            let mut all_of_it = all_of_it;
            prop_assert_eq!(String::from_utf8(all_of_it.event(left).unwrap().json.to_vec()).unwrap(), text);
        }
    }

    /// A rounded place is near, says how near, and is the same for all in its square.
    #[test]
    fn a_rounded_place_is_the_middle_of_its_square(place in place(), metres in 10_u32..20_000) {
        let mut rounded = place;
        grid::round(&mut rounded, metres);
        let north_m = f64::from(rounded.latitude_udeg - place.latitude_udeg) * 0.111_32;
        prop_assert!(north_m.abs() <= f64::from(metres) * 0.51 + 1.0, "{north_m}");
        let narrow = (f64::from(rounded.latitude_udeg) / 1e6).to_radians().cos();
        let east_m = f64::from(rounded.longitude_udeg - place.longitude_udeg) * 0.111_32 * narrow;
        prop_assert!(east_m.abs() <= f64::from(metres) * 0.51 + 1.0, "{east_m}");
        prop_assert!(u32::from(rounded.accuracy_m) >= metres.min(255));
        let mut again = rounded;
        grid::round(&mut again, metres);
        prop_assert!((again.latitude_udeg - rounded.latitude_udeg).abs() <= 1);
        prop_assert!((again.longitude_udeg - rounded.longitude_udeg).abs() <= 1);
    }
}
