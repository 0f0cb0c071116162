//! Alarms while everybody else sends as fast as they are let: **an alarm does not wait behind what overloads the server.**
//!
//! A thousand connections keep their windows full, which is more than any server takes; twenty others raise an alarm twice a
//! second. Those have a thread of their own here, so that they do not wait for a turn among the thousand.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Figure, PageError, Server,
    browser::{Browser, open_page},
    ingest::{boot, connect_all},
};
use crate::check::latency::{Latencies, Percentiles};
use crate::raw::{Client, ClientError, Credentials, Window};

/// Devices that raise alarms.
pub(super) const RAISING: usize = 20;
/// Devices that overload.
pub(super) const FLOODING: usize = 1_000;

/// Open publishes of a device that overloads.
const WINDOW: usize = 32;
/// From one alarm of a device to its next.
const ALARM_PERIOD: Duration = Duration::from_millis(500);
/// How long the page may take for the last alarms.
const PAGE_WAIT: Duration = Duration::from_secs(20);

/// What the raising devices came to.
struct Raised {
    to_puback: Latencies,
    /// When each alarm was issued, by its identity on the page.
    issued: HashMap<String, Instant>,
    unacknowledged_count: u64,
}

/// Overloads `server` for `duration`, with a browser that looks if `is_watched`.
///
/// # Errors
/// A device lost its connection, or the page does not open.
pub async fn overload(
    server: &Server,
    duration: Duration,
    is_watched: bool,
) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let (raising, flooding) = server.devices.split_at(RAISING);
    let browser = match is_watched {
        true => Some(watch_on_a_thread(server).await?),
        false => None,
    };
    let flood = connect_all(server, flooding, 64).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut flooders = JoinSet::new();
    let began = Instant::now();
    for client in flood {
        flooders.spawn(overflow(client, Arc::clone(&is_over)));
    }
    let (address, devices, over) = (server.address, raising.to_vec(), Arc::clone(&is_over));
    let raised = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(raise_all(address, devices, over))
    });
    tokio::time::sleep(duration).await;
    is_over.store(true, Ordering::Relaxed);
    let mut accepted_count = 0;
    while let Some(ended) = flooders.join_next().await {
        accepted_count += ended.expect("a benchmark task does not panic")?;
    }
    let took_s = began.elapsed().as_secs_f64();
    let raised = tokio::task::spawn_blocking(move || raised.join()).await?;
    let raised = raised.expect("a benchmark thread does not panic")?;
    let figure = |what: &str, value: f64, unit| {
        let what = format!("overload of {} windows of {WINDOW}: {what}", flooding.len());
        Figure { server: server.name, what, value, unit }
    };
    let mut figures = vec![
        figure("accepted", accepted_count as f64 / took_s, "messages a second"),
        figure("alarms not acknowledged", raised.unacknowledged_count as f64, ""),
    ];
    let mut percentiles = |what: &str, of: &Latencies| {
        let Percentiles { p50, p99 } = of.percentiles();
        figures.push(figure(&format!("{what}, p50"), p50.unwrap_or(f64::NAN), "ms"));
        figures.push(figure(&format!("{what}, p99"), p99.unwrap_or(f64::NAN), "ms"));
    };
    percentiles("alarm to PUBACK", &raised.to_puback);
    if let Some(browser) = browser {
        let (to_page, unseen_count) = until_seen(&browser, &raised.issued).await;
        percentiles("alarm to the page", &to_page);
        figures.push(figure("alarms not on the page", unseen_count as f64, ""));
    }
    Ok(figures)
}

/// The browser of an overloaded room, on the runtime's own threads: it reads a few frames a second.
async fn watch_on_a_thread(server: &Server) -> Result<Browser, PageError> {
    Ok(Browser::follow(open_page(server, "overload").await?))
}

/// Keeps the window full until it is over; returns how many were acknowledged.
async fn overflow(mut client: Client, is_over: Arc<AtomicBool>) -> Result<u64, ClientError> {
    let mut window = Window::new(boot());
    while !is_over.load(Ordering::Relaxed) {
        client.fill(&mut window, WINDOW, u32::MAX).await?;
        client.settle(&mut window).await?;
    }
    Ok(window.acknowledged.len() as u64)
}

async fn raise_all(
    address: SocketAddr,
    devices: Vec<Credentials>,
    is_over: Arc<AtomicBool>,
) -> Result<Raised, ClientError> {
    let mut raising = JoinSet::new();
    for device in devices {
        raising.spawn(raise(address, device, Arc::clone(&is_over)));
    }
    let mut sum = Raised { to_puback: Latencies::default(), issued: HashMap::new(), unacknowledged_count: 0 };
    while let Some(ended) = raising.join_next().await {
        let (window, issued) = ended.expect("a benchmark task does not panic")?;
        window.waited_us.iter().for_each(|waited_us| sum.to_puback.add(*waited_us));
        sum.unacknowledged_count += window.open_count() as u64;
        sum.issued.extend(issued);
    }
    Ok(sum)
}

async fn raise(
    address: SocketAddr,
    device: Credentials,
    is_over: Arc<AtomicBool>,
) -> Result<(Window, HashMap<String, Instant>), ClientError> {
    let boot = boot();
    let mut client = Client::connect(address, &device, 64).await?.raising_alarms(&device);
    let (mut window, mut issued) = (Window::new(boot), HashMap::new());
    let mut ticks = tokio::time::interval(ALARM_PERIOD);
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let seq = window.issued_count();
        issued.insert(format!("bench/{}/{}/{seq}", device.device, boot.0), Instant::now());
        client.fill(&mut window, usize::MAX, seq + 1).await?;
        client.settle(&mut window).await?;
    }
    Ok((window, issued))
}

/// Latencies to the page once it has every alarm or has had its time, and how many it does not have.
async fn until_seen(browser: &Browser, issued: &HashMap<String, Instant>) -> (Latencies, usize) {
    let give_up = Instant::now() + PAGE_WAIT;
    loop {
        let seen = browser.received().alarms;
        let missing_count = issued.keys().filter(|id| !seen.contains_key(*id)).count();
        if missing_count == 0 || Instant::now() > give_up {
            let mut latencies = Latencies::default();
            for (id, at) in &seen {
                if let Some(issued_at) = issued.get(id) {
                    latencies.add(at.duration_since(*issued_at).as_micros() as u64);
                }
            }
            return (latencies, missing_count);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
