//! `kill -9` under load: **no acknowledged record is lost, and none is stored twice.**
//!
//! ```text
//! bare devices -> gateway binary   kill -9 at a random instant, restart, resend what is owed, again and again
//!      |                |
//!      '- acknowledged  '- spool, read when all is over: acknowledged - stored = lost
//! ```
//!
//! The rig is worth what its red is worth: a gateway built with the feature `sabotage` can acknowledge what it has not
//! written (`FIELDPOST_SABOTAGE=ack-before-commit`), and this rig must find that.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fieldpost_protocol::BootId;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet};

use super::{RigError, spool};
use crate::{
    bench::{Peer, PeerError, Server},
    console,
    raw::{Client, Credentials, Window},
};

/// What to do.
#[derive(Debug, Clone)]
pub struct KillPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// How often it is killed.
    pub kill_count: usize,
    /// Bare devices that send without pause.
    pub device_count: usize,
    /// Open publishes a device.
    pub window: usize,
    /// Decides the instants.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct KillReport {
    /// Kills carried out.
    pub killed_count: usize,
    /// Records whose PUBACK a device has read.
    pub acknowledged_count: u64,
    /// Records in the spool at the end.
    pub stored_count: u64,
    /// Acknowledged and not in the spool. Must be 0.
    pub lost_count: u64,
    /// Stored more than once. Must be 0.
    pub duplicate_count: u64,
}

/// The rig itself failed: it proves nothing, neither way.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The gateway did not start or stop.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A process or a file.
    #[error("the rig cannot work: {0}")]
    Io(#[from] std::io::Error),
    /// The spool cannot be read after the last stop.
    #[error(transparent)]
    Spool(#[from] RigError),
    /// No record was acknowledged for this long under load.
    #[error("nothing was acknowledged for {0:?}: the gateway hangs")]
    Hang(Duration),
}

/// Under load a PUBACK must come far sooner than this, even on a busy machine.
const HANG: Duration = Duration::from_secs(30);

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`KillError`] if the rig itself cannot work.
pub async fn kill_under_load(plan: &KillPlan, dir: &Path) -> Result<KillReport, KillError> {
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let mut server = Server::start(Peer::fieldpost(&plan.binary), dir, plan.device_count)?;
    let mut windows: Vec<Window> = (0..plan.device_count).map(|_| Window::new(BootId(1))).collect();
    for round in 0..plan.kill_count {
        if round > 0 {
            server.restart()?;
        }
        let delay = Duration::from_micros(dice.random_range(0..60_000));
        windows = one_round(&mut server, windows, plan.window, delay).await?;
        if (round + 1) % 10 == 0 {
            console::progress(&format!("killed {} of {} times", round + 1, plan.kill_count));
        }
    }
    server.restart()?;
    windows = settle_everything(&server, windows).await?;
    server.terminate()?;
    let stored = spool::stored(&server.dir().join("data/spool")).await?;
    Ok(count(plan.kill_count, &server.devices, &windows, &stored))
}

/// Load, and in the middle of it the kill: `delay` after every device has had a PUBACK from this process.
async fn one_round(
    server: &mut Server,
    windows: Vec<Window>,
    open_max: usize,
    delay: Duration,
) -> Result<Vec<Window>, KillError> {
    let (progress, mut seen) = watch::channel(0usize);
    let progress = Arc::new(progress);
    let device_count = windows.len();
    let mut running = JoinSet::new();
    for (number, window) in windows.into_iter().enumerate() {
        let credentials = server.devices[number].clone();
        let (address, progress) = (server.address, Arc::clone(&progress));
        running.spawn(async move {
            (number, send_until_cut(address, credentials, window, open_max, &progress).await)
        });
    }
    let everyone = seen.wait_for(|count| *count >= device_count);
    tokio::time::timeout(HANG, everyone).await.map_err(|_| KillError::Hang(HANG))?.ok();
    // The instant of the fault, not a wait for something to be ready.
    tokio::time::sleep(delay).await;
    server.kill()?;
    let mut ended = running.join_all().await;
    ended.sort_by_key(|(number, _)| *number);
    Ok(ended.into_iter().map(|(_, window)| window).collect())
}

async fn send_until_cut(
    address: std::net::SocketAddr,
    credentials: Credentials,
    mut window: Window,
    open_max: usize,
    progress: &watch::Sender<usize>,
) -> Window {
    // Every way out is the cut: what is acknowledged stands in the window, what is owed too.
    if let Ok(mut client) = Client::connect(address, &credentials, 64).await {
        let mut first = true;
        let mut alive = client.resend(&mut window).await.is_ok();
        while alive {
            alive = client.fill(&mut window, open_max, u32::MAX).await.is_ok()
                && client.settle(&mut window).await.is_ok();
            if std::mem::take(&mut first) {
                progress.send_modify(|count| *count += 1);
            }
        }
    }
    window
}

async fn settle_everything(server: &Server, windows: Vec<Window>) -> Result<Vec<Window>, KillError> {
    let mut settled = Vec::with_capacity(windows.len());
    for (mut window, credentials) in windows.into_iter().zip(&server.devices) {
        let work = async {
            let mut client = Client::connect(server.address, credentials, 64).await?;
            client.resend(&mut window).await?;
            while window.open_count() > 0 {
                client.settle(&mut window).await?;
            }
            Ok::<_, crate::raw::ClientError>(())
        };
        tokio::time::timeout(HANG, work)
            .await
            .map_err(|_| KillError::Hang(HANG))?
            .map_err(std::io::Error::other)?;
        settled.push(window);
    }
    Ok(settled)
}

fn count(
    killed_count: usize,
    devices: &[Credentials],
    windows: &[Window],
    stored: &HashMap<String, u32>,
) -> KillReport {
    let mut report = KillReport { killed_count, stored_count: stored.len() as u64, ..KillReport::default() };
    for (credentials, window) in devices.iter().zip(windows) {
        report.acknowledged_count += window.acknowledged.len() as u64;
        for seq in &window.acknowledged {
            let key = format!("bench.{}.1.{}", credentials.device, seq.0);
            report.lost_count += u64::from(!stored.contains_key(&key));
        }
    }
    report.duplicate_count = stored.values().filter(|count| **count > 1).count() as u64;
    report
}
