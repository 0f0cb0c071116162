//! Real receivers: what a parser that we did not write makes of their logs is what leaves the device.

use std::{fs, path::PathBuf, string::String, vec::Vec};

use fieldpost_firmware::{Fix, Reject, Settings, sensor::nmea::Receiver};
use fieldpost_protocol::{ClockQuality, Mode};

use crate::bench::Bench;

const LOGS: [&str; 7] = [
    "bt451.log",
    "bundg_zeus_9.log",
    "haicom-305N.log",
    "nmea-fuzzy-cases.log",
    "quectel-l76k-nmea.log",
    "telit-he910.log",
    "ublox-neo-m9n-nmea.log",
];

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../simulator/testdata/gnss")
}

fn log(name: &str) -> Vec<u8> {
    fs::read(directory().join(name)).unwrap()
}

/// A fix as pynmea2 reads it.
#[derive(Debug)]
struct Expected {
    unix_ms: u64,
    latitude_deg: f64,
    longitude_deg: f64,
    speed_mps: Option<f64>,
}

/// What `expected.py` wrote about one log.
fn expected(name: &str) -> Vec<Expected> {
    let text: String = fs::read_to_string(directory().join("expected.csv")).unwrap();
    let rows = text.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[0] == name)
        .map(|row| Expected {
            unix_ms: row[2].parse().unwrap(),
            latitude_deg: row[3].parse().unwrap(),
            longitude_deg: row[4].parse().unwrap(),
            speed_mps: row[5].parse().ok(),
        })
        .collect()
}

fn fixes(bytes: &[u8]) -> (Vec<Fix>, Receiver) {
    let mut receiver = Receiver::new();
    let fixes = bytes.iter().filter_map(|byte| receiver.push(*byte)).collect();
    (fixes, receiver)
}

fn assert_same(name: &str, time_ms: u64, position: &fieldpost_protocol::Position, expected: &Expected) {
    let degrees = |udeg: i32| f64::from(udeg) / 1e6;
    assert_eq!(time_ms, expected.unix_ms, "{name}");
    // Half a micro-degree is the rounding itself; the rest is the other parser's floating point.
    let latitude_off = (degrees(position.latitude_udeg) - expected.latitude_deg).abs();
    let longitude_off = (degrees(position.longitude_udeg) - expected.longitude_deg).abs();
    assert!(latitude_off <= 0.502e-6 && longitude_off <= 0.502e-6, "{name} {expected:?}: {position:?}");
    match (position.speed_cmps, expected.speed_mps) {
        (Some(cmps), Some(mps)) => assert!((f64::from(cmps) / 100.0 - mps).abs() <= 0.005_01, "{name}"),
        (None, None) => {}
        other => panic!("{name} {expected:?}: speed {other:?}"),
    }
}

#[test]
fn every_fix_of_a_real_log_is_what_an_independent_parser_says() {
    let mut total = 0;
    for name in LOGS {
        let (fixes, _) = fixes(&log(name));
        let expected = expected(name);
        assert_eq!(fixes.len(), expected.len(), "{name}: once each");
        for (fix, expected) in fixes.iter().zip(&expected) {
            assert_same(name, fix.unix_ms, &fix.position, expected);
        }
        total += fixes.len();
    }
    assert_eq!(total, 638);
}

#[test]
fn every_fix_of_a_real_log_leaves_the_device_once_and_in_order() {
    for name in LOGS {
        let mut bench = Bench::new(Settings::replay(Mode::Test));
        let first = bench.connect(false);
        let mut published = bench.settle(first);
        for line in log(name).split_inclusive(|byte| *byte == b'\n') {
            bench.now_ms += 10;
            bench.device.on_nmea(bench.now_ms, line);
            published.extend(bench.settle(Vec::new()));
        }
        let positions: Vec<_> = published
            .iter()
            .flat_map(|frame| frame.records().into_iter().map(move |record| (frame.head(), record)))
            .filter_map(|(head, (_, time_ms, position))| Some((head, time_ms, position?)))
            .collect();
        let expected = expected(name);
        assert_eq!(positions.len(), expected.len(), "{name}");
        for ((head, time_ms, position), expected) in positions.iter().zip(&expected) {
            assert_same(name, *time_ms, position, expected);
            assert_eq!(head.clock, ClockQuality::Gnss, "{name}");
        }
        assert_eq!(bench.device.ledger().owed, 0, "{name}");
    }
}

#[test]
fn a_damaged_sentence_or_one_without_a_fix_gives_no_position() {
    for name in LOGS {
        let whole = log(name);
        let (_, receiver) = fixes(&whole);
        let counters = receiver.counters();
        for reason in [Reject::ChecksumBad, Reject::Malformed, Reject::Overlong, Reject::ForeignTalker] {
            assert_eq!(counters.rejected(reason), 0, "{name} is a clean log: {reason:?}");
        }
        // One bit of every RMC flipped: nothing may come out.
        let text = String::from_utf8_lossy(&whole);
        let damaged: String = text.replace("RMC,", "RMC,0");
        let (fixes, receiver) = fixes(damaged.as_bytes());
        assert_eq!(fixes.len(), 0, "{name}");
        assert!(receiver.counters().rejected(Reject::ChecksumBad) > 0, "{name}");
    }
}
