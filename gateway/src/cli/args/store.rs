//! Arguments about what is stored: the spool, holds, what became of a sequence, alarm rules judged over it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fieldpost_protocol::{DeviceId, ForceId};

use super::{At, ConfigFile, Reason};

#[derive(Debug, Args)]
pub(crate) struct SpoolDir {
    /// The spool's directory [default: `spool` in the configuration's data_dir]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// List segments and cursors
    Ls {
        #[command(flatten)]
        dir: SpoolDir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every byte and say what is intact; exit 65 if anything is damaged
    Verify {
        #[command(flatten)]
        dir: SpoolDir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print records as JSON, one a line. They hold positions: guard what you print them into
    Export {
        #[command(flatten)]
        dir: SpoolDir,
        /// First log sequence number
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Last log sequence number
        #[arg(long, default_value_t = u64::MAX)]
        to: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Hold what a force or one unit of it sent in a time. Durable when this returns, also beside a running gateway
    Add {
        #[command(flatten)]
        file: ConfigFile,
        /// The force
        #[arg(long)]
        force: ForceId,
        /// One device of it [default: all]
        #[arg(long, visible_alias = "device", value_name = "DEVICE")]
        unit: Option<DeviceId>,
        /// From when, as 2026-11-21T02:00:00Z
        #[arg(long, value_name = "TIME")]
        from: At,
        /// Until when
        #[arg(long, value_name = "TIME")]
        until: At,
        #[command(flatten)]
        reason: Reason,
    },
    /// List holds, released ones too
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a hold: what it alone kept is erased within the hour
    Release {
        #[command(flatten)]
        file: ConfigFile,
        /// Its number
        id: u32,
        #[command(flatten)]
        reason: Reason,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// The device
    #[arg(long)]
    pub(crate) device: DeviceId,
    /// Its force, if several have a device of that name
    #[arg(long)]
    pub(crate) force: Option<ForceId>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// The device
    pub(crate) device: DeviceId,
    /// The sequence, as in `fieldpost ledger` and behind the last dot of an event's id
    pub(crate) seq: u32,
    /// Of this boot only; without it, of every boot that has got so far
    #[arg(long)]
    pub(crate) boot: Option<u32>,
    /// Its force, if several have a device of that name
    #[arg(long)]
    pub(crate) force: Option<ForceId>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Print the built-in rules: a file to start with
    Show {
        /// The rules that the configuration names, rather than the built-in ones
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a rule file: every mistake at once, with its line and what to do; exit 65
    Check {
        /// The rule file
        file: PathBuf,
    },
    /// Judge the records of a spool anew and print the alarms that come of it as JSON, one a line
    Replay {
        #[command(flatten)]
        dir: SpoolDir,
        /// Rules in force before the first record that names some [default: the built-in ones]
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        /// Last log sequence number
        #[arg(long, default_value_t = u64::MAX)]
        to: u64,
    },
}
