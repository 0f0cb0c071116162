//! TAK: **every position arrives, each alert stands without a gap until a person closes its alarm, and its end arrives too**, at
//! parties that are not ours. One unit raises two alarms.
//!
//! ```text
//! bare devices -> gateway binary -> PyTAK's receiver           broken in the middle of an alarm
//!      '- hostile callsigns  '----> takproto's decoder         protobuf, by negotiation
//!                            '----> FreeTAKServer -> PyTAK     routed to a second client; slow, so only in the first part
//! PyTAK as a client ----------^        of the gateway's own listener; beside it a client that takes nothing, and a hostile one
//! ```
//! FreeTAKServer is told in the style that it takes (`docs/sinks/tak.md`), eight positions a second, each unit's in bursts.
//! In a first part a few units move while alarms stand; in a second one many move fast. Alarms are told again every second
//! with a stale time of ten: ten tellings, as by default (every 30 s, 300 s), so **so many seconds are as many tellings as half of
//! them in minutes of the default**: 20 s stand for 10 minutes. A gap shows only in an alarm that stands longer than ten seconds.
//! Behind FreeTAKServer the stale time is the default's: its own delay is not scaled, on a busy machine 16 s. With `--real-time`
//! nothing is scaled.
//!
//! A gateway with the feature `sabotage` can leave escaping out (`skip-escape`), tell an alarm once (`tell-once`), wait for a
//! party for ever (`wait-for-tak`) or tell FreeTAKServer like any other (`ignore-style`), to see this turn red.

mod judge;
mod papers;
mod peer;
mod server;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fieldpost_protocol::BootId;
use tokio::time::sleep;

pub(super) use self::papers::Papers;
use self::{
    judge::Arrived,
    papers::{GUEST, HOSTILE_GUEST, SLOW},
    peer::Peer,
    server::FreeTakServer,
};
use super::{
    RigError,
    broker::scrape,
    gateway::{Launch, Setup},
    load::{HANG, Load, Pace},
};
use crate::{
    bench::free_port,
    check::http::Http,
    console,
    raw::{Client, Window},
};

/// What to do.
#[derive(Debug, Clone)]
pub struct TakPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// A Python with PyTAK, takproto, defusedxml and lxml.
    pub python: PathBuf,
    /// A Python with FreeTAKServer; without it that part is left out.
    pub free_tak_server: Option<PathBuf>,
    /// Units that move fast in the second part, five records each at a time.
    pub device_count: usize,
    /// Records a second in the second part.
    pub rate: u64,
    /// How long the second part lasts.
    pub lasts: Duration,
    /// How long the alarm stands.
    pub stands: Duration,
    /// Alarms are told again as by default (every 30 s, standing for 300 s) and not thirty times as fast.
    pub is_real_time: bool,
    /// FreeTAKServer takes part in the second part, too. What it leaves out there is reported, and no verdict.
    pub loads_free_tak_server: bool,
}

/// How often an alarm is told again, and for how long it stands if it is not.
#[derive(Debug, Clone, Copy)]
struct Telling {
    repeat_s: u32,
    stale_s: u32,
}

impl Telling {
    /// `stale_s`: where alarms are told every second.
    fn of(plan: &TakPlan, stale_s: u32) -> Self {
        if plan.is_real_time { Self { repeat_s: 30, stale_s: 300 } } else { Self { repeat_s: 1, stale_s } }
    }

