//! `fieldpost-sim rig ...`

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    AlarmLatencyPlan, AttackPlan, BacklogPlan, BrokerPlan, ClusterPlan, DisclosurePlan, FaultPlan, KillPlan,
    Limits, LookPlan, NetworkPlan, OutagePlan, PostgresPlan, PowerPlan, SinkPlan, System, TakPlan,
    alarm_latency, attacks, backlog, bad_network, behind_broker, clock_jumps, ends_between_log_and_send,
    faults, full_disk, jetstream_cluster, jetstream_outage, kill_under_load, kill_under_looks, network,
    postgres, power_cuts, sinks, tak,
};
use crate::{bench, binary};

/// Real faults against the gateway's binary.
#[derive(Debug, Subcommand)]
pub enum RigCommand {
    /// `kill -9` the gateway under load, again and again: nothing acknowledged may be lost or stored twice.
    Kill(KillArguments),
    /// Cut the power of the gateway's disk under load: nothing acknowledged before the instant may be lost. Needs root.
    PowerCut(PowerArguments),
    /// Fail the n-th sync or write of the gateway: nothing may be acknowledged after it, the next start recovers. Needs root.
    DiskFaults(FaultArguments),
    /// Fill the gateway's disk: nothing acknowledged may be lost, with room it goes on. Needs root.
    FullDisk(Common),
    /// `kill -9` the gateway while browsers look: no byte that one received may be missing from the record.
    Look(LookArguments),
    /// End the gateway between disclosure log and send: nothing may have been sent that is not on the log.
    Disclosure(DisclosureArguments),
    /// Stop JetStream under load: devices notice nothing, everything arrives once after it returns.
    JetstreamOutage(OutageArguments),
    /// Kill, pause and cut off the servers of a JetStream cluster, then all of them for two (scaled) hours: nothing may be
    /// lost, and the consumer has everything once by its key. Needs root.
    JetstreamCluster(ClusterArguments),
    /// Kill, stop, hang and confuse force systems: nothing may be lost, and alarms still reach the others.
    Sinks(SinkArguments),
    /// Kill, stop, refuse, fill and cut off PostgreSQL: every record must stand in its tables exactly once. Needs root.
    Postgres(PostgresArguments),
    /// Lose packets and whole connections: nothing may be lost or stored twice. Needs root.
    Network(NetworkArguments),
    /// Let the gateway's clock jump by years: nothing may be taken for old and removed.
    Clocks(LastingArguments),
    /// Attack in every way at once: memory must stay bounded and stop growing, good devices must be served.
    Attacks(AttackArguments),
    /// A force system comes back to a backlog: alarms within a second, the newest position at once, everything in the end.
    Backlog(BacklogArguments),
    /// TAK parties of others: every position arrives, and an alert stands until a person closes the alarm.
    Tak(TakArguments),
    /// Press emergency buttons while every unit reports and sends a backlog: on the screen and back on the wearer in time.
    AlarmLatency(AlarmLatencyArguments),
    /// Two gateways behind mosquitto: kill each in turn, forge, change and repeat: nothing lost, nothing believed.
    Broker(BrokerArguments),
}

