//! The live page's way out: many units that move, few or many browsers that look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Figure, Server,
    browser::{Browser, open_page},
    ingest::{boot, connect_all},
};
use crate::raw::{Client, ClientError, Window};

/// Each unit moves once in this time.
const PERIOD: Duration = Duration::from_secs(1);

/// How long each number of browsers is measured.
const MEASURED: Duration = Duration::from_secs(10);

/// How long a browser may take to receive the whole picture.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// What one number of browsers came to.
struct Measured {
    cpu_share: f64,
    frames_per_s: f64,
    updates_per_s: f64,
    bytes_per_update: f64,
    lagged_count: u64,
}

/// Every enrolled device of `server` moves once a second while 0, 1 and then `browser_count` browsers look.
///
/// # Errors
/// A device loses its connection, or a page does not open.
pub async fn fan_out(
    server: &Server,
    browser_count: usize,
) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut units = JoinSet::new();
    let unit_count = server.devices.len();
    for (number, client) in connect_all(server, &server.devices, 64).await?.into_iter().enumerate() {
        let offset = PERIOD.mul_f64(number as f64 / unit_count as f64);
        units.spawn(walk(client, offset, Arc::clone(&is_over)));
    }
    let mut figures = Vec::new();
    let mut figure = |what: &str, value: f64, unit| {
        let what = format!("live page, {unit_count} units a second, {what}");
        figures.push(Figure { server: server.name, what, value, unit });
    };
    let nobody = measure(server, &[]).await?;
    let mut browsers = vec![open(server, 0).await?];
    let one = measure(server, &browsers).await?;
    for number in 1..browser_count {
        browsers.push(open(server, number).await?);
    }
    let many = measure(server, &browsers).await?;
    figure("nobody looks: server", 100.0 * nobody.cpu_share, "% of a processor");
    for (count, measured) in [(1, &one), (browser_count, &many)] {
        let Measured { cpu_share, frames_per_s, updates_per_s, bytes_per_update, lagged_count } = measured;
        let mut of = |what: &str, value, unit| figure(&format!("{count} browsers: {what}"), value, unit);
        of("server", 100.0 * cpu_share, "% of a processor");
        of("frames a browser", *frames_per_s, "a second");
        of("units a browser", *updates_per_s, "a second");
        of("of a unit's update", *bytes_per_update, "bytes");
        of("told that they lag", *lagged_count as f64, "times");
    }
    let each = (many.cpu_share - one.cpu_share) / (browser_count.max(2) - 1) as f64;
    figure("each further browser: server", 100.0 * each, "% of a processor");
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = units.join_next().await {
        ended.expect("a benchmark task does not panic")?;
    }
    Ok(figures)
}

/// A browser that has the whole picture.
async fn open(server: &Server, number: usize) -> Result<Browser, Box<dyn std::error::Error>> {
    let browser = Browser::follow(open_page(server, &format!("operator-{number}")).await?);
    let began = Instant::now();
    // The first frame is everything, the second is news.
    while browser.received().frames < 2 {
        if began.elapsed() > OPENING_MAX {
            return Err(format!("browser {number} had no picture after {OPENING_MAX:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(browser)
}

async fn measure(server: &Server, browsers: &[Browser]) -> std::io::Result<Measured> {
    let sum = || {
        let received = browsers.iter().map(Browser::received);
        received.fold((0, 0, 0, 0), |(bytes, frames, updates, lagged), one| {
            (bytes + one.bytes, frames + one.frames, updates + one.updates, lagged + one.lagged)
        })
    };
    let (before, cpu_before, began) = (sum(), server.usage()?.cpu_s, Instant::now());
    tokio::time::sleep(MEASURED).await;
    let (after, cpu_after, took_s) = (sum(), server.usage()?.cpu_s, began.elapsed().as_secs_f64());
    let each = |count: u64| count as f64 / took_s / browsers.len().max(1) as f64;
    let updates = after.2 - before.2;
    Ok(Measured {
        cpu_share: (cpu_after - cpu_before) / took_s,
        frames_per_s: each(after.1 - before.1),
        updates_per_s: each(updates),
        bytes_per_update: (after.0 - before.0) as f64 / updates.max(1) as f64,
        lagged_count: after.3 - before.3,
    })
}

/// One unit: a position a second.
async fn walk(mut client: Client, offset: Duration, is_over: Arc<AtomicBool>) -> Result<(), ClientError> {
    let mut window = Window::new(boot());
    let mut ticks = tokio::time::interval_at((Instant::now() + offset).into(), PERIOD);
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let one_more = window.issued_count() + 1;
        client.fill(&mut window, usize::MAX, one_more).await?;
        client.settle(&mut window).await?;
    }
    Ok(())
}
