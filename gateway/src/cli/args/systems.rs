//! Arguments about force systems: machines that fetch, and what was refused.

use clap::{Args, Subcommand};

use super::{ConfigFile, Reason};

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// Make a machine and print its token, this once. What is not named is not released
    Add {
        #[command(flatten)]
        file: ConfigFile,
        /// Its name in metrics and in the disclosure log
        name: String,
        /// Whose records: forces with commas between them, or *
        #[arg(long, value_name = "FORCES", value_delimiter = ',', required = true)]
        forces: Vec<String>,
        /// Which classes: position, status, sensor-event, alarm, alarm-cancel, unknown-alarm, loss, or *
        #[arg(long, value_name = "CLASSES", value_delimiter = ',', required = true)]
        classes: Vec<String>,
        /// Which fields: position, movement, duty, device, sensor, alarm, callsign, or *
        #[arg(long, value_name = "FIELDS", value_delimiter = ',', required = true)]
        fields: Vec<String>,
        /// The highest marking it may hold: official or official-sensitive
        #[arg(long)]
        marking: String,
        /// Positions are rounded to squares of so many metres
        #[arg(long, value_name = "METRES", default_value_t = 0)]
        precision_m: u32,
        #[command(flatten)]
        life: TokenLife,
    },
    /// List machines with what they are released, revoked ones too
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a new token for a machine; the old one ends within a second
    Renew {
        #[command(flatten)]
        file: ConfigFile,
        /// Its name
        name: String,
        #[command(flatten)]
        life: TokenLife,
    },
    /// End a machine's token for good; its connection ends within a second
    Revoke {
        #[command(flatten)]
        file: ConfigFile,
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TokenLife {
    /// Days the token holds
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=1096))]
    pub(crate) days: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RefusedCommand {
    /// What was refused, when and why; no positions
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// Only by this output
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send events to their output again. A running gateway does it at once, another one at its start
    Retry(RefusedWish),
    /// Remove events for good; the disclosure log and `trace` keep who did it, and why
    Drop(RefusedWish),
}

#[derive(Debug, Args)]
pub(crate) struct RefusedWish {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// The output that refused them
    #[arg(long, value_name = "NAME")]
    pub(crate) output: String,
    #[command(flatten)]
    pub(crate) reason: Reason,
    /// Event ids, as `list` shows them
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All that were refused until now
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
}
