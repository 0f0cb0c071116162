//! The configuration: one TOML file, overridden by the environment, checked as a whole.
//!
//! Promise: **a [`Config`] that exists is one the gateway can start with.** [`Config::load`] reads the file, lays the
//! environment over it, checks every key and everything the keys point at (certificates, keys, lists of units), and
//! either returns a `Config` holding the loaded material or *all* the mistakes, each with its line and what to do.
//! Nothing is read again later except on reload, so a file that changes under a running gateway cannot half-apply.
//!
//! ```text
//! file --toml--> tree <--environment   tree --section readers--> keys --checks--> Config | Problems
//! ```
//!
//! Bounds: the file is at most [`CONFIG_BYTES_MAX`]; a PEM file at most [`material::PEM_BYTES_MAX`].

mod broker;
mod check;
mod environment;
mod forward;
mod map;
pub mod material;
mod parse;
mod postgres;
mod problem;
mod release;
pub mod roster;
pub mod rules;
mod section;
pub mod show;
pub(crate) mod tak;
pub mod template;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldpost_protocol::ForceId;

pub use self::broker::{BrokerLink, FormerKey};
pub use self::environment::ENVIRONMENT_PREFIX;
use self::material::{Authority, RevocationList, ServerIdentity};
use self::problem::Report;
pub use self::problem::{Origin, Problem, Problems, Weight};
pub use self::release::RELEASE_ALL;
use self::roster::Roster;
use crate::alarms::rules::Rules as AlarmRules;
use crate::forward::release::Release;
use crate::http::tiles::Ground;
use crate::login::Operator;
use crate::people::reasons::Reasons;
use crate::postgres::Server;
use crate::retention::Periods;

/// Largest configuration file: a thousand sinks would fit.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// A whole, checked configuration. Only [`Config::load`] and [`Config::from_text`] make one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The file it came from; relative paths in it count from its directory.
    pub path: PathBuf,
    /// Where the spool, the cursors and the login secret live.
    pub data_dir: PathBuf,
    /// The MQTT listener for devices.
    pub front_door: FrontDoor,
    /// Brokers that devices are behind; none for most.
    pub brokers: Vec<BrokerLink>,
    /// The forces whose devices are served, with the name to show. A device of another force is refused.
    pub forces: Arc<BTreeMap<ForceId, String>>,
    /// Which forces ask why somebody looks.
    pub reasons: Reasons,
    /// `[audit]`: how long what was shown is kept.
    pub audit: AuditPolicy,
    /// The durable store.
    pub spool: SpoolPolicy,
    /// How long each class is kept.
    pub retention: RetentionPolicy,
    /// Where every unit was.
    pub history: HistoryPolicy,
    /// The force systems, in the order of the file; names are unique.
    pub forwards: Vec<Forward>,
    /// `[tak]`: where TAK clients connect to us; its clients are among `forwards`.
    pub tak: Option<TakListener>,
    /// The page for operators.
    pub control_room: ControlRoom,
    /// `[map]`: what lies under the units. Whether it can be had shows at work.
    pub map: Ground,
    /// The listener for `/metrics`.
    pub metrics: MetricsListener,
    /// How far a device's clock may be off.
    pub clock: Clock,
    /// Structured logs.
    pub log: Log,
    /// Start and stop.
    pub service: ServicePolicy,
    /// What deserves a look although it works. Empty for most.
    pub warnings: Arc<Problems>,
}

/// `[front_door]`: the MQTT 5 / 3.1.1 listener over TLS 1.3 with client certificates.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FrontDoor {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key shown to devices.
    pub identity: Arc<ServerIdentity>,
    /// Who issues device certificates.
    pub device_authority: Arc<Authority>,
    /// Which of them are revoked. Without a list nothing can be revoked.
    pub revocation_list: Option<Arc<RevocationList>>,
    /// Connections open at once; more are refused before the TLS handshake.
    pub connections_max: u32,
    /// From accept to a complete CONNECT, TLS handshake included.
    pub connect_deadline_ms: u64,
    /// Longest keep-alive a device may ask for; longer ones are shortened (MQTT 5 Server Keep Alive).
    pub keep_alive_s_max: u16,
    /// Longest session expiry a device may ask for.
    pub session_expiry_s_max: u32,
    /// Largest packet accepted, announced to the device and enforced from the fixed header.
    pub packet_bytes_max: u32,
    /// QoS 1 messages in flight a device may have (MQTT 5 Receive Maximum).
    pub receive_max: u16,
    /// Topic aliases a device may use (MQTT 5 Topic Alias Maximum).
    pub topic_alias_max: u16,
}

/// `[spool]`: the durable store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SpoolPolicy {
    /// Size of one preallocated segment file.
    pub segment_bytes: u64,
    /// Disk the spool may use in all.
    pub bytes_max: u64,
    /// Part of `bytes_max` kept free for alarms; below `bytes_max`.
    pub reserve_bytes: u64,
    /// How long forwarded records are kept.
    pub retain_hours: u32,
}

