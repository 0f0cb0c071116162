//! Damaged flash under the image: slots, records, everything.

use std::time::Duration;

use fieldpost_firmware::{Profile, storage::FlashMap};
use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    flash::{self, SECTOR_BYTES},
    inputs::unix_s_now,
    log::Line,
};
use fieldpost_protocol::Class;

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

/// The sector that routine records are written to first.
#[test]
fn sector_of_zeros_costs_the_emulated_board_only_what_was_in_it_and_is_declared() {
    let bench = Bench::new(image(), |slot| slot.profile = Profile::Every).unwrap();
    let mut board = bench.power_on_with(|board| board.set_link(false)).unwrap();
    let feed = Feed::start(&board, walk(unix_s_now()).take(200), Duration::from_millis(20)).unwrap();
    assert_eq!(feed.finish(), 200);
    let issued = |line: &Line| {
        line.text.starts_with("ledger ") && line.number("issued").is_ok_and(|count| count > 200)
    };
    board.log().wait_that(0, "200 positions issued", WAIT_MAX, issued).unwrap();
    board.cut_power().unwrap();
    let routine = FlashMap::STANDARD.routine.start;
    flash::zero(&bench.plan.flash(), routine..routine + SECTOR_BYTES).unwrap();

    board = bench.power_on().unwrap();
    board.log().wait_for("flash: lost", WAIT_MAX).unwrap();
    board.log().wait_until_settled(LINK_WAIT_MAX).unwrap();
    let records = bench.gateway.records().unwrap();
    let left = records.positions(DEVICE).len();
    assert!((60..200).contains(&left), "{left} of 200 positions left: a sector holds some tens of them");
    let losses = records.envelopes().filter(|record| record.class() == Some(Class::LOSS)).count();
    assert!(losses > 0, "the loss is a record of its own");
    println!("emulated board, a sector of zeros: {left} of 200 positions left, {losses} loss record(s)");
}

#[test]
fn emulated_board_whose_storage_is_all_zeros_starts_with_a_boot_id_that_it_never_had() {
    let bench = Bench::new(image(), |_| {}).unwrap();
    let first = bench.power_on().unwrap();
    first.log().wait_for("boot id=1 ", WAIT_MAX).unwrap();
    first.cut_power().unwrap();
    let map = FlashMap::STANDARD;
    flash::zero(&bench.plan.flash(), map.boot_counter.start..map.routine.range().end).unwrap();
    let board = bench.power_on().unwrap();
    let boot = board.log().wait_for("boot id=", WAIT_MAX).unwrap().number("id").unwrap();
    assert!(boot > 1_000_000, "far above anything it can have had: {boot}");
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    println!("emulated board, storage all zeros: boot id {boot}");
}
