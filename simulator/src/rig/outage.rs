//! JetStream gone under load: **devices notice nothing, the spool holds, everything arrives once after it returns.**
//!
//! ```text
//! bare devices at a steady rate -> gateway binary -> spool -> forwarder -> nats-server   stopped, and started again
//!      '- how long each PUBACK took, before, during and after                  '- every key, counted
//! ```

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fieldpost_gateway::config::RELEASE_ALL;
use fieldpost_protocol::BootId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::nats::{Nats, collect};
use crate::{
    bench::{Peer, PeerError, Server},
    console,
    raw::{Client, ClientError, Credentials, Window},
};

/// What to do.
#[derive(Debug, Clone)]
pub struct OutagePlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// The nats-server binary.
    pub nats_server: PathBuf,
    /// Devices.
    pub device_count: usize,
    /// From one record of a device to its next.
    pub period: Duration,
    /// Load before the outage, and again after it.
    pub around: Duration,
    /// How long JetStream is gone.
    pub outage: Duration,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct OutageReport {
    /// Records whose PUBACK a device has read.
    pub acknowledged_count: u64,
    /// Different keys in the stream at the end.
    pub arrived_count: u64,
    /// Acknowledged and not in the stream. Must be 0.
    pub lost_count: u64,
    /// Keys in the stream more than once. Must be 0.
    pub duplicate_count: u64,
    /// Connections that ended. Must be 0: devices notice nothing.
    pub disconnected_count: u64,
    /// 99th percentile from publish to PUBACK in ms, over the whole run, outage included.
    pub puback_ms_p99: f64,
    /// The longest.
    pub puback_ms_max: f64,
    /// From JetStream's return to the last key.
    pub catch_up_ms: u64,
}

/// The rig itself failed.
#[derive(Debug, thiserror::Error)]
pub enum OutageError {
    /// The gateway did not start or stop.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A process or a file.
    #[error("the rig cannot work: {0}")]
    Io(#[from] io::Error),
    /// JetStream could not be asked.
    #[error("JetStream cannot be asked: {0}")]
    Nats(String),
    /// Not everything arrived in this time.
    #[error("after {waited:?} {missing_count} acknowledged records had still not arrived")]
    Missing {
        /// How long the rig waited.
        waited: Duration,
        /// What was missing.
        missing_count: usize,
    },
}

const ARRIVAL_MAX: Duration = Duration::from_secs(120);

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`OutageError`].
pub async fn jetstream_outage(plan: &OutagePlan, dir: &Path) -> Result<OutageReport, OutageError> {
    let mut nats = Nats::start(&plan.nats_server, &dir.join("nats"))?;
    let appendix = format!("[[forward.nats]]\nurl = \"{}\"\n{RELEASE_ALL}\n", nats.url());
    let peer = Peer::Fieldpost { binary: plan.binary.clone(), appendix };
    let gateway = dir.join("gateway");
    let mut server = Server::start(peer, &gateway, plan.device_count)?;

    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    for (number, credentials) in server.devices.iter().cloned().enumerate() {
        let (address, period, stop) = (server.address, plan.period, stop.clone());
        running.spawn(async move { (number, send_until(address, &credentials, period, &stop).await) });
    }
    tokio::time::sleep(plan.around).await;
    nats.stop()?;
    console::progress(&format!("JetStream is gone for {:?}", plan.outage));
    tokio::time::sleep(plan.outage).await;
    nats.restart()?;
    console::progress("JetStream is back");
    let returned = Instant::now();
    tokio::time::sleep(plan.around).await;
    stop.cancel();
    let mut ended = running.join_all().await;
    ended.sort_by_key(|(number, _)| *number);

    let mut acknowledged = HashMap::new();
    let (mut waited_us, mut disconnected_count) = (Vec::new(), 0);
    for (number, (window, outcome)) in ended {
        disconnected_count += u64::from(outcome.is_err());
        waited_us.extend(&window.waited_us);
        let device = &server.devices[number].device;
        acknowledged
            .extend(window.acknowledged.iter().map(|seq| (format!("bench.{device}.1.{}", seq.0), 0u32)));
    }
    let arrived = Box::pin(collect(&nats.url(), &acknowledged, ARRIVAL_MAX)).await?;
    let catch_up_ms = u64::try_from(returned.elapsed().as_millis()).unwrap_or(u64::MAX);
    server.terminate()?;
    waited_us.sort_unstable();
    let at = |share: f64| {
        waited_us.get((waited_us.len() as f64 * share) as usize).copied().unwrap_or(0) as f64 / 1e3
    };
    Ok(OutageReport {
        acknowledged_count: acknowledged.len() as u64,
        arrived_count: arrived.len() as u64,
        lost_count: acknowledged.keys().filter(|key| !arrived.contains_key(*key)).count() as u64,
        duplicate_count: arrived.values().filter(|count| **count > 1).count() as u64,
        disconnected_count,
        puback_ms_p99: at(0.99),
        puback_ms_max: waited_us.last().copied().unwrap_or(0) as f64 / 1e3,
        catch_up_ms,
    })
}

/// One record a period until told to stop, then waits for what is open.
async fn send_until(
    address: std::net::SocketAddr,
    credentials: &Credentials,
    period: Duration,
    stop: &CancellationToken,
) -> (Window, Result<(), ClientError>) {
    let mut window = Window::new(BootId(1));
    let outcome = send_into(&mut window, address, credentials, period, stop).await;
    (window, outcome)
}

async fn send_into(
    window: &mut Window,
    address: std::net::SocketAddr,
    credentials: &Credentials,
    period: Duration,
    stop: &CancellationToken,
) -> Result<(), ClientError> {
    let mut client = Client::connect(address, credentials, 64).await?;
    let mut ticks = tokio::time::interval(period);
    while !stop.is_cancelled() || window.open_count() > 0 {
        tokio::select! {
            () = stop.cancelled(), if !stop.is_cancelled() => {}
            _ = ticks.tick(), if !stop.is_cancelled() => {
                let one_more = window.issued_count() + 1;
                client.fill(window, usize::MAX, one_more).await?;
            }
            settled = client.settle(window), if window.open_count() > 0 => settled?,
        }
    }
    Ok(())
}
