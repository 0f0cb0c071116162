//! The firmware image on an emulated board against the real gateway.
//!
//! Names are claims about the emulated target. Run by `cargo xtask test board`, which builds what these need; without it they
//! fail and say what is missing.

use std::sync::OnceLock;

use fieldpost_hil_tests::{image, qemu::Image};

mod rig;
mod start;

/// The image as it would be flashed, built once.
fn image() -> Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| image::build(&[]).expect("the image builds")).clone()
}
