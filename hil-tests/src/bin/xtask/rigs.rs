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

/// Everybody's backlog in the same instant, four million records of a thousand units: the fold is seconds behind, and the alarms
/// must not be.
const ALL_BACK_AT_ONCE: &[&str] = &[
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
    "5000",
    "--told-ms",
    "9000",
    "--puback-ms",
    "10000",
];

/// The parties that no delay of another server blurs.
const TAK_ALARM: &[&str] =
    &["tak", "--without-free-tak-server", "--devices", "20", "--seconds", "1", "--stands", "14"];

/// The same with enough for a client that takes nothing.
const TAK_SLOW: &[&str] =
    &["tak", "--without-free-tak-server", "--devices", "50", "--seconds", "3", "--stands", "6"];

/// Of the rig `disclosure`: how often at each point, and with whom.
const ENDED_AT_POINTS: &[&[&str]] = &[
    &["--points", "2"],
    &["--points", "1", "--party", "tak"],
    &["--points", "1", "--party", "tak-client"],
    &["--points", "1", "--party", "nmea"],
    &["--points", "1", "--party", "feed"],
];

/// What breaks a gateway, the rig that must find it, and **what of its report must be above 0, or above a bound**: red by anything
/// else is a failure. Longest first. In what is `gone` nothing counts that a slow machine would have delivered later.
const BROKEN: &[(&str, &[&str], &str)] = &[
    (
        "drop-failed-batch",
        &["jetstream-cluster", "--outage-minutes", "30", "--arrival-seconds", "20"],
        "gone_count",
    ),
    ("drop-on-overflow", &["full-disk"], "account/lost_count"),
    ("wait-for-tak", TAK_SLOW, "spared_count"),
    ("leak", &["attacks", "--seconds", "30"], "grown_kib:6144"),
    ("drop-failed-batch", &["sinks", "--seconds", "1", "--arrival-seconds", "10"], "gone_count"),
    ("slow-alarm-journal", ALARM_LATENCY, "screen_ms/p50:1000"),
    ("delete-undelivered", &["clocks", "--seconds", "1", "--arrival-seconds", "10"], "gone_count"),
    ("accept-before-commit", &["postgres", "--seconds", "1", "--arrival-seconds", "10"], "gone_count"),
    ("insert-without-key", &["postgres", "--seconds", "1", "--arrival-seconds", "10"], "duplicate_count"),
    // Found by a quarter of the kills at least: after the others nobody had been told of the last record yet.
    ("forget-last-record", &["kill", "--kills", "50"], "lost_count"),
    ("tell-once", TAK_ALARM, "arrived/alarm0.pytak/alert_gap_ms"),
    ("skip-escape", TAK_ALARM, "arrived/alarm0.pytak/bad_count"),
    ("store-twice", &["broker", "--kills", "1"], "duplicate_count"),
    ("one-lane", ALL_BACK_AT_ONCE, "is_in_line"),
    ("store-twice", &["network", "--seconds", "9"], "account/duplicate_count"),
    ("skip-tag", &["broker", "--kills", "0"], "believed_count"),
    ("name-by-number", &["broker", "--kills", "0"], "lost_count"),
    ("outlive-key", &["broker", "--kills", "0"], "former_key/believed_count"),
    ("show-before-log", &["look", "--kills", "5"], "unlogged_bytes"),
    ("ack-before-commit", &["disk-faults", "--nth", "1,2"], "account/lost_count"),
    ("retry-failed-sync", &["disk-faults", "--nth", "1,2"], "went_on_count"),
    (
        "send-before-log",
        &["disclosure", "--party", "tak", "--kills", "0", "--points", "1"],
        "sent/tak/unlogged_count",
    ),
    (
        "send-before-log",
        &["disclosure", "--party", "feed", "--kills", "0", "--points", "2"],
        "sent/machine.gis/unlogged_count",
    ),
    ("ack-before-commit", &["power-cut", "--cuts", "10"], "account/lost_count"),
    ("skip-chain", &["look", "--kills", "2"], "broken"),
    ("drop-closing", &["look", "--kills", "2"], "unclosed_count"),
    ("ack-before-commit", &["kill", "--kills", "5"], "lost_count"),
    ("store-twice", &["kill", "--kills", "3"], "duplicate_count"),
    (
        "send-before-log",
        &["disclosure", "--party", "tak-client", "--kills", "0", "--points", "1"],
        "sent/screen/unlogged_count",
    ),
    (
        "send-before-log",
        &["disclosure", "--party", "nmea", "--kills", "0", "--points", "1"],
        "sent/avl/unlogged_count",
    ),
    (
        "send-before-log",
        &["disclosure", "--party", "webhook", "--kills", "0", "--points", "1"],
        "sent/cad/unlogged_count",
    ),
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
    side_by_side(honest.chain(points).map(|rig| (rig, Wanted::Green)).collect())?;
    say("  Now on purpose: each of these must turn red");
    // By a simulator that nothing can break: what is broken must be the gateway, not who looks at it.
    let red = BROKEN.iter().map(|(how, words, field)| {
        let mut rig = host::simulator();
        rig.args(["rig", "--red-by", field]).args(*words);
        rig.arg("--binary").arg(optimised.gateway()).env(host::SABOTAGE, how);
        rig
    });
    // Of the forwarder alone, which is in the simulator. The newest position comes with the second call at the latest.
    let mut lanes = optimised.simulator();
    lanes
        .args([
            "rig",
            "--red-by",
            "newest_after_calls:2",
            "backlog",
            "--records",
            "100000",
            "--patience-s",
            "30",
        ])
        .env(host::SABOTAGE, "one-lane");
    let red = red.chain([lanes]).map(|rig| (rig, Wanted::Red("")));
    // No page goes ahead of another, so none is ever told that it lags.
    let mut slowest = host::simulator();
    slowest.arg("rig").args(ALARM_LATENCY).arg("--binary").arg(optimised.gateway());
    slowest.env(host::SABOTAGE, "wait-for-slowest");
    let mut ledger = optimised.simulator();
    ledger.args(["run", "--devices", "60", "--for", "10s"]).env(host::SABOTAGE, "forget-in-ledger");
    let said = [(slowest, "\"told_lagged_count\":0,"), (ledger, "the ledger says")];
    // First: a page that never falls behind is waited for longest.
    let said = said.map(|(rig, words)| (rig, Wanted::Red(words)));
    side_by_side(said.into_iter().chain(red).collect())
}

