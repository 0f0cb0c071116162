//! `spool_damage [--open-step N]`: every bit of a segment flipped, and the segment torn at every byte; every N-th torn one
//! is opened, written to and opened again (1 if not said: all of them). Exit code 1 is a verdict of red.

use std::process::ExitCode;
use std::time::Instant;

use fieldpost_fuzz::damage::{Rig, SEGMENT_BYTES, Tally};
// Brings the coverage hooks that the code under test was compiled for.
use libfuzzer_sys as _;

fn main() -> ExitCode {
    fieldpost_fuzz::start();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let open_step = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(1),
        ["--open-step", step] => step.parse().ok().filter(|step| *step > 0),
        _ => None,
    };
    let Some(open_step) = open_step else {
        eprintln!("usage: spool_damage [--open-step N]");
        return ExitCode::from(2);
    };
    let rig = Rig::new();
    let bits = shared(Rig::bits(), |from, to| rig.every_bit(from, to));
    let cuts = shared(SEGMENT_BYTES, |from, to| rig.every_cut(from, to, open_step));
    for (what, outcome) in [("bits flipped", bits), ("torn tails", cuts)] {
        match outcome {
            Ok((tally, seconds)) => eprintln!(
                "{what}: {} tried, {} spools opened, {} records read, {} lost and told, 0 wrong; {seconds:.1} s",
                tally.tried, tally.opened, tally.read, tally.lost
            ),
            Err(found) => {
                eprintln!("{what}: {found}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Splits the work over the processors.
fn shared(
    count: usize,
    work: impl Fn(usize, usize) -> Result<Tally, String> + Sync,
) -> Result<(Tally, f32), String> {
    let start = Instant::now();
    let parts = std::thread::available_parallelism().map_or(1, usize::from);
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let part = |at: usize| scope.spawn(move || work(count * at / parts, count * (at + 1) / parts));
        let threads: Vec<_> = (0..parts).map(part).collect();
        threads.into_iter().map(|thread| thread.join().expect("the rig does not panic")).collect()
    });
    let sum = tallies.into_iter().try_fold(Tally::default(), |sum, part| Ok::<_, String>(add(sum, part?)))?;
    Ok((sum, start.elapsed().as_secs_f32()))
}

fn add(one: Tally, other: Tally) -> Tally {
    Tally {
        tried: one.tried + other.tried,
        opened: one.opened + other.opened,
        lost: one.lost + other.lost,
        read: one.read + other.read,
    }
}
