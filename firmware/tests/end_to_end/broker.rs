//! The same device behind a broker that is not the gateway's, by configuration.

use fieldpost_firmware::{HangUp, Input, Notice, Output, Settings};
use fieldpost_protocol::{
    AuthError, BatchItem, Body, Class, Downlink, Envelope, EnvelopeKey, Head, Heard, NamedRecord, Print,
    Proven, Receipt, Receipts, Seq, SeqRange,
    limits::{DOWNLINK_BYTES_MAX, PROVEN_RECORDS_MAX},
    print,
};

use crate::bench::{Bench, Published, Ram, every_fix};

const KEY: EnvelopeKey = EnvelopeKey::from_bytes([7; 32]);
const OTHER: EnvelopeKey = EnvelopeKey::from_bytes([8; 32]);

fn behind_broker() -> Settings {
    every_fix().behind_broker(KEY)
}

fn online() -> (Bench<Ram>, Vec<Published>) {
    let mut bench = Bench::new(behind_broker());
    let mut published = bench.connect(false);
    bench.walk(3);
    published.extend(bench.drain());
    (bench, published)
}

fn hear(bench: &mut Bench<Ram>, key: &EnvelopeKey, message: &Downlink) {
    let mut buffer = [0; DOWNLINK_BYTES_MAX];
    let frame = key.seal_down(message, &mut buffer).unwrap();
    bench.device.handle(bench.now_ms, Input::Downlink(frame));
}

/// What a gateway says of frames that it stored.
fn proven(receipt: Receipt, frames: &[Published]) -> Vec<Downlink> {
    let boot = frames[0].head().boot;
    let named = |(seq, print): (u32, Print)| NamedRecord { seq: Seq(seq), print };
    let records: Vec<_> = frames.iter().flat_map(prints).map(named).collect();
    let said = |records: &[NamedRecord]| {
        Downlink::Proven(Proven { receipt, boot, records: records.iter().copied().collect() })
    };
    records.chunks(PROVEN_RECORDS_MAX).map(said).collect()
}

fn prints(one: &Published) -> Vec<(u32, Print)> {
    let envelope = Envelope::decode(&one.frame).unwrap();
    match Body::decode(&envelope.head, envelope.body) {
        Ok(Body::PositionBatch(items)) => {
            let item = |item: BatchItem| {
                let head = Head { class: Class::POSITION, time_ms: item.time_ms, ..envelope.head };
                (item.seq.0, Print::of(&head, &print::place(&item.position)))
            };
            items.map(|read| item(read.unwrap())).collect()
        }
        _ => vec![(envelope.head.seq.0, Print::of(&envelope.head, envelope.body))],
    }
}

#[test]
fn every_frame_carries_a_tag_for_its_lane() {
    let (mut bench, mut published) = online();
    bench.device.on_button(bench.now_ms, false);
    published.extend(bench.drain());
    assert!(published.len() >= 4);
    for one in &published {
        let envelope = KEY.open(one.lane, &one.frame).unwrap();
        assert!(Body::decode(&envelope.head, envelope.body).is_ok());
        assert_eq!(OTHER.open(one.lane, &one.frame), Err(AuthError::Mismatch));
    }
}

#[test]
fn a_brokers_puback_erases_nothing_and_the_gateways_receipt_does() {
    let (mut bench, published) = online();
    for one in &published {
        bench.acknowledge(one);
    }
    bench.drain();
    let before = bench.device.ledger();
    assert_eq!((before.stored, before.owed), (0, before.issued));
    for said in proven(Receipt::Stored, &published) {
        hear(&mut bench, &KEY, &said);
    }
    let after = bench.device.ledger();
    assert_eq!((after.stored, after.owed), (before.issued, 0));
    assert!(after.balances());
}

#[test]
fn a_receipt_makes_room_in_the_window_for_what_waits() {
    let (mut bench, mut published) = online();
    while let more = {
        bench.walk(1);
        bench.drain()
    } && !more.is_empty()
    {
        published.extend(more);
    }
    bench.walk(30);
    assert_eq!(bench.drain(), [], "the window is full");
    for said in proven(Receipt::Stored, &published) {
        hear(&mut bench, &KEY, &said);
    }
    let next = bench.drain();
    assert!(next.iter().any(|one| one.records().len() > 1), "the backlog travels in batches: {next:?}");
}

