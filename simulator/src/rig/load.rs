//! Devices that send without pause and come back whatever happens to their connection, and an account of what was promised.
//!
//! Counts of acknowledged records can be read at any instant while the load runs. A device's PUBACKs come in the order of its
//! records (MQTT 3.1.1, 4.6), so **a count says which records were acknowledged**; [`Load::end`] checks that.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fieldpost_protocol::BootId;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::RigError;
use crate::raw::{Client, ClientError, Credentials, Window};

/// Under load a PUBACK must come far sooner than this, even on a busy machine.
pub(super) const HANG: Duration = Duration::from_secs(60);

/// From a lost connection to the next attempt.
const AGAIN: Duration = Duration::from_millis(20);

/// How hard a device works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Open publishes a device.
    pub(super) window: usize,
    /// From one burst of `window` to the next; zero: without pause.
    pub(super) period: Duration,
    /// Bytes of a record.
    pub(super) record_bytes: usize,
    /// Without a PUBACK for so long it connects again.
    pub(super) patience: Duration,
}

impl Pace {
    /// Small records from devices that wait for as long as a rig would.
    pub(super) const fn new(window: usize, period_ms: u64) -> Self {
        Self { window, period: Duration::from_millis(period_ms), record_bytes: 64, patience: HANG }
    }
}

/// Running devices.
pub(super) struct Load {
    running: JoinSet<(usize, Window)>,
    stop: CancellationToken,
    counts: Arc<[AtomicUsize]>,
    connected: Arc<AtomicU64>,
    progress: Arc<watch::Sender<()>>,
}

impl Load {
    /// Starts one task a device. `windows` are what the devices carry over from before, one each.
    pub(super) fn start(
        address: SocketAddr,
        devices: &[Credentials],
        windows: Vec<Window>,
        pace: Pace,
    ) -> Self {
        let counts: Arc<[AtomicUsize]> =
            windows.iter().map(|window| AtomicUsize::new(window.acknowledged.len())).collect();
        let mut load = Self {
            running: JoinSet::new(),
            stop: CancellationToken::new(),
            counts,
            connected: Arc::default(),
            progress: Arc::new(watch::channel(()).0),
        };
        for (number, (window, credentials)) in windows.into_iter().zip(devices).enumerate() {
            let device = Device {
                number,
                address,
                credentials: credentials.clone(),
                pace,
                stop: load.stop.clone(),
                counts: Arc::clone(&load.counts),
                connected: Arc::clone(&load.connected),
                progress: Arc::clone(&load.progress),
            };
            load.running.spawn(device.run(window));
        }
        load
    }

    /// A window for each of `count` devices that have sent nothing yet.
    pub(super) fn fresh(count: usize) -> Vec<Window> {
        (0..count).map(|_| Window::new(BootId(1))).collect()
    }

    /// How many records of each device are acknowledged now.
    pub(super) fn acknowledged(&self) -> Vec<usize> {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).collect()
    }

    /// Connections made so far.
    pub(super) fn connected_count(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Waits until `enough` is true of the counts.
    pub(super) async fn until(&self, enough: impl Fn(&[usize]) -> bool) -> Result<(), RigError> {
        let mut seen = self.progress.subscribe();
        let reached = async {
            while !enough(&self.acknowledged()) {
                seen.changed().await.ok();
            }
        };
        timeout(HANG, reached).await.map_err(|_| RigError::Hang(HANG))
    }

    /// Waits until every device has had `more` PUBACKs from now on.
    pub(super) async fn everyone_hears(&self, more: usize) -> Result<(), RigError> {
        let before = self.acknowledged();
        self.until(|now| now.iter().zip(&before).all(|(now, before)| *now >= before + more)).await
    }

    /// Stops sending; what is open stays open.
    ///
    /// # Errors
    /// If PUBACKs came out of order: then no count that was read before is worth anything.
    pub(super) async fn end(self) -> Result<Vec<Window>, RigError> {
        self.stop.cancel();
        let mut ended = self.running.join_all().await;
        ended.sort_by_key(|(number, _)| *number);
        let windows: Vec<Window> = ended.into_iter().map(|(_, window)| window).collect();
        let is_prefix = |window: &Window| {
            window.acknowledged.iter().map(|seq| seq.0).eq(0..window.acknowledged.len() as u32)
        };
        if windows.iter().all(is_prefix) {
            return Ok(windows);
        }
        Err(RigError::Cannot {
            what: "trust the counts".to_owned(),
            why: "PUBACKs came out of order".to_owned(),
        })
    }
}

