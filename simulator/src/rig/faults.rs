//! System calls that fail, in the real binary: **after the disk has failed a commit nothing more is acknowledged, the
//! process ends by itself, and the next start finds everything that was.**
//!
//! ```text
//! strace -f -e inject=fdatasync:error=EIO:when=N ... gateway    the N-th sync of a thread fails
//!        '- its log says when it struck
//! ```
//!
//! Each N is tried twice. *In the log*: of the calls on the segment that is written to, so that a commit fails. After EIO the
//! process must end (exit code 74: its supervisor starts it again), and **whatever is sent after that must stay without a
//! PUBACK**; after ENOSPC nothing was written, so it may try again. *Anywhere*: of all calls on files; the process may end or
//! go on, as the file deserves. Then, in either case, a start without the fault: everything owed is taken, and nothing
//! that was acknowledged is missing.
//!
//! The failed call is never carried out and the page cache keeps what it held, so a start on the same files would find
//! records that no disk has. The next start is therefore on what **a power cut right after the fault** leaves
//! ([`super::disk`]).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    RigError,
    disk::Disk,
    gateway::{Gateway, Launch, SEGMENT_BYTES, Setup},
    load::{self, Account, Load, Pace},
    spool,
};
use crate::{console, raw::Window};

/// Which call fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A sync: the disk is broken.
    SyncEio,
    /// A write or a change of a file's size: the disk is full.
    WriteEnospc,
    /// A write: the disk is broken.
    WriteEio,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::SyncEio, Self::WriteEnospc, Self::WriteEio];

    /// Whether a commit that met it can never be known to be on the disk.
    fn is_final(self) -> bool {
        self != Self::WriteEnospc
    }

    /// For strace. Sockets are written with other calls.
    fn injection(self, nth: usize) -> String {
        let writes = "pwrite64,pwritev,pwritev2,fallocate,ftruncate";
        match self {
            Self::SyncEio => format!("inject=fsync,fdatasync:error=EIO:when={nth}"),
            Self::WriteEnospc => format!("inject={writes}:error=ENOSPC:when={nth}"),
            Self::WriteEio => format!("inject={writes}:error=EIO:when={nth}"),
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Which call of a kind fails, one run each.
    pub nths: Vec<usize>,
    /// Devices that send without pause.
    pub device_count: usize,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct FaultReport {
    /// Runs in which the fault struck.
    pub struck_count: usize,
    /// Of these, EIO in a commit.
    pub commit_count: usize,
    /// Of these, the process did not end by itself. Must be 0.
    pub went_on_count: usize,
    /// Records sent after a commit failed and acknowledged. Must be 0.
    pub acknowledged_after_count: u64,
    /// What was promised in all runs.
    pub account: Account,
}

impl FaultReport {
    pub(super) fn held(&self) -> bool {
        self.account.held()
            && self.went_on_count == 0
            && self.acknowledged_after_count == 0
            && self.commit_count > 0
    }
}

/// How often to look whether the fault has struck: strace writes a file and tells nobody.
const LOOK: Duration = Duration::from_millis(10);

/// A process that has lost its disk has ended by then, on a busy machine under strace.
const END_MAX: Duration = Duration::from_secs(20);

const PACE: Pace = Pace::new(4, 10);

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    fault: Fault,
    nth: usize,
    place: Place,
}

/// Which files' calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Log,
    Anywhere,
}

/// Runs the plan in the empty folder `dir`. Two runs at a time: most of each is waiting.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn faults(plan: &FaultPlan, dir: &Path) -> Result<FaultReport, RigError> {
    super::error::tool(&["strace", "--version"])?;
    let disk = Disk::new(dir)?;
    let disk = &disk;
    let mut report = FaultReport::default();
    let mut runs = Vec::new();
    for fault in Fault::ALL {
        for place in [Place::Log, Place::Anywhere] {
            runs.extend(plan.nths.iter().map(|nth| Run { fault, nth: *nth, place }));
        }
    }
    for pair in runs.chunks(2) {
        let ended = pair.iter().map(|run| run.carry_out(plan, dir, disk));
        for one in futures_util::future::join_all(ended).await {
            add(&mut report, &one?);
        }
    }
    console::progress(&format!("{} faults struck in {} runs", report.struck_count, runs.len()));
    Ok(report)
}

fn add(report: &mut FaultReport, one: &FaultReport) {
    report.struck_count += one.struck_count;
    report.commit_count += one.commit_count;
    report.went_on_count += one.went_on_count;
    report.acknowledged_after_count += one.acknowledged_after_count;
    report.account.add(one.account);
}

