//! A share of the long rigs, and the proof that each of them can turn red. docs/TESTING.md has the release runs.
//!
//! Most of a rig is waiting, so [`AT_ONCE`] of them run side by side, each with a gateway, ports and files of its own; what a
//! rig says is shown when it has ended.

use std::{
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use crate::{
    host,
    step::{Failure, say},
};

/// Three: with more the machine has no time for the gateways.
const AT_ONCE: usize = 3;

/// The CI share, longest first. 100 kills are two runs of 50.
const SHARE: &[&[&str]] = &[
    &["attacks", "--seconds", "120"],
    &["jetstream-cluster"],
    &["disk-faults", "--nth", "1,2,5,13,34"],
    &["power-cut", "--cuts", "50"],
    &["kill", "--kills", "50", "--seed", "1"],
    &["kill", "--kills", "50", "--seed", "2"],
    &["network", "--seconds", "18"],
    &["look", "--kills", "10"],
    &["disclosure", "--kills", "8"],
    &["sinks", "--seconds", "3"],
    &["tak", "--devices", "100", "--seconds", "5", "--stands", "14"],
    &["full-disk"],
    &["postgres", "--seconds", "1"],
    &["jetstream-outage", "--seconds", "10"],
    &["clocks", "--seconds", "2"],
    &["broker", "--kills", "6"],
    &["backlog", "--records", "100000"],
    ALARM_LATENCY,
    ALL_BACK_AT_ONCE,
];

/// Limits for a machine that does three things at once; alone the rig holds 250 ms and 1 s, its defaults.
const ALARM_LATENCY: &[&str] = &[
    "alarm-latency",
    "--units",
    "1000",
    "--period-ms",
    "1000",
    "--backlog",
    "50000",
    "--spread-s",
    "10",
    "--alarms-per-s",
    "10",
    "--screen-ms",
    "1000",
    "--told-ms",
    "2000",
    "--puback-ms",
    "5000",
];

/// Everybody's backlog in the same instant: the fold is seconds behind, and the alarms must not be.
const ALL_BACK_AT_ONCE: &[&str] = &all_back_at_once("5000", "9000");

/// The same with limits that a quick machine keeps: behind everybody's backlog it takes alarms 2 s a million records, and 4 s on
/// the way to the wearer.
const ONE_LANE: &[&str] = &all_back_at_once("2000", "3000");

/// Alarms while a thousand units bring four million records: to be on the screen, and known to the wearer, within these
/// milliseconds.
const fn all_back_at_once(screen_ms: &'static str, told_ms: &'static str) -> [&'static str; 19] {
    [
        "alarm-latency",
        "--units",
        "1000",
        "--period-ms",
        "1000",
        "--backlog",
        "4000000",
        "--spread-s",
        "0",
        "--slow",
        "0",
        "--alarms-per-s",
        "40",
        "--screen-ms",
        screen_ms,
        "--told-ms",
        told_ms,
        "--puback-ms",
        "10000",
    ]
}

/// The parties that no delay of another server blurs.
const TAK_ALARM: &[&str] =
    &["tak", "--without-free-tak-server", "--devices", "20", "--seconds", "1", "--stands", "14"];

/// Of the rig `disclosure`: how often at each point, and with whom.
const ENDED_AT_POINTS: &[&[&str]] = &[
    &["--points", "2"],
    &["--points", "1", "--party", "tak"],
    &["--points", "1", "--party", "tak-client"],
    &["--points", "1", "--party", "nmea"],
    &["--points", "1", "--party", "feed"],
];

/// What breaks a gateway, and the rig that must find it.
const BROKEN: &[(&str, &[&str])] = &[
    ("drop-failed-batch", &["sinks", "--seconds", "1", "--arrival-seconds", "10"]),
    ("drop-failed-batch", &["jetstream-cluster", "--outage-minutes", "30", "--arrival-seconds", "20"]),
    ("accept-before-commit", &["postgres", "--seconds", "1", "--arrival-seconds", "10"]),
    ("insert-without-key", &["postgres", "--seconds", "1", "--arrival-seconds", "10"]),
    ("drop-on-overflow", &["full-disk"]),
    ("store-twice", &["network", "--seconds", "9"]),
    ("leak", &["attacks", "--seconds", "30"]),
    ("delete-undelivered", &["clocks", "--seconds", "1", "--arrival-seconds", "10"]),
    ("ack-before-commit", &["disk-faults", "--nth", "1,2"]),
    ("ack-before-commit", &["power-cut", "--cuts", "10"]),
    ("ack-before-commit", &["kill", "--kills", "5"]),
    ("show-before-log", &["look", "--kills", "5"]),
    ("skip-chain", &["look", "--kills", "2"]),
    ("forget-last-record", &["broker", "--kills", "3"]),
    ("skip-tag", &["broker", "--kills", "0"]),
    ("name-by-number", &["broker", "--kills", "0"]),
    ("outlive-key", &["broker", "--kills", "0"]),
    ("tell-once", TAK_ALARM),
    ("skip-escape", TAK_ALARM),
    (
        "wait-for-tak",
        &["tak", "--without-free-tak-server", "--devices", "50", "--seconds", "3", "--stands", "6"],
    ),
    ("drop-closing", &["look", "--kills", "2"]),
    ("send-before-log", &["disclosure", "--party", "webhook", "--kills", "0", "--points", "1"]),
    ("send-before-log", &["disclosure", "--party", "tak", "--kills", "0", "--points", "1"]),
    ("send-before-log", &["disclosure", "--party", "tak-client", "--kills", "0", "--points", "1"]),
    ("send-before-log", &["disclosure", "--party", "nmea", "--kills", "0", "--points", "1"]),
    ("send-before-log", &["disclosure", "--party", "feed", "--kills", "0", "--points", "2"]),
    ("slow-alarm-journal", ALARM_LATENCY),
    ("wait-for-slowest", ALARM_LATENCY),
    ("one-lane", ONE_LANE),
];

pub(crate) fn run_all() -> Result<(), Failure> {
    let optimised = host::build_optimised()?;
    host::build()?;
    let honest = SHARE.iter().map(|words| {
        let mut rig = optimised.simulator();
        rig.arg("rig").args(*words);
        rig
    });
    // Not broken in any way: it only ends itself where it is told. Where all are sent records, the first that gets there ends it.
    let points = ENDED_AT_POINTS.iter().map(|words| {
        let mut rig = optimised.simulator();
        rig.args(["rig", "disclosure", "--kills", "0"]).args(*words);
        rig
    });
    side_by_side(honest.chain(points).collect(), 0)?;
    say("  Now on purpose: each of these must turn red");
    // By a simulator that nothing can break: what is broken must be the gateway, not who looks at it.
    let red = BROKEN.iter().map(|(how, words)| {
        let mut rig = host::simulator();
        rig.arg("rig").args(*words).arg("--binary").arg(optimised.gateway()).env(host::SABOTAGE, how);
        rig
    });
    let mut lanes = optimised.simulator();
    lanes
        .args(["rig", "backlog", "--records", "100000", "--patience-s", "30"])
        .env(host::SABOTAGE, "one-lane");
    let mut ledger = optimised.simulator();
    ledger.args(["run", "--devices", "60", "--for", "10s"]).env(host::SABOTAGE, "forget-in-ledger");
    side_by_side(red.chain([lanes, ledger]).collect(), 1)
}

/// Runs all of them, each to the exit code `wanted`. The first that ends otherwise is the failure; the rest still end.
fn side_by_side(rigs: Vec<Command>, wanted: i32) -> Result<(), Failure> {
    let waiting = Mutex::new(rigs.into_iter());
    let failure = Mutex::new(None);
    let worker = || {
        while let Some(rig) = next(&waiting) {
            if let Err(found) = one(rig, wanted) {
                say(&format!("    {found}"));
                failure.lock().expect("no worker panics").get_or_insert(found);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(worker);
        }
    });
    failure.into_inner().expect("no worker panics").map_or(Ok(()), Err)
}

fn next(waiting: &Mutex<impl Iterator<Item = Command>>) -> Option<Command> {
    waiting.lock().expect("no worker panics").next()
}

/// Exit code 0 is a verdict of green and 1 one of red; anything else means that the rig itself failed, which proves nothing.
fn one(mut rig: Command, wanted: i32) -> Result<(), Failure> {
    let (shown, start) = (shown(&rig), Instant::now());
    let output = rig.stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::new(format!("cannot start `{shown}`: {error}")))?;
    let said = [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat();
    let last: Vec<_> = said.lines().rev().take(if wanted == 0 { 6 } else { 2 }).collect();
    let last: String = last.iter().rev().map(|line| format!("\n    {line}")).collect();
    say(&format!("  $ {shown}{last}\n    {:.1} s", start.elapsed().as_secs_f32()));
    match output.status.code() {
        Some(code) if code == wanted => Ok(()),
        _ if wanted == 1 => {
            Err(Failure::new(format!("not noticed what was broken: `{shown}` ended with {}", output.status)))
        }
        _ => Err(Failure::new(format!("`{shown}` ended with {}", output.status))),
    }
}

fn shown(command: &Command) -> String {
    let broken = command.get_envs().find(|(name, _)| *name == host::SABOTAGE).and_then(|(_, how)| how);
    let how = broken.map(|how| format!("{}={} ", host::SABOTAGE, how.to_string_lossy()));
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    how.unwrap_or_default() + &words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The same for one rig whose output is ours.
pub(crate) fn must_fail(rig: &mut Command) -> Result<(), Failure> {
    let shown = shown(rig);
    say(&format!("  $ {shown}"));
    let status = rig.status().map_err(|error| Failure::new(format!("cannot start the rig: {error}")))?;
    match status.code() {
        Some(1) => Ok(()),
        _ => Err(Failure::new(format!("not noticed what was broken: `{shown}` ended with {status}"))),
    }
}
