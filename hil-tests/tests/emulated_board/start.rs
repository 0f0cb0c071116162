//! From power-on to an address.

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    image::check,
    qemu::Network,
};

use crate::image;

#[test]
fn emulated_board_starts_and_asks_for_an_address() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let board = bench.power_on().unwrap();
    let start = board.log().wait_for("start version=", LINK_WAIT_MAX).unwrap();
    assert_eq!(start.field("cause"), Some("PowerOn"), "{}", start.text);
    board.log().wait_for("boot id=", LINK_WAIT_MAX).unwrap();
    board.log().wait_for("address 10.0.2.15", LINK_WAIT_MAX).unwrap();
}

#[test]
fn emulated_board_without_dhcp_says_so_and_goes_on() {
    let mut bench = Bench::new(image(), |_| {}).unwrap();
    bench.plan.network = Network::Silent;
    let board = bench.power_on().unwrap();
    board.log().wait_for("no address", LINK_WAIT_MAX).unwrap();
    board.log().wait_for("usage ", LINK_WAIT_MAX).unwrap();
    assert_eq!(board.log().all("start version=").len(), 1, "no restart: {}", board.log().tail());
    assert_eq!(bench.gateway.records().unwrap().ids(DEVICE).len(), 0);
}

#[test]
fn image_that_goes_to_a_force_cannot_take_the_emulated_boards_random_numbers() {
    let refused = |features: &[&str], expected: &str| {
        let said = check(features).unwrap_err().to_string();
        assert!(said.contains(expected), "{features:?}: {said}");
    };
    refused(&[], "no source of random numbers");
    refused(&["device-image"], "no source of random numbers");
    refused(&["emulated", "device-image"], "must not take its random numbers");
}
