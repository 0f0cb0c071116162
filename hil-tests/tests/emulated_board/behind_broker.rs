//! The same image behind a broker that is not the gateway's, by its slot alone.

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    gateway::FORCE,
    inputs::Pin,
};

use crate::image;

/// The gateway says SEEN on its next turn; a machine that builds at the same time needs more.
const ANSWER_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn emulated_board_behind_mosquitto_is_believed_by_its_tag_and_believes_the_sealed_seen() {
    let (bench, _broker) = Bench::behind_broker(image()).unwrap();
    let page = bench.gateway.open_page("sgt-bench").unwrap();
    let mut board = bench.power_on().unwrap();
    board.log().wait_for("slot A: ", LINK_WAIT_MAX).unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    board.set_pin(Pin::Panic, true).unwrap();
    board.log().wait_for("notice AlarmRaised", ANSWER_WAIT_MAX).unwrap();
    board.set_pin(Pin::Panic, false).unwrap();
    // Behind a broker this is no PUBACK but a receipt with the gateway's tag (docs/BROKER.md).
    board.log().wait_for("receipt: Stored", ANSWER_WAIT_MAX).unwrap();

    let unit = format!("{FORCE}/{DEVICE}/");
    let alarm = page
        .wait_until("the alarm on the page", ANSWER_WAIT_MAX, |shown| {
            shown.alarms.keys().find(|id| id.starts_with(&unit)).cloned()
        })
        .unwrap();
    assert_eq!(page.acknowledge(&alarm).unwrap()["state"], "acknowledged");
    board.log().wait_for("receipt: Seen", ANSWER_WAIT_MAX).unwrap();
}
