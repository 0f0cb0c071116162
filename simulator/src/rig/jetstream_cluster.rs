//! A real JetStream cluster under load, one server after the other in trouble, then all of them and a PostgreSQL beside them:
//! **nothing is lost, and the consumer and the database have everything once by its key, also after an outage longer than the
//! stream's duplicate window.**
//!
//! ```text
//! devices -> gateway -> forwarder -> three nats-servers, a stream with three replicas -> consume.py of docs/sinks/nats.md
//!                                      1. the stream's leader killed, started again        killed too, and started again:
//!                                      2. the gateway's server paused                      it goes on where it was
//!                                      3. the gateway's server cut off from the other two           |
//!                    '- forwarder -> proxy -> PostgreSQL, which has the consumer's database too  <---'
//!                                      4. answers lost, then all four killed: a scaled two-hour outage
//! ```
//!
//! Through 1 to 3 the stream must go on while the fault lasts: two of three are enough. Time is scaled by [`SCALE`]: the duplicate
//! window of 10 minutes is 1 second, the outage of two hours 12 seconds. Needs root.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fieldpost_gateway::config::RELEASE_ALL;

use super::{
    Account, OutageError, RigError,
    cluster::Cluster,
    consumer::Consumer,
    gateway::{Launch, SPOOL, Setup},
    load::{self, Load, Pace},
    nats::collect,
    postgres::Beside,
    spool,
};
use crate::console;

/// One second here stands for so many.
const SCALE: u32 = 600;

/// The duplicate window of the page, scaled: 1 s.
const WINDOW: Duration = Duration::from_secs(600 / SCALE as u64);

/// What to do.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// The nats-server binary.
    pub nats_server: PathBuf,
    /// A Python with nats-py and asyncpg.
    pub python: PathBuf,
    /// Devices.
    pub device_count: usize,
    /// How long all servers are gone, as it would be in real time.
    pub outage: Duration,
    /// For everything to arrive when all is well again; what has not is lost.
    pub arrival_max: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ClusterReport {
    /// Records whose PUBACK a device has read.
    pub acknowledged_count: usize,
    /// Of these, not in the consumer's store. Must be 0.
    pub lost_count: usize,
    /// Not even in the stream. Must be 0.
    pub lost_by_stream_count: usize,
    /// In the consumer's store or in PostgreSQL, and from no device. Must be 0.
    pub unexpected_count: usize,
    /// Of these, what the gateway does not owe JetStream any more: no wait would bring it.
    pub gone_count: u64,
    /// Repetitions in the stream, which the consumer had to drop by key. Must not be 0: nothing else shows that it does.
    pub repeated_in_stream_count: u32,
    /// What PostgreSQL has of the same records: none lost, none twice.
    pub postgres: Account,
    /// Its commits whose answer was lost, so that the gateway had to send their rows again.
    pub postgres_lost_answer_count: u64,
    /// The longest that the stream stood still while two of three servers were well, in ms.
    pub standstill_ms_max: u128,
    /// How long all were gone, in seconds of real time.
    pub outage_s: u64,
    /// The duplicate window, likewise.
    pub duplicate_window_s: u64,
    /// How much faster than real time the last two were.
    pub scale: u32,
}

impl ClusterReport {
    pub(super) fn held(&self) -> bool {
        self.acknowledged_count > 0
            && self.lost_count + self.lost_by_stream_count + self.unexpected_count == 0
            && self.postgres.held()
            && self.postgres_lost_answer_count > 0
            && self.repeated_in_stream_count > 0
    }
}

const PACE: Pace = Pace::new(4, 50);
/// An election among the servers takes up to ten seconds, longer on a busy machine.
const STANDSTILL_MAX: Duration = Duration::from_secs(90);
/// A gateway that is connected has sent something by then: it gives an attempt 2 s, and waits 1 s for the next.
const CONNECTED_MAX: Duration = Duration::from_secs(10);
/// From one look at the database to the next.
const AGAIN: Duration = Duration::from_millis(200);

