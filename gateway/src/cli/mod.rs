//! The command line of `fieldpost`: the gateway and its tools in one binary.
//!
//! Promise: **every command says what it did on standard output, what went wrong and what to do about it on standard
//! error, and ends with an exit code of `sysexits.h`** (64 usage, 65 input, 69 unavailable, 73 cannot create, 74 I/O,
//! 78 configuration).

mod args;
mod audit;
mod config;
mod decode;
mod doctor;
mod exit;
mod hold;
mod ledger;
mod login;
mod machine;
mod output;
mod people;
mod pki;
mod refused;
mod rules;
mod run;
mod setup;
mod shift_list;
mod spool;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::args::{Cli, Command};
use self::exit::{CliError, Exit};

/// Runs one command line, the program's name first. Reads and writes the process's standard streams.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; anything else is a usage mistake, which clap explains.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Init(arguments) => setup::init(&arguments),
        Command::Pki(command) => pki::dispatch(command),
        Command::Run(file) => run::run(&file),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Spool(command) => spool::dispatch(&command),
        Command::Rules(command) => rules::dispatch(&command),
        Command::Refused(command) => refused::dispatch(&command),
        Command::Hold(command) => hold::dispatch(command),
        Command::Ledger(arguments) => ledger::ledger(&arguments),
        Command::Trace(arguments) => trace::trace(&arguments),
        Command::Audit(command) => audit::dispatch(&command),
        Command::Validate(file) => config::validate(&file),
        Command::Config(command) => config::dispatch(command),
        Command::People(command) => people::dispatch(command),
        Command::Machine(command) => machine::dispatch(command),
        Command::Login(arguments) => login::login(&arguments),
        Command::Decode(arguments) => setup::decode(&arguments),
        Command::Completions { shell } => {
            setup::completions(shell);
            Ok(())
        }
        Command::Man { out } => setup::man(out.as_deref()),
    }
}

/// The command's definition, for completions and manual pages.
fn definition() -> clap::Command {
    Cli::command()
}
