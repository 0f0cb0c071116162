//! An emergency in the worst minute: **from the button to the screen, and from the button to "somebody has seen it" on the
//! wearer's device, while every unit reports and all come back with a backlog.**
//!
//! ```text
//! units: a position each period, and a backlog in batches --+
//! wearers: button ------------------------------------------+--> gateway binary --> file sink (drains beside it)
//!    ^                                                            |        '--TLS--> slow browsers, a stuck one
//!    '-------- SEEN <---- acknowledge by API <---- screen <--TLS--'
//! ```
//! The screen is a client of the live stream over TLS: an alarm is on it once its whole frame has been received. The operator needs
//! no time: what is measured is the machine's part. Alarms are raised only while the backlog drains, and all of them count.
//!
//! Screen, operator and wearers have a thread of their own, so that ten thousand units do not delay the clock that judges. A
//! browser that reads 4 KiB a quarter of a second, and one that never reads, look on: both must be without effect, and the slow one
//! must be told in the end that it lagged.

mod browsers;
mod events;
mod units;
mod watchers;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fieldpost_gateway::config::RELEASE_ALL;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub(super) use self::events::Events;
use self::{browsers::Door, units::Units};
use super::{
    RigError,
    gateway::{Launch, Setup},
};
use crate::{
    bench::{Usage, free_port},
    check::latency::Percentiles,
    console,
};

/// What to do.
#[derive(Debug, Clone)]
pub struct AlarmLatencyPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Units that report.
    pub unit_count: usize,
    /// From one position of a unit to its next.
    pub period: Duration,
    /// Records that the units come back with, all together.
    pub backlog_count: u64,
    /// Within which time the units' network comes back.
    pub spread: Duration,
    /// Alarms a second.
    pub alarms_per_s: u32,
    /// Slow browsers beside the one that is measured; with one or more, one that never reads, too.
    pub slow_count: usize,
    /// What must hold.
    pub limits: Limits,
}

/// 99 of 100 at the latest, in ms.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the button to the screen.
    pub screen_ms: f64,
    /// From the button to SEEN at the wearer's device.
    pub told_ms: f64,
    /// From a position to its PUBACK.
    pub puback_ms: f64,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct AlarmLatencyReport {
    /// Units that reported.
    pub unit_count: usize,
    /// Alarms raised while the backlog drained.
    pub alarm_count: u64,
    /// From the button to the screen.
    pub screen_ms: Percentiles,
    /// The slowest of these.
    pub screen_ms_max: f64,
    /// From the button to SEEN at the wearer's device.
    pub told_ms: Percentiles,
    /// The slowest of these.
    pub told_ms_max: f64,
    /// Alarms that no screen showed. Must be 0.
    pub unshown_count: usize,
    /// Alarms whose wearers were not told. Must be 0.
    pub untold_count: usize,
    /// From an alarm to its PUBACK.
    pub alarm_puback_ms: Percentiles,
    /// From a live position to its PUBACK, while the backlog drained.
    pub puback_ms: Percentiles,
    /// Live positions acknowledged meanwhile.
    pub live_count: u64,
    /// Records of the backlog, and how long they took.
    pub backlog_count: u64,
    /// Until the last was acknowledged.
    pub drained_s: f64,
    /// CPU-seconds of the gateway meanwhile.
    pub gateway_cpu_s: f64,
    /// Slow browsers, and how many of them were told that they lagged. Must be all.
    pub slow_count: usize,
    /// Of them.
    pub told_lagged_count: usize,
    /// Units whose connection ended. Must be 0.
    pub disconnected_count: u64,
    /// Whether half of the wearers waited for more than [`IN_LINE`] of the time in which the backlog drained: then alarms stand in a
    /// line, on any machine. Must be false.
    pub is_in_line: bool,
    /// Whether the limits held.
    pub held: bool,
}

