//! `fieldpost-sim rig ...`

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{BacklogPlan, KillPlan, OutagePlan, backlog, jetstream_outage, kill_under_load};
use crate::binary;

/// Real faults against the gateway's binary.
#[derive(Debug, Subcommand)]
pub enum RigCommand {
    /// `kill -9` the gateway under load, again and again: nothing acknowledged may be lost or stored twice.
    Kill(KillArguments),
    /// Stop JetStream under load: devices notice nothing, everything arrives once after it returns.
    JetstreamOutage(OutageArguments),
    /// A force system comes back to a backlog: alarms within a second, the newest position at once, everything in the end.
    Backlog(BacklogArguments),
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
    /// Gives up after so many seconds.
    #[arg(long, default_value_t = 1_800)]
    patience_s: u64,
}

/// How often and how hard.
#[derive(Debug, Args)]
pub struct KillArguments {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Devices that send without pause.
    #[arg(long, default_value_t = 16)]
    devices: usize,
    /// Open publishes a device.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Decides the instants of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The gateway's binary; by default `fieldpost` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
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

/// What a rig found, and whether the promise held.
#[derive(Debug)]
pub struct Verdict {
    /// The report as JSON.
    pub report: serde_json::Value,
    /// Whether the promise held.
    pub held: bool,
}

impl RigCommand {
    /// Runs the rig in a temporary folder that is gone afterwards.
    ///
    /// # Errors
    /// If the rig itself cannot work: it then proves nothing.
    pub async fn run(self) -> Result<Verdict, Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        match self {
            Self::Kill(arguments) => {
                let plan = KillPlan {
                    binary: binary::gateway(arguments.binary)?,
                    kill_count: arguments.kills,
                    device_count: arguments.devices,
                    window: arguments.window,
                    seed: arguments.seed,
                };
                let report = kill_under_load(&plan, dir.path()).await?;
                let held =
                    report.lost_count == 0 && report.duplicate_count == 0 && report.acknowledged_count > 0;
                Ok(Verdict { report: serde_json::to_value(report)?, held })
            }
            Self::Backlog(arguments) => {
                let plan = BacklogPlan {
                    records: arguments.records,
                    round_trip: Duration::from_millis(arguments.round_trip_ms),
                    patience: Duration::from_secs(arguments.patience_s),
                };
                let report = backlog(&plan, dir.path()).await?;
                let held = report.holds();
                Ok(Verdict { report: serde_json::to_value(report)?, held })
            }
            Self::JetstreamOutage(arguments) => {
                let plan = OutagePlan {
                    binary: binary::gateway(arguments.binary)?,
                    nats_server: arguments.nats_server,
                    device_count: arguments.devices,
                    period: Duration::from_millis(200),
                    around: Duration::from_secs(5),
                    outage: Duration::from_secs(arguments.seconds),
                };
                let report = Box::pin(jetstream_outage(&plan, dir.path())).await?;
                let held = report.lost_count == 0
                    && report.duplicate_count == 0
                    && report.disconnected_count == 0
                    && report.acknowledged_count > 0;
                Ok(Verdict { report: serde_json::to_value(report)?, held })
            }
        }
    }
}
