//! All attacks together: **the gateway's memory stays below a bound and stops growing, and the devices that behave are
//! served.**
//!
//! | attacker | what it does |
//! |---|---|
//! | garbage | connects, sends bytes that are no TLS, goes |
//! | half-open | begins a handshake and says no more, until it is thrown out |
//! | page loris | begins a request to the control room and says no more |
//! | page visitor | loads the page and the stream without a session, without pause |
//! | slow reader | a device that publishes and never reads a PUBACK |
//! | oversized | a device that announces packets of 200 MiB |
//! | flood | a device that publishes as fast as it can |
//!
//! The first three know no key; the last three have a certificate. Each begins again as soon as it is thrown out.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fieldpost_protocol::BootId;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    RigError,
    gateway::{Launch, Setup},
    load::{self, Load, Pace},
};
use crate::{
    bench::Usage,
    console,
    fleet::source::unix_ms,
    raw::{Client, ClientError, Credentials, Window},
};

/// What to do.
#[derive(Debug, Clone)]
pub struct AttackPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Devices that behave.
    pub device_count: usize,
    /// Attackers of each kind.
    pub attacker_count: usize,
    /// How long.
    pub lasts: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct AttackReport {
    /// Attacks begun: connections of attackers.
    pub attack_count: u64,
    /// Resident memory before the first, in KiB.
    pub before_kib: u64,
    /// The most while they lasted.
    pub most_kib: u64,
    /// In the second quarter of the run half of the time below this.
    pub second_quarter_kib: u64,
    /// In its last quarter half of the time below this.
    pub last_quarter_kib: u64,
    /// How much more that is. At most [`GROWTH_KIB`].
    pub grown_kib: u64,
    /// Records of the devices that behave, each with its PUBACK. Custody is proven by the other rigs.
    pub served_count: usize,
    /// Their connections that ended. Must be 0.
    pub thrown_out_count: u64,
    /// From publish to PUBACK for those, 99th percentile in ms.
    pub puback_ms_p99: f64,
}

/// The bound, in KiB: 112 MiB for all attackers of the default plan. Of it the history has 65,536 rows in memory, as many again
/// while they are written, and 131,072 in a merge. 79 MiB on a quiet machine; 91 at a load of 19, where a merge meets readers that are
/// behind.
const MOST_KIB: u64 = 112 << 10;

/// As `docs/systemd/fieldpost.service` sets it: large buffers go back to the kernel when they are freed.
const GIVES_BACK: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "131072");

/// What the last quarter may take more than the second, in KiB. In the middle and not at most: a merge of the history takes 16 MiB for
/// a moment, and what falls into that moment beside it is chance.
const GROWTH_KIB: u64 = 6 << 10;

/// 99 of 100 PUBACKs to devices that behave, at the latest, on two processors that the attackers use too. A device
/// waits thirty times as long before it gives a connection up.
const PUBACK_MS_MAX: f64 = 10_000.0;

impl AttackReport {
    pub(super) fn held(&self) -> bool {
        self.served_count > 0
            && self.thrown_out_count == 0
            && self.most_kib <= MOST_KIB
            && self.grown_kib <= GROWTH_KIB
            && self.puback_ms_p99 <= PUBACK_MS_MAX
    }
}

const PACE: Pace = Pace::new(2, 200);

/// From one look at the memory to the next.
const LOOK: Duration = Duration::from_millis(250);

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn attacks(plan: &AttackPlan, dir: &Path) -> Result<AttackReport, RigError> {
    let certified = plan.attacker_count * 3;
    let setup = Setup::new(&dir.join("gateway"), plan.device_count + certified, "")?;
    let launch = Launch::of(&plan.binary)
        .with(GIVES_BACK.0, GIVES_BACK.1)
        // Small enough that the flood turns it over many times: there is no sink, so nothing is owed to anybody.
        .with("FIELDPOST__SPOOL__BYTES_MAX", "268435456")
        .with("FIELDPOST__FRONT_DOOR__CONNECT_DEADLINE_MS", "3000");
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    let (rogues, good) = setup.devices.split_at(certified);
    let load = Load::start(setup.address, good, Load::fresh(plan.device_count), PACE);
    load.everyone_hears(10).await?;
    let memory =
        || Usage::of(gateway.id()).map(|usage| usage.resident_kib).map_err(RigError::io("read the memory"));
    let mut report = AttackReport { before_kib: memory()?, ..AttackReport::default() };
    let connected = load.connected_count();
    let attackers = Attackers::start(&setup, rogues, plan.attacker_count);
    let (began, mut seen) = (Instant::now(), Vec::new());
    while began.elapsed() < plan.lasts {
        tokio::time::sleep(LOOK).await;
        seen.push(memory()?);
    }
    report.attack_count = attackers.end().await;
    let quarter = seen.len() / 4;
    report.most_kib = seen.iter().copied().max().unwrap_or(0);
    report.second_quarter_kib = middle(&mut seen[quarter..2 * quarter]);
    report.last_quarter_kib = middle(&mut seen[3 * quarter..]);
    report.grown_kib = report.last_quarter_kib.saturating_sub(report.second_quarter_kib);
    report.thrown_out_count = load.connected_count() - connected;
    let windows = load.end().await?;
    let unserved: usize = windows.iter().map(Window::open_count).sum();
    report.served_count = load::counts(&windows).iter().sum();
    console::progress(&format!(
        "{} attacks; {unserved} records were under way at the end",
        report.attack_count
    ));
    gateway.kill()?;
    let mut waited_us: Vec<u64> =
        windows.iter().flat_map(|window| window.waited_us.iter().copied()).collect();
    waited_us.sort_unstable();
    let p99 = waited_us.get(waited_us.len() * 99 / 100).copied().unwrap_or(u64::MAX);
    report.puback_ms_p99 = p99 as f64 / 1e3;
    Ok(report)
}

