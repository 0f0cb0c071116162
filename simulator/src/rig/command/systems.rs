//! What happens to force systems and brokers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::super::{
    BacklogPlan, BrokerPlan, ClusterPlan, OutagePlan, PostgresPlan, SinkPlan, System, TakPlan, backlog,
    behind_broker, jetstream_cluster, jetstream_outage, postgres, sinks, tak,
};
use super::{Common, Outcome, Verdict};
use crate::binary;

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
    /// A Python with nats-py and asyncpg.
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
    /// Red if the backlog goes slower than so many times what comes meanwhile.
    #[arg(long, default_value_t = 0)]
    times_live: u64,
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
    /// Tell the alarm again as by default, every 30 s: `--stands 600` are then ten real minutes.
    #[arg(long)]
    real_time: bool,
    /// FreeTAKServer in the second part, too: what it leaves out is reported.
    #[arg(long, conflicts_with = "without_free_tak_server")]
    load_free_tak_server: bool,
    /// Leave FreeTAKServer out.
    #[arg(long)]
    without_free_tak_server: bool,
    #[command(flatten)]
    common: Common,
}

impl BrokerArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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

impl OutageArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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

impl BacklogArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
        let plan = BacklogPlan {
            records: self.records,
            system: match self.system {
                SystemName::FarAway => System::FarAway(Duration::from_millis(self.round_trip_ms)),
                SystemName::Postgres => System::Postgres,
                SystemName::Nats => System::Nats(self.nats_server),
            },
            live_per_s: self.live_per_s,
            times_live: self.times_live,
            patience: Duration::from_secs(self.patience_s),
        };
        let report = Box::pin(backlog(&plan, dir)).await?;
        let held = report.holds();
        Ok(Verdict::of(report, held)?)
    }
}

impl TakArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
        let plan = TakPlan {
            binary: binary::gateway(self.common.binary)?,
            python: self.python,
            free_tak_server: (!self.without_free_tak_server).then_some(self.free_tak_server),
            device_count: self.common.devices,
            rate: self.rate,
            lasts: Duration::from_secs(self.seconds),
            stands: Duration::from_secs(self.stands),
            is_real_time: self.real_time,
            loads_free_tak_server: self.load_free_tak_server,
        };
        let report = Box::pin(tak(&plan, dir)).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}