/// How often.
#[derive(Debug, Args)]
pub struct BrokerArguments {
    /// How often a gateway, and then mosquitto, is killed.
    #[arg(long, default_value_t = 6)]
    kills: usize,
    /// Decides the instants of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

/// What every rig takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Devices that send.
    #[arg(long, default_value_t = 8)]
    devices: usize,
    /// The gateway's binary; by default `fieldpost` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// How often and how hard.
#[derive(Debug, Args)]
pub struct KillArguments {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Open publishes a device.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Decides the instants of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

/// How often, and how many look.
#[derive(Debug, Args)]
pub struct LookArguments {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Browsers that look.
    #[arg(long, default_value_t = 3)]
    pages: usize,
    /// Decides the instants of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

/// How often, and where.
#[derive(Debug, Args)]
pub struct DisclosureArguments {
    /// How often the gateway is killed at a random instant.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// How often it ends at each point of its code; needs a gateway with the feature `sabotage`.
    #[arg(long, default_value_t = 0)]
    points: usize,
    /// Decides the instants.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

/// How often.
#[derive(Debug, Args)]
pub struct PowerArguments {
    /// How often the power is cut.
    #[arg(long, default_value_t = 50)]
    cuts: usize,
    /// Decides the instants of the cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

/// Which calls fail.
#[derive(Debug, Args)]
pub struct FaultArguments {
    /// The n-th calls that fail, one run each.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,5,8,13,21,34,55")]
    nth: Vec<usize>,
    /// Every call from the first to this one, instead.
    #[arg(long, conflicts_with = "nth")]
    every: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// How long and how many.
#[derive(Debug, Args)]
pub struct OutageArguments {
    /// How long JetStream is gone, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Devices, each with five records a second.
    #[arg(long, default_value_t = 100)]
    devices: usize,
    /// The nats-server binary.
    #[arg(long, env = "FIELDPOST_NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// The gateway's binary; by default `fieldpost` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// How long and with what.
#[derive(Debug, Args)]
pub struct ClusterArguments {
    /// How long all servers are gone, in minutes; time is scaled by 600, and so is the duplicate window of 10 minutes.
    #[arg(long, default_value_t = 120)]
    outage_minutes: u64,
    /// What has not arrived so long after the last fault is lost, in seconds.
    #[arg(long, default_value_t = 120)]
    arrival_seconds: u64,
    /// The nats-server binary.
    #[arg(long, env = "FIELDPOST_NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// A Python with nats-py.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// How long.
#[derive(Debug, Args)]
pub struct SinkArguments {
    /// How long each case lasts, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// What has not arrived so long after the last case is lost, in seconds.
    #[arg(long, default_value_t = 120)]
    arrival_seconds: u64,
    /// The nats-server binary.
    #[arg(long, env = "FIELDPOST_NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// How long.
#[derive(Debug, Args)]
pub struct PostgresArguments {
    /// How long each case lasts, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// What has not arrived so long after the last case is lost, in seconds.
    #[arg(long, default_value_t = 120)]
    arrival_seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// How bad and how long.
#[derive(Debug, Args)]
pub struct NetworkArguments {
    /// Of a hundred packets, how many are lost.
    #[arg(long, default_value_t = 30)]
    lost_percent: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 18)]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// How long.
#[derive(Debug, Args)]
pub struct LastingArguments {
    /// How long each jump is lived with, in seconds.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// How many and how long.
#[derive(Debug, Args)]
pub struct AttackArguments {
    /// Attackers of each of the seven kinds.
    #[arg(long, default_value_t = 6)]
    attackers: usize,
    /// How long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    common: Common,
}

/// Force systems to come back.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SystemName {
    /// One that takes everything, slowly.
    FarAway,
    /// PostgreSQL with PostGIS.
    Postgres,
    /// NATS JetStream.
    Nats,
}

/// How much waits.
#[derive(Debug, Args)]
pub struct BacklogArguments {
    /// Records that wait.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How long the force system takes for each batch, in milliseconds.
    #[arg(long, default_value_t = 20)]
    round_trip_ms: u64,
    /// Which force system comes back.
    #[arg(long, value_enum, default_value = "far-away")]
    system: SystemName,
    /// Positions a second that keep coming, and a tenth as many alarms.
    #[arg(long, default_value_t = 100)]
    live_per_s: u64,
    /// The nats-server binary.
    #[arg(long, env = "FIELDPOST_NATS_SERVER", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Gives up after so many seconds.
    #[arg(long, default_value_t = 1_800)]
    patience_s: u64,
}

/// How many and how long, and the parties.
#[derive(Debug, Args)]
pub struct TakArguments {
    /// Records a second while many units move.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How long the alarm stands, in seconds; as many of the default's minutes are a thirtieth of it.
    #[arg(long, default_value_t = 20)]
    stands: u64,
    /// A Python with PyTAK, takproto, defusedxml and lxml.
    #[arg(long, env = "FIELDPOST_PYTAK", default_value = ".tools/venv/bin/python")]
    python: PathBuf,
    /// A Python with FreeTAKServer.
    #[arg(long, env = "FIELDPOST_FREETAKSERVER", default_value = ".tools/freetakserver/bin/python")]
    free_tak_server: PathBuf,
    /// Leave FreeTAKServer out.
    #[arg(long)]
    without_free_tak_server: bool,
    #[command(flatten)]
    common: Common,
}

/// How many, and how soon.
#[derive(Debug, Args)]
pub struct AlarmLatencyArguments {
    /// Units that report.
    #[arg(long, default_value_t = 10_000)]
    units: usize,
    /// From one position of a unit to its next, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    period_ms: u64,
    /// Records that the units come back with, all together.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Within how many seconds the units' network comes back; 0: everybody's at once.
    #[arg(long, default_value_t = 30)]
    spread_s: u64,
    /// Alarms a second.
    #[arg(long, default_value_t = 20)]
    alarms_per_s: u32,
    /// Slow browsers beside the measured one, and one that never reads; 0: neither.
    #[arg(long, default_value_t = 1)]
    slow: usize,
    /// From the button to the screen, 99th percentile in milliseconds.
    #[arg(long, default_value_t = 250.0)]
    screen_ms: f64,
    /// From the button to the wearer's being told, the same.
    #[arg(long, default_value_t = 1_000.0)]
    told_ms: f64,
    /// From a live position to its PUBACK, the same.
    #[arg(long, default_value_t = 2_000.0)]
    puback_ms: f64,
    /// The gateway's binary; by default `fieldpost` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// What a rig found, and whether the promise held.
#[derive(Debug)]
pub struct Verdict {
    /// The report as JSON.
    pub report: serde_json::Value,
    /// Whether the promise held.
    pub held: bool,
}

impl Verdict {
    fn of(report: impl serde::Serialize, held: bool) -> Result<Self, serde_json::Error> {
        Ok(Self { report: serde_json::to_value(report)?, held })
    }
}

type Outcome = Result<Verdict, Box<dyn std::error::Error>>;

impl RigCommand {
    /// Runs the rig in a temporary folder that is gone afterwards.
    ///
    /// # Errors
    /// If the rig itself cannot work: it then proves nothing.
    pub async fn run(self) -> Outcome {
        let folder = tempfile::tempdir()?;
        let dir = folder.path();
        match self {
            Self::Kill(arguments) => arguments.run(dir).await,
            Self::PowerCut(arguments) => Box::pin(arguments.run(dir)).await,
            Self::DiskFaults(arguments) => Box::pin(arguments.run(dir)).await,
            Self::FullDisk(common) => {
                let report =
                    Box::pin(full_disk(&binary::gateway(common.binary)?, common.devices, dir)).await?;
                let held = report.account.held();
                Ok(Verdict::of(report, held)?)
            }
            Self::Look(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Disclosure(arguments) => Box::pin(arguments.run(dir)).await,
            Self::JetstreamOutage(arguments) => Box::pin(arguments.run(dir)).await,
            Self::JetstreamCluster(_) if !network::is_isolated() => Ok(network::isolated()?),
            Self::JetstreamCluster(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Sinks(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Postgres(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Network(_) if !network::is_isolated() => Ok(network::isolated()?),
            Self::Network(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Clocks(LastingArguments { seconds, common }) => {
                let (binary, lasts) = (binary::gateway(common.binary)?, Duration::from_secs(seconds));
                let report = Box::pin(clock_jumps(&binary, common.devices, lasts, dir)).await?;
                let held = report.held();
                Ok(Verdict::of(report, held)?)
            }
            Self::Attacks(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Backlog(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Tak(arguments) => Box::pin(arguments.run(dir)).await,
            Self::AlarmLatency(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Broker(arguments) => Box::pin(arguments.run(dir)).await,
        }
    }
}

impl KillArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = KillPlan {
            binary: binary::gateway(self.common.binary)?,
            kill_count: self.kills,
            device_count: self.common.devices,
            window: self.window,
            seed: self.seed,
        };
        let report = kill_under_load(&plan, dir).await?;
        let held = report.lost_count == 0 && report.duplicate_count == 0 && report.acknowledged_count > 0;
        Ok(Verdict::of(report, held)?)
    }
}

impl BrokerArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = BrokerPlan {
            binary: binary::gateway(self.common.binary)?,
            kill_count: self.kills,
            device_count: self.common.devices,
            seed: self.seed,
        };
        let report = Box::pin(behind_broker(&plan, dir)).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl LookArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = LookPlan {
            binary: binary::gateway(self.common.binary)?,
            kill_count: self.kills,
            device_count: self.common.devices,
            page_count: self.pages,
            seed: self.seed,
        };
        let report = kill_under_looks(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl DisclosureArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = DisclosurePlan {
            binary: binary::gateway(self.common.binary)?,
            kill_count: self.kills,
            point_rounds: self.points,
            device_count: self.common.devices,
            seed: self.seed,
        };
        let report = ends_between_log_and_send(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl PowerArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = PowerPlan {
            binary: binary::gateway(self.common.binary)?,
            cut_count: self.cuts,
            device_count: self.common.devices,
            seed: self.seed,
        };
        let report = power_cuts(&plan, dir).await?;
        let held = report.account.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl FaultArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = FaultPlan {
            binary: binary::gateway(self.common.binary)?,
            nths: self.every.map_or(self.nth, |last| (1..=last).collect()),
            device_count: self.common.devices,
        };
        let report = faults(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl OutageArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = OutagePlan {
            binary: binary::gateway(self.binary)?,
            nats_server: self.nats_server,
            device_count: self.devices,
            period: Duration::from_millis(200),
            around: Duration::from_secs(5),
            outage: Duration::from_secs(self.seconds),
        };
        let report = jetstream_outage(&plan, dir).await?;
        let held = report.lost_count == 0
            && report.duplicate_count == 0
            && report.disconnected_count == 0
            && report.acknowledged_count > 0;
        Ok(Verdict::of(report, held)?)
    }
}

impl ClusterArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = ClusterPlan {
            binary: binary::gateway(self.common.binary)?,
            nats_server: self.nats_server,
            python: self.python,
            device_count: self.common.devices,
            outage: Duration::from_secs(self.outage_minutes * 60),
            arrival_max: Duration::from_secs(self.arrival_seconds),
        };
        let report = jetstream_cluster(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl SinkArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = SinkPlan {
            binary: binary::gateway(self.common.binary)?,
            nats_server: self.nats_server,
            device_count: self.common.devices,
            lasts: Duration::from_secs(self.seconds),
            arrival_max: Duration::from_secs(self.arrival_seconds),
        };
        let report = sinks(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl PostgresArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = PostgresPlan {
            binary: binary::gateway(self.common.binary)?,
            device_count: self.common.devices,
            lasts: Duration::from_secs(self.seconds),
            arrival_max: Duration::from_secs(self.arrival_seconds),
        };
        let report = postgres(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl NetworkArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = NetworkPlan {
            binary: binary::gateway(self.common.binary)?,
            device_count: self.common.devices,
            lost_percent: self.lost_percent,
            lasts: Duration::from_secs(self.seconds),
        };
        let report = bad_network(&plan, dir).await?;
        let held = report.account.held() && report.dropped_count > 0;
        Ok(Verdict::of(report, held)?)
    }
}

impl AttackArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = AttackPlan {
            binary: binary::gateway(self.common.binary)?,
            device_count: self.common.devices,
            attacker_count: self.attackers,
            lasts: Duration::from_secs(self.seconds),
        };
        let report = attacks(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl BacklogArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = BacklogPlan {
            records: self.records,
            system: match self.system {
                SystemName::FarAway => System::FarAway(Duration::from_millis(self.round_trip_ms)),
                SystemName::Postgres => System::Postgres,
                SystemName::Nats => System::Nats(self.nats_server),
            },
            live_per_s: self.live_per_s,
            patience: Duration::from_secs(self.patience_s),
        };
        let report = Box::pin(backlog(&plan, dir)).await?;
        let held = report.holds();
        Ok(Verdict::of(report, held)?)
    }
}

impl TakArguments {
    async fn run(self, dir: &Path) -> Outcome {
        let plan = TakPlan {
            binary: binary::gateway(self.common.binary)?,
            python: self.python,
            free_tak_server: (!self.without_free_tak_server).then_some(self.free_tak_server),
            device_count: self.common.devices,
            rate: self.rate,
            lasts: Duration::from_secs(self.seconds),
            stands: Duration::from_secs(self.stands),
        };
        let report = Box::pin(tak(&plan, dir)).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl AlarmLatencyArguments {
    async fn run(self, dir: &Path) -> Outcome {
        bench::raise_descriptors();
        let plan = AlarmLatencyPlan {
            binary: binary::gateway(self.binary)?,
            unit_count: self.units,
            period: Duration::from_millis(self.period_ms),
            backlog_count: self.backlog,
            spread: Duration::from_secs(self.spread_s),
            alarms_per_s: self.alarms_per_s,
            slow_count: self.slow,
            limits: Limits { screen_ms: self.screen_ms, told_ms: self.told_ms, puback_ms: self.puback_ms },
        };
        let report = alarm_latency(&plan, dir).await?;
        let held = report.held;
        Ok(Verdict::of(report, held)?)
    }
}
