//! The firmware image on an emulated board. The tests build the image; the gateway's binary must stand beside them.

use crate::step::{Failure, run};

/// Turns the bench rig and its tests on; `cargo test --workspace` leaves them out.
pub(crate) const FEATURE: &str = "fieldpost-hil-tests/emulated-board";

/// Builds the gateway and runs every test of the emulated board.
pub(crate) fn test() -> Result<(), Failure> {
    run("cargo", &["build", "--quiet", "-p", "fieldpost-gateway"])?;
    let package = ["-p", "fieldpost-hil-tests", "--features", "emulated-board"];
    // Two boards at a time: each is a processor of its own, and deadlines are for a machine that is not drowned.
    let tests = ["--quiet", "--", "--test-threads", "2"];
    run("cargo", &[&["test"], package.as_slice(), tests.as_slice()].concat())
}
