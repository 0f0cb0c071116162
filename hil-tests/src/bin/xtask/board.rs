//! The firmware image on an emulated board. The tests build the image.

use std::path::PathBuf;

use crate::{
    host,
    step::{Failure, command, root, run, run_command, target_dir},
};

/// The bench rig alone: what it is built with must not reach the gateway ([`host::WITH_BENCH_RIG`]).
const BENCH_RIG: [&str; 4] = ["-p", "fieldpost-hil-tests", "--features", "emulated-board"];

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
    host::build()?;
    let tests = ["test", "--quiet", "--lib", "--test", "emulated_board"];
    // Two boards at a time: each is a processor of its own, and deadlines are for a machine that is not drowned.
    run("cargo", &[tests.as_slice(), &BENCH_RIG, &["--", "--test-threads", "2"]].concat())
}

/// A long rig on the emulated board, with the rig's own arguments.
pub(crate) fn rig(name: &str, arguments: &[String]) -> Result<(), Failure> {
    host::build()?;
    run("cargo", &[["build", "--quiet", "--bin", "board-rig"].as_slice(), &BENCH_RIG].concat())?;
    run_command(command(host::binary("board-rig")).arg(name).args(arguments))
}
