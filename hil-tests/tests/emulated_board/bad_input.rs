//! Bad input on the image: each has a stated behaviour and a line in its log.

use std::time::Duration;

use fieldpost_firmware::storage::FlashMap;
use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    flash::{self, SECTOR_BYTES},
    inputs::{Fix, rmc, unix_s_now},
};

use crate::image;

const WAIT_MAX: Duration = Duration::from_secs(30);
const SLOT_A: u32 = FlashMap::STANDARD.slot_a.start;
const SLOT_B: u32 = FlashMap::STANDARD.slot_b.start;

#[test]
fn emulated_board_without_a_slot_says_so_and_does_not_dial() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    flash::write(&bench.plan.flash(), SLOT_A, &[0xFF; 8192]).unwrap();
    let board = bench.power_on().unwrap();
    board.log().wait_for("no slot: A Empty, B Empty", WAIT_MAX).unwrap();
    board.log().wait_for("usage ", WAIT_MAX).unwrap();
    assert!(board.log().all("dial ").is_empty(), "{}", board.log().tail());
}

#[test]
fn emulated_board_with_one_flipped_bit_in_its_only_slot_refuses_it() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    flash::flip(&bench.plan.flash(), SLOT_A + 300, 5).unwrap();
    let board = bench.power_on().unwrap();
    board.log().wait_for("no slot: A Corrupt, B Empty", WAIT_MAX).unwrap();
    board.log().wait_for("usage ", WAIT_MAX).unwrap();
    assert!(board.log().all("dial ").is_empty(), "{}", board.log().tail());
}

#[test]
fn emulated_board_with_a_damaged_slot_lives_on_the_other_one() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let plan = bench.plan.flash();
    flash::copy(&plan, SLOT_A, SLOT_B, 8192).unwrap();
    flash::zero(&plan, SLOT_A..SLOT_A + SECTOR_BYTES).unwrap();
    let board = bench.power_on().unwrap();
    board.log().wait_for("slot A refused: NotASlot", WAIT_MAX).unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
}

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
fn garbage_from_the_receiver_changes_nothing_on_the_emulated_board() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let mut board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    let noise: Vec<u8> =
        (0..20_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    board.gnss(&noise).unwrap();
    board.gnss(b"\r\n$GPRMC,120000.00,A,").unwrap();
    let feed = Feed::start(&board, walk(unix_s_now()).take(3), Duration::from_secs(1)).unwrap();
    assert_eq!(feed.finish(), 3);
    board.log().wait_until_stored(2, WAIT_MAX).unwrap();
    assert_eq!(board.log().all("start version=").len(), 1, "{}", board.log().tail());
    assert!(
        !bench.gateway.records().unwrap().positions(DEVICE).is_empty(),
        "the fix after the noise arrives"
    );
}
