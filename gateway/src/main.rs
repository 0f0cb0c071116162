//! The `fieldpost` binary: hands its arguments to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldpost_gateway::cli::run(std::env::args_os())
}
