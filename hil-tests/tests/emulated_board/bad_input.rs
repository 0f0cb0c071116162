//! Bad input from sensors and clocks: each has a stated behaviour and a line in the image's log.

use std::time::Duration;

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    inputs::{Fix, rmc, unix_s_now},
    qemu::Part,
};

use crate::image;

const WAIT_MAX: Duration = Duration::from_secs(30);

/// A clock that nobody set may say anything: it decides nothing about the gateway's dates.
#[test]
fn emulated_board_whose_real_time_clock_is_years_off_connects_and_takes_the_gateways_time() {
    for rtc in ["2001-01-01T00:00:00", "2049-01-01T00:00:00"] {
        let mut bench = Bench::new(image(), |_| {}).unwrap();
        bench.plan.rtc = Some(rtc.to_owned());
        let board = bench.power_on().unwrap();
        board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
        board.log().wait_for("notice Time { source: Network", WAIT_MAX).unwrap();
    }
}

#[test]
fn fix_ten_kilometres_off_is_an_event_and_not_a_place_of_the_emulated_board() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    let now = unix_s_now();
    let mut fixes: Vec<Vec<u8>> = walk(now).take(6).collect();
    let (latitude_udeg, longitude_udeg) = (54_421_098, 3_456_789);
    fixes[4] =
        rmc(&Fix { unix_s: now + 4, latitude_udeg, longitude_udeg, speed: 50, course: 900 }).into_bytes();
    let feed = Feed::start(&board, fixes, Duration::from_secs(1)).unwrap();
    let _ = feed.finish();
    board.log().wait_for("notice Gnss", WAIT_MAX).unwrap();
    let places = bench.gateway.records().unwrap().positions(DEVICE);
    assert!(!places.is_empty() && places.iter().all(|(_, place)| place.latitude_udeg < 54_400_000));
}

#[test]
fn receiver_that_falls_silent_on_duty_is_reported_by_the_emulated_board() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let board = bench.power_on().unwrap();
    let feed = Feed::start(&board, walk(unix_s_now()).take(3), Duration::from_secs(1)).unwrap();
    assert_eq!(feed.finish(), 3);
    let silence = board.log().wait_for("notice Gnss(Silent", Duration::from_secs(90)).unwrap();
    let feed = Feed::start(&board, walk(unix_s_now()).take(10), Duration::from_secs(1)).unwrap();
    board.log().wait_for("notice Gnss(Back", WAIT_MAX).unwrap();
    drop(feed);
    println!("emulated board: {}", silence.text);
}

#[test]
fn emulated_board_without_its_thermometer_reports_it_and_goes_on() {
    let mut bench = Bench::new(image(), |_| {}).unwrap();
    bench.plan.missing = Some(Part::Thermometer);
    let board = bench.power_on().unwrap();
    board.log().wait_for("notice SensorFailing", WAIT_MAX).unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    assert_eq!(board.log().all("start version=").len(), 1, "{}", board.log().tail());
}

/// A wearer who cannot call is an emergency of its own. Whether somebody is on duty the board knows from the life before.
#[test]
fn emulated_board_that_loses_its_buttons_on_duty_raises_a_silent_alarm() {
    let mut bench = Bench::new(image(), |_| {}).unwrap();
    let board = bench.power_on().unwrap();
    // The status that says so follows the duty switch.
    board.log().wait_until_stored(2, LINK_WAIT_MAX).unwrap();
    board.cut_power().unwrap();
    bench.plan.missing = Some(Part::Panel);
    let board = bench.power_on().unwrap();
    let raised = board.log().wait_for("notice AlarmRaised", WAIT_MAX).unwrap();
    assert!(raised.text.contains("silent: true"), "{}", raised.text);
    board.log().wait_for("receipt: Stored", LINK_WAIT_MAX).unwrap();
}

#[test]
fn garbage_from_the_receiver_changes_nothing_on_the_emulated_board() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let page = bench.gateway.open_page("sgt-bench").unwrap();
    let mut board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    let noise: Vec<u8> =
        (0..20_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    board.gnss(&noise).unwrap();
    board.gnss(b"\r\n$GPRMC,120000.00,A,").unwrap();
    let feed = Feed::start(&board, walk(unix_s_now()).take(3), Duration::from_secs(1)).unwrap();
    assert_eq!(feed.finish(), 3);
    page.wait_until("the fix after the noise", WAIT_MAX, |shown| (!shown.track.is_empty()).then_some(()))
        .unwrap();
    assert_eq!(board.log().all("start version=").len(), 1, "{}", board.log().tail());
}
