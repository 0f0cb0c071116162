//! Seeds of the deterministic simulation, and the proof that each checker can turn red.

use crate::{
    rigs::{broken_build, must_fail, simulator},
    step::{Failure, command, run, run_command, say},
};

/// In CI; any number with the command below.
const SEEDS: &str = "1000";
/// A broken gateway must be found within so many of them.
const BROKEN_SEEDS: &str = "200";
/// What a gateway with the feature `sabotage` can be told to do.
const WAYS: [&str; 4] = ["ack-before-commit", "forget-last-record", "drop-on-overflow", "newest-by-arrival"];

pub(crate) fn run_all() -> Result<(), Failure> {
    let broken = broken_build("fieldpost-simulator", "sabotage", "fieldpost-sim")?;
    run("cargo", &["build", "--quiet", "-p", "fieldpost-simulator"])?;
    run_command(quiet(&mut simulator()).args(["check", "--seeds", SEEDS]))?;
    say("  Now on purpose: each of these must turn red");
    for way in WAYS {
        let mut broken = command(&broken.to_string_lossy());
        quiet(&mut broken);
        must_fail(broken, &["check", "--seeds", BROKEN_SEEDS, "--broken", way])?;
    }
    Ok(())
}

/// The gateway says what goes wrong, and here everything does.
fn quiet(command: &mut std::process::Command) -> &mut std::process::Command {
    command.env("FIELDPOST_SIM_LOG", "off")
}