#[test]
fn a_forged_receipt_erases_nothing_whether_clear_or_of_another_key() {
    let (mut bench, published) = online();
    let before = bench.device.ledger();
    let receipt = &proven(Receipt::Stored, &published)[0];
    hear(&mut bench, &OTHER, receipt);
    let mut buffer = [0; DOWNLINK_BYTES_MAX];
    let clear = receipt.encode(&mut buffer).unwrap();
    bench.device.handle(bench.now_ms, Input::Downlink(clear));
    assert_eq!(bench.device.ledger(), before);
    assert_eq!(bench.device.counters().downlinks_malformed, 2);
}

#[test]
fn the_time_is_not_taken_from_a_broker() {
    let (mut bench, _) = online();
    let told = bench.device.told_unix_ms(bench.now_ms);
    hear(&mut bench, &KEY, &Downlink::Time { unix_ms: 1_790_000_000_000 });
    assert_eq!(bench.device.told_unix_ms(bench.now_ms), told);
    assert_eq!(bench.device.counters().downlinks_malformed, 1);
}

#[test]
fn without_a_receipt_everything_is_sent_again_after_a_minute() {
    let (mut bench, published) = online();
    for one in &published {
        bench.acknowledge(one);
    }
    bench.others.clear();
    bench.now_ms += 61_000;
    bench.drain();
    assert_eq!(bench.others, [Output::HangUp(HangUp::AnswerDeadline)]);
    let again = bench.connect(true);
    let records = |frames: &[Published]| {
        let mut seqs: Vec<_> = frames.iter().flat_map(Published::records).map(|(seq, ..)| seq).collect();
        seqs.sort_unstable();
        seqs
    };
    let (first, second) = (records(&published), records(&again));
    assert!(first.iter().all(|seq| second.contains(seq)), "{first:?} {second:?}");
}

#[test]
fn an_alarm_is_said_to_be_stored_when_the_gateway_says_so() {
    let (mut bench, _) = online();
    bench.device.on_button(bench.now_ms, false);
    let published = bench.drain();
    bench.notices.clear();
    bench.acknowledge(&published[0]);
    bench.drain();
    let is_told =
        |bench: &Bench<Ram>| bench.notices.iter().any(|notice| matches!(notice, Notice::AlarmReceipt { .. }));
    assert!(!is_told(&bench));
    hear(&mut bench, &KEY, &proven(Receipt::Stored, &published[..1])[0]);
    bench.drain();
    assert!(is_told(&bench));
}

#[test]
fn a_receipt_of_an_earlier_life_of_the_device_erases_nothing() {
    let (mut bench, mut earlier) = online();
    bench.device.on_button(bench.now_ms, false);
    earlier.extend(bench.drain());
    // Wiped: the same key, and boots and sequences from the beginning, a minute later.
    let mut wiped = Bench::new(behind_broker());
    wiped.now_ms += 60_000;
    let mut later = wiped.connect(false);
    wiped.walk(3);
    later.extend(wiped.drain());
    wiped.device.on_button(wiped.now_ms, false);
    later.extend(wiped.drain());
    wiped.notices.clear();
    let before = wiped.device.ledger();
    assert_eq!(before.boot, bench.device.ledger().boot, "the identities are the same");
    for said in [Receipt::Stored, Receipt::Seen].iter().flat_map(|said| proven(*said, &earlier)) {
        hear(&mut wiped, &KEY, &said);
    }
    wiped.drain();
    assert_eq!(wiped.device.ledger(), before);
    assert!(!wiped.notices.iter().any(|notice| matches!(notice, Notice::AlarmReceipt { .. })));
    for said in proven(Receipt::Stored, &later) {
        hear(&mut wiped, &KEY, &said);
    }
    assert_eq!(wiped.device.ledger().owed, 0, "its own are heard");
}

/// A device that pressed its button after so long, and the alarm as it was sent.
fn pressed(after_ms: u64) -> (Bench<Ram>, Published) {
    let mut bench = Bench::new(behind_broker());
    bench.now_ms += after_ms;
    bench.connect(false);
    bench.walk(3);
    bench.drain();
    bench.device.on_button(bench.now_ms, false);
    let alarm = bench.drain().into_iter().find(|one| one.class() == Class::ALARM).unwrap();
    (bench, alarm)
}