/// One device's task.
struct Device {
    number: usize,
    address: SocketAddr,
    credentials: Credentials,
    pace: Pace,
    stop: CancellationToken,
    counts: Arc<[AtomicUsize]>,
    connected: Arc<AtomicU64>,
    progress: Arc<watch::Sender<()>>,
}

impl Device {
    async fn run(self, mut window: Window) -> (usize, Window) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let again = tokio::time::sleep(AGAIN);
            // Whatever ended the connection: what is acknowledged stands in the window, what is owed too.
            let _ = stop.run_until_cancelled(Box::pin(self.send(&mut window))).await;
            stop.run_until_cancelled(again).await;
        }
        (self.number, window)
    }

    async fn send(&self, window: &mut Window) -> Result<(), ClientError> {
        let patience = self.pace.patience;
        let connecting = Client::connect(self.address, &self.credentials, self.pace.record_bytes);
        let mut client = timeout(patience, connecting).await.map_err(std::io::Error::from)??;
        self.connected.fetch_add(1, Ordering::Relaxed);
        client.resend(window).await?;
        loop {
            let next = tokio::time::sleep(self.pace.period);
            client.fill(window, self.pace.window, u32::MAX).await?;
            timeout(patience, client.settle(window)).await.map_err(std::io::Error::from)??;
            self.counts[self.number].store(window.acknowledged.len(), Ordering::Release);
            self.progress.send_replace(());
            if !self.pace.period.is_zero() {
                next.await;
            }
        }
    }
}

/// Sends everything that is still owed and waits for its PUBACK.
pub(super) async fn settle(setup: &super::gateway::Setup, windows: &mut [Window]) -> Result<(), RigError> {
    for (window, credentials) in windows.iter_mut().zip(&setup.devices) {
        let work = async {
            while window.open_count() > 0 {
                let Ok(mut client) = Client::connect(setup.address, credentials, 64).await else {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                };
                let mut heard = client.resend(window).await.is_ok();
                while heard && window.open_count() > 0 {
                    heard = client.settle(window).await.is_ok();
                }
            }
        };
        timeout(HANG, work).await.map_err(|_| RigError::Hang(HANG))?;
    }
    Ok(())
}

/// A record's key, as a spool and a force system know it.
pub(super) fn key(credentials: &Credentials, seq: usize) -> String {
    format!("bench.{}.1.{seq}", credentials.device)
}

/// What of each window is acknowledged.
pub(super) fn counts(windows: &[Window]) -> Vec<usize> {
    windows.iter().map(|window| window.acknowledged.len()).collect()
}

/// What was promised, and what was kept of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Records whose PUBACK a device has read.
    pub acknowledged_count: u64,
    /// Of these, not found. Must be 0.
    pub lost_count: u64,
    /// Found more than once. Must be 0.
    pub duplicate_count: u64,
}

impl Account {
    /// Compares what is acknowledged by `counts`, one for each device, with what was found.
    pub(super) fn of(devices: &[Credentials], counts: &[usize], found: &HashMap<String, u32>) -> Self {
        let mut account = Self::default();
        for (credentials, count) in devices.iter().zip(counts) {
            for seq in 0..*count {
                account.acknowledged_count += 1;
                account.lost_count += u64::from(!found.contains_key(&key(credentials, seq)));
            }
        }
        account.duplicate_count = found.values().filter(|count| **count > 1).count() as u64;
        account
    }

    /// Whether every promise was kept, and there were some.
    pub(super) fn held(&self) -> bool {
        self.acknowledged_count > 0 && self.lost_count == 0 && self.duplicate_count == 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acknowledged_count += other.acknowledged_count;
        self.lost_count += other.lost_count;
        self.duplicate_count += other.duplicate_count;
    }
}