/// `[retention]`: how long the spool and its archive keep each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionPolicy {
    /// Alarms and what became of them, hours; 0 = as `spool.retain_hours`, as for all of them.
    pub alarms_hours: u32,
    /// Positions, hours.
    pub positions_hours: u32,
    /// Everything else from devices, hours.
    pub events_hours: u32,
    /// What could not be read, hours.
    pub quarantine_hours: u32,
    /// Disk that what is kept longer than the spool's segments may use.
    pub archive_bytes_max: u64,
}

/// `[history]`: where every unit was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPolicy {
    /// The database that keeps it; the gateway's own files without.
    pub postgres: Option<Server>,
    /// Whole days that positions and statuses are kept.
    pub movement_days: u32,
    /// Whole days that alarms and what became of them are kept.
    pub alarms_days: u32,
    /// Disk the history may use in all, in files of the gateway's own.
    pub bytes_max: u64,
}

/// `[audit]`: how long the pictures of what pages were shown are kept, and the two chains: for ever unless a period is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditPolicy {
    /// Whole days.
    pub pictures_days: u32,
    /// Disk they may use in all; the oldest give way.
    pub pictures_bytes_max: u64,
    /// Whole days that lines of the access record are kept; 0: for ever.
    pub access_days: u32,
    /// Whole days that lines of the disclosure log are kept; 0: for ever.
    pub disclosures_days: u32,
}

/// One force system: `[[forward.nats]]`, `[[forward.postgres]]`, `[[forward.webhook]]`, `[[forward.file]]`, `[[forward.tak]]`
/// or `[[tak.client]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Forward {
    /// Unique; names the cursor, the metrics' label and the log lines.
    pub name: String,
    /// When a batch is sent.
    pub batch: BatchPolicy,
    /// What happens when the sink says no.
    pub retry: RetryPolicy,
    /// What it may be sent.
    pub release: Release,
    /// Where it goes.
    pub sink: Sink,
}

/// A batch goes out when any of the three bounds is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchPolicy {
    /// Records.
    pub count_max: u32,
    /// Bytes of the records as stored.
    pub bytes_max: u32,
    /// Milliseconds the oldest record of the batch may wait.
    pub age_ms_max: u64,
}

/// Jittered exponential backoff between attempts; attempts never end, the spool holds the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Delay after the first failure.
    pub delay_ms_min: u64,
    /// Longest delay.
    pub delay_ms_max: u64,
    /// How long one attempt may take.
    pub attempt_ms_max: u64,
}

/// Where a forwarder delivers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Sink {
    /// NATS JetStream.
    Nats(NatsSink),
    /// Tables of a PostgreSQL database.
    Postgres(Server),
    /// Batched CloudEvents over HTTP.
    Webhook(WebhookSink),
    /// One JSON event a line.
    File(FileSink),
    /// Cursor on Target to a TAK server.
    Tak(TakSink),
    /// Positions as NMEA 0183 to a location server.
    Nmea(NmeaSink),
    /// Cursor on Target to a TAK client that connects to us.
    TakClient(TakClient),
}

/// `[[forward.nats]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NatsSink {
    /// `nats://host:port` or `tls://host:port`, several separated by commas.
    pub url: String,
    /// Name of the JetStream stream; made on first use if it is missing.
    pub stream: String,
    /// First token(s) of every subject.
    pub subject_prefix: String,
    /// Servers that must keep each message; `None`: one for a stream that is made, any number for one that is there.
    pub replicas: Option<u8>,
    /// The stream must drop a repeated id for so long at least, in s; `None`: as for `replicas`.
    pub duplicate_window_s: Option<u32>,
    /// A NATS `.creds` file.
    pub credentials: Option<PathBuf>,
    /// PEM of who issued the server's certificate; the system's roots otherwise.
    pub authority: Option<PathBuf>,
    /// PEM of our client certificate and its key.
    pub client: Option<ClientFiles>,
}

/// A client certificate and its key, both PEM files that exist and match.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientFiles {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// `[[forward.webhook]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebhookSink {
    /// `https://host/path`; `http://` only to loopback.
    pub url: String,
    /// PEM of who issued the server's certificate; the system's roots otherwise.
    pub authority: Option<PathBuf>,
    /// File whose first line is sent as `Authorization: Bearer`.
    pub bearer_token_file: Option<PathBuf>,
    /// File with the one or two keys that requests are signed with.
    pub signing_keys_file: Option<PathBuf>,
}

/// `[[forward.file]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileSink {
    /// The NDJSON file; its directory exists.
    pub path: PathBuf,
}