fn middle(part: &mut [u64]) -> u64 {
    part.sort_unstable();
    part.get(part.len() / 2).copied().unwrap_or(0)
}

/// The running attackers.
struct Attackers {
    running: JoinSet<()>,
    stop: CancellationToken,
    count: Arc<AtomicU64>,
}

impl Attackers {
    fn start(setup: &Setup, rogues: &[Credentials], each: usize) -> Self {
        let mut attackers =
            Self { running: JoinSet::new(), stop: CancellationToken::new(), count: Arc::default() };
        let (door, page) = (setup.address, setup.control_room);
        for _ in 0..each {
            attackers.repeat(move || garbage(door));
            attackers.repeat(move || half_open(door));
            attackers.repeat(move || loris(page));
            attackers.repeat(move || visit(page));
        }
        for rogue in rogues.chunks(3) {
            let [slow, oversized_one, fast] = rogue else { continue };
            let (slow, oversized_one, fast) = (slow.clone(), oversized_one.clone(), fast.clone());
            attackers.repeat(move || slow_reader(door, slow.clone()));
            attackers.repeat(move || oversized(door, oversized_one.clone()));
            attackers.repeat(move || flood(door, fast.clone()));
        }
        attackers
    }

    /// Begins an attack again whenever it has ended.
    fn repeat<F: Future<Output = Result<(), ClientError>> + Send>(
        &mut self,
        attack: impl Fn() -> F + Send + 'static,
    ) {
        let (stop, count) = (self.stop.clone(), Arc::clone(&self.count));
        self.running.spawn(async move {
            while !stop.is_cancelled() {
                count.fetch_add(1, Ordering::Relaxed);
                // However it ended: being thrown out is what it is for.
                let _ = stop.run_until_cancelled(attack()).await;
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
        });
    }

    async fn end(self) -> u64 {
        self.stop.cancel();
        self.running.join_all().await;
        self.count.load(Ordering::Relaxed)
    }
}

/// Between two attacks of one attacker: with it the machine is the gateway's, not the attackers'.
const AGAIN: Duration = Duration::from_millis(10);

async fn garbage(door: SocketAddr) -> Result<(), ClientError> {
    let mut stream = TcpStream::connect(door).await?;
    let mut bytes = [0; 4096];
    StdRng::seed_from_u64(unix_ms()).fill_bytes(&mut bytes);
    stream.write_all(&bytes).await?;
    until_thrown_out(stream).await
}

async fn half_open(door: SocketAddr) -> Result<(), ClientError> {
    let mut stream = TcpStream::connect(door).await?;
    // A TLS record of 512 bytes with the first bytes of a ClientHello (RFC 8446, 4.1.2 and 5.1).
    stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await?;
    until_thrown_out(stream).await
}

async fn loris(page: SocketAddr) -> Result<(), ClientError> {
    let mut stream = TcpStream::connect(page).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await?;
    until_thrown_out(stream).await
}

async fn visit(page: SocketAddr) -> Result<(), ClientError> {
    for path in ["/", "/api/v1/stream", "/api/v1/live"] {
        let mut stream = TcpStream::connect(page).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {page}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        until_thrown_out(stream).await?;
    }
    Ok(())
}

async fn until_thrown_out(mut stream: TcpStream) -> Result<(), ClientError> {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

async fn slow_reader(door: SocketAddr, rogue: Credentials) -> Result<(), ClientError> {
    let mut client = Client::connect(door, &rogue, 1000).await?;
    let mut window = Window::new(BootId(1));
    loop {
        // Until the gateway takes no more: then this waits for good, or is thrown out.
        let more = window.open_count() + 64;
        client.fill(&mut window, more, u32::MAX).await?;
    }
}

async fn oversized(door: SocketAddr, rogue: Credentials) -> Result<(), ClientError> {
    let mut client = Client::connect(door, &rogue, 64).await?;
    // A QoS 1 PUBLISH of 200 MiB by its length, and as much of it as is taken.
    client.send_raw(&[0x32, 0x80, 0x80, 0x80, 0x64]).await?;
    loop {
        client.send_raw(&[0x20; 4096]).await?;
    }
}

async fn flood(door: SocketAddr, rogue: Credentials) -> Result<(), ClientError> {
    let mut client = Client::connect(door, &rogue, 64).await?;
    // A boot of its own, so that nothing is a repetition.
    let mut window = Window::new(BootId(unix_ms() as u32));
    loop {
        client.fill(&mut window, 256, u32::MAX).await?;
        client.settle(&mut window).await?;
        // What it remembers of itself is not what is measured.
        window.acknowledged.clear();
        window.waited_us.clear();
    }
}
