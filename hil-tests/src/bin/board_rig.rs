//! Long rigs on the emulated board: `cargo xtask rig board-power-cuts --cuts 5000`.
//!
//! Exit code 0: every promise held. 1: one was broken, and the report says which. 2: the rig itself could not work.

use std::{process::ExitCode, time::Instant};

use fieldpost_hil_tests::{
    Failure,
    account::Verdict,
    image,
    power_cuts::{Plan, run},
};

const USAGE: &str = "usage: board-rig power-cuts [--cuts N] [--seed N] [--variant FEATURE]";

/// Arguments of `power-cuts`.
struct Arguments {
    cuts: usize,
    seed: u64,
    variant: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((rig, rest)) if rig == "power-cuts" => parse(rest).and_then(|arguments| power_cuts(&arguments)),
        _ => Err(Failure::child("board-rig", USAGE)),
    };
    match outcome {
        Ok(verdict) if verdict.held() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(2)
        }
    }
}

fn power_cuts(arguments: &Arguments) -> Result<Verdict, Failure> {
    let features: Vec<&str> = arguments.variant.iter().map(String::as_str).collect();
    let image = image::build(&features)?;
    let start = Instant::now();
    let plan = Plan { image, cut_count: arguments.cuts, seed: arguments.seed };
    let verdict = run(&plan, |cut| {
        if cut % 10 == 0 {
            say(&format!("    {cut} of {} cuts, {:.0} s", arguments.cuts, start.elapsed().as_secs_f32()));
        }
    })?;
    say(&verdict.to_string());
    Ok(verdict)
}

fn parse(words: &[String]) -> Result<Arguments, Failure> {
    let mut arguments = Arguments { cuts: 100, seed: 1, variant: None };
    let usage = || Failure::child("board-rig", USAGE);
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err(usage()) };
        match name.as_str() {
            "--cuts" => arguments.cuts = value.parse().map_err(|_| usage())?,
            "--seed" => arguments.seed = value.parse().map_err(|_| usage())?,
            "--variant" => arguments.variant = Some(value.clone()),
            _ => return Err(usage()),
        }
    }
    Ok(arguments)
}

#[expect(clippy::print_stderr, reason = "a rig talks to the person or the CI log that started it")]
fn say(line: &str) {
    eprintln!("{line}");
}
