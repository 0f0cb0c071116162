//! `cargo xtask fuzz`: builds the fuzz targets of the folder `fuzz` and lets each look for an input that breaks a claim.
//!
//! In CI every target gets [`CI_SECONDS`], two at a time, after it has passed its corpus and every input that once broke
//! it. Then the targets of [`PLANTED`] look for a bug planted for them, from the same start: **a target that
//! cannot find a known bug is a failure.** A release run is `cargo xtask fuzz --executions 100000000`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::step::{Failure, command, root, run_command, say, target_dir};

/// The share of one target in CI. Eleven targets, two at a time: five minutes and a half.
const CI_SECONDS: u64 = 60;

/// What a target has at most for the bug planted for it. It stops at the find: within a second or two on a quiet machine, later
/// where it runs at a low priority beside the other steps.
const PLANTED_SECONDS: u64 = 300;

/// Longest input of a target, in bytes: the largest message it can meet, or enough for several.
const TARGETS: &[(&str, u32)] = &[
    ("envelope", 1200),
    ("batch", 1100),
    ("downlink", 300),
    ("topic", 120),
    ("nmea", 1000),
    ("mqtt", 600),
    ("segment", 400),
    ("device_mqtt", 600),
    ("device_tls", 120),
    ("configuration", 2000),
    ("certificates", 2500),
    ("cot", 1500),
];

/// Targets for which a bug is planted in the code that they look at.
const PLANTED: &[&str] = &["batch", "mqtt", "segment"];

/// What libFuzzer exits with when a claim broke.
const FOUND: i32 = 77;

/// How long a target looks.
#[derive(Debug, Clone, Copy)]
enum Share {
    Seconds(u64),
    Executions(u64),
}

/// The step of `cargo xtask test`.
pub(crate) fn ci() -> Result<(), Failure> {
    build()?;
    run_all(TARGETS, Share::Seconds(CI_SECONDS))?;
    say("  Now on purpose: each of these must find the bug planted for it");
    PLANTED.iter().try_for_each(|name| must_find(name))
}

/// The step `damage`: every bit and every torn tail of a segment, and the proof that the rig can turn red.
pub(crate) fn damage() -> Result<(), Failure> {
    build()?;
    let rig = built("spool_damage");
    // Every 16th torn segment is opened, written to and opened again; a release run leaves none out.
    run_command(command(&rig).args(["--open-step", "16"]))?;
    say("  Now on purpose: a walk that skips the checksum must turn it red");
    match finish(command(&rig).env("FIELDPOST_PLANTED_BUGS", "1"))?.status.code() {
        Some(1) => Ok(()),
        code => {
            Err(Failure::new(format!("the rig did not notice the skipped checksum: it ended with {code:?}")))
        }
    }
}

/// Keeps of what was found since, in `fuzz/corpus`, each input that reaches something that the corpus does not.
fn merge(targets: &[(&str, u32)]) -> Result<(), Failure> {
    for (name, bytes_max) in targets {
        let kept = folder().join("corpus").join(name);
        let grown = target_dir().join("fuzz/corpus").join(name);
        make(&kept)?;
        make(&grown)?;
        let mut target = program(name, *bytes_max, Share::Seconds(0))?;
        let output = finish(target.args(["-merge=1", "-use_value_profile=0"]).arg(&kept).arg(&grown))?;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(Failure::new(format!(
                "merging `{name}` ended with {}\n{}",
                output.status,
                last_lines(&log)
            )));
        }
        let done = log.lines().rev().find(|line| line.contains("MERGE-OUTER:")).unwrap_or("merged");
        say(&format!("    {name:<14} {done}"));
    }
    Ok(())
}

/// `cargo xtask fuzz [TARGET...] [--seconds S | --executions N | --merge]`.
pub(crate) fn chosen(arguments: &[String]) -> Result<(), Failure> {
    let mut share = Share::Seconds(60);
    let mut targets = Vec::new();
    let mut merges = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => share = Share::Seconds(number(words.next())?),
            "--executions" => share = Share::Executions(number(words.next())?),
            "--merge" => merges = true,
            name => targets.push(*TARGETS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                let known: Vec<_> = TARGETS.iter().map(|(known, _)| *known).collect();
                Failure::new(format!("no fuzz target `{name}`; the targets are: {}", known.join(" ")))
            })?),
        }
    }
    build()?;
    let targets = if targets.is_empty() { TARGETS } else { &targets };
    if merges { merge(targets) } else { run_all(targets, share) }
}

fn number(word: Option<&String>) -> Result<u64, Failure> {
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| Failure::new("--seconds and --executions take a number"))
}

fn folder() -> PathBuf {
    root().join("fuzz")
}

