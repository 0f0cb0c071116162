//! The command line of `fieldpost-sim`.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{
    console,
    world::{Town, geojson},
};

/// Virtual officers and vehicles that run the real device logic over real mTLS, and check every promise.
#[derive(Debug, Parser)]
#[command(name = "fieldpost-sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the town of a seed as GeoJSON.
    Streets(Streets),
}

#[derive(Debug, Args)]
struct Streets {
    /// Same seed, same town.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Streets(Streets { seed }) => {
            console::result(geojson::render(&Town::build(seed)).trim_end());
            ExitCode::SUCCESS
        }
    }
}
