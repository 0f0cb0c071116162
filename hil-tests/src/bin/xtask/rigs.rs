//! A share of the long rigs, and the proof that they can turn red. docs/TESTING.md has the release runs.

use std::{fs, path::PathBuf};

use crate::step::{Failure, command, run, run_command, say, target_dir};

pub(crate) fn run_all() -> Result<(), Failure> {
    let broken = broken_gateway()?;
    run("cargo", &["build", "--quiet", "-p", "fieldpost-gateway", "-p", "fieldpost-simulator"])?;
    rig(&["kill", "--kills", "20"])?;
    rig(&["jetstream-outage", "--seconds", "10"])?;
    say("  Now on purpose: each of these must turn red");
    must_fail(&["kill", "--kills", "5", "--binary", &broken.to_string_lossy()])?;
    Ok(())
}

/// A gateway that acknowledges before the commit, beside the honest one.
fn broken_gateway() -> Result<PathBuf, Failure> {
    let features = ["--features", "broken-ack-before-commit"];
    run("cargo", &[&["build", "--quiet", "-p", "fieldpost-gateway"], features.as_slice()].concat())?;
    let debug = target_dir().join("debug");
    let broken = debug.join("fieldpost-broken");
    fs::copy(debug.join("fieldpost"), &broken)
        .map_err(|error| Failure::new(format!("cannot copy the broken gateway: {error}")))?;
    Ok(broken)
}

fn rig(arguments: &[&str]) -> Result<(), Failure> {
    run_command(simulator().arg("rig").args(arguments))
}

/// Exit code 1 is a verdict of red; anything else would mean that the rig itself failed, which proves nothing.
fn must_fail(arguments: &[&str]) -> Result<(), Failure> {
    let shown = arguments.join(" ");
    say(&format!("  $ fieldpost-sim rig {shown}"));
    let status = simulator().arg("rig").args(arguments).status();
    let status = status.map_err(|error| Failure::new(format!("cannot start the rig: {error}")))?;
    match status.code() {
        Some(1) => Ok(()),
        _ => Err(Failure::new(format!(
            "the rig did not notice the broken build: `rig {shown}` ended with {status}"
        ))),
    }
}

fn simulator() -> std::process::Command {
    command(&target_dir().join("debug/fieldpost-sim").to_string_lossy())
}