/// `[[forward.nmea]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NmeaSink {
    /// `tls://host:port`, or `tcp://` to this machine.
    pub url: String,
    /// PEM of who issued the server's certificate; the system's roots without one.
    pub authority: Option<PathBuf>,
    /// Our certificate, if the server asks for one.
    pub client: Option<ClientFiles>,
    /// Whether positions are sent that newer ones of their unit have replaced.
    pub sends_every_position: bool,
    /// Whether positions of exercises and tests are sent, too.
    pub sends_every_mode: bool,
}

/// `[[forward.tak]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TakSink {
    /// `tls://host:port`.
    pub url: String,
    /// The name that the server's certificate must have, if it is not the host.
    pub server_name: Option<String>,
    /// PEM of who issued the server's certificate.
    pub authority: PathBuf,
    /// PEM of our client certificate and its key.
    pub client: ClientFiles,
    /// Whether an XML declaration stands before every event.
    pub sends_declaration: bool,
    /// Most events a second; `None`: as they come.
    pub events_per_s_max: Option<NonZeroU32>,
    /// What is told, and how.
    pub manner: TakManner,
}

/// `[tak]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TakListener {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key shown to clients.
    pub identity: Arc<ServerIdentity>,
    /// Who issues the clients' certificates.
    pub client_authority: Arc<Authority>,
    /// Which of them are revoked. Without a list nothing can be revoked but by taking the client out.
    pub revocation_list: Option<Arc<RevocationList>>,
}

/// `[[tak.client]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TakClient {
    /// The one common name in its certificate.
    pub common_name: String,
    /// In whose name it takes alarms, if it may.
    pub acknowledges_as: Option<Operator>,
    /// What is told, and how.
    pub manner: TakManner,
}

/// How a TAK party is told of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakManner {
    /// Whether protobuf is spoken where both ends can.
    pub takes_protobuf: bool,
    /// Whether positions are sent that newer ones have replaced; stale from the first.
    pub sends_every_position: bool,
    /// How long a position stands in TAK.
    pub position_stale_s: u64,
    /// How often a standing alarm is told again.
    pub alarm_repeat_s: u64,
    /// How long an alarm stands in TAK that is not told again.
    pub alarm_stale_s: u64,
}

/// `[control_room]`: the page, its API and `/healthz`, `/readyz`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ControlRoom {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// TLS for the page; `None` only on loopback.
    pub identity: Option<Arc<ServerIdentity>>,
    /// Names and kinds of units.
    pub roster: Arc<Roster>,
    /// Where the roster was read from.
    pub roster_path: Option<PathBuf>,
    /// The rules of the alarm engine; the built-in ones if no file is named.
    pub rules: Arc<AlarmRules>,
    /// Where they were read from.
    pub rules_path: Option<PathBuf>,
    /// GeoJSON of the streets to draw under the units.
    pub streets: Option<PathBuf>,
}

/// `[metrics]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MetricsListener {
    /// Loopback address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// `[clock]`: device times outside these bounds are kept, but marked as not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Clock {
    /// Seconds a device time may lie ahead of the gateway's.
    pub future_s_max: u32,
    /// Hours a device time may lie behind the gateway's.
    pub past_hours_max: u32,
}

/// `[log]`: structured logs on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,fieldpost_gateway::spool=debug`.
    pub level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[service]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServicePolicy {
    /// From SIGTERM until whatever is still running is cut off.
    pub drain_deadline_ms: u64,
}

/// Why there is no `Config`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}; `fieldpost init DIR` writes a commented one")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file was read and has mistakes.
    #[error("the configuration has {count} mistake(s):\n{0}", count = .0.mistake_count())]
    Invalid(Problems),
}

impl Config {
    /// The periods of retention.
    #[must_use]
    pub fn periods(&self) -> Periods {
        let RetentionPolicy { alarms_hours, positions_hours, events_hours, quarantine_hours, .. } =
            self.retention;
        let own_ms = [alarms_hours, positions_hours, events_hours, quarantine_hours]
            .map(|hours| (hours > 0).then(|| u64::from(hours) * 3_600_000));
        Periods { own_ms, spool_ms: u64::from(self.spool.retain_hours) * 3_600_000 }
    }

    /// Reads, overrides from the process's environment, and checks.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::Invalid`] with every mistake.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            read_bounded(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::from_text(path, &text, &environment::of_process())
    }

    /// Checks `text` as the contents of `path`, overridden by `environment` (name, value). Files named in it are read.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every mistake.
    pub fn from_text(path: &Path, text: &str, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let report = Report::default();
        let mut root = tree::parse(text, &report);
        environment::overlay(&mut root, environment, &report);
        let config = parse::config(&root, path, &report);
        let problems = report.into_problems(path, text);
        match config {
            Some(mut config) if !problems.has_mistakes() => {
                config.warnings = Arc::new(problems);
                Ok(config)
            }
            _ => Err(ConfigError::Invalid(problems)),
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > CONFIG_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it has {bytes} bytes; at most {CONFIG_BYTES_MAX} are read"
        )));
    }
    std::fs::read_to_string(path)
}
