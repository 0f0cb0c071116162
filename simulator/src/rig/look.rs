//! `kill -9` between log and send: **no browser has received a byte that is not on record.**
//!
//! ```text
//! bare devices -> gateway binary -> browsers that keep every byte     kill -9 at a random instant, again and again
//!                     '- access record, picture journal: what was sent, rebuilt when all is over
//! received - the beginning that it has in common with the rebuilt = unlogged, which must be 0
//! ```
//! The last run is ended in order, so that each of its pages must have a closing line with the bytes that it was sent.
//!
//! The rig is worth what its red is worth. A gateway with the feature `sabotage` can show a picture before it is durable
//! (`show-before-log`), leave links out of the chain (`skip-chain`) or forget closing lines (`drop-closing`): each must
//! be found here.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fieldpost_gateway::audit::{
    files::ACCESS_DIR,
    line::Line,
    pictures::PICTURES_DIR,
    rebuild::{RebuildError, rebuild},
    verify::verify,
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    bench::{PageError, Peer, PeerError, Server, open_page},
    console,
    raw::{Client, Window},
};

/// What to do.
#[derive(Debug, Clone)]
pub struct LookPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// How often it is killed.
    pub kill_count: usize,
    /// Bare devices that move without pause.
    pub device_count: usize,
    /// Browsers that look.
    pub page_count: usize,
    /// Decides the instants.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LookReport {
    /// Kills carried out.
    pub killed_count: usize,
    /// Live pages that received something.
    pub page_count: usize,
    /// Bytes that they received.
    pub received_bytes: u64,
    /// Of these, bytes that the record does not give again. Must be 0.
    pub unlogged_bytes: u64,
    /// Pages of the last run, ended in order, without a closing line or with other bytes. Must be 0.
    pub unclosed_count: usize,
    /// Lines of the access record.
    pub lines: u64,
    /// Where its chain breaks. Must be nothing.
    pub broken: Option<String>,
}

impl LookReport {
    /// Whether every byte is on record, every ended page closed, and the chain whole.
    #[must_use]
    pub fn held(&self) -> bool {
        self.unlogged_bytes == 0
            && self.unclosed_count == 0
            && self.broken.is_none()
            && self.received_bytes > 0
    }
}

/// The rig itself failed: it proves nothing, neither way.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The gateway did not start or stop.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A browser could not look.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A process or a file.
    #[error("the rig cannot work: {0}")]
    Io(#[from] io::Error),
    /// Nothing was shown for this long under load.
    #[error("nothing was shown for {0:?}: the gateway hangs")]
    Hang(Duration),
}

/// Under load a picture must come far sooner than this, even on a busy machine.
const HANG: Duration = Duration::from_secs(60);
/// The longest time between the first byte of every page and the kill: two pictures.
const KILL_AFTER_US_MAX: u64 = 600_000;

/// One page: whose, and every byte it received. Each page has an operator of its own, whose name finds its record.
struct Received {
    operator: String,
    bytes: Vec<u8>,
}

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`LookError`] if the rig itself cannot work.
pub async fn kill_under_looks(plan: &LookPlan, dir: &Path) -> Result<LookReport, LookError> {
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let mut server = Server::start(Peer::fieldpost(&plan.binary), dir, plan.device_count)?;
    let mut boot = 0;
    let mut pages = Vec::new();
    for round in 0..plan.kill_count {
        boot += 1;
        let after = Duration::from_micros(dice.random_range(0..KILL_AFTER_US_MAX));
        pages.extend(one_round(&mut server, plan, boot, after, End::Kill).await?);
        server.restart()?;
        if (round + 1) % 10 == 0 {
            console::progress(&format!("killed {} of {} times", round + 1, plan.kill_count));
        }
    }
    let last = one_round(&mut server, plan, boot + 1, Duration::from_secs(1), End::Terminate).await?;
    judge(plan.kill_count, &server.dir().join("data"), pages, last)
}

#[derive(Clone, Copy)]
enum End {
    Kill,
    Terminate,
}

/// Devices move and browsers look; then the end, `after` every browser has had its first bytes.
async fn one_round(
    server: &mut Server,
    plan: &LookPlan,
    boot: u32,
    after: Duration,
    end: End,
) -> Result<Vec<Received>, LookError> {
    let mut devices = JoinSet::new();
    for credentials in server.devices.clone() {
        let address = server.address;
        devices.spawn(async move {
            let mut window = Window::new(fieldpost_protocol::BootId(boot));
            let Ok(mut client) = Client::connect(address, &credentials, 64).await else { return };
            // Until the cut.
            while client.fill(&mut window, 4, u32::MAX).await.is_ok()
                && client.settle(&mut window).await.is_ok()
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    let (begun, mut seen) = watch::channel(0usize);
    let mut browsers = JoinSet::new();
    for number in 0..plan.page_count {
        let operator = format!("op{boot}-{number}");
        let stream = open_page(server, &operator).await?;
        let begun = begun.clone();
        browsers.spawn(async move { receive(operator, stream, &begun).await });
    }
    let everybody = seen.wait_for(|count| *count >= plan.page_count);
    tokio::time::timeout(HANG, everybody).await.map_err(|_| LookError::Hang(HANG))?.ok();
    // The instant of the fault, not a wait for something to be ready.
    tokio::time::sleep(after).await;
    match end {
        End::Kill => server.kill()?,
        End::Terminate => _ = server.terminate()?,
    }
    devices.join_all().await;
    Ok(browsers.join_all().await)
}

async fn receive(operator: String, mut stream: Incoming, begun: &watch::Sender<usize>) -> Received {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = stream.frame().await {
        if let Some(data) = frame.data_ref() {
            if bytes.is_empty() {
                begun.send_modify(|count| *count += 1);
            }
            bytes.extend_from_slice(data);
        }
    }
    Received { operator, bytes }
}

fn judge(
    killed_count: usize,
    data_dir: &Path,
    killed: Vec<Received>,
    last: Vec<Received>,
) -> Result<LookReport, LookError> {
    let access = data_dir.join(ACCESS_DIR);
    let mut opened: Vec<Line> = Vec::new();
    let verdict = verify(&access, &[], &mut |line| {
        opened.extend((line.what == "stream_opened").then(|| line.clone()));
        Ok(())
    })?;
    let mut report = LookReport {
        killed_count,
        page_count: killed.len() + last.len(),
        lines: verdict.lines,
        broken: verdict.broken.map(|broken| format!("{} line {}: {}", broken.file, broken.line, broken.what)),
        ..LookReport::default()
    };
    let is_last = std::iter::repeat_n(false, killed.len()).chain(std::iter::repeat(true));
    for (page, is_last) in killed.into_iter().chain(last).zip(is_last) {
        report.received_bytes += page.bytes.len() as u64;
        let mut rebuilt = Vec::new();
        let line = opened.iter().find(|line| line.operator == page.operator);
        let outcome = line.map(|line| rebuild(&access, &data_dir.join(PICTURES_DIR), line.n, &mut rebuilt));
        match outcome {
            Some(Err(RebuildError::Io(error))) => return Err(error.into()),
            Some(Ok(outcome)) if is_last && !outcome.is_exact => report.unclosed_count += 1,
            _ => {}
        }
        let logged =
            page.bytes.iter().zip(&rebuilt).take_while(|(received, logged)| received == logged).count();
        report.unlogged_bytes += (page.bytes.len() - logged) as u64;
    }
    Ok(report)
}
