//! Bytes at IP level: each write of ours is a segment of 40 bytes of TCP and IP and what it carries; each segment of the
//! gateway is one too, and costs us an acknowledgement. (TCP may merge acknowledgements; it adds none to these.)

use fieldpost_firmware::Handle;
use fieldpost_link::Order;
use fieldpost_protocol::{
    BatchItem, BootId, Class, ClockQuality, Envelope, FixSource, Head, Lane, Mode, Position, ReportReason,
    Seq, encode_batch, limits,
};

use crate::body::{Heard, Link, TestClock};
use crate::delivery::device;
use crate::gateway::Gateway;
use crate::wire::Reading;

/// IPv4 and TCP without options.
const SEGMENT_BYTES: u64 = 40;

fn up(from: Reading, to: Reading) -> u64 {
    to.up_bytes - from.up_bytes + SEGMENT_BYTES * (to.up_segments - from.up_segments)
}

/// Both ways, with an acknowledgement of ours for each of the gateway's segments. The gateway's own acknowledgement
/// travels with its PUBACK.
fn both(from: Reading, to: Reading) -> u64 {
    let down_segments = to.down_segments - from.down_segments;
    up(from, to) + to.down_bytes - from.down_bytes + 2 * SEGMENT_BYTES * down_segments
}

/// A position of a car in traffic, at its longest: speed and course known.
fn position(second: u32) -> Position {
    let step = i32::try_from(second).expect("small");
    Position {
        latitude_udeg: 53_000_000 + 120 * step + step % 3,
        longitude_udeg: -1_500_000 - 40 * step - step % 5,
        speed_cmps: Some(1300 + (second % 7) as u16),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn head(class: Class, seq: u32) -> Head {
    Head {
        version: 1,
        class,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(5),
        seq: Seq(seq),
        time_ms: 1_795_307_400_000 + u64::from(seq) * 1000,
    }
}

fn frame(head: Head, body: &[u8]) -> Vec<u8> {
    let mut buffer = [0; limits::FRAME_BYTES_MAX];
    Envelope { head, body, trailer: None }.encode(&mut buffer).expect("it fits").to_vec()
}

async fn connected(gateway: &mut Gateway) -> Link {
    let tls = gateway.enrol(&device());
    let mut link = Link::start(gateway.door.address(), tls, &device(), TestClock::good());
    assert_eq!(link.connect().await, Heard::Connected { session_present: false });
    link
}

/// Publishes and waits for STORED; what that took.
async fn publish(link: &mut Link, number: u32, lane: Lane, frame: &[u8]) -> (Reading, Reading) {
    let before = link.meter.read();
    link.order(Order::Publish { handle: Handle(number), lane, len: frame.len() }, frame).await;
    assert_eq!(link.hear().await, Heard::Acknowledged(Handle(number)));
    (before, link.meter.read())
}

#[tokio::test]
async fn a_live_position_costs_at_most_100_bytes_up_and_210_both_ways() {
    let mut gateway = Gateway::open().await;
    let mut link = connected(&mut gateway).await;
    let mut buffer = [0; limits::POSITION_BYTES_MAX];
    let mut costs = Vec::new();
    // Sequences of two bytes, as after the first two minutes.
    for seq in 1000..1030 {
        let body = position(seq).encode(&mut buffer).expect("it fits").to_vec();
        let (before, after) =
            publish(&mut link, seq, Lane::Live, &frame(head(Class::POSITION, seq), &body)).await;
        costs.push((up(before, after), both(before, after)));
    }
    let (up_max, both_max) = costs.iter().fold((0, 0), |max, cost| (max.0.max(cost.0), max.1.max(cost.1)));
    assert!(
        up_max <= 100 && both_max <= 210,
        "a live position costs {up_max} bytes up, {both_max} both ways"
    );
    assert!(up_max >= 62 + 24, "the meter counts: {up_max}");
}

#[tokio::test]
async fn a_position_of_a_batch_of_thirty_costs_at_most_16_bytes_both_ways() {
    let mut gateway = Gateway::open().await;
    let mut link = connected(&mut gateway).await;
    let items: Vec<_> = (1000..1030)
        .map(|seq| BatchItem {
            seq: Seq(seq),
            time_ms: head(Class::POSITION, seq).time_ms,
            position: position(seq),
        })
        .collect();
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let (count, body) = encode_batch(&items, &mut buffer).expect("it fits");
    assert_eq!(count, 30);
    let batch = frame(head(Class::POSITION_BATCH, 1000), body);
    let (before, after) = publish(&mut link, 1, Lane::Backlog, &batch).await;
    let each = both(before, after).div_ceil(30);
    // A smooth track; what a real one costs, the bench rig measures.
    assert_eq!((batch.len(), each), (150, 11));
    assert!(each <= 16, "the goal");
}

#[tokio::test]
async fn orders_that_wait_together_share_one_segment() {
    let mut gateway = Gateway::open().await;
    let (tls, clock) = (gateway.enrol(&device()), TestClock::good());
    let (mut link, serving) = Link::here(gateway.door.address(), tls, &device(), clock);
    let test = async {
        assert_eq!(link.connect().await, Heard::Connected { session_present: false });
        let before = link.meter.read();
        // The session runs only while this waits, so all four wait for it.
        for number in 0..4 {
            let order = Order::Publish { handle: Handle(number), lane: Lane::Live, len: 30 };
            link.orders.try_send((order, vec![0; 30])).expect("there is room");
        }
        for _ in 0..4 {
            assert!(matches!(link.hear().await, Heard::Acknowledged(_)));
        }
        assert_eq!(link.meter.read().up_segments - before.up_segments, 1);
    };
    tokio::select! {
        () = test => {}
        () = serving => panic!("the session serves for ever"),
    }
}

#[tokio::test]
async fn the_lane_of_a_frame_does_not_show_in_its_size() {
    let mut gateway = Gateway::open().await;
    let mut link = connected(&mut gateway).await;
    let mut sizes = Vec::new();
    for (number, lane) in [(1, Lane::Alarm), (2, Lane::Live), (3, Lane::Backlog), (4, Lane::Health)] {
        let (before, after) = publish(&mut link, number, lane, &[0; 42]).await;
        sizes.push(after.up_bytes - before.up_bytes);
    }
    assert_eq!(sizes, [42 + 8 + 22; 4]);
}
