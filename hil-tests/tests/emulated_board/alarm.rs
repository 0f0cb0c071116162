//! The emergency loop: button, screen, a person, and back to the wearer.

use std::time::Duration;

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    flash::SlotPlan,
    gateway::FORCE,
    inputs::{LYING_MG, Pin},
    qemu::Board,
};
use fieldpost_protocol::Class;

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

/// A board whose rules are shortened, so that the test is, and whose wearer lies down.
fn officer_down() -> (Bench, Board) {
    let rules = |slot: &mut SlotPlan| (slot.rules.down_ms_min, slot.rules.pre_alarm_ms) = (2000, 3000);
    let bench = Bench::new(image(), rules).unwrap();
    let mut board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    board.set_acceleration(LYING_MG).unwrap();
    board.log().wait_for("notice PreAlarm {", ARRIVAL_WAIT_MAX).unwrap();
    (bench, board)
}

#[test]
fn officer_who_lies_still_raises_an_alarm_on_the_emulated_board() {
    let (_bench, board) = officer_down();
    board.log().wait_for("notice AlarmRaised", ARRIVAL_WAIT_MAX).unwrap();
    board.log().wait_for("receipt: Stored", ARRIVAL_WAIT_MAX).unwrap();
}

#[test]
fn officer_who_cancels_the_warning_of_the_emulated_board_raises_none() {
    let (bench, mut board) = officer_down();
    board.set_pin(Pin::Cancel, true).unwrap();
    let (mut from, _) = board.log().wait_from(0, "notice PreAlarmEnded", ARRIVAL_WAIT_MAX).unwrap();
    // Usage is said every two seconds: twice, and the alarm is overdue.
    for _ in 0..2 {
        from = board.log().wait_from(from + 1, "usage ", ARRIVAL_WAIT_MAX).unwrap().0;
    }
    assert!(board.log().all("notice AlarmRaised").is_empty(), "{}", board.log().tail());
    let records = bench.gateway.records().unwrap();
    assert!(records.envelopes().all(|record| record.class() != Some(Class::ALARM)));
}