/// Runs the plan in the empty folder `dir`, inside a network namespace of its own.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn jetstream_cluster(plan: &ClusterPlan, dir: &Path) -> Result<ClusterReport, RigError> {
    let mut cluster = tokio::task::block_in_place(|| Cluster::start(&plan.nats_server, &dir.join("nats")))?;
    // After the cluster, which brings this namespace's own interface up.
    let mut database = Beside::start().await?;
    let urls = Cluster::urls();
    let appendix = format!(
        "[[forward.nats]]\nurl = \"{}\"\nreplicas = 3\nduplicate_window_s = {}\nretry_delay_ms_max = 1000\n\
         attempt_ms_max = 2000\n{RELEASE_ALL}\n{}",
        urls.join(","),
        WINDOW.as_secs(),
        database.output()
    );
    let setup = Setup::new(&dir.join("gateway"), plan.device_count, &appendix)?;
    let mut gateway = tokio::task::block_in_place(|| {
        setup.start(&Launch::of(&plan.binary).with("FIELDPOST__LOG__LEVEL", "info"))
    })?;
    let load = Load::start(setup.address, &setup.devices, Load::fresh(plan.device_count), PACE);
    load.everyone_hears(10).await?;
    let mut consumer = Consumer::new(&plan.python, &dir.join("consumer"), &database)?;
    Cluster::goes_on(50, STANDSTILL_MAX).await?;
    consumer.run(&urls)?;
    let first: Vec<String> = setup.devices.iter().map(|device| load::key(device, 0)).collect();
    consumer.has_stored(&database, &first, STANDSTILL_MAX).await?;
    let standstill = one_by_one(&mut cluster, &mut consumer, &urls).await?;
    outage(&mut cluster, &mut database, plan.outage / SCALE).await?;
    load.everyone_hears(1).await?;
    let mut windows = load.end().await?;
    load::settle(&setup, &mut windows).await?;
    let counts = load::counts(&windows);
    let settled = Instant::now();
    let keys: Vec<String> = setup
        .devices
        .iter()
        .zip(&counts)
        .flat_map(|(device, count)| (0..*count).map(|seq| load::key(device, seq)))
        .collect();
    let mut report = judge(&mut consumer, &database, &urls, &keys, plan.arrival_max).await?;
    report.standstill_ms_max = standstill.as_millis();
    report.outage_s = plan.outage.as_secs();
    while settled.elapsed() < plan.arrival_max {
        report.postgres = Account::of(&setup.devices, &counts, &database.keys()?);
        if report.postgres.lost_count == 0 {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    gateway.terminate()?;
    let owed_count = spool::owed_count_max(&dir.join(SPOOL))?;
    report.gone_count = (report.lost_by_stream_count as u64).saturating_sub(owed_count);
    // What came after everything was there can only be there twice.
    let found = database.keys()?;
    report.postgres = Account::of(&setup.devices, &counts, &found);
    report.postgres_lost_answer_count = database.lost_answer_count();
    let keys: HashSet<String> = keys.into_iter().collect();
    report.unexpected_count += found.keys().filter(|key| !keys.contains(*key)).count();
    Ok(report)
}

/// One server in trouble at a time; returns the longest that the stream stood still.
async fn one_by_one(
    cluster: &mut Cluster,
    consumer: &mut Consumer,
    urls: &[String],
) -> Result<Duration, RigError> {
    let leader = Cluster::stream().await.0.unwrap_or_default();
    console::progress(&format!("now: server {leader}, which leads the stream, is killed"));
    cluster.kill(leader)?;
    let mut standstill = Cluster::goes_on(200, STANDSTILL_MAX).await?;
    cluster.run(leader)?;
    let served = Cluster::serving("fieldpost").await?;
    console::progress(&format!(
        "now: server {served}, which the gateway uses, is paused; the consumer is killed"
    ));
    cluster.signal(served, "STOP")?;
    consumer.run(urls)?;
    standstill = standstill.max(Cluster::goes_on(200, STANDSTILL_MAX).await?);
    cluster.signal(served, "CONT")?;
    let served = Cluster::serving("fieldpost").await?;
    console::progress(&format!("now: server {served}, which the gateway uses, is cut off from the others"));
    Cluster::cut_off(served)?;
    standstill = standstill.max(Cluster::goes_on(200, STANDSTILL_MAX).await?);
    Cluster::heal()?;
    Ok(standstill)
}

/// The gateway loses answers first: what it sent is in the stream and in the tables, and it cannot know. Then everything is gone.
async fn outage(cluster: &mut Cluster, database: &mut Beside, lasts: Duration) -> Result<(), RigError> {
    console::progress(&format!("now: answers are lost, then all are killed for {lasts:?}"));
    database.lose_answers(STANDSTILL_MAX).await?;
    lose_an_answer().await?;
    for number in 0..Cluster::NODES {
        cluster.kill(number)?;
    }
    database.kill()?;
    tokio::time::sleep(lasts).await;
    Cluster::heal()?;
    database.restart()?;
    for number in 0..Cluster::NODES {
        cluster.run(number)?;
    }
    console::progress("now: all are back");
    Cluster::goes_on(200, STANDSTILL_MAX).await.map(drop)
}

/// Until the stream holds what the gateway cannot know of: what is added once no answer passes. A gateway that is about to connect
/// then sends nothing, so the answers pass again for as long as it takes until it goes on.
async fn lose_an_answer() -> Result<(), RigError> {
    let start = Instant::now();
    loop {
        Cluster::goes_on(50, STANDSTILL_MAX).await?;
        Cluster::lose_answers()?;
        match Cluster::goes_on(1, CONNECTED_MAX).await {
            Err(RigError::Hang(_)) if start.elapsed() < STANDSTILL_MAX => Cluster::heal()?,
            added => return added.map(drop),
        }
    }
}

async fn judge(
    consumer: &mut Consumer,
    database: &Beside,
    urls: &[String],
    keys: &[String],
    most: Duration,
) -> Result<ClusterReport, RigError> {
    let found = consumer.ids_with(database, keys, most).await?;
    let expected: HashMap<String, u32> = keys.iter().map(|key| (key.clone(), 0)).collect();
    let lost_count = keys.iter().filter(|key| !found.contains(*key)).count();
    let (stream, lost_by_stream_count) = match Box::pin(collect(&urls[0], &expected, most)).await {
        Ok(stream) => (stream, 0),
        Err(OutageError::Missing { missing_count, .. }) => (HashMap::new(), missing_count),
        Err(other) => return Err(RigError::cannot("read JetStream")(other)),
    };
    Ok(ClusterReport {
        acknowledged_count: keys.len(),
        lost_count,
        lost_by_stream_count,
        unexpected_count: found.iter().filter(|id| !expected.contains_key(*id)).count(),
        repeated_in_stream_count: stream.values().map(|count| count - 1).sum(),
        duplicate_window_s: (WINDOW * SCALE).as_secs(),
        scale: SCALE,
        ..ClusterReport::default()
    })
}
