//! Host power cuts under load: **nothing acknowledged before the instant is lost, and the gateway starts on what is left.**
//!
//! ```text
//! devices -> gateway binary on the disk      load without pause
//!     |           disk cloned at a random instant; what was acknowledged before it is noted first
//!     '---------- clone mounted (journal replayed), gateway started on it, stopped, its spool read
//! ```
//!
//! [`super::disk`] says why the clone is a power cut. Segments are small here, so that cuts fall into the making,
//! recycling and sealing of segments too.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    RigError,
    disk::Disk,
    gateway::{Launch, SEGMENT_BYTES, Setup},
    load::{Account, Load, Pace},
    spool::stored,
};
use crate::console;

/// What to do.
#[derive(Debug, Clone)]
pub struct PowerPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// How often the power is cut.
    pub cut_count: usize,
    /// Devices that send without pause.
    pub device_count: usize,
    /// Decides the instants.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PowerReport {
    /// Cuts carried out, each followed by a start on what was left.
    pub cut_count: usize,
    /// Records acknowledged before the last cut of each disk, together.
    pub acknowledged_count: u64,
    /// Over all cuts, each of what was acknowledged before it.
    pub account: Account,
}

/// Cuts of one disk: its spool only grows, and all of it is read after every cut.
const CUTS_A_DISK: usize = 10;

/// Without much of a pause: at any instant something is on its way to the disk.
const PACE: Pace = Pace::new(8, 4);

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn power_cuts(plan: &PowerPlan, dir: &Path) -> Result<PowerReport, RigError> {
    let mut report = PowerReport::default();
    let mut dice = StdRng::seed_from_u64(plan.seed);
    while report.cut_count < plan.cut_count {
        let disk_dir = dir.join(format!("after-{}", report.cut_count));
        std::fs::create_dir(&disk_dir).map_err(RigError::io("make a folder"))?;
        let cuts = CUTS_A_DISK.min(plan.cut_count - report.cut_count);
        one_disk(plan, &disk_dir, cuts, &mut dice, &mut report).await?;
        console::progress(&format!("the power was cut {} of {} times", report.cut_count, plan.cut_count));
        std::fs::remove_dir_all(&disk_dir).map_err(RigError::io("clear a folder"))?;
    }
    Ok(report)
}

async fn one_disk(
    plan: &PowerPlan,
    dir: &Path,
    cuts: usize,
    dice: &mut StdRng,
    report: &mut PowerReport,
) -> Result<(), RigError> {
    let disk = Disk::new(dir)?;
    let setup = Setup::new(&dir.join("gateway"), plan.device_count, "")?;
    // The same files, on another port: it starts while the first one runs.
    let second = Setup::new(&dir.join("second"), 0, "")?;
    let launch = Launch::of(&plan.binary).with("FIELDPOST__SPOOL__SEGMENT_BYTES", SEGMENT_BYTES);
    let mut gateway = setup.start(&launch.clone().with("FIELDPOST__DATA_DIR", disk.at().join("data")))?;
    let load = Load::start(setup.address, &setup.devices, Load::fresh(plan.device_count), PACE);
    let mut before = Vec::new();
    for _ in 0..cuts {
        load.everyone_hears(1).await?;
        // The instant of the fault, not a wait for something to be ready.
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..40_000))).await;
        before = load.acknowledged();
        let cut = tokio::task::block_in_place(|| disk.cut())?;
        let mounted = tokio::task::block_in_place(|| cut.mount())?;
        let data = mounted.at().join("data");
        let launch = launch.clone().with("FIELDPOST__DATA_DIR", &data);
        tokio::task::block_in_place(|| second.start(&launch)?.terminate())?;
        report.account.add(Account::of(&setup.devices, &before, &stored(&data.join("spool")).await?));
        report.cut_count += 1;
    }
    report.acknowledged_count += before.iter().sum::<usize>() as u64;
    load.end().await?;
    gateway.kill()?;
    Ok(())
}
