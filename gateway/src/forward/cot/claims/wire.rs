//! What stands on the wire: both encodings, and whatever the other end sends.

use fieldpost_protocol::Mode;
use proptest::prelude::*;

use crate::forward::cot::message::{Cot, How, Kind, Point};
use crate::forward::cot::parse::{self, Heard, Refused};
use crate::forward::cot::split::{Protocol, Splitter};
use crate::forward::cot::{fuzz_door, proto, xml};
use crate::forward::testing::RECEIVED_MS;

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

#[test]
fn an_event_is_written_as_tak_clients_know_it() {
    let expected = "<event version=\"2.0\" uid=\"fieldpost.met.pc-0001-9-1-1\" type=\"b-a-o-tbl\" how=\"m-g\" \
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
        fuzz_door::tak_stream(&bytes);
    }

    #[test]
    fn whatever_somebody_is_called_what_leaves_is_one_event(
        callsign in any::<String>(),
        remarks in "\\PC{0,40}|[<>&'\"\\]\\[!\\-/a-z\u{0}-\u{1f}\u{fffe}\u{85}]{0,60}",
    ) {
        let cot = Cot { remarks: remarks.clone(), ..cot(&callsign) };
        let text = written(&cot);
        prop_assert_eq!(text.matches("</event>").count(), 1);
        prop_assert_eq!(text.lines().count(), 1);
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
