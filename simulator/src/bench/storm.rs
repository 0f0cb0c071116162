//! A reconnect storm: thousands of devices come at once, while others are connected and report.
//!
//! **No established device may lose a message or its connection.** The storm comes twice: first with full handshakes, then
//! with the sessions of the first.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet};

use super::{
    Figure, Server,
    ingest::{boot, source},
};
use crate::raw::{Client, ClientError, Credentials, Window};

/// How often each established device reports.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// How long a device that did not get in waits before it tries again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long one attempt may take: a SYN that the server's queue had no room for is sent again after seconds, and a connection
/// that it dropped at the last step would be waited for in vain.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);

/// How long the server has to settle between two storms.
const SETTLE: Duration = Duration::from_secs(3);

/// What the established devices came to.
#[derive(Default)]
struct Established {
    issued_count: u64,
    acknowledged_count: u64,
    waits_us: Vec<u64>,
}

/// One storm.
struct Storm {
    cpu_us_each: f64,
    took: Duration,
    refused_count: u64,
    resumed_count: usize,
}

/// Storms `server` with all but the first `established_count` of its devices.
///
/// # Errors
/// An established device lost its connection, or the server is gone.
pub async fn storm(server: &Server, established_count: usize) -> Result<Vec<Figure>, ClientError> {
    let (there, coming) = server.devices.split_at(established_count);
    let is_over = Arc::new(AtomicBool::new(false));
    let (connected, is_connected) = oneshot::channel();
    let (address, there, over) = (server.address, there.to_vec(), Arc::clone(&is_over));
    let established = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(report_all(address, there, connected, over))
    });
    // Fails only if the thread has ended, which says why.
    _ = is_connected.await;
    let full = come(server, coming).await?;
    tokio::time::sleep(SETTLE).await;
    let again = come(server, coming).await?;
    is_over.store(true, Ordering::Relaxed);
    let sum = tokio::task::spawn_blocking(move || established.join()).await;
    let mut sum = sum.map_err(std::io::Error::other)?.expect("a benchmark thread does not panic")?;
    sum.waits_us.sort_unstable();
    let percentile =
        |percent: usize| sum.waits_us.get((sum.waits_us.len() * percent / 100).max(1) - 1).copied();
    let wait = |percent: usize| percentile(percent).unwrap_or(0) as f64 / 1e3;
    let figure = |what: String, value: f64, unit| Figure { server: server.name, what, value, unit };
    let count = coming.len();
    Ok(vec![
        figure(format!("storm of {count}, full handshakes"), full.cpu_us_each, "CPU-us a device"),
        figure(format!("storm of {count}, full: until all are in"), full.took.as_secs_f64(), "s"),
        figure(format!("storm of {count}, full: attempts refused"), full.refused_count as f64, ""),
        figure(format!("storm of {count}, again"), again.cpu_us_each, "CPU-us a device"),
        figure(format!("storm of {count}, again: until all are in"), again.took.as_secs_f64(), "s"),
        figure(format!("storm of {count}, again: sessions taken up"), again.resumed_count as f64, ""),
        figure("established: messages in the storms".to_owned(), sum.issued_count as f64, ""),
        figure(
            "established: messages not acknowledged".to_owned(),
            (sum.issued_count - sum.acknowledged_count) as f64,
            "",
        ),
        figure("established: wait for a PUBACK, p50".to_owned(), wait(50), "ms"),
        figure("established: wait for a PUBACK, p99".to_owned(), wait(99), "ms"),
        figure("established: longest wait for a PUBACK".to_owned(), wait(100), "ms"),
    ])
}

/// All of them, in a thread of its own: a device does not stand in line behind fifteen thousand others for its turn to look.
async fn report_all(
    address: SocketAddr,
    devices: Vec<Credentials>,
    connected: oneshot::Sender<()>,
    is_over: Arc<AtomicBool>,
) -> Result<Established, ClientError> {
    let mut clients = Vec::new();
    for device in &devices {
        clients.push(Client::connect(address, device, 64).await?);
    }
    // Nobody listens any more if the storm could not begin.
    _ = connected.send(());
    let mut reporting = JoinSet::new();
    for client in clients {
        reporting.spawn(report(client, Arc::clone(&is_over)));
    }
    let mut sum = Established::default();
    while let Some(ended) = reporting.join_next().await {
        let one = ended.expect("a benchmark task does not panic")?;
        sum.issued_count += one.issued_count;
        sum.acknowledged_count += one.acknowledged_count;
        sum.waits_us.extend(one.waits_us);
    }
    Ok(sum)
}

/// Reports once a period until it is over, and waits for every PUBACK.
async fn report(mut client: Client, is_over: Arc<AtomicBool>) -> Result<Established, ClientError> {
    let mut window = Window::new(boot());
    let mut ticks = tokio::time::interval(REPORT_PERIOD);
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let one_more = window.issued_count() + 1;
        client.fill(&mut window, usize::MAX, one_more).await?;
        client.settle(&mut window).await?;
    }
    Ok(Established {
        issued_count: u64::from(window.issued_count()),
        acknowledged_count: window.acknowledged.len() as u64,
        waits_us: window.waited_us,
    })
}

/// Every device comes at once and tries until it is in; then all go.
async fn come(server: &Server, devices: &[Credentials]) -> Result<Storm, ClientError> {
    let (before, began) = (server.usage()?.cpu_s, Instant::now());
    let mut coming = JoinSet::new();
    for (number, device) in devices.iter().cloned().enumerate() {
        let address = server.address;
        coming.spawn(async move {
            let mut refused_count = 0;
            loop {
                let attempt = Client::connect_from(source(number), address, &device, 64);
                match tokio::time::timeout(ATTEMPT_MAX, attempt).await {
                    Ok(Ok(client)) => return (client, refused_count),
                    Ok(Err(_)) | Err(_) => refused_count += 1,
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
    }
    let arrived = coming.join_all().await;
    let (took, cpu_s) = (began.elapsed(), server.usage()?.cpu_s - before);
    Ok(Storm {
        cpu_us_each: cpu_s / devices.len() as f64 * 1e6,
        took,
        refused_count: arrived.iter().map(|(_, refused_count)| refused_count).sum(),
        resumed_count: arrived.iter().filter(|(client, _)| client.is_resumed()).count(),
    })
}