/// Whether hearing this tells the wearer anything about an alarm.
fn tells(bench: &mut Bench<Ram>, said: &Downlink) -> bool {
    bench.notices.clear();
    hear(bench, &KEY, said);
    let answers = bench.drain();
    let is_told = bench.notices.iter().any(|notice| matches!(notice, Notice::AlarmReceipt { .. }));
    assert_eq!(
        is_told,
        answers.iter().any(|one| one.class() == Class::HEARD),
        "the gateway hears what the wearer does"
    );
    is_told
}

#[test]
fn seen_of_an_earlier_life_is_not_believed_after_a_restart_either() {
    let (_, earlier) = pressed(0);
    let (mut bench, alarm) = pressed(60_000);
    assert_eq!((earlier.head().boot, earlier.head().seq), (alarm.head().boot, alarm.head().seq));
    // Stored, so that the outbox no longer says what the alarm was.
    hear(&mut bench, &KEY, &proven(Receipt::Stored, std::slice::from_ref(&alarm))[0]);
    let mut bench = bench.restart(behind_broker());
    bench.connect(false);
    let [of_earlier, of_this] =
        [&earlier, &alarm].map(|alarm| proven(Receipt::Seen, std::slice::from_ref(alarm)).remove(0));
    assert!(!tells(&mut bench, &of_earlier), "nobody has seen this alarm");
    assert!(tells(&mut bench, &of_this), "somebody has");
}

#[test]
fn seen_of_an_alarm_that_the_device_no_longer_knows_tells_nobody_anything() {
    let (mut bench, alarm) = pressed(0);
    let seen = &proven(Receipt::Seen, std::slice::from_ref(&alarm))[0];
    bench.device.on_cancel(bench.now_ms);
    let mut owing = bench.restart(behind_broker());
    owing.connect(false);
    assert!(tells(&mut owing, seen), "taken back, and still owed: it says what it was");
    hear(&mut owing, &KEY, &proven(Receipt::Stored, std::slice::from_ref(&alarm))[0]);
    let mut bench = owing.restart(behind_broker());
    bench.connect(false);
    assert!(!tells(&mut bench, seen));
}

#[test]
fn a_receipt_by_number_alone_is_not_heard_behind_a_broker() {
    let (mut bench, _) = online();
    let before = bench.device.ledger();
    let ranges = [SeqRange { first: Seq(0), more: before.issued }].into_iter().collect();
    let said = Receipts { receipt: Receipt::Stored, boot: before.boot, ranges };
    hear(&mut bench, &KEY, &Downlink::Receipts(said));
    assert_eq!(bench.device.ledger(), before);
    assert_eq!(bench.device.counters().downlinks_malformed, 1);
}

#[test]
fn delivered_and_seen_are_answered_by_a_record_and_not_oftener_than_every_half_minute() {
    let (mut bench, _) = online();
    bench.device.on_button(bench.now_ms, false);
    let alarm = bench.drain();
    let heard = |frames: Vec<Published>| -> Vec<Heard> {
        let decoded = frames.iter().filter_map(|one| {
            let envelope = Envelope::decode(&one.frame).unwrap();
            match Body::decode(&envelope.head, envelope.body) {
                Ok(Body::Heard(heard)) => Some(heard),
                _ => None,
            }
        });
        decoded.collect()
    };
    let (seq, print) = prints(&alarm[0])[0];
    let answer = |receipt| Heard { receipt, boot: alarm[0].head().boot, seq: Seq(seq), print };
    let tell = |bench: &mut Bench<Ram>, receipt| {
        hear(bench, &KEY, &proven(receipt, &alarm[..1])[0]);
        heard(bench.drain())
    };
    assert_eq!(tell(&mut bench, Receipt::Stored), []);
    assert_eq!(tell(&mut bench, Receipt::Delivered), [answer(Receipt::Delivered)]);
    assert_eq!(tell(&mut bench, Receipt::Seen), [answer(Receipt::Seen)]);
    assert_eq!(tell(&mut bench, Receipt::Seen), [], "a broker that repeats it fills no outbox");
    bench.now_ms += 30_000;
    assert_eq!(tell(&mut bench, Receipt::Seen), [answer(Receipt::Seen)], "the answer was lost");
}
