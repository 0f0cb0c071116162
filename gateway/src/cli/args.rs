//! The arguments, as clap reads them.

mod people;
mod pki;
mod store;
mod systems;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fieldpost_protocol::ForceId;

pub(crate) use self::people::{LoginArgs, PeopleCommand};
pub(crate) use self::pki::{Authority, PkiCommand};
pub(crate) use self::store::{HoldCommand, LedgerArgs, RulesCommand, SpoolCommand, SpoolDir, TraceArgs};
pub(crate) use self::systems::{MachineCommand, RefusedCommand, RefusedWish};
use crate::live::unit::UnitId;

/// The Fieldpost gateway and its tools.
#[derive(Debug, Parser)]
#[command(name = "fieldpost", version, about, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `fieldpost init DIR`. Exit codes: 64 usage, 65 input, 69 unavailable, 70 a bug, 73 cannot create, 74 I/O, 78 configuration."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new gateway: a commented configuration, a local authority, a server certificate
    Init(InitArgs),
    /// Issue, revoke and list certificates
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Run the gateway until SIGTERM; SIGHUP reads the configuration again
    Run(ConfigFile),
    /// Check everything around the gateway: disk, ports, limits, clock, certificates, sinks
    Doctor(DoctorArgs),
    /// Look into the store
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Keep records from being erased: legal holds
    #[command(subcommand)]
    Hold(HoldCommand),
    /// What became of every sequence that a device issued: stored, refused, lost by the device, still owed
    Ledger(LedgerArgs),
    /// Where is my message: every hop of one sequence of a device, and when
    Trace(TraceArgs),
    /// Who was shown whose position, and what exactly: the access record (Data Protection Act 2018 s.62)
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Events that a force system refused: list them, send them again, drop them
    #[command(subcommand)]
    Refused(RefusedCommand),
    /// The rules of the alarm engine: show, check, or judge a spool by them again
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Check a configuration: every mistake at once, with its line and what to do; exit 78
    Validate(ConfigFile),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, list and disable accounts of the control room
    #[command(subcommand)]
    People(PeopleCommand),
    /// Systems that fetch events themselves: give them a token and a release of their own
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Print a link that lets one operator into the live page, once, within 5 minutes
    Login(LoginArgs),
    /// Take a frame apart and name every byte
    Decode(DecodeArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one file for each command
    Man {
        /// Directory to write fieldpost.1, fieldpost-init.1 ... into
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "gateway.toml")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Directory to make; must be empty or missing
    pub(crate) dir: PathBuf,
    /// DNS name or IP address that devices use to reach this gateway (repeat); localhost is always in
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Force to serve (repeat)
    #[arg(long = "force", value_name = "FORCE", default_value = "demo")]
    pub(crate) forces: Vec<ForceId>,
    /// Address and port for devices
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8883")]
    pub(crate) listen: std::net::SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reason {
    /// Who decided
    #[arg(long, value_name = "NAME")]
    pub(crate) by: String,
    /// Why: a case number, an order
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct AuditDir {
    /// The access record's directory, or a copy of it: assignments are read beside it [default: `access` in the configuration's data_dir]
    #[arg(long = "dir", value_name = "DIR")]
    pub(crate) access: Option<PathBuf>,
    /// The picture journal's directory [default: `pictures` beside the access record]
    #[arg(long, value_name = "DIR")]
    pub(crate) pictures: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

/// An instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) u64);

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            "write the time with its zone: 2026-11-21T02:00:00Z or 2026-11-21T02:00:00+00:00".to_owned()
        })?;
        u64::try_from(time.as_millisecond()).map(Self).map_err(|_| "the time is before 1970".to_owned())
    }
}

/// One of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct AboutArgs {
    /// The unit, as FORCE/DEVICE
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit: Option<UnitId>,
    /// Name or number of an officer, as it was written when devices were assigned
    #[arg(long, value_name = "NAME")]
    pub(crate) officer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SpanArgs {
    /// From when, as 2026-11-21T02:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: At,
    /// Until when
    #[arg(long, value_name = "TIME")]
    pub(crate) to: At,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Read the whole chain; say the first place where it is broken, exit 65
    Verify {
        #[command(flatten)]
        dir: AuditDir,
        /// A head known from elsewhere, as NUMBER:HASH (repeat): the chain must go through it
        #[arg(long = "head", value_name = "HEAD")]
        heads: Vec<crate::audit::verify::KnownHead>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Who was shown a unit or an officer, and what exactly they were shown of it. The answer holds positions: guard it
    Saw {
        #[command(flatten)]
        dir: AuditDir,
        #[command(flatten)]
        about: AboutArgs,
        #[command(flatten)]
        span: SpanArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What one person looked at
    Looks {
        #[command(flatten)]
        dir: AuditDir,
        /// Who
        #[arg(long, value_name = "NAME")]
        operator: String,
        #[command(flatten)]
        span: SpanArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What was sent to force systems: the disclosure log. `audit verify --dir DATA/disclosures` says what it is worth
    Disclosures {
        /// The disclosure log's directory, or a copy of it [default: `disclosures` in the configuration's data_dir]
        #[arg(long = "dir", value_name = "DIR")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
        /// Only to this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// Only of this unit, as FORCE/DEVICE
        #[arg(long, value_name = "UNIT")]
        unit: Option<UnitId>,
        #[command(flatten)]
        span: SpanArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the very bytes that a live page was sent
    Rebuild {
        #[command(flatten)]
        dir: AuditDir,
        /// The number of the line that opened the page
        #[arg(long, value_name = "NUMBER")]
        stream: u64,
        /// File to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Copy the record, who wore what, a verification and a manifest of hashes into one directory
    Export {
        #[command(flatten)]
        dir: AuditDir,
        /// Directory to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// With the picture journal, which holds positions
        #[arg(long)]
        with_pictures: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration
    Show {
        #[command(flatten)]
        file: ConfigFile,
        /// With the defaults and the environment in it, rather than the file as it is
        #[arg(long)]
        effective: bool,
        /// Hide passwords in URLs
        #[arg(long, requires = "effective")]
        redact: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The frame in hexadecimal (spaces and colons are ignored), or - for standard input
    #[arg(required = true, value_name = "HEX")]
    pub(crate) hex: Vec<String>,
    /// A frame to a device rather than from one
    #[arg(long)]
    pub(crate) downlink: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
