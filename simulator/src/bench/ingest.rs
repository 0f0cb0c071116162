//! Server CPU for a million QoS 1 messages: pumped (the connection always full) and paced (one message a wake-up).

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use fieldpost_protocol::BootId;
use tokio::{sync::Barrier, task::JoinSet};

use super::{Figure, Server};
use crate::raw::{Client, ClientError, Credentials, Window};

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct IngestLoad {
    /// Connections.
    pub connection_count: usize,
    /// Messages in all.
    pub message_count: u64,
    /// Open publishes a connection.
    pub window: usize,
    /// Payload size in bytes.
    pub payload_bytes: usize,
    /// Messages a second over all connections; only [`paced`] looks at it.
    pub rate_per_s: u64,
}

/// As fast as the server acknowledges.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn pump(server: &Server, load: IngestLoad) -> Result<Figure, ClientError> {
    measure(server, load, &format!("pump, {} connections", load.connection_count), pump_one).await
}

/// At a steady rate, one message a wake-up.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn paced(server: &Server, load: IngestLoad) -> Result<Figure, ClientError> {
    measure(server, load, &format!("paced, {} connections", load.connection_count), paced_one).await
}

async fn measure<F, R>(server: &Server, load: IngestLoad, what: &str, one: F) -> Result<Figure, ClientError>
where
    F: Fn(Client, Window, IngestLoad, usize) -> R,
    R: Future<Output = Result<u64, ClientError>> + Send + 'static,
{
    let devices = &server.devices[..load.connection_count];
    let clients = connect_all(server, devices, load.payload_bytes).await?;
    let start_line = Arc::new(Barrier::new(clients.len() + 1));
    let mut running = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let start_line = Arc::clone(&start_line);
        let work = one(client, Window::new(boot()), load, number);
        running.spawn(async move {
            start_line.wait().await;
            work.await
        });
    }
    let before = server.usage()?;
    start_line.wait().await;
    let mut acknowledged_count = 0;
    while let Some(ended) = running.join_next().await {
        acknowledged_count += ended.expect("a benchmark task does not panic")?;
    }
    let cpu_s = server.usage()?.cpu_s - before.cpu_s;
    Ok(Figure {
        server: server.name,
        what: what.to_owned(),
        value: cpu_s / acknowledged_count as f64 * 1e6,
        unit: "CPU-s per million messages",
    })
}

/// Where the connection of this number comes from.
pub(super) fn source(number: usize) -> Ipv4Addr {
    const PER_ADDRESS: usize = 8_192;
    let last = 1 + u8::try_from(number / PER_ADDRESS).expect("a process has no two million descriptors");
    Ipv4Addr::new(127, 0, 0, last)
}

/// Every measurement is a new boot of its devices, so no record of it is a duplicate.
pub(super) fn boot() -> BootId {
    use std::sync::atomic::{AtomicU32, Ordering};
    static BOOTS: AtomicU32 = AtomicU32::new(1);
    BootId(BOOTS.fetch_add(1, Ordering::Relaxed))
}

/// Connects every device, a few at a time so that no handshake meets its deadline.
pub(super) async fn connect_all(
    server: &Server,
    devices: &[Credentials],
    payload_bytes: usize,
) -> Result<Vec<Client>, ClientError> {
    const AT_ONCE: usize = 32;
    let mut clients = Vec::with_capacity(devices.len());
    for group in devices.chunks(AT_ONCE) {
        let connecting = group
            .iter()
            .map(|device| Client::connect_from(source(clients.len()), server.address, device, payload_bytes));
        clients.extend(futures_util::future::try_join_all(connecting).await?);
    }
    Ok(clients)
}

async fn pump_one(
    mut client: Client,
    mut window: Window,
    load: IngestLoad,
    _: usize,
) -> Result<u64, ClientError> {
    let issue_max = share(load);
    while window.acknowledged.len() < issue_max as usize {
        client.fill(&mut window, load.window, issue_max).await?;
        client.settle(&mut window).await?;
    }
    Ok(u64::from(issue_max))
}

async fn paced_one(
    mut client: Client,
    mut window: Window,
    load: IngestLoad,
    number: usize,
) -> Result<u64, ClientError> {
    let period = Duration::from_secs_f64(load.connection_count as f64 / load.rate_per_s as f64);
    let offset = period.mul_f64(number as f64 / load.connection_count as f64);
    let mut ticks = tokio::time::interval_at((Instant::now() + offset).into(), period);
    let issue_max = share(load);
    while window.acknowledged.len() < issue_max as usize {
        tokio::select! {
            _ = ticks.tick(), if window.issued_count() < issue_max => {
                let one_more = window.issued_count() + 1;
                client.fill(&mut window, usize::MAX, one_more).await?;
            }
            settled = client.settle(&mut window), if window.open_count() > 0 => settled?,
        }
    }
    Ok(u64::from(issue_max))
}

fn share(load: IngestLoad) -> u32 {
    u32::try_from(load.message_count / load.connection_count as u64).expect("a share fits 32 bits")
}
