//! What an onlooker sees of a device is the length of what it sends: an alarm must look like a status.

use std::collections::BTreeSet;

use fieldpost_firmware::{RamStorage, Storage};
use fieldpost_protocol::{
    Body, BootId, Class, Duty, Envelope, Lane, Power,
    limits::{FRAME_BYTES_MAX, PADDED_FRAME_BYTES},
    topic,
};
use proptest::prelude::{any, proptest};

use crate::bench::{Bench, Published, every_fix};

/// Lengths of what must look alike.
fn lengths(published: &[Published]) -> BTreeSet<usize> {
    let alike = |class: Class| class.is_alarm_family() || class == Class::STATUS;
    published.iter().filter(|frame| alike(frame.class())).map(|frame| frame.frame.len()).collect()
}

/// The same frames by a device that does not pad.
fn unpadded(published: &[Published]) -> Vec<Published> {
    let strip = |published: &Published| {
        let envelope = Envelope::decode(&published.frame).unwrap();
        let mut body = [0; FRAME_BYTES_MAX];
        let body = match Body::decode(&envelope.head, envelope.body).unwrap() {
            Body::Alarm(alarm) => alarm.encode(&mut body).unwrap(),
            Body::AlarmCancel(cancel) => cancel.encode(&mut body).unwrap(),
            Body::Status(status) => status.encode(&mut body).unwrap(),
            _ => envelope.body,
        };
        let mut frame = [0; FRAME_BYTES_MAX];
        let frame = Envelope { body, ..envelope }.encode(&mut frame).unwrap().to_vec();
        Published { frame, ..published.clone() }
    };
    published.iter().map(strip).collect()
}

/// A start, a walk, an alarm with a position, its cancellation, another off duty, a status.
fn shift<S: Storage>(bench: &mut Bench<S>, age_ms: u64) -> Vec<Published> {
    let mut published = bench.connect(false);
    bench.walk(3);
    published.extend(bench.drain());
    // Everything is answered, or the device hangs up while the fix grows old.
    published = bench.settle(published);
    bench.now_ms += age_ms;
    bench.device.on_button(bench.now_ms, false);
    published.extend(bench.drain());
    bench.device.on_cancel(bench.now_ms);
    published.extend(bench.drain());
    bench.device.on_duty(bench.now_ms, Duty::OFF_DUTY);
    bench.device.on_button(bench.now_ms, true);
    bench.device.on_battery(bench.now_ms, 3, Power::BATTERY);
    published.extend(bench.drain());
    assert!(
        [Class::ALARM, Class::ALARM_CANCEL, Class::STATUS]
            .iter()
            .all(|class| published.iter().any(|frame| frame.class() == *class))
    );
    published
}

proptest! {
    #[test]
    fn an_alarm_a_cancellation_and_a_status_have_one_length(boot in any::<u32>(), age_ms in 0u64..100_000_000) {
        let storage = RamStorage::<256>::after_boot(BootId(boot.min(u32::MAX - 1)));
        let mut bench = Bench::with_storage(every_fix(), storage);
        let published = shift(&mut bench, age_ms);
        assert_eq!(lengths(&published), BTreeSet::from([PADDED_FRAME_BYTES]));
    }
}

#[test]
fn a_device_that_does_not_pad_is_found_out() {
    let mut bench = Bench::new(every_fix());
    let published = shift(&mut bench, 0);
    assert_eq!(lengths(&published).len(), 1);
    assert!(lengths(&unpadded(&published)).len() > 1, "or the claim above proves nothing");
}

#[test]
fn the_topics_of_all_lanes_have_one_length() {
    let lengths: BTreeSet<_> =
        [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health].map(|lane| topic::short(lane).len()).into();
    assert_eq!(lengths.len(), 1);
}

#[test]
fn a_position_is_never_padded() {
    let mut bench = Bench::new(every_fix());
    bench.connect(false);
    bench.walk(1);
    let published = bench.drain();
    let position = published.iter().find(|frame| frame.class() == Class::POSITION).unwrap();
    assert!(position.frame.len() <= 30, "{}", position.frame.len());
}
