//! `fieldpost-sim`: see `fieldpost-sim --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldpost_simulator::cli::main()
}
