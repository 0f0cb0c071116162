//! A share of the long rigs, and the proof that they can turn red. docs/TESTING.md has the release runs.

use std::process::Command;

use crate::{
    host,
    step::{Failure, run_command, say},
};

pub(crate) fn run_all() -> Result<(), Failure> {
    let broken = host::build_sabotaged()?;
    host::build()?;
    rig(&["kill", "--kills", "20"])?;
    rig(&["jetstream-outage", "--seconds", "10"])?;
    rig(&["backlog", "--records", "100000"])?;
    say("  Now on purpose: each of these must turn red");
    let gateway = broken.gateway.to_string_lossy();
    let mut kill = host::simulator();
    kill.args(["rig", "kill", "--kills", "5", "--binary", &gateway]);
    must_fail(kill.env(host::SABOTAGE, "ack-before-commit"))?;
    let mut lanes = broken.simulator();
    lanes.args(["rig", "backlog", "--records", "100000", "--patience-s", "30"]);
    must_fail(lanes.env(host::SABOTAGE, "one-lane"))?;
    let mut ledger = broken.simulator();
    must_fail(ledger.args(["run", "--devices", "60", "--for", "10s"]).env(host::SABOTAGE, "forget-in-ledger"))
}

fn rig(arguments: &[&str]) -> Result<(), Failure> {
    run_command(host::simulator().arg("rig").args(arguments))
}

/// Exit code 1 is a verdict of red; anything else would mean that the rig itself failed, which proves nothing.
pub(crate) fn must_fail(rig: &mut Command) -> Result<(), Failure> {
    let words = std::iter::once(rig.get_program()).chain(rig.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    say(&format!("  $ {shown}"));
    let status = rig.status().map_err(|error| Failure::new(format!("cannot start the rig: {error}")))?;
    match status.code() {
        Some(1) => Ok(()),
        _ => Err(Failure::new(format!(
            "the rig did not notice what was broken: `{shown}` ended with {status}"
        ))),
    }
}
