//! How fast a backlog leaves: production spool, production forwarder, a force system that takes everything at once.
//!
//! What is measured is the gateway's own part, this process; a force system's round trip comes on top (`rig backlog`).

use std::{path::Path, time::Duration};

use super::{Figure, Usage};
use crate::rig::{BacklogPlan, System, backlog};

/// Drains a backlog of `records` through one forwarder.
///
/// # Errors
/// The spool cannot work, or records were lost: then no figure is worth anything.
pub async fn drain(records: u64, dir: &Path) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let system = System::FarAway(Duration::ZERO);
    let plan =
        BacklogPlan { records, system, live_per_s: 100, times_live: 0, patience: Duration::from_secs(600) };
    let before = Usage::of(std::process::id())?;
    let report = Box::pin(backlog(&plan, dir)).await?;
    let cpu_s = Usage::of(std::process::id())?.cpu_s - before.cpu_s;
    if report.lost_count > 0 {
        return Err(format!("{} records were lost", report.lost_count).into());
    }
    let figure = |what: &str, value, unit| {
        let what = format!("drain of {records} records: {what}");
        Figure { server: "fieldpost", what, value, unit }
    };
    Ok(vec![
        figure("rate", report.drained_per_s, "records a second"),
        figure("writing and draining", cpu_s / records as f64 * 1e6, "CPU-s per million records"),
    ])
}
