//! What people see, and what is written down of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::super::{
    AlarmLatencyPlan, DisclosurePlan, Limits, LookPlan, PartyKind, alarm_latency, ends_between_log_and_send,
    kill_under_looks,
};
use super::{Common, Outcome, Verdict};
use crate::{bench, binary};

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
    /// Who is sent records.
    #[arg(long = "party", value_enum, value_delimiter = ',', default_values = ["webhook", "tak", "tak-client", "nmea", "feed"])]
    parties: Vec<PartyKind>,
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

impl LookArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
    pub(super) async fn run(self, dir: &Path) -> Outcome {
        let plan = DisclosurePlan {
            binary: binary::gateway(self.common.binary)?,
            parties: self.parties,
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

impl AlarmLatencyArguments {
    pub(super) async fn run(self, dir: &Path) -> Outcome {
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
