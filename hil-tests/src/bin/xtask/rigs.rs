//! A share of the long rigs, and the proof that they can turn red. docs/TESTING.md has the release runs.

use std::{fs, path::PathBuf, process::Command};

use crate::step::{Failure, command, run, run_command, say, target_dir};

pub(crate) fn run_all() -> Result<(), Failure> {
    let broken = broken_build("fieldpost-gateway", "broken-ack-before-commit", "fieldpost")?;
    let forgetful = broken_build("fieldpost-simulator", "broken-ledger", "fieldpost-sim")?;
    run("cargo", &["build", "--quiet", "-p", "fieldpost-gateway", "-p", "fieldpost-simulator"])?;
    rig(&["kill", "--kills", "20"])?;
    rig(&["jetstream-outage", "--seconds", "10"])?;
    say("  Now on purpose: each of these must turn red");
    must_fail(simulator(), &["rig", "kill", "--kills", "5", "--binary", &broken.to_string_lossy()])?;
    must_fail(command(&forgetful.to_string_lossy()), &["run", "--devices", "60", "--for", "10s"])?;
    Ok(())
}

/// A binary of `package` built with `feature`, beside the honest one.
pub(crate) fn broken_build(package: &str, feature: &str, binary: &str) -> Result<PathBuf, Failure> {
    run("cargo", &["build", "--quiet", "-p", package, "--features", feature])?;
    let debug = target_dir().join("debug");
    let broken = debug.join(format!("{binary}-{feature}"));
    fs::copy(debug.join(binary), &broken)
        .map_err(|error| Failure::new(format!("cannot copy the broken {binary}: {error}")))?;
    Ok(broken)
}

fn rig(arguments: &[&str]) -> Result<(), Failure> {
    run_command(simulator().arg("rig").args(arguments))
}

/// Exit code 1 is a verdict of red; anything else would mean that the rig itself failed, which proves nothing.
pub(crate) fn must_fail(mut rig: Command, arguments: &[&str]) -> Result<(), Failure> {
    let shown = arguments.join(" ");
    say(&format!("  $ {} {shown}", rig.get_program().to_string_lossy()));
    let status = rig.args(arguments).status();
    let status = status.map_err(|error| Failure::new(format!("cannot start the rig: {error}")))?;
    match status.code() {
        Some(1) => Ok(()),
        _ => Err(Failure::new(format!(
            "the rig did not notice the broken build: `{shown}` ended with {status}"
        ))),
    }
}

pub(crate) fn simulator() -> Command {
    command(&target_dir().join("debug/fieldpost-sim").to_string_lossy())
}
