//! A receiver's log through the image: GNSS port, device logic, TLS, MQTT, spool, page.

use std::{fs, time::Duration};

use fieldpost_firmware::Profile;
use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::Feed,
};

use crate::image;

/// From a record on the board to the page of a loaded machine.
const ARRIVAL_WAIT_MAX: Duration = Duration::from_secs(30);
/// A ten-thousandth of a minute is 1.7e-6 degrees; the wire holds millionths.
const PLACE_TOLERANCE_DEG: f64 = 1e-6;

/// What an independent parser makes of a receiver's log: Unix ms, latitude, longitude.
fn expected(log: &str) -> Vec<(u64, f64, f64)> {
    let path = testdata().join("expected.csv");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|row| row.starts_with(log)).map(|row| row.split(',').collect::<Vec<_>>());
    rows.map(|row| (row[2].parse().unwrap(), row[3].parse().unwrap(), row[4].parse().unwrap())).collect()
}

fn testdata() -> std::path::PathBuf {
    fieldpost_hil_tests::places::root().join("simulator/testdata/gnss")
}

#[test]
fn real_receiver_log_through_the_emulated_board_is_the_same_track_in_the_gateway_and_on_its_page() {
    let log = "telit-he910.log";
    let bench = Bench::new(image(), |slot| slot.profile = Profile::Every).unwrap();
    let page = bench.gateway.open_page("sgt-bench").unwrap();
    let board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();

    let bytes = fs::read(testdata().join(log)).unwrap();
    // A receiver at 9600 baud writes 960 bytes a second; this is twice that, in chunks that cut sentences anywhere.
    let chunks: Vec<Vec<u8>> = bytes.chunks(48).map(<[u8]>::to_vec).collect();
    let count = chunks.len();
    assert_eq!(Feed::start(&board, chunks, Duration::from_millis(25)).unwrap().finish(), count);

    let expected = expected(log);
    let (last_ms, ..) = *expected.last().unwrap();
    page.wait_until("the log's last fix on the page", ARRIVAL_WAIT_MAX, |shown| {
        shown.track.iter().any(|(device, at_ms, ..)| device == DEVICE && *at_ms == last_ms).then_some(())
    })
    .unwrap();
    // Those before it too, and the status of the start.
    board.log().wait_until_stored(expected.len() as u64 + 1, ARRIVAL_WAIT_MAX).unwrap();
    let arrived = bench.gateway.records().unwrap().positions(DEVICE);
    let arrived: Vec<(u64, f64, f64)> = arrived
        .iter()
        .map(|(at_ms, place)| {
            (*at_ms, f64::from(place.latitude_udeg) / 1e6, f64::from(place.longitude_udeg) / 1e6)
        })
        .collect();
    assert_same_track(&arrived, &expected);
    // The page is drawn four times a second at most: it shows some of the track, in its order, up to the end.
    let shown = page.wait_until("the track", ARRIVAL_WAIT_MAX, |shown| Some(shown.track.clone())).unwrap();
    let mut rest = expected.iter();
    for (_, at_ms, lat, lon) in &shown {
        assert!(
            rest.any(|fix| fix.0 == *at_ms && near(fix.1, *lat) && near(fix.2, *lon)),
            "the page shows a place at {at_ms} that the log does not have there"
        );
    }
    println!(
        "emulated board, {log}: {} fixes, {} in the gateway, {} on the page",
        expected.len(),
        arrived.len(),
        shown.len()
    );
}

fn assert_same_track(arrived: &[(u64, f64, f64)], expected: &[(u64, f64, f64)]) {
    assert_eq!(arrived.len(), expected.len(), "every fix arrives once");
    for (arrived, expected) in arrived.iter().zip(expected) {
        assert_eq!(arrived.0, expected.0, "in order, with the recording's time");
        assert!(
            near(arrived.1, expected.1) && near(arrived.2, expected.2),
            "the same place at {}",
            expected.0
        );
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= PLACE_TOLERANCE_DEG
}