impl Run {
    async fn carry_out(self, plan: &FaultPlan, dir: &Path, disk: &Disk) -> Result<FaultReport, RigError> {
        let name = format!("{:?}-{:?}-{}", self.fault, self.place, self.nth);
        let setup = Setup::new(&dir.join(&name), plan.device_count, "")?;
        let launch = Launch::of(&plan.binary).with("FIELDPOST__SPOOL__SEGMENT_BYTES", SEGMENT_BYTES);
        let data = disk.at().join(&name);
        let log = dir.join(&name).join("strace.log");
        let on_disk = launch.clone().with("FIELDPOST__DATA_DIR", &data).under(self.strace(&log, &data));
        let mut report = FaultReport::default();
        let mut windows = Load::fresh(plan.device_count);
        match tokio::task::block_in_place(|| setup.start(&on_disk)) {
            Ok(mut gateway) => {
                let load = Load::start(setup.address, &setup.devices, windows, PACE);
                let struck = strike(&load, &log, &mut gateway).await?;
                report.struck_count += usize::from(struck);
                if struck && self.place == Place::Log && self.fault.is_final() {
                    report.commit_count += 1;
                    let (ended, after) = after_the_fault(&load, &mut gateway).await?;
                    report.went_on_count += usize::from(!ended);
                    report.acknowledged_after_count += after;
                }
                windows = load.end().await?;
                gateway.kill()?;
            }
            // In the start itself: nothing was promised yet.
            Err(RigError::Ended { .. }) => report.struck_count += 1,
            Err(other) => return Err(other),
        }
        let cut = disk.cut()?;
        std::fs::remove_dir_all(&data).map_err(RigError::io("clear the disk"))?;
        let mounted = cut.mount()?;
        let left = mounted.at().join(&name);
        report.account = recover(&setup, &launch.with("FIELDPOST__DATA_DIR", &left), windows, &left).await?;
        Ok(report)
    }

    fn strace(self, log: &Path, data: &Path) -> Vec<String> {
        // `-D`: the gateway stays our child, strace is its grandchild.
        let mut words: Vec<String> = ["strace", "-D", "-f", "-qq", "-o"].map(str::to_owned).into();
        words.extend([log.to_string_lossy().into_owned(), "-e".to_owned(), self.fault.injection(self.nth)]);
        if self.place == Place::Log {
            // The first segment, in which all records of a run fit.
            let segment = data.join("spool/00000000000000000001.seg");
            words.extend(["-P".to_owned(), segment.to_string_lossy().into_owned()]);
        }
        words
    }
}

/// Starts on what the fault left, without it: everything owed is taken, and more.
async fn recover(
    setup: &Setup,
    launch: &Launch,
    mut windows: Vec<Window>,
    data: &Path,
) -> Result<Account, RigError> {
    let mut gateway = tokio::task::block_in_place(|| setup.start(launch))?;
    load::settle(setup, &mut windows).await?;
    let load = Load::start(setup.address, &setup.devices, windows, PACE);
    load.everyone_hears(1).await?;
    let counts = load::counts(&load.end().await?);
    gateway.terminate()?;
    Ok(Account::of(&setup.devices, &counts, &spool::stored(&data.join("spool")).await?))
}

/// Waits for the fault; false if the load has become long without one.
async fn strike(load: &Load, log: &Path, gateway: &mut Gateway) -> Result<bool, RigError> {
    const LONG: usize = 4000;
    loop {
        let ended = gateway.ended()?.is_some();
        if std::fs::read_to_string(log).unwrap_or_default().contains("(INJECTED)") {
            return Ok(true);
        }
        if ended || load.acknowledged().iter().sum::<usize>() > LONG {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the process ended by itself, and how many of the records sent from now on were acknowledged.
async fn after_the_fault(load: &Load, gateway: &mut Gateway) -> Result<(bool, u64), RigError> {
    // A PUBACK under way may still come for what is open: at most a window of each device.
    let open: Vec<usize> = load.acknowledged().iter().map(|count| count + PACE.window).collect();
    let began = std::time::Instant::now();
    let mut ended = false;
    while !ended && began.elapsed() < END_MAX {
        tokio::time::sleep(LOOK).await;
        ended = gateway.ended()?.is_some();
        let after: usize =
            load.acknowledged().iter().zip(&open).map(|(now, open)| now.saturating_sub(*open)).sum();
        if after > 0 {
            return Ok((ended, after as u64));
        }
    }
    Ok((ended, 0))
}
