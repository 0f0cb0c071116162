//! Golden vectors: the bytes of every released version, for ever. **A line here is never changed, only added.**

use std::fmt::Write as _;

use fieldpost_protocol::{
    Action, BatchItem, Body, BootId, Class, Command, Downlink, Envelope, Lane, Receipt, Receipts, Seq,
    SeqRange, encode_batch, limits,
};

use crate::{auth, samples};

const VERSION_1: &str = include_str!("../golden/v1.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("a golden vector is hex"))
        .collect()
}

fn frame(class: Class, body: &[u8]) -> Vec<u8> {
    let mut frame = [0; limits::FRAME_BYTES_MAX];
    let envelope = Envelope { head: samples::head(class), body, trailer: None };
    envelope.encode(&mut frame).expect("the buffer is the largest").to_vec()
}

fn batch_items() -> Vec<BatchItem> {
    let step = |n: u32| {
        let mut position = samples::position();
        position.latitude_udeg += i32::try_from(n * n).expect("small") * 3;
        position.speed_cmps = [Some(1_394), Some(1_394), None, Some(20)][n as usize];
        position.course_turn256 = [Some(200), None, Some(7), Some(7)][n as usize];
        position.accuracy_m = [4, 4, 9, 9][n as usize];
        BatchItem { seq: Seq(20_000 + n * n), time_ms: samples::TIME_MS + u64::from(n) * 5_000, position }
    };
    (0..4).map(step).collect()
}

/// Name and bytes of each vector as this version writes it.
fn written_now() -> Vec<(&'static str, Vec<u8>)> {
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let mut downlink = [0; limits::DOWNLINK_BYTES_MAX];
    let mut vectors = Vec::new();
    macro_rules! body {
        ($name:literal, $class:ident, $body:expr) => {
            let body = $body.encode(&mut buffer).expect("fits");
            vectors.push(($name, frame(Class::$class, body)));
        };
    }
    body!("position", POSITION, samples::position());
    body!("status", STATUS, samples::status());
    body!("sensor-event", SENSOR_EVENT, samples::event());
    body!("alarm", ALARM, samples::alarm());
    body!("alarm-cancel", ALARM_CANCEL, samples::cancel());
    body!("loss", LOSS, samples::loss());
    body!("health", HEALTH, samples::health());
    let (_, body) = encode_batch(&batch_items(), &mut buffer).expect("fits");
    vectors.push(("position-batch", frame(Class::POSITION_BATCH, body)));

    let range = SeqRange { first: Seq(17), more: 3 };
    let receipts =
        Receipts { receipt: Receipt::Seen, boot: BootId(300), ranges: [range].into_iter().collect() };
    let action = Action::Interval { seconds: 5 };
    let command = Command { id: 9, expires_at_ms: samples::TIME_MS, action };
    let check_in = Action::CheckIn { seconds: 1800 };
    let check_in = Command { id: 10, expires_at_ms: samples::TIME_MS, action: check_in };
    for (name, message) in [
        ("down-receipts", Downlink::Receipts(receipts)),
        ("down-command", Downlink::Command(command)),
        ("down-time", Downlink::Time { unix_ms: samples::TIME_MS }),
        ("down-check-in", Downlink::Command(check_in)),
    ] {
        vectors.push((name, message.encode(&mut downlink).expect("fits").to_vec()));
    }
    // Agreed secret 32 x 0x07, force `met`, device `bwc-1`.
    let key = auth::key("met", "bwc-1");
    let body = samples::alarm().encode(&mut buffer).expect("fits");
    vectors.push(("alarm-tagged", auth::sealed(&key, Lane::Alarm, Class::ALARM, body)));
    let sealed = key.seal_down(&auth::receipts(), &mut downlink).expect("fits");
    vectors.push(("down-sealed", sealed.to_vec()));
    let proven = samples::proven();
    let heard = samples::heard().encode(&mut buffer).expect("fits");
    vectors.push(("receipt-heard", frame(Class::HEARD, heard)));
    vectors.push(("down-proven", proven.encode(&mut downlink).expect("fits").to_vec()));
    vectors
}

#[test]
fn this_version_writes_the_golden_bytes() {
    let now: String = written_now()
        .iter()
        .fold(String::new(), |text, (name, bytes)| text + name + " " + &hex(bytes) + "\n");
    assert_eq!(now, VERSION_1, "the bytes on the air changed: that is a new version, not an edit");
}

#[test]
fn the_golden_bytes_of_version_1_decode_to_the_same_values() {
    let vector = |name: &str| {
        let line = VERSION_1.lines().find(|line| line.split(' ').next() == Some(name));
        unhex(line.and_then(|line| line.split(' ').nth(1)).expect("the vector exists"))
    };
    let alarm = vector("alarm");
    let envelope = Envelope::decode(&alarm).expect("a golden vector decodes");
    assert_eq!(envelope.head, samples::head(Class::ALARM));
    assert_eq!(Body::decode(&envelope.head, envelope.body), Ok(Body::Alarm(samples::alarm())));

    let batch = vector("position-batch");
    let envelope = Envelope::decode(&batch).expect("a golden vector decodes");
    let Ok(Body::PositionBatch(items)) = Body::decode(&envelope.head, envelope.body) else {
        panic!("not a batch");
    };
    assert_eq!(items.collect::<Result<Vec<_>, _>>(), Ok(batch_items()));

    let loss = vector("loss");
    let envelope = Envelope::decode(&loss).expect("a golden vector decodes");
    assert_eq!(Body::decode(&envelope.head, envelope.body), Ok(Body::Loss(samples::loss())));
}

#[test]
fn an_alarm_from_newer_firmware_is_still_an_alarm() {
    let mut bytes = frame(Class(0x1E), b"a body nobody here knows");
    bytes[0] = 7;
    let envelope = Envelope::decode(&bytes).expect("the envelope of any version decodes");
    assert!(envelope.head.class.is_alarm_family());
    assert_eq!(Body::decode(&envelope.head, envelope.body), Ok(Body::Unknown(Class(0x1E))));
}