/// How a rig must end.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// Exit code 0: its promises held.
    Green,
    /// Exit code 1, and these words in what it says.
    Red(&'static str),
}

/// Runs all of them. The first that ends otherwise than wanted is the failure; the rest still end.
fn side_by_side(rigs: Vec<(Command, Wanted)>) -> Result<(), Failure> {
    let waiting = Mutex::new(rigs.into_iter());
    let failure = Mutex::new(None);
    let worker = || {
        while let Some((rig, wanted)) = next(&waiting) {
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

fn next<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    waiting.lock().expect("no worker panics").next()
}

/// Any other exit code means that the rig itself failed, or was red by something else than what it names: neither proves anything.
fn one(mut rig: Command, wanted: Wanted) -> Result<(), Failure> {
    let (shown, start) = (shown(&rig), Instant::now());
    let output = rig.stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::new(format!("cannot start `{shown}`: {error}")))?;
    let said = [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat();
    let count = if matches!(wanted, Wanted::Green) { 6 } else { 2 };
    let last: Vec<_> = said.lines().rev().take(count).collect();
    let last: String = last.iter().rev().map(|line| format!("\n    {line}")).collect();
    say(&format!("  $ {shown}{last}\n    {:.1} s", start.elapsed().as_secs_f32()));
    match (wanted, output.status.code()) {
        (Wanted::Green, Some(0)) => Ok(()),
        (Wanted::Red(words), Some(1)) if said.contains(words) => Ok(()),
        (Wanted::Green, _) => Err(Failure::new(format!("`{shown}` ended with {}", output.status))),
        (Wanted::Red(_), _) => {
            Err(Failure::new(format!("not noticed what was broken: `{shown}` ended with {}", output.status)))
        }
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
