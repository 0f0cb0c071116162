//! `spool_damage [--open-step N]`: every bit of a segment flipped, and the segment torn at every byte; every N-th torn one
//! is opened, written to and opened again (1 if not said: all of them). Exit code 1 is a verdict of red.
//!
//! The work is shared by processes, one a processor, and not by threads: the fuzzer's counters in the code under test are
//! one table a process, and two threads that write to it wait for each other at every branch.

use std::io;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use fieldpost_fuzz::damage::{Rig, SEGMENT_BYTES, Tally};
// Brings the coverage hooks that the code under test was compiled for.
use libfuzzer_sys as _;

const USAGE: &str = "usage: spool_damage [--open-step N]";

fn main() -> ExitCode {
    fieldpost_fuzz::start();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => all(1),
        ["--open-step", step] if number(step).is_some() => all(number(step).expect("checked just now")),
        // As a part of `all`: K of N.
        ["--part", k, n, step] => match (k.parse(), number(n), number(step)) {
            (Ok(k), Some(n), Some(step)) => part(k, n, step),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Starts one process for each processor and adds up what they found.
fn all(open_step: usize) -> ExitCode {
    let start = Instant::now();
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let children: Vec<_> = (0..parts).map(|k| start_part(k, parts, open_step)).collect();
    let ended: Vec<_> = children.into_iter().map(|child| child.and_then(Child::wait_with_output)).collect();
    let mut sums = [Tally::default(); 2];
    for output in ended {
        match output {
            Ok(output) if output.status.success() => add(&mut sums, &String::from_utf8_lossy(&output.stdout)),
            Ok(output) if output.status.code() == Some(1) => return ExitCode::FAILURE,
            Ok(output) => return failed(&format!("a part ended with {}", output.status)),
            Err(error) => return failed(&format!("a part cannot run: {error}")),
        }
    }
    for (what, tally) in ["bits flipped", "torn tails"].into_iter().zip(sums) {
        let Tally { tried, opened, read, lost } = tally;
        eprintln!(
            "{what}: {tried} tried, {opened} spools opened, {read} records read, {lost} lost and told, 0 wrong"
        );
    }
    eprintln!("{:.1} s", start.elapsed().as_secs_f32());
    ExitCode::SUCCESS
}

fn failed(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}

fn start_part(k: usize, parts: usize, open_step: usize) -> io::Result<Child> {
    let words = [k, parts, open_step].map(|number| number.to_string());
    Command::new(std::env::current_exe()?).arg("--part").args(words).stdout(Stdio::piped()).spawn()
}

/// The K-th of N parts of both; prints two lines of four numbers.
fn part(k: usize, n: usize, open_step: usize) -> ExitCode {
    let rig = Rig::new();
    let share = |count: usize| (count * k / n, count * (k + 1) / n);
    let (from, to) = share(Rig::bits());
    let bits = rig.every_bit(from, to);
    let (from, to) = share(SEGMENT_BYTES);
    let cuts = rig.every_cut(from, to, open_step);
    for (what, outcome) in [("bits flipped", bits), ("torn tails", cuts)] {
        match outcome {
            Ok(Tally { tried, opened, read, lost }) => println!("{tried} {opened} {read} {lost}"),
            Err(found) => {
                eprintln!("{what}: {found}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn add(sums: &mut [Tally; 2], printed: &str) {
    for (sum, line) in sums.iter_mut().zip(printed.lines()) {
        let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        if let [tried, opened, read, lost] = numbers[..] {
            sum.tried += tried;
            sum.opened += opened;
            sum.read += read;
            sum.lost += lost;
        }
    }
}