/// The compiler flags stand in the folder's own `.cargo/config.toml`, which cargo reads from the current directory.
fn build() -> Result<(), Failure> {
    let mut cargo = command("cargo");
    cargo.current_dir(folder()).args(["build", "--quiet", "--release", "--target-dir"]);
    run_command(cargo.arg(target_dir().join("fuzz")))
}

/// Runs targets side by side, as many as there are processors. The first failure is told after all have ended.
fn run_all(targets: &[(&str, u32)], share: Share) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let worker = || {
        while let Some((name, bytes_max)) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(broken) = run_one(name, *bytes_max, share) {
                say(&format!("    {broken}"));
                failure.lock().expect("no worker panics").get_or_insert(broken);
            }
        }
    };
    let workers_count = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers_count {
            scope.spawn(worker);
        }
    });
    failure.into_inner().expect("no worker panics").map_or(Ok(()), Err)
}

fn run_one(name: &str, bytes_max: u32, share: Share) -> Result<(), Failure> {
    let mut target = program(name, bytes_max, share)?;
    let output = finish(target.args(starts(name, "corpus")?))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let told = last_lines(&log);
        return Err(Failure::new(format!("target `{name}` ended with {}\n{told}", output.status)));
    }
    let executions = stat(&log, "stat::number_of_executed_units:");
    let rate = stat(&log, "stat::average_exec_per_sec:");
    say(&format!("    {name:<14} {executions:>12} executions, {rate:>8} a second"));
    Ok(())
}

fn must_find(name: &str) -> Result<(), Failure> {
    let (_, bytes_max) = TARGETS.iter().find(|(known, _)| *known == name).expect("PLANTED names targets");
    let mut target = program(name, *bytes_max, Share::Seconds(PLANTED_SECONDS))?;
    // What it finds on the way belongs to a build with a bug: kept apart from the corpus.
    let output = finish(target.env("FIELDPOST_PLANTED_BUGS", "1").args(starts(name, "planted")?))?;
    let log = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(FOUND) => {
            let found = log.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
            say(&format!("    {name:<14} found: {}", found.unwrap_or("a claim broke")));
            Ok(())
        }
        _ => Err(Failure::new(format!(
            "target `{name}` did not find the bug planted for it in {PLANTED_SECONDS} s; it ended with {}",
            output.status
        ))),
    }
}

/// Folders of inputs to start from. New inputs go to the first; the committed ones are only read.
fn starts(name: &str, grown: &str) -> Result<Vec<PathBuf>, Failure> {
    let grown = target_dir().join("fuzz").join(grown).join(name);
    make(&grown)?;
    let kept = ["corpus", "regressions"].map(|kind| folder().join(kind).join(name));
    Ok(std::iter::once(grown).chain(kept.into_iter().filter(|at| at.exists())).collect())
}

fn program(name: &str, bytes_max: u32, share: Share) -> Result<Command, Failure> {
    let found = target_dir().join("fuzz/found").join(name);
    make(&found)?;
    let mut target = command(built(name));
    target.arg(match share {
        Share::Seconds(seconds) => format!("-max_total_time={seconds}"),
        Share::Executions(executions) => format!("-runs={executions}"),
    });
    target.arg(format!("-max_len={bytes_max}"));
    target.arg(format!("-artifact_prefix={}/", found.display()));
    // 20 s: a thousand times what the slowest input takes, on a machine that has no time. 1 GiB holds the engine's own corpus.
    target.args(["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", "-use_value_profile=1"]);
    let dictionary = folder().join("dictionaries").join(name);
    if dictionary.exists() {
        target.arg(format!("-dict={}", dictionary.display()));
    }
    Ok(target)
}

fn built(name: &str) -> String {
    let built = target_dir().join("fuzz/x86_64-unknown-linux-gnu/release").join(name);
    built.to_string_lossy().into_owned()
}

fn make(folder: &PathBuf) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::new(format!("cannot make {folder:?}: {error}")))
}

fn finish(target: &mut Command) -> Result<Output, Failure> {
    target.stdin(Stdio::null());
    target.output().map_err(|error| Failure::new(format!("cannot start {target:?}: {error}")))
}

fn stat<'l>(log: &'l str, key: &str) -> &'l str {
    log.lines().find_map(|line| line.strip_prefix(key)).map_or("?", str::trim)
}

/// What broke and where the input is: the panic, the stack and libFuzzer's last words.
fn last_lines(log: &str) -> String {
    let from = log.lines().position(|line| line.contains("panicked at")).unwrap_or(0);
    let said: Vec<_> = log.lines().skip(from).collect();
    let told: Vec<_> = said.iter().filter(|line| line.contains("Test unit")).copied().collect();
    [&said[..said.len().min(25)], &told].concat().join("\n")
}
