//! What is claimed of Cursor on Target, each as a test.

use fieldpost_protocol::{Class, Duty, ForceId, Mode, Power, ResetReason, Status};
use proptest::prelude::*;

use super::message::{Cot, How, Kind, Point};
use super::parse::{self, Heard, Refused};
use super::picture::{Picture, Said, Spans};
use super::split::{Protocol, Splitter};
use super::{alert, proto, scope, uid, xml};
use crate::alarms::{AlarmId, Cause, Grade, Origin, Queue};
use crate::config::roster::UnitKind;
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

fn cot(callsign: &str) -> Cot {
    Cot {
        key: String::new(),
        battery_key: None,
        uid: "fieldpost.met.pc-0001-9-1-1".to_owned(),
        kind: Kind::Emergency,
        mode: Mode::Exercise,
        at_ms: RECEIVED_MS,
        stale_ms: RECEIVED_MS + 300_000,
        how: How::Gps,
        point: Some(Point { latitude_udeg: 51_507_400, longitude_udeg: -127_758, accuracy_m: Some(5) }),
        callsign: callsign.to_owned(),
        battery_pct: Some(77),
        track: Some((134, 64)),
        about: Some(("fieldpost.met.pc-0001".to_owned(), Kind::Officer)),
        remarks: "P1 alarm".to_owned(),
    }
}

fn written(cot: &Cot) -> String {
    let mut text = String::new();
    xml::write(&mut text, cot);
    text
}

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
fn an_event_is_written_as_tak_clients_know_it() {
    let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <event version=\"2.0\" uid=\"fieldpost.met.pc-0001-9-1-1\" type=\"b-a-o-tbl\" how=\"m-g\" \
        time=\"2026-09-21T14:13:20.123Z\" start=\"2026-09-21T14:13:20.123Z\" stale=\"2026-09-21T14:18:20.123Z\"\
        ><point lat=\"51.507400\" lon=\"-0.127758\" hae=\"9999999.0\" ce=\"5.0\" \
        le=\"9999999.0\"/><detail><contact callsign=\"EXERCISE VT21\"/><precisionlocation geopointsrc=\"GPS\" \
        altsrc=\"???\"/><status battery=\"77\"/><track speed=\"1.34\" course=\"90.00\"/>\
        <link uid=\"fieldpost.met.pc-0001\" type=\"a-f-G-U-U-L-C\" relation=\"p-p\"/>\
        <emergency type=\"911 Alert\">EXERCISE VT21</emergency><remarks>EXERCISE P1 alarm</remarks></detail></event>";
    assert_eq!(written(&cot("VT21")), expected);
    let actual = written(&Cot { mode: Mode::Actual, ..cot("VT21") });
    assert!(!actual.contains("EXERCISE") && actual.contains("callsign=\"VT21\""), "{actual}");
}

#[test]
fn both_encodings_say_the_same() {
    let cot = Cot { kind: Kind::Cancel, ..cot("</event><event uid='x'>\u{0}") };
    let by_xml = parse::event(written(&cot).as_bytes()).unwrap();
    let mut frame = Vec::new();
    proto::write_frame(&mut frame, &cot);
    let mut splitter = Splitter::speaking(Protocol::Protobuf);
    splitter.push(&frame);
    let payload = splitter.next().unwrap().unwrap();
    assert_eq!(proto::message(&payload), Ok(Some(by_xml.clone())));
    assert!(by_xml.cancels && by_xml.links == ["fieldpost.met.pc-0001"]);
    assert_eq!(splitter.next(), Ok(None));
}

/// What the fuzz target starts from.
fn corpus() -> Vec<Vec<u8>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/cot");
    std::fs::read_dir(dir).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

