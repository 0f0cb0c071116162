//! `cargo xtask test`: installs what the tests need, says what it is doing, runs everything, and fails at the first red.
//!
//! `.ci/run` runs exactly this. A tool that cannot be had is a failure, never a skip.

mod api;
mod beside;
mod board;
mod budget;
mod demo;
mod fuzz;
mod host;
mod rigs;
mod simulation;
mod step;
mod steps;
mod tools;

use std::process::ExitCode;

use step::Failure;

const USAGE: &str = "\
usage: cargo xtask <command>

  test             install what is needed and run every check (what CI runs)
  test STEP...     run only these steps; `cargo xtask list` names them
  fuzz [TARGET...] [--seconds S | --executions N | --merge]
                   look for inputs that break a claim of a decoder: every target, 60 s each;
                   --merge keeps what was found on the way in fuzz/corpus
  rig board-power-cuts [--cuts N] [--seed N] [--variant FEATURE]
                   cut the emulated board's power at random instants under load (100 cuts, seed 1)
  tools            install what the tests need into .tools/ and, with apt, the system packages
  list             name the steps of `test`
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, names)) if command == "test" => steps::run_steps(names),
        Some((command, arguments)) if command == "fuzz" => fuzz::chosen(arguments),
        Some((command, [rig, rest @ ..])) if command == "rig" && rig == "board-power-cuts" => {
            board::rig("power-cuts", rest)
        }
        Some((command, [])) if command == "tools" => tools::install_all(),
        Some((command, [])) if command == "list" => {
            step::say(&steps::list());
            Ok(())
        }
        _ => Err(Failure::new(USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            step::say(&format!("xtask: {failure}"));
            ExitCode::FAILURE
        }
    }
}
