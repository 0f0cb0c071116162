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
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fieldpost_protocol::BootId;
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{Peer, PeerError, Server, free_port, until_it_listens},
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
    let appendix = format!("[[forward.nats]]\nurl = \"{}\"\n", nats.url());
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
    let arrived = Box::pin(collect(&nats.url(), &acknowledged)).await?;
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

/// Reads the stream until every expected key was seen, and then what else is in it.
async fn collect(url: &str, expected: &HashMap<String, u32>) -> Result<HashMap<String, u32>, OutageError> {
    let broken = |error: &dyn std::fmt::Display| OutageError::Nats(error.to_string());
    let client = async_nats::connect(url).await.map_err(|e| broken(&e))?;
    let jetstream = async_nats::jetstream::new(client);
    let mut stream = jetstream.get_stream("FIELDPOST").await.map_err(|e| broken(&e))?;
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.map_err(|e| broken(&e))?;
    let mut messages = consumer.messages().await.map_err(|e| broken(&e))?;
    let mut arrived: HashMap<String, u32> = HashMap::new();
    let (start, mut missing_count, mut read_count) = (Instant::now(), expected.len(), 0);
    let mut held_count = 0;
    while missing_count > 0 || read_count < held_count {
        let left = ARRIVAL_MAX.saturating_sub(start.elapsed());
        let Ok(Some(message)) = tokio::time::timeout(left, messages.next()).await else {
            return Err(OutageError::Missing { waited: start.elapsed(), missing_count });
        };
        let message = message.map_err(|e| broken(&e))?;
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        let key = id.map(ToString::to_string).unwrap_or_default();
        let seen = arrived.entry(key).or_insert(0);
        *seen += 1;
        read_count += 1;
        if *seen == 1 && expected.contains_key(id.map_or("", |id| id.as_str())) {
            missing_count -= 1;
        }
        if missing_count == 0 && read_count >= held_count {
            // Everything is there; what stands behind it can only be there twice.
            held_count = Box::pin(stream.info()).await.map_err(|e| broken(&e))?.state.messages;
        }
    }
    Ok(arrived)
}

/// A nats-server with JetStream on files. Ended when dropped.
struct Nats {
    binary: PathBuf,
    store: PathBuf,
    port: u16,
    child: Child,
}

impl Nats {
    /// Starts the server with its store in `store`, and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(binary: &Path, store: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(store)?;
        let port = free_port()?;
        let child = spawn(binary, store, port)?;
        Ok(Self { binary: binary.to_path_buf(), store: store.to_path_buf(), port, child })
    }

    /// Where it listens.
    #[must_use]
    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn stop(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.child = spawn(&self.binary, &self.store, self.port)?;
        Ok(())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.stop().is_err() {
            tracing::warn!("nats-server could not be ended");
        }
    }
}

fn spawn(binary: &Path, store: &Path, port: u16) -> io::Result<Child> {
    let child = Command::new(binary)
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", binary.display()))
        })?;
    until_it_listens(child, port)
}
