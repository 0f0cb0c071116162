//! A gateway whose clock jumps by years, both ways, under load and across a start: **no record is taken for old and removed,
//! none is lost, and no connection ends.**
//!
//! libfaketime gives the process a wall clock of its own, told by a file; its monotonic clock is left alone, as a wrong NTP
//! server or a dead battery leaves it. The only sink hangs meanwhile: what it has not taken must outlive every retention.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fieldpost_gateway::config::RELEASE_ALL;

use super::{
    RigError,
    gateway::{Launch, SEGMENT_BYTES, SPOOL, Setup},
    load::{self, Account, Load, Pace},
    sink::{HttpSink, Mood},
    spool,
};
use crate::console;

/// Where Debian's package puts it.
pub(super) const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Years forward and back, one after the other, and home at the end.
const JUMPS: [&str; 6] = ["+3y", "-10y", "+30d", "-1d", "+15y", "+0"];

/// What to do.
#[derive(Debug, Clone)]
pub struct ClockPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Devices.
    pub device_count: usize,
    /// How long each jump is lived with.
    pub lasts: Duration,
    /// For everything to arrive when the sink takes again; what has not is lost.
    pub arrival_max: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ClockReport {
    /// Jumps made.
    pub jump_count: usize,
    /// Connections that ended by a jump. Must be 0.
    pub reconnected_count: u64,
    /// At the force system at the end. The spool may drop what it has delivered: by its clock that is years old.
    pub account: Account,
    /// Of the lost, those that the gateway does not owe the force system any more: no wait would bring them.
    pub gone_count: u64,
}

impl ClockReport {
    pub(super) fn held(&self) -> bool {
        self.account.held() && self.reconnected_count == 0
    }
}

/// Big records: a segment is full within a second or two, and only whole segments can be removed.
const PACE: Pace = Pace { record_bytes: 1000, ..Pace::new(8, 20) };

/// Lets the clock of a gateway jump, in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn clock_jumps(plan: &ClockPlan, dir: &Path) -> Result<ClockReport, RigError> {
    if !Path::new(LIBRARY).is_file() {
        let why = format!("{LIBRARY} is not there (Debian package libfaketime)");
        return Err(RigError::Cannot { what: "fake the clock".to_owned(), why });
    }
    let clock = Clock(dir.join("clock"));
    clock.set("+0")?;
    let sink = HttpSink::start().await?;
    sink.be(Mood::Hangs);
    let appendix = format!(
        "[[forward.webhook]]\nurl = \"{}\"\nretry_delay_ms_max = 500\nattempt_ms_max = 1000\n{RELEASE_ALL}\n",
        sink.url()
    );
    let setup = Setup::new(&dir.join("gateway"), plan.device_count, &appendix)?;
    let launch = clock.give(
        Launch::of(&plan.binary)
            .with("FIELDPOST__SPOOL__SEGMENT_BYTES", SEGMENT_BYTES)
            .with("FIELDPOST__SPOOL__RETAIN_HOURS", "1"),
    );
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    let load = Load::start(setup.address, &setup.devices, Load::fresh(plan.device_count), PACE);
    load.everyone_hears(10).await?;
    let connected = load.connected_count();
    let mut report = ClockReport::default();
    for jump in JUMPS {
        clock.set(jump)?;
        console::progress(&format!("the gateway's clock is now {jump} away"));
        load.everyone_hears(1).await?;
        tokio::time::sleep(plan.lasts).await;
        report.jump_count += 1;
    }
    report.reconnected_count = load.connected_count() - connected;
    // Killed and started at a time when every record is years old.
    gateway.kill()?;
    clock.set("+3y")?;
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    tokio::time::sleep(plan.lasts).await;
    // Certificates are valid again: the devices come back.
    clock.set("+0")?;
    load.everyone_hears(1).await?;
    let mut windows = load.end().await?;
    load::settle(&setup, &mut windows).await?;
    sink.be(Mood::Takes);
    let counts = load::counts(&windows);
    let of_device =
        |(device, count): (&_, &usize)| (0..*count).map(|seq| load::key(device, seq)).collect::<Vec<_>>();
    let keys: Vec<String> = setup.devices.iter().zip(&counts).flat_map(of_device).collect();
    sink.has_all(&keys, plan.arrival_max).await;
    gateway.terminate()?;
    report.account = Account::of(&setup.devices, &counts, &sink.taken());
    report.gone_count = report.account.lost_count.saturating_sub(spool::owed_count_max(&dir.join(SPOOL))?);
    Ok(report)
}

/// A wall clock that is told by a file how far it is off.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, offset: &str) -> Result<(), RigError> {
        // Replaced in one step: the library may be reading it.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).map_err(RigError::io("set the clock"))?;
        std::fs::rename(&new, &self.0).map_err(RigError::io("set the clock"))
    }

    fn give(&self, launch: Launch) -> Launch {
        launch
            .with("LD_PRELOAD", LIBRARY)
            .with("FAKETIME_TIMESTAMP_FILE", &self.0)
            .with("FAKETIME_NO_CACHE", "1")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}
