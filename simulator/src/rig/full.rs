//! A disk that fills up: **what has no room is not acknowledged, nothing that was is lost, and with room it goes on.**
//!
//! The gateway's data is on a tmpfs far smaller than its `spool.bytes_max`, so that it meets ENOSPC and not its own bound, and
//! its only sink hangs, so that nothing may be removed. Load until nothing is acknowledged any more; then the tmpfs grows, the gateway is started again as its supervisor would
//! do, and everything owed must be taken.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fieldpost_gateway::config::RELEASE_ALL;

use super::{
    RigError,
    disk::Mount,
    error::tool,
    gateway::{Launch, SEGMENT_BYTES, Setup},
    load::{self, Account, Load, Pace},
    sink::{HttpSink, Mood},
    spool,
};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct FullReport {
    /// Records acknowledged before the disk was full.
    pub before_count: usize,
    /// More of them after a start on the full disk, which may find a recycled segment.
    pub found_room_count: usize,
    /// At the end, with room again.
    pub account: Account,
}

/// The reserve for alarms takes 32 MiB of it in segments that are made in advance.
const SMALL: &str = "size=48m";
const ROOMY: &str = "remount,size=256m";

/// Without a PUBACK for so long under load the disk is full.
const QUIET: Duration = Duration::from_secs(3);

/// Long enough to fill the disk ten times.
const QUIET_MAX: Duration = Duration::from_secs(25);

const PACE: Pace = Pace { record_bytes: 1000, ..Pace::new(32, 0) };

/// Fills a disk with a gateway in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn full_disk(binary: &Path, device_count: usize, dir: &Path) -> Result<FullReport, RigError> {
    let sink = HttpSink::start().await?;
    sink.be(Mood::Hangs);
    let appendix = format!("[[forward.webhook]]\nurl = \"{}\"\n{RELEASE_ALL}\n", sink.url());
    let setup = Setup::new(&dir.join("gateway"), device_count, &appendix)?;
    let disk = Mount::new(&["-t", "tmpfs", "-o", SMALL], Path::new("tmpfs"), &dir.join("disk"))?;
    let data: PathBuf = disk.at().join("data");
    let launch = Launch::of(binary)
        .with("FIELDPOST__SPOOL__SEGMENT_BYTES", SEGMENT_BYTES)
        .with("FIELDPOST__DATA_DIR", &data);
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    let load = Load::start(setup.address, &setup.devices, Load::fresh(device_count), PACE);
    let before = quiet(&load).await;
    // What a supervisor does at once.
    gateway.kill()?;
    if let Ok(again) = tokio::task::block_in_place(|| setup.start(&launch)) {
        gateway = again;
    }
    let after = quiet(&load).await;
    gateway.kill()?;
    tool(&["mount", "-o", ROOMY, &disk.at().to_string_lossy()])?;
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    load.everyone_hears(100).await?;
    let mut windows = load.end().await?;
    load::settle(&setup, &mut windows).await?;
    gateway.terminate()?;
    let account =
        Account::of(&setup.devices, &load::counts(&windows), &spool::stored(&data.join("spool")).await?);
    Ok(FullReport { before_count: before, found_room_count: after.saturating_sub(before), account })
}

/// Waits until nothing has been acknowledged for [`QUIET`]; returns how much was. A gateway that goes on for [`QUIET_MAX`] on a full
/// disk acknowledges what it cannot have: the account will show it.
async fn quiet(load: &Load) -> usize {
    let total = || load.acknowledged().iter().sum::<usize>();
    let waited = async {
        let mut seen = total();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = total();
            if now == seen {
                return now;
            }
            seen = now;
        }
    };
    tokio::time::timeout(QUIET_MAX, waited).await.unwrap_or_else(|_| total())
}
