//! Every byte is named exactly once, whatever the frame.

use fieldpost_protocol::{
    Action, AlarmCause, BatchItem, BootId, CancelReason, Command, FixSource, Head, LossReason, NamedRecord,
    Print, Receipt, ReportReason, Seq, SeqRange, Trailer, encode_batch,
};
use proptest::prelude::{any, proptest};

use super::*;

fn head(class: Class) -> Head {
    Head {
        version: 1,
        class,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(3),
        seq: Seq(300),
        time_ms: 1_795_000_000_000,
    }
}

fn position() -> Position {
    Position {
        latitude_udeg: 51_500_000,
        longitude_udeg: -120_000,
        speed_cmps: Some(150),
        course_turn256: None,
        accuracy_m: 4,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn frame(class: Class, body: &[u8], trailer: Option<Trailer<'_>>) -> Vec<u8> {
    let mut buffer = [0; limits::FRAME_BYTES_MAX];
    Envelope { head: head(class), body, trailer }.encode(&mut buffer).unwrap().to_vec()
}

fn covers_every_byte_once(decoded: &Decoded, frame: &[u8]) {
    let hex: String = decoded.parts.iter().map(|part| part.bytes.as_str()).collect();
    let expected: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected, "{}", table(decoded));
    let mut next = 0;
    for part in &decoded.parts {
        assert_eq!(part.offset, next, "{}", table(decoded));
        next += part.bytes.len() / 2;
    }
}

fn value<'d>(decoded: &'d Decoded, field: &str) -> &'d str {
    let part = decoded.parts.iter().rfind(|part| part.field == field);
    part.map(|part| part.value.as_str()).unwrap_or_else(|| panic!("no {field} in\n{}", table(decoded)))
}

fn checked(frame: &[u8]) -> Decoded {
    let decoded = uplink(frame);
    covers_every_byte_once(&decoded, frame);
    decoded
}

#[test]
fn alarm_with_position_and_tag_is_named_to_the_last_byte() {
    let alarm = Alarm {
        cause: AlarmCause::OFFICER_DOWN,
        silent: true,
        position: Some(position()),
        position_age_s: 7,
    };
    let mut buffer = [0; 64];
    let body = alarm.encode(&mut buffer).unwrap();
    let trailer = Trailer { algorithm: AuthAlgorithm::HMAC_SHA256_128, tag: &[9; 16] };
    let decoded = checked(&frame(Class::ALARM, body, Some(trailer)));
    assert_eq!(decoded.error, None);
    assert_eq!(value(&decoded, "class"), "alarm (0x10)");
    assert_eq!(value(&decoded, "flags"), "mode test, clock gnss, a tag follows the body");
    assert_eq!(value(&decoded, "body.cause"), "officer-down (2)");
    assert_eq!(value(&decoded, "body.silent"), "true");
    assert_eq!(value(&decoded, "body.position.latitude_udeg"), "51.500000 degrees");
    assert_eq!(value(&decoded, "body.position.longitude_udeg"), "-0.120000 degrees");
    assert_eq!(value(&decoded, "body.position.speed_cmps"), "1.50 m/s");
    assert_eq!(value(&decoded, "body.position.course_turn256"), "absent");
    assert_eq!(value(&decoded, "body.position.reason"), "interval (129)");
    assert_eq!(value(&decoded, "body.position_age_s"), "7 s");
    assert_eq!(value(&decoded, "algorithm"), "hmac-sha256-128 (1)");
    assert_eq!(value(&decoded, "tag"), "16 bytes, not checked here");
}

