//! The duty gate on the wire: off duty no coordinate leaves.

use std::time::Duration;

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    inputs::{Pin, unix_s_now},
    pcap::Capture,
};
use fieldpost_protocol::{Body, Class, Envelope};

use crate::image;

const WAIT_MAX: Duration = Duration::from_secs(30);

/// The same fixes, once on duty and once off: the control shows that the test would see a coordinate.
#[test]
fn off_duty_neither_the_wire_nor_the_gateway_holds_a_coordinate_of_the_emulated_board() {
    let on_duty = shift(true);
    assert!(on_duty.position_count > 0, "on duty the same fixes are reported");
    let off_duty = shift(false);
    assert_eq!(off_duty.position_count, 0);
    println!(
        "emulated board: {} places on duty, {} off duty in {} records, one of them an alarm",
        on_duty.position_count, off_duty.position_count, off_duty.record_count
    );
    assert!(off_duty.record_count > 0, "status and alarm still arrive");
    assert_eq!(off_duty.alarm_count, 1, "an alarm goes out at once, without a place");
}

struct Found {
    record_count: usize,
    alarm_count: usize,
    /// Records of any class that hold a place.
    position_count: usize,
}

fn shift(on_duty: bool) -> Found {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let mut board = bench.power_on_with(|board| board.set_pin(Pin::Duty, on_duty)).unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    // Receivers send a fix a second; the device takes the first that comes after its debounce.
    let feed = Feed::start(&board, walk(unix_s_now()).take(25), Duration::from_millis(200)).unwrap();
    assert_eq!(feed.finish(), 25);
    board.set_pin(Pin::Panic, true).unwrap();
    board.log().wait_for("receipt: Stored", WAIT_MAX).unwrap();
    let capture = Capture::read(board.capture()).unwrap();
    // TLS hides what the wire carries; this is that nothing goes round it.
    assert!(!capture.holds(b"GPRMC") && !capture.holds(DEVICE.as_bytes()), "something left in clear text");
    let records = bench.gateway.records().unwrap();
    let own: Vec<_> = records.envelopes().filter(|record| record.device == DEVICE).collect();
    Found {
        record_count: own.len(),
        alarm_count: own.iter().filter(|record| record.class() == Some(Class::ALARM)).count(),
        position_count: own.iter().filter(|record| holds_place(&record.payload)).count(),
    }
}

fn holds_place(frame: &[u8]) -> bool {
    let envelope = Envelope::decode(frame).unwrap();
    match Body::decode(&envelope.head, envelope.body).unwrap() {
        Body::Position(_) | Body::PositionBatch(_) => true,
        Body::Alarm(alarm) => alarm.position.is_some(),
        _ => false,
    }
}