proptest! {
    #[test]
    fn however_a_stream_is_damaged_the_same_events_are_read_of_it(
        seed in proptest::sample::select(corpus()),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        size in 1..40_u8,
    ) {
        let mut bytes = seed;
        bytes[1] = size;
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        super::fuzz_door::tak_stream(&bytes);
    }

    #[test]
    fn whatever_somebody_is_called_what_leaves_is_one_event(
        callsign in any::<String>(),
        remarks in "\\PC{0,40}|[<>&'\"\\]\\[!\\-/a-z\u{0}-\u{1f}\u{fffe}\u{85}]{0,60}",
    ) {
        let cot = Cot { remarks: remarks.clone(), ..cot(&callsign) };
        let text = written(&cot);
        prop_assert_eq!(text.matches("</event>").count(), 1);
        prop_assert_eq!(text.lines().count(), 2, "the declaration and the event");
        let heard = parse::event(text.as_bytes()).unwrap();
        prop_assert_eq!(&heard.uid, &cot.uid);
        // Nothing is lost but what XML cannot hold.
        let clean = xml::plain(&remarks);
        let is_whole = heard.remarks.strip_prefix("EXERCISE ") == Some(&*clean);
        prop_assert!(is_whole || clean.is_empty() || clean.len() + 9 > parse::FIELD_BYTES_MAX);
        let mut frame = Vec::new();
        proto::write_frame(&mut frame, &cot);
        let mut splitter = Splitter::speaking(Protocol::Protobuf);
        splitter.push(&frame);
        let payload = splitter.next().unwrap().unwrap();
        prop_assert_eq!(proto::message(&payload), Ok(Some(heard)));
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        _ = parse::event(&bytes);
        _ = proto::message(&bytes);
    }

    #[test]
    fn a_damaged_event_is_read_or_refused(place in 0_usize..900, with in any::<u8>(), cut in 0_usize..900) {
        let mut bytes = written(&cot("VT21")).into_bytes();
        let place = place % bytes.len();
        bytes[place] = with;
        bytes.truncate(cut.max(1));
        _ = parse::event(&bytes);
        let mut frame = Vec::new();
        proto::write_frame(&mut frame, &cot("VT21"));
        let place = place % frame.len();
        frame[place] = with;
        let mut splitter = Splitter::speaking(Protocol::Protobuf);
        splitter.push(&frame);
        while let Ok(Some(payload)) = splitter.next() {
            _ = proto::message(&payload);
        }
    }

    #[test]
    fn events_come_out_whole_however_they_arrive(sizes in proptest::collection::vec(1_usize..200, 1..60)) {
        let one = written(&cot("VT21"));
        let bytes = one.repeat(5).into_bytes();
        let (mut splitter, mut at, mut events) = (Splitter::default(), 0, Vec::new());
        for size in sizes.into_iter().cycle() {
            let end = (at + size).min(bytes.len());
            splitter.push(&bytes[at..end]);
            while let Some(event) = splitter.next().unwrap() {
                events.push(event);
            }
            at = end;
            if at == bytes.len() {
                break;
            }
        }
        prop_assert_eq!(events, vec![one; 5]);
    }
}

fn event(inner: &str) -> String {
    format!("<event type=\"a\" uid=\"b\"><detail>{inner}</detail></event>")
}

#[test]
fn what_is_not_plain_xml_is_refused_with_its_reason() {
    let deep = "<x>".repeat(20) + &"</x>".repeat(20);
    let many = "<x/>".repeat(600);
    let attributes: String = (0..40).map(|n| format!(" a{n}=\"\"")).collect();
    let billion = "<!DOCTYPE e [<!ENTITY a \"&b;&b;\"><!ENTITY b \"ha\">]>".to_owned() + &event("&a;");
    for (input, reason) in [
        (billion.as_str(), Refused::Declaration),
        (&("<!DOCTYPE e SYSTEM \"file:///etc/passwd\">".to_owned() + &event("")), Refused::Declaration),
        (&event("&xxe;"), Refused::Declaration),
        (&event("<x y=\"&xxe;\"/>"), Refused::Declaration),
        (&event("<?php ?>"), Refused::Declaration),
        (&event(&deep), Refused::TooMuch),
        (&event(&many), Refused::TooMuch),
        (&event(&format!("<x{attributes}/>")), Refused::TooMuch),
        (&event(&"x".repeat(parse::EVENT_BYTES_MAX)), Refused::TooLarge),
        (&event("\u{1}"), Refused::Characters),
        (&event("&#1;"), Refused::Characters),
        (&event("<x y=\"&#xFFFE;\"/>"), Refused::Characters),
        (&event("<x y=\"<\"/>"), Refused::Malformed),
        (&event("<x a=\"1\" a=\"2\"/>"), Refused::Malformed),
        (&event("<x>"), Refused::Malformed),
        (&(event("") + &event("")), Refused::Malformed),
        (&(event("") + "text"), Refused::Malformed),
        ("<event type=\"a\"/>", Refused::Malformed),
        ("<other type=\"a\" uid=\"b\"/>", Refused::Malformed),
        ("", Refused::Malformed),
    ] {
        assert_eq!(parse::event(input.as_bytes()), Err(reason), "{}", &input[..input.len().min(80)]);
    }
    assert_eq!(parse::event(b"<event type=\"a\" uid=\"\xff\"/>"), Err(Refused::Characters));
}

