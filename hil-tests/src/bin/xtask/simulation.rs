//! Seeds of the deterministic simulation, and the proof that each checker can turn red.

use std::process::Command;

use crate::{
    host,
    rigs::must_fail,
    step::{Failure, run_command, say},
};

/// In CI; any number with the command below.
const SEEDS: &str = "1000";
/// A share of a shift; the whole is one of 10,000 officers.
const SHIFT: [&str; 5] = ["check", "--officers", "20", "--hours", "8"];
/// A broken gateway must be found within so many of them.
const BROKEN_SEEDS: &str = "200";
/// What the simulation must find.
const WAYS: [&str; 4] = ["ack-before-commit", "forget-last-record", "drop-on-overflow", "newest-by-arrival"];

pub(crate) fn run_all() -> Result<(), Failure> {
    let broken = host::build_sabotaged()?;
    host::build()?;
    run_command(quiet(&mut host::simulator()).args(["check", "--seeds", SEEDS]))?;
    run_command(quiet(&mut host::simulator()).args(SHIFT))?;
    say("  Now on purpose: each of these must turn red");
    WAYS.iter().try_for_each(|way| {
        must_fail(quiet(&mut broken.simulator()).args(["check", "--seeds", BROKEN_SEEDS, "--broken", way]))
    })
}

/// The gateway says what goes wrong, and here everything does.
fn quiet(command: &mut Command) -> &mut Command {
    command.env("FIELDPOST_SIM_LOG", "off")
}
