//! The emergency loop: button, screen, a person, and back to the wearer.

use std::time::Duration;

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    gateway::FORCE,
    inputs::Pin,
};

use crate::image;

/// From a record on the board to the page of a loaded machine, and back.
const ARRIVAL_WAIT_MAX: Duration = Duration::from_secs(30);

#[test]
fn panic_button_of_the_emulated_board_is_seen_by_an_operator_and_the_wearer_is_told() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let page = bench.gateway.open_page("sgt-bench").unwrap();
    let mut board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    board.set_pin(Pin::Panic, true).unwrap();
    board.log().wait_for("notice AlarmRaised", ARRIVAL_WAIT_MAX).unwrap();
    board.set_pin(Pin::Panic, false).unwrap();
    board.log().wait_for("receipt: Stored", ARRIVAL_WAIT_MAX).unwrap();

    let unit = format!("{FORCE}/{DEVICE}/");
    let alarm = page
        .wait_until("the alarm on the page", ARRIVAL_WAIT_MAX, |shown| {
            shown.alarms.keys().find(|id| id.starts_with(&unit)).cloned()
        })
        .unwrap();
    let view = page.acknowledge(&alarm).unwrap();
    assert_eq!(view["state"], "acknowledged");
    board.log().wait_for("receipt: Seen", ARRIVAL_WAIT_MAX).unwrap();
    board.wait_for_wearer(true, ARRIVAL_WAIT_MAX).unwrap();
}
