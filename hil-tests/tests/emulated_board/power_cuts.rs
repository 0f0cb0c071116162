//! Power cuts at random instants under load, and the images that must not survive them.
//!
//! `cargo xtask rig board-power-cuts --cuts 5000` is the long form.

use std::time::Instant;

use fieldpost_hil_tests::{
    account::Verdict,
    image::build,
    power_cuts::{Plan, run},
    qemu::Image,
};

use crate::image;

const CUTS: usize = 100;
/// A broken image is found in far fewer.
const CUTS_OF_A_BROKEN_IMAGE: usize = 12;

fn cut(image: Image, cut_count: usize, seed: u64) -> Verdict {
    let start = Instant::now();
    let verdict = run(&Plan { image, cut_count, seed }, |_| {}).unwrap();
    println!("emulated board, {cut_count} power cuts in {:.0} s: {verdict}", start.elapsed().as_secs_f32());
    verdict
}

#[test]
fn emulated_board_loses_nothing_in_a_hundred_power_cuts_under_load() {
    let verdict = cut(image(), CUTS, 1);
    assert!(verdict.held(), "{verdict}");
    assert!(verdict.online_count >= CUTS / 2, "half of the cuts fall while the connection stands: {verdict}");
    assert!(verdict.alarm_count >= CUTS / 10, "alarms were raised between the cuts: {verdict}");
}

#[test]
fn image_that_forgets_records_before_they_are_stored_turns_the_rig_red() {
    let verdict = cut(build(&["broken-remove-before-stored"]).unwrap(), CUTS_OF_A_BROKEN_IMAGE, 1);
    assert!(!verdict.missing.is_empty(), "{verdict}");
}

#[test]
fn image_that_uses_boot_ids_again_turns_the_rig_red() {
    let verdict = cut(build(&["broken-reuse-boot-id"]).unwrap(), CUTS_OF_A_BROKEN_IMAGE, 1);
    assert!(!verdict.boots_reused.is_empty(), "{verdict}");
}
