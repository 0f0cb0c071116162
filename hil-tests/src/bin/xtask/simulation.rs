//! Seeds of the deterministic simulation, and the proof that each checker can turn red.

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
const WAYS: [&str; 18] = [
    "ack-before-commit",
    "forget-last-record",
    "drop-on-overflow",
    "newest-by-arrival",
    "forget-in-ledger",
    "miss-in-ledger",
    "erase-held",
    "keep-expired",
    "damage-in-recovery",
    "forget-owed",
    "deliver-unasked",
    "time-out-alarm",
    "never-escalate",
    "one-lane",
    "store-twice",
    "send-before-log",
    "delete-undelivered",
    "drop-failed-batch",
];

pub(crate) fn run_all() -> Result<(), Failure> {
    let optimised = host::build_optimised()?;
    run_command(optimised.simulator().args(["check", "--seeds", SEEDS]))?;
    run_command(optimised.simulator().args(SHIFT))?;
    say("  Now on purpose: each of these must turn red");
    WAYS.iter().try_for_each(|way| {
        must_fail(optimised.simulator().args(["check", "--seeds", BROKEN_SEEDS, "--broken", way]))
    })
}
