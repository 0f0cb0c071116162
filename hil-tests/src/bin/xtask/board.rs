//! The firmware image on an emulated board. The tests build the image; the gateway's binary must stand beside them.

use std::path::PathBuf;

use crate::step::{Failure, command, root, run, run_command, target_dir};

/// Turns the bench rig and its tests on; `cargo test --workspace` leaves them out.
pub(crate) const FEATURE: &str = "fieldpost-hil-tests/emulated-board";

/// The image's own workspace; cargo finds the device target and the linker's arguments only from within.
pub(crate) fn folder() -> PathBuf {
    root().join("firmware/board")
}

/// Clippy over the image as it is flashed and over all that a rig adds to it.
pub(crate) fn lint() -> Result<(), Failure> {
    for features in ["emulated", "emulated,trace,drills,broken-remove-before-stored,broken-reuse-boot-id"] {
        let mut cargo = command("cargo");
        cargo.args([
            "clippy",
            "--release",
            "--locked",
            "--quiet",
            "--features",
            features,
            "--",
            "-D",
            "warnings",
        ]);
        run_command(cargo.env("CARGO_TARGET_DIR", target_dir().join("board")).current_dir(folder()))?;
    }
    Ok(())
}

/// Builds the gateway and runs every test of the emulated board.
pub(crate) fn test() -> Result<(), Failure> {
    run("cargo", &["build", "--quiet", "-p", "fieldpost-gateway"])?;
    let package = ["-p", "fieldpost-hil-tests", "--features", "emulated-board"];
    // Two boards at a time: each is a processor of its own, and deadlines are for a machine that is not drowned.
    let tests = ["--quiet", "--", "--test-threads", "2"];
    run("cargo", &[&["test"], package.as_slice(), tests.as_slice()].concat())
}

/// A long rig on the emulated board, with the rig's own arguments.
pub(crate) fn rig(name: &str, arguments: &[String]) -> Result<(), Failure> {
    run("cargo", &["build", "--quiet", "-p", "fieldpost-gateway"])?;
    let package = ["-p", "fieldpost-hil-tests", "--features", "emulated-board", "--bin", "board-rig"];
    let mut words = vec!["run", "--quiet"];
    words.extend(package);
    words.extend(["--", name]);
    words.extend(arguments.iter().map(String::as_str));
    run("cargo", &words)
}