#[test]
fn negotiation_chat_and_cancels_are_read() {
    let offer = event("<TakControl><TakProtocolSupport version=\"1\"/></TakControl>");
    assert_eq!(parse::event(offer.as_bytes()).unwrap().offers, Some(1));
    let answer = event("<TakControl><TakResponse status=\"true\"/></TakControl>");
    assert_eq!(parse::event(answer.as_bytes()).unwrap().grants, Some(true));
    let chat =
        event("<__chat id=\"x\"/><link uid=\"u\"/><remarks to=\"x\">a &lt;b&#33;<![CDATA[&]]></remarks>");
    let expected = Heard {
        kind: "a".to_owned(),
        uid: "b".to_owned(),
        chat_to: Some("x".to_owned()),
        links: vec!["u".to_owned()],
        remarks: "a <b!&".to_owned(),
        ..Heard::default()
    };
    assert_eq!(parse::event(chat.as_bytes()), Ok(expected));
}

#[test]
fn a_frame_that_is_none_or_too_large_ends_the_connection() {
    let splitter = |bytes: &[u8]| {
        let mut splitter = Splitter::speaking(Protocol::Protobuf);
        splitter.push(bytes);
        splitter.next()
    };
    assert_eq!(splitter(&[0x3c]), Err(Refused::Malformed));
    assert_eq!(splitter(&[0xbf, 0x80]), Ok(None));
    assert_eq!(splitter(&[0xbf, 0x80, 0x80, 0x80, 0x01]), Err(Refused::TooLarge));
    assert_eq!(splitter(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0x01]), Err(Refused::TooLarge));
    let mut endless = Splitter::default();
    endless.push(&vec![b'x'; parse::EVENT_BYTES_MAX + 1]);
    assert_eq!(endless.next(), Err(Refused::TooLarge));
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
fn of_several_alarms_of_a_unit_the_gravest_stands_and_the_last_cancels() {
    let mut picture = Picture::new(SPANS);
    let first = standing(&alarm_record(7));
    let second = StandingAlarm {
        grade: Grade::P2,
        cause: Cause::Ced,
        origin: Origin::Rule,
        ..standing(&alarm_record(8))
    };
    let minor = StandingAlarm { grade: Grade::P3, origin: Origin::Rule, ..standing(&alarm_record(9)) };
    assert_eq!(picture.due(&[minor], RECEIVED_MS), [], "a rule's P3 is nothing for TAK");
    let both = [first.clone(), second.clone()];
    assert_eq!(kinds(&picture.due(&both, RECEIVED_MS)), [Kind::Emergency]);
    let closed = StandingAlarm { closed_at_ms: Some(RECEIVED_MS), ..first };
    assert_eq!(kinds(&picture.due(&[closed.clone(), second.clone()], RECEIVED_MS)), [Kind::InContact]);
    let second = StandingAlarm { closed_at_ms: Some(RECEIVED_MS), ..second };
    assert_eq!(kinds(&picture.due(&[closed, second], RECEIVED_MS)), [Kind::Cancel]);
}

#[test]
fn an_acknowledged_alarm_hides_none_of_its_grade_that_nobody_has_acknowledged() {
    let mut picture = Picture::new(SPANS);
    let older = StandingAlarm { raised_at_ms: RECEIVED_MS - 9_000, ..standing(&alarm_record(7)) };
    let newer = StandingAlarm { is_acknowledged: true, ..standing(&alarm_record(8)) };
    let told = picture.due(&[older.clone(), newer.clone()], RECEIVED_MS);
    assert_eq!(told.iter().map(|cot| &*cot.key).collect::<Vec<_>>(), [alert::key(&older.id)]);
    let older = StandingAlarm { is_acknowledged: true, ..older };
    let told = picture.due(&[older, newer.clone()], RECEIVED_MS);
    assert_eq!(told.iter().map(|cot| &*cot.key).collect::<Vec<_>>(), [alert::key(&newer.id)]);
}

#[test]
fn an_alarm_that_the_book_has_not_got_yet_is_not_cancelled_for_an_older_one() {
    let mut picture = Picture::new(SPANS);
    let closed = StandingAlarm { closed_at_ms: Some(RECEIVED_MS - 500), ..standing(&alarm_record(3)) };
    drop(picture.take(&said(alarm_record(7)), &name(), std::slice::from_ref(&closed), RECEIVED_MS));
    assert_eq!(picture.due(&[closed], RECEIVED_MS + 10), []);
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
