//! `fieldpost-sim rig ...`

mod host;
mod pages;
mod systems;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::{
    host::{
        AttackArguments, ClockArguments, FaultArguments, KillArguments, NetworkArguments, PowerArguments,
    },
    pages::{AlarmLatencyArguments, DisclosureArguments, LookArguments},
    systems::{
        BacklogArguments, BrokerArguments, ClusterArguments, OutageArguments, PostgresArguments,
        SinkArguments, TakArguments,
    },
};
use super::{RedBy, full_disk, network};
use crate::binary;

/// Real faults against the gateway's binary.
#[derive(Debug, Args)]
pub struct RigArguments {
    /// The gateway is broken on purpose: exit code 1 only if this of the report is above 0, or above MOST; red by anything else
    /// proves nothing and is 2.
    #[arg(long, value_name = "FIELD[:MOST]")]
    red_by: Option<RedBy>,
    #[command(subcommand)]
    rig: RigCommand,
}

/// Which.
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
    Clocks(ClockArguments),
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

impl RigArguments {
    /// Runs the rig.
    ///
    /// # Errors
    /// If it proves nothing: it cannot work, or is red by something else than what it must be red by.
    pub async fn run(self) -> Outcome {
        let verdict = self.rig.run().await?;
        if let Some(red_by) = self.red_by.filter(|_| !verdict.held) {
            red_by.check(&verdict.report)?;
        }
        Ok(verdict)
    }
}

impl RigCommand {
    /// Runs the rig in a temporary folder that is gone afterwards.
    ///
    /// # Errors
    /// If the rig itself cannot work: it then proves nothing.
    async fn run(self) -> Outcome {
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
            Self::Clocks(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Attacks(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Backlog(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Tak(arguments) => Box::pin(arguments.run(dir)).await,
            Self::AlarmLatency(arguments) => Box::pin(arguments.run(dir)).await,
            Self::Broker(arguments) => Box::pin(arguments.run(dir)).await,
        }
    }
}