#[test]
fn batch_names_the_bytes_of_every_item() {
    let items: Vec<_> = (0..5_u32)
        .map(|number| BatchItem {
            seq: Seq(300 + number * 2),
            time_ms: 1_795_000_000_000 + u64::from(number) * 5_000,
            position: Position { latitude_udeg: 51_500_000 + number.cast_signed() * 37, ..position() },
        })
        .collect();
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let (count, body) = encode_batch(&items, &mut buffer).unwrap();
    assert_eq!(count, 5);
    let decoded = checked(&frame(Class::POSITION_BATCH, body, None));
    assert_eq!(decoded.error, None, "{}", table(&decoded));
    assert_eq!(value(&decoded, "body.count"), "5 positions");
    assert_eq!(value(&decoded, "body[4].seq_step"), "+2");
}

#[test]
fn padding_and_unknown_alarms_are_explained() {
    let cancel = AlarmCancel { boot: BootId(1), seq: Seq(2), reason: CancelReason::WEARER };
    let mut buffer = [0; 64];
    let length = cancel.encode(&mut buffer).unwrap().len();
    let padded = checked(&frame(Class::ALARM_CANCEL, &buffer[..length + 5], None));
    assert_eq!(padded.error, None);
    assert_eq!(value(&padded, "body.more"), "padding, or fields of a newer version");
    let unknown = checked(&frame(Class(0x1E), &[1, 2, 3], None));
    assert!(value(&unknown, "class").contains("alarm family"));
    assert_eq!(unknown.error, None);
}

#[test]
fn loss_ranges_and_downlink_frames_are_named() {
    let ranges: heapless::Vec<_, { limits::SEQ_RANGES_MAX }> =
        [SeqRange { first: Seq(5), more: 3 }].into_iter().collect();
    let loss = Loss { boot: BootId(9), reason: LossReason::EVICTED, ranges: ranges.clone() };
    let mut buffer = [0; 256];
    let decoded = checked(&frame(Class::LOSS, loss.encode(&mut buffer).unwrap(), None));
    assert_eq!(value(&decoded, "body.ranges[0].first"), "5");
    assert_eq!(value(&decoded, "body.reason"), "evicted (1)");
    let show = Action::Show("call in".try_into().unwrap());
    let record = NamedRecord { seq: Seq(5), print: Print(7) };
    let records = [record].into_iter().collect();
    for message in [
        Downlink::Receipts(Receipts { receipt: Receipt::Seen, boot: BootId(9), ranges }),
        Downlink::Proven(Proven { receipt: Receipt::Seen, boot: BootId(9), records }),
        Downlink::Command(Command { id: 1, expires_at_ms: 2, action: show }),
        Downlink::Command(Command { id: 1, expires_at_ms: 2, action: Action::Interval { seconds: 5 } }),
        Downlink::Time { unix_ms: 1_795_000_000_000 },
    ] {
        let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
        let frame = message.encode(&mut buffer).unwrap();
        let decoded = downlink(frame);
        covers_every_byte_once(&decoded, frame);
        assert_eq!(decoded.error, None, "{}", table(&decoded));
    }
}

#[test]
fn truncated_frame_is_named_up_to_its_end_with_the_reason() {
    let mut buffer = [0; 64];
    let whole = frame(Class::POSITION, position().encode(&mut buffer).unwrap(), None);
    for length in 1..whole.len() {
        let decoded = checked(&whole[..length]);
        assert!(decoded.error.as_deref().is_some_and(|error| error.contains("end before")), "{decoded:?}");
    }
}

#[test]
fn hexadecimal_is_read_generously_and_refused_clearly() {
    assert_eq!(from_hex(" 0x01 10:ff\n0A ").unwrap(), [1, 0x10, 0xFF, 0x0A]);
    assert!(from_hex("01 1").unwrap_err().contains("3 hexadecimal digits"));
    assert!(from_hex("01 zz").unwrap_err().contains("'z' is not"));
    assert!(from_hex("").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_named_once_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        checked(&bytes);
        covers_every_byte_once(&downlink(&bytes), &bytes);
    }

    #[test]
    fn any_body_of_any_class_is_named_once(class in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..100)) {
        checked(&frame(Class(class), &body, None));
    }
}