/// A tenth of it are seen at most where alarms overtake, and half and more where they do not.
const IN_LINE: f64 = 1.0 / 3.0;
/// Fewer alarms are no 99th percentile.
const ALARMS_MIN: u64 = 50;
/// Without this the rig proves nothing: everybody connected, the backlog drained, the last alarm through.
const PATIENCE: Duration = Duration::from_secs(300);
/// So long after the backlog an alarm may still come; later it counts as not shown.
const LATE: Duration = Duration::from_secs(10);
/// For a page that hardly reads to fall behind by the bound of its queue (1 MiB) and what the kernel holds for it (up to 4 MiB,
/// `tcp_wmem`). A dozen seconds.
const SLOW_PATIENCE: Duration = Duration::from_secs(120);
/// Wearers; each presses in turn.
const WEARERS: usize = 50;

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn alarm_latency(plan: &AlarmLatencyPlan, dir: &Path) -> Result<AlarmLatencyReport, RigError> {
    let gateway_dir = dir.join("gateway");
    let setup = Setup::new(&gateway_dir, plan.unit_count + WEARERS, &sink(dir))?;
    let metrics = free_port().map_err(RigError::io("find a free port"))?;
    let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, metrics));
    let launch = Launch::of(&plan.binary)
        .with("FIELDPOST__FRONT_DOOR__CONNECTIONS_MAX", "1000000")
        .with("FIELDPOST__CONTROL_ROOM__CERTIFICATE", gateway_dir.join("pki/server.pem"))
        .with("FIELDPOST__CONTROL_ROOM__KEY", gateway_dir.join("pki/server.key"))
        .with("FIELDPOST__METRICS__LISTEN", metrics.to_string());
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    let door = Door::new(&plan.binary, &gateway_dir, &launch, setup.control_room)?;
    let (units, wearers) = setup.devices.split_at(plan.unit_count);
    let units = Units::start(setup.address, units, plan);
    let wearers: Vec<_> = wearers.to_vec();
    console::progress(&format!("{} units connect", plan.unit_count));
    units.everyone_reports(PATIENCE).await?;
    let over = CancellationToken::new();
    let slow = browsers::Slow::start(&door, plan.slow_count, &over).await?;
    let watched = watchers::start(setup.address, wearers, &door, plan.alarms_per_s).await?;
    let cpu = || Usage::of(gateway.id()).map(|usage| usage.cpu_s).map_err(RigError::io("read the CPU time"));
    let (began, cpu_before) = (Instant::now(), cpu()?);
    console::progress(&format!("a backlog of {} records comes in", plan.backlog_count));
    units.drain();
    watched.press();
    units.until_drained(PATIENCE).await?;
    let (drained, cpu_after) = (began.elapsed(), cpu()?);
    watched.listen();
    let live = units.measured();
    let watched = watched.end(LATE).await?;
    // If alarms were late that is the verdict, whatever becomes of the slow ones.
    if is_within(watched.screen.percentiles(), plan.limits.screen_ms) {
        slow.have_lagged(metrics, SLOW_PATIENCE).await?;
    }
    over.cancel();
    // Units go on, so that a page that is behind stays behind until it has heard so.
    let told_lagged_count = slow.end().await?;
    let disconnected_count = units.end().await;
    gateway.kill()?;
    let mut report = AlarmLatencyReport {
        unit_count: plan.unit_count,
        alarm_count: watched.pressed_count,
        screen_ms: watched.screen.percentiles(),
        screen_ms_max: watched.screen_max.as_secs_f64() * 1e3,
        told_ms: watched.told.percentiles(),
        told_ms_max: watched.told_max.as_secs_f64() * 1e3,
        unshown_count: watched.unshown_count,
        untold_count: watched.untold_count,
        alarm_puback_ms: watched.puback.percentiles(),
        puback_ms: live.percentiles(),
        live_count: live.count(),
        backlog_count: plan.backlog_count,
        drained_s: drained.as_secs_f64(),
        gateway_cpu_s: cpu_after - cpu_before,
        slow_count: plan.slow_count,
        told_lagged_count,
        disconnected_count,
        is_in_line: watched
            .told
            .percentiles()
            .p50
            .is_none_or(|ms| ms > IN_LINE * drained.as_secs_f64() * 1e3),
        held: false,
    };
    report.held = report.holds(plan.limits);
    Ok(report)
}

impl AlarmLatencyReport {
    fn holds(&self, limits: Limits) -> bool {
        is_within(self.screen_ms, limits.screen_ms)
            && is_within(self.told_ms, limits.told_ms)
            && is_within(self.puback_ms, limits.puback_ms)
            && self.alarm_count >= ALARMS_MIN
            && !self.is_in_line
            && self.unshown_count == 0
            && self.untold_count == 0
            && self.told_lagged_count == self.slow_count
            && self.disconnected_count == 0
    }
}

fn is_within(seen: Percentiles, limit_ms: f64) -> bool {
    seen.p99.is_some_and(|ms| ms <= limit_ms)
}

/// A force system that takes everything, so that the forwarder has the backlog, too.
fn sink(dir: &Path) -> String {
    let path = dir.join("events.ndjson").display().to_string();
    format!("[[forward.file]]\npath = {path:?}\n{RELEASE_ALL}\n")
}
