//! The arguments, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fieldpost_protocol::{DeviceId, ForceId, Mode};

use crate::live::unit::UnitId;
use crate::people::{Forces, Role};

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
pub(crate) struct Authority {
    /// Directory of the authority [default: `pki` beside the configuration]
    #[arg(long = "authority", visible_alias = "pki", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Issue a certificate for one device
    Issue {
        #[command(flatten)]
        authority: Authority,
        /// The force it is enrolled with
        #[arg(long)]
        force: ForceId,
        /// Its device id: also its MQTT client id
        #[arg(long)]
        device: DeviceId,
        /// The most real mode it may ever speak in
        #[arg(long, value_enum, default_value_t = ModeArg::Actual)]
        mode: ModeArg,
        /// Days it is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Directory to write DEVICE.pem, DEVICE.key and ca.pem into
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Revoke the device's active certificate, if it has one, and overwrite its files
        #[arg(long)]
        replace: bool,
    },
    /// Issue a new certificate for the gateway itself
    IssueServer {
        #[command(flatten)]
        authority: Authority,
        /// DNS name or IP address (repeat)
        #[arg(long = "name", value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Days it is valid
        #[arg(long, default_value_t = crate::init::SERVER_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Directory to write server.pem and server.key into [default: the authority's own]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Revoke a device's certificates, or one certificate, and renew the revocation list
    Revoke {
        #[command(flatten)]
        authority: Authority,
        /// The force of the device
        #[arg(long, requires = "device")]
        force: Option<ForceId>,
        /// The device
        #[arg(long, requires = "force", conflicts_with = "serial")]
        device: Option<DeviceId>,
        /// The serial number of one certificate
        #[arg(long, required_unless_present = "device")]
        serial: Option<String>,
    },
    /// Renew the revocation list; run it from a timer
    Crl {
        #[command(flatten)]
        authority: Authority,
        /// Days until the next one must be there
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
    },
    /// Make the key pair that devices behind a broker agree their envelope keys with
    EnvelopeKey {
        /// File to write the private key into, PKCS#8 PEM; it must not exist yet. The public key goes to FILE.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// List every certificate issued
    List {
        #[command(flatten)]
        authority: Authority,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Real duty; may also speak as exercise or test
    Actual,
    /// Exercises; may also speak as test
    Exercise,
    /// Tests and simulations only
    Test,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Actual => Self::Actual,
            ModeArg::Exercise => Self::Exercise,
            ModeArg::Test => Self::Test,
        }
    }
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
pub(crate) struct LoginArgs {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// Who is let in: the name on acknowledgements and in the access log
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: String,
    /// Let them in with this role only (repeat) [default: their account's, else operator, supervisor and engineer]
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    /// Show them these forces only: ids with commas between them, or * for all
    #[arg(long, value_name = "FORCES", requires = "roles", default_value = "*")]
    pub(crate) forces: Forces,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    /// Make an account; prints a password that is shown once and has to be changed
    Add {
        #[command(flatten)]
        file: ConfigFile,
        /// What they log in with: the name in every record
        name: String,
        /// What colleagues call them
        #[arg(long, default_value = "")]
        full_name: String,
        /// operator, supervisor, engineer, auditor, data_protection, administrator (repeat)
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// Whose units they see: ids with commas between them, or * for all
        #[arg(long, value_name = "FORCES")]
        forces: Forces,
    },
    /// List every account
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give an account a new password, shown once, and end its sessions
    Passwd {
        #[command(flatten)]
        file: ConfigFile,
        /// Whose
        name: String,
    },
    /// Let an account in no more, and end its sessions
    Disable {
        #[command(flatten)]
        file: ConfigFile,
        /// Whose
        name: String,
        /// Let it in again
        #[arg(long)]
        undo: bool,
    },
    /// Say who wears which devices, from a shift list
    #[command(
        long_about = "Say who wears which devices, from a shift list: CSV with the columns force, device, officer, callsign, vehicle, role, from, until, or TOML with [[assignment]]. Times are RFC 3339 or Unix milliseconds. One mistake, and nothing is taken."
    )]
    Assign {
        #[command(flatten)]
        file: ConfigFile,
        /// The list: NAME.csv or NAME.toml
        list: PathBuf,
    },
    /// Print who wore a device
    Wearer {
        #[command(flatten)]
        file: ConfigFile,
        /// The device: FORCE/DEVICE
        unit: UnitId,
        /// When: RFC 3339 or Unix milliseconds [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Give an account other roles and forces
    Roles {
        #[command(flatten)]
        file: ConfigFile,
        /// Whose
        name: String,
        /// operator, supervisor, engineer, auditor, data_protection, administrator (repeat)
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// Whose units they see: ids with commas between them, or * for all
        #[arg(long, value_name = "FORCES")]
        forces: Forces,
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
