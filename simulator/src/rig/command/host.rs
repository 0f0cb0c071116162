//! What happens to the gateway, its host and its network.

use std::{path::Path, time::Duration};

use clap::Args;

use super::super::{
    AttackPlan, ClockPlan, FaultPlan, KillPlan, NetworkPlan, PowerPlan, attacks, bad_network, clock_jumps,
    faults, kill_under_load, power_cuts,
};
use super::{Common, Outcome, Verdict};
use crate::binary;

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
pub struct ClockArguments {
    /// How long each jump is lived with, in seconds.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// What has not arrived so long after the last jump is lost, in seconds.
    #[arg(long, default_value_t = 120)]
    arrival_seconds: u64,
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

impl KillArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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

impl PowerArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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

impl NetworkArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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

impl ClockArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
        let plan = ClockPlan {
            binary: binary::gateway(self.common.binary)?,
            device_count: self.common.devices,
            lasts: Duration::from_secs(self.seconds),
            arrival_max: Duration::from_secs(self.arrival_seconds),
        };
        let report = clock_jumps(&plan, dir).await?;
        let held = report.held();
        Ok(Verdict::of(report, held)?)
    }
}

impl AttackArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
