//! The size table of the protocol: `cargo test -p fieldpost-protocol --test wire sizes -- --nocapture`.

use fieldpost_protocol::{BatchItem, Class, Envelope, Position, Seq, encode_batch, limits};

use crate::samples;

fn frame_bytes(class: Class, body: &[u8]) -> usize {
    let mut frame = [0; limits::FRAME_BYTES_MAX];
    let envelope = Envelope { head: samples::head(class), body, trailer: None };
    envelope.encode(&mut frame).expect("the buffer is the largest").len()
}

/// A track of thirty fixes with 2 m of receiver noise and a turn every tenth fix, from a fixed generator.
fn track(speed_mps: f64, interval_s: f64) -> Vec<BatchItem> {
    let mut noise = Noise(0x2545_F491_4F6C_DD1D);
    let (mut north_m, mut east_m, mut course_rad) = (0.0f64, 0.0f64, 0.6f64);
    (0..30u32)
        .map(|n| {
            if n % 10 == 9 {
                course_rad += 1.2;
            }
            let speed_mps = speed_mps * (1.0 + 0.15 * noise.next());
            north_m += course_rad.cos() * speed_mps * interval_s;
            east_m += course_rad.sin() * speed_mps * interval_s;
            let shown_north_m = north_m + 2.0 * noise.next();
            let shown_east_m = east_m + 2.0 * noise.next();
            BatchItem {
                seq: Seq(20_000 + n),
                time_ms: samples::TIME_MS + (f64::from(n) * interval_s * 1000.0) as u64,
                position: Position {
                    latitude_udeg: 52_192_345 + (shown_north_m * 8.983) as i32,
                    longitude_udeg: -1_708_765 + (shown_east_m * 14.66) as i32,
                    speed_cmps: Some((speed_mps * 100.0) as u16),
                    course_turn256: Some((course_rad * 40.7 + 3.0 * noise.next()) as u8),
                    ..samples::position()
                },
            }
        })
        .collect()
}

/// xorshift64*: numbers in -1..1, the same on every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn bytes_per_position(items: &[BatchItem]) -> f64 {
    let mut body = [0; limits::BODY_BYTES_MAX];
    let (count, body) = encode_batch(items, &mut body).expect("thirty items are a batch");
    assert_eq!(count, 30);
    frame_bytes(Class::POSITION_BATCH, body) as f64 / 30.0
}

#[test]
fn sizes_meet_their_goals() {
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let position_body = samples::position().encode(&mut buffer).expect("fits").len();
    let position_frame = frame_bytes(Class::POSITION, &buffer[..position_body]);
    let status = samples::status().encode(&mut buffer).expect("fits").len();
    let status_frame = frame_bytes(Class::STATUS, &buffer[..status]);
    let alarm = samples::alarm().encode(&mut buffer).expect("fits").len();
    let alarm_frame = frame_bytes(Class::ALARM, &buffer[..alarm]);
    let event = samples::event().encode(&mut buffer).expect("fits").len();
    let event_frame = frame_bytes(Class::SENSOR_EVENT, &buffer[..event]);
    let walking = bytes_per_position(&track(1.4, 10.0));
    let driving = bytes_per_position(&track(13.4, 5.0));
    let pursuit = bytes_per_position(&track(40.0, 2.0));

    println!("| message | body B | frame B | goal B |");
    println!("|---|---|---|---|");
    println!("| lone position | {position_body} | {position_frame} | 16 (body) |");
    println!("| position in a batch of 30, walking 1.4 m/s every 10 s | | {walking:.1} | 8 (frame) |");
    println!("| position in a batch of 30, driving 13.4 m/s every 5 s | | {driving:.1} | 8 (frame) |");
    println!("| position in a batch of 30, pursuit 40 m/s every 2 s | | {pursuit:.1} | 8 (frame) |");
    println!("| status | {status} | {status_frame} | 32 (frame) |");
    println!("| alarm with position | {alarm} | {alarm_frame} | 40 (frame) |");
    println!("| sensor event | {event} | {event_frame} | |");

    let batch_goal = limits::BATCH_POSITION_BYTES_GOAL as f64;
    assert!(position_body <= limits::POSITION_BYTES_MAX);
    assert!(walking <= batch_goal && driving <= batch_goal && pursuit <= batch_goal);
    assert!(status_frame <= limits::STATUS_FRAME_BYTES_GOAL);
    assert!(alarm_frame <= limits::ALARM_FRAME_BYTES_GOAL);
}
