//! The firmware image on an emulated board against the real gateway.
//!
//! Names are claims about the emulated target. Run by `cargo xtask test board`, which builds what these need; without it they
//! fail and say what is missing.
#![allow(clippy::unwrap_used, reason = "an unwrap states what a test expects, in its helpers too")]
#![allow(clippy::print_stdout, reason = "figures, for docs/TESTING.md")]

use std::sync::OnceLock;

use fieldpost_hil_tests::{image, qemu::Image};

mod alarm;
mod bad_input;
mod behind_broker;
mod commands;
mod costs;
mod damaged_flash;
mod duty;
mod failures;
mod hostile;
mod outage;
mod power_cuts;
mod rig;
mod start;
mod trace;
mod track;

/// Gateways that are none, shared with the tests of the link.
#[path = "../../../firmware/link/tests/end_to_end/rogue/mod.rs"]
#[allow(dead_code, reason = "the link's tests use more of it")]
mod rogue;

/// The image as it would be flashed, built once.
fn image() -> Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| image::build(&[]).expect("the image builds")).clone()
}