    /// For a configuration.
    fn toml(self) -> String {
        format!("alarm_repeat_s = {}\nalarm_stale_s = {}\n", self.repeat_s, self.stale_s)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct TakReport {
    /// What each party received, by name: `part.party`.
    pub arrived: std::collections::BTreeMap<String, Arrived>,
    /// What of it breaks the promise, in words. Must be nothing.
    pub broken: Vec<String>,
    /// Clients of the gateway that it should have cut off and did not. Must be 0.
    pub spared_count: usize,
}

impl TakReport {
    /// Whether the promise held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.broken.is_empty() && !self.arrived.is_empty()
    }
}

/// Units of the first part: FreeTAKServer routes a hundred events a second when nothing else runs.
const FEW: usize = 4;
/// In seconds, where alarms are told every second.
const STALE_S: u32 = 10;
/// Behind FreeTAKServer: the default's.
const STALE_S_BEHIND_SERVER: u32 = 300;
/// From one burst of such a unit to its next, in ms.
const SLOWLY_MS: u64 = 2_500;
/// Records that a unit sends at once.
const BURST: usize = 5;
/// How FreeTAKServer is told.
const ITS_STYLE: &str = "positions = \"every\"\ndeclaration = false\nevents_per_s_max = 50\n";

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn tak(plan: &TakPlan, dir: &Path) -> Result<TakReport, RigError> {
    let papers = Papers::make(dir)?;
    let mut report = TakReport::default();
    an_alarm(plan, dir, &papers, &mut report).await?;
    console::progress("the alarm has stood and ended");
    many(plan, dir, &papers, &mut report).await?;
    Ok(report)
}

/// Few units and an alarm that is raised, stands through a broken connection, and is closed.
async fn an_alarm(
    plan: &TakPlan,
    dir: &Path,
    papers: &Papers,
    report: &mut TakReport,
) -> Result<(), RigError> {
    let mut xml = Peer::server(plan, dir, papers, "xml")?;
    let protobuf = Peer::server(plan, dir, papers, "protobuf")?;
    let tak_server = match &plan.free_tak_server {
        Some(python) => Some(FreeTakServer::start(python, &dir.join("fts"), papers).await?),
        None => None,
    };
    let mut viewer = None;
    let door = port()?;
    let telling = Telling::of(plan, STALE_S);
    let mut sinks = sinks(&[&xml, &protobuf], papers, door, telling);
    if let Some(tak_server) = &tak_server {
        viewer = Some(Peer::client(plan, dir, papers, tak_server)?);
        let telling = Telling::of(plan, STALE_S_BEHIND_SERVER);
        sinks += &format!("{}{ITS_STYLE}{}", papers.sink("fts", tak_server.port), telling.toml());
    }
    let setup = Setup::new(&dir.join("alarm"), FEW + 1, &sinks)?;
    let gateway = start(plan, &setup, dir, port()?)?;
    let guest = guest(plan, dir, papers, door).await?;
    let pace = Pace::new(BURST, SLOWLY_MS);
    let load = Load::start(setup.address, &setup.devices[..FEW], Load::fresh(FEW), pace);
    load.until(|counts| counts.iter().all(|count| *count >= 4)).await?;

    let alerts = raise(&setup).await?;
    for peer in [Some(&xml), Some(&protobuf), Some(&guest), viewer.as_ref()].into_iter().flatten() {
        for alert in &alerts {
            peer.until(&format!("{alert} at {}", peer.name), |seen| seen.uid == *alert).await?;
        }
    }
    xml.break_connections()?;
    // How long the alarm stands is what is tested.
    sleep(plan.stands).await;
    close(plan, &setup, &dir.join("alarm")).await?;
    let peers = [Some(&xml), Some(&protobuf), Some(&guest), viewer.as_ref()];
    for peer in peers.iter().flatten() {
        for alert in &alerts {
            let is_end = |seen: &judge::Seen| seen.uid == *alert && seen.cancel;
            peer.until(&format!("the end of {alert} at {}", peer.name), is_end).await?;
        }
    }
    let windows = load.end().await?;
    for peer in peers.iter().flatten() {
        let wanted = papers::wanted(&setup, &windows);
        peer.until_all(&wanted).await;
        for (number, alert) in alerts.iter().enumerate() {
            let arrived = judge::judge(&peer.seen(), &wanted, Some(alert));
            report.note(&format!("alarm{number}.{}", peer.name), arrived, Some(alert));
        }
    }
    drop(gateway);
    Ok(())
}

/// Many units, fast.
async fn many(plan: &TakPlan, dir: &Path, papers: &Papers, report: &mut TakReport) -> Result<(), RigError> {
    let xml = Peer::server(plan, dir, papers, "xml")?;
    let protobuf = Peer::server(plan, dir, papers, "protobuf")?;
    let (door, metrics) = (port()?, port()?);
    let mut sinks = sinks(&[&xml, &protobuf], papers, door, Telling::of(plan, STALE_S));
    let python = plan.free_tak_server.as_ref().filter(|_| plan.loads_free_tak_server);
    let mut routed = None;
    if let Some(python) = python {
        let tak_server = FreeTakServer::start(python, &dir.join("loaded-fts"), papers).await?;
        let viewer = Peer::client(plan, dir, papers, &tak_server)?;
        sinks += &format!("{}{ITS_STYLE}", papers.sink("fts", tak_server.port));
        routed = Some((tak_server, viewer));
    }
    let setup = Setup::new(&dir.join("many"), plan.device_count, &sinks)?;
    let gateway = start(plan, &setup, dir, metrics)?;
    let guest = guest(plan, dir, papers, door).await?;
    let _slow = Peer::guest(plan, dir, papers, (door, "slow", SLOW))?;
    let _hostile = Peer::guest(plan, dir, papers, (door, "hostile", HOSTILE_GUEST))?;
    let period_ms = (plan.device_count * BURST) as u64 * 1000 / plan.rate.max(1);
    let pace = Pace::new(BURST, period_ms);
    let load = Load::start(setup.address, &setup.devices, Load::fresh(plan.device_count), pace);
    // How long the load lasts is what was asked for.
    sleep(plan.lasts).await;
    let windows = load.end().await?;
    let wanted = papers::wanted(&setup, &windows);
    for peer in [&xml, &protobuf, &guest] {
        peer.until_all(&wanted).await;
        report.note(&format!("many.{}", peer.name), judge::judge(&peer.seen(), &wanted, None), None);
    }
    if let Some((_server, viewer)) = &routed {
        viewer.until_all(&wanted).await;
        report.arrived.insert("many.fts".to_owned(), judge::judge(&viewer.seen(), &wanted, None));
    }
    for (who, reason) in [(SLOW, "too-slow"), (HOSTILE_GUEST, "not-tak")] {
        if !is_cut_off(metrics, reason).await? {
            report.spared_count += 1;
            report.broken.push(format!("the {who} client was not cut off"));
        }
    }
    drop(gateway);
    Ok(())
}

/// The gateway's configuration for its outputs to TAK servers, and for its own listener.
fn sinks(servers: &[&Peer], papers: &Papers, door: u16, telling: Telling) -> String {
    let servers = servers.iter().map(|peer| peer.sink(papers) + &telling.toml());
    servers.collect::<String>() + &papers.listener(door, &telling.toml())
}

impl TakReport {
    fn note(&mut self, name: &str, arrived: Arrived, alert: Option<&str>) {
        self.broken
            .extend(arrived.faults(alert.is_some()).into_iter().map(|fault| format!("{name}: {fault}")));
        self.arrived.insert(name.to_owned(), arrived);
    }
}

fn start(
    plan: &TakPlan,
    setup: &Setup,
    dir: &Path,
    metrics: u16,
) -> Result<super::gateway::Gateway, RigError> {
    let roster = papers::roster(setup, &dir.join("roster.toml"))?;
    let launch = Launch::of(&plan.binary).with("FIELDPOST__CONTROL_ROOM__ROSTER", roster);
    setup.start(&launch.with("FIELDPOST__METRICS__LISTEN", format!("127.0.0.1:{metrics}")))
}

/// PyTAK as a client of the gateway, once it is let in.
async fn guest(plan: &TakPlan, dir: &Path, papers: &Papers, door: u16) -> Result<Peer, RigError> {
    let guest = Peer::guest(plan, dir, papers, (door, "client", GUEST))?;
    guest.until("the offer of protobuf", |seen| seen.kind == "t-x-takp-v").await?;
    Ok(guest)
}

/// Whether the gateway has cut off a TAK client for this reason, or does so soon.
async fn is_cut_off(metrics: u16, reason: &str) -> Result<bool, RigError> {
    let wanted = format!("fieldpost_tak_ended_total{{reason=\"{reason}\"}} 1");
    let give_up = Instant::now() + CUT_OFF_MAX;
    loop {
        let address = (Ipv4Addr::LOCALHOST, metrics).into();
        let text = scrape(address).map_err(RigError::io("read the metrics"))?;
        if text.contains(&wanted) {
            return Ok(true);
        }
        if Instant::now() > give_up {
            return Ok(false);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// The last device raises two alarms, one behind the other. Returns the uids of their alerts.
async fn raise(setup: &Setup) -> Result<Vec<String>, RigError> {
    let credentials = setup.devices.last().expect("the setup has devices");
    let client = Client::connect(setup.address, credentials, 64).await;
    let mut client = client.map_err(RigError::cannot("connect a device"))?.raising_alarms(credentials);
    let mut window = Window::new(BOOT);
    while window.acknowledged.len() < 2 {
        client.fill(&mut window, 1, 3).await.map_err(RigError::cannot("raise an alarm"))?;
        client.settle(&mut window).await.map_err(RigError::cannot("raise an alarm"))?;
    }
    let uid = papers::uid(credentials);
    Ok(window.acknowledged.iter().map(|seq| format!("{uid}.{}.{}-9-1-1", BOOT.0, seq.0)).collect())
}

/// A person takes each alarm and closes it.
async fn close(plan: &TakPlan, setup: &Setup, dir: &Path) -> Result<(), RigError> {
    let config = dir.join("gateway.toml").to_string_lossy().into_owned();
    let binary = plan.binary.to_string_lossy().into_owned();
    let said = super::error::tool(&[&binary, "login", "--operator", "rig", "-c", &config])?;
    let path = said.split_once("/login?").and_then(|(_, path)| path.split_whitespace().next());
    let path = path.ok_or_else(|| RigError::cannot("log in")("no link came"))?;
    let mut http = Http::new(&setup.control_room.to_string());
    let answer = http.get(&format!("/login?{path}")).await.map_err(RigError::cannot("log in"))?;
    let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
    http.set_cookie(cookie.and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned());
    let alarms = http.get_json("/api/v1/alarms").await.map_err(RigError::cannot("read the alarms"))?;
    for alarm in alarms["alarms"].as_array().into_iter().flatten() {
        let ack = serde_json::json!({"id": alarm["id"]});
        let end = serde_json::json!({"id": alarm["id"], "outcome": "test", "note": ""});
        for (path, body) in [("/api/v1/alarms/acknowledge", ack), ("/api/v1/alarms/close", end)] {
            let posted = http.post_json(path, &body).await.map_err(RigError::cannot("close the alarm"))?;
            if !posted.0.is_success() {
                return Err(RigError::cannot("close the alarm")(posted.1.to_string()));
            }
        }
    }
    Ok(())
}

/// Free for a moment; nobody else in the rig asks for it.
fn port() -> Result<u16, RigError> {
    free_port().map_err(RigError::io("find a free port"))
}

/// Of the device that raises alarms.
const BOOT: BootId = BootId(1);

/// A client that takes nothing is cut off within 5 s.
const CUT_OFF_MAX: Duration = Duration::from_secs(30);

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = HANG;
