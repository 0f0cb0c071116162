//! The gateway ends between disclosure log and send, at every point: **nothing was sent that is not on the log.**
//!
//! ```text
//! bare devices -> gateway binary -> a force system over HTTP, a TAK server, a TAK client, a location server (NMEA),
//!                     |             a machine that fetches the feed: each counts every record that reaches it
//!                     '- disclosure log      ended at a point of its code, or by kill -9 at a random instant, again and again
//! ```
//! After every end, before the next start: each record reached each party at most as often as the log names it. When all is
//! over: both name the same records, so count(released) = count(disclosure log), and the chain holds. **A TAK client that connects
//! to the gateway is told how things are and not what it missed**: what an end kept from it stays on the log and may never be sent,
//! and is counted; from the last start on nothing is.
//!
//! The points need a gateway with the feature `sabotage`, which ends itself there (`FIELDPOST_CRASH_AT`). The same build
//! can send first and log behind it (`FIELDPOST_SABOTAGE=send-before-log`): this rig must find that with every party.

mod cot;
mod feed_client;
mod location_server;
mod named;
mod party;
mod received;
mod tak_client;
mod tak_server;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fieldpost_gateway::{audit::Series, sabotage::CrashPoint};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

pub use self::party::PartyKind;
use self::{
    named::{Disclosed, Named},
    party::Party,
};
use super::{
    RigError,
    gateway::{Gateway, Launch, Setup},
    load::{self, HANG, Load, Pace},
    sink::Mood,
};
use crate::console;

/// What to do.
#[derive(Debug, Clone)]
pub struct DisclosurePlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Who is sent records.
    pub parties: Vec<PartyKind>,
    /// Random kills.
    pub kill_count: usize,
    /// How often it ends at each point of its code, at another passage each time; the binary must be able to.
    pub point_rounds: usize,
    /// Bare devices that send.
    pub device_count: usize,
    /// Decides the instants.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DisclosureReport {
    /// Ends carried out, by point; `kill` is kill -9 at a random instant.
    pub ended_count: BTreeMap<&'static str, u32>,
    /// What each party was sent, by its name on the log.
    pub sent: BTreeMap<&'static str, Sent>,
    /// Lines of the log.
    pub lines: u64,
    /// Of these, torn by an end and said as such.
    pub torn: u64,
    /// Where the chain breaks. Must be nothing.
    pub broken: Option<String>,
}

/// One party against the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sent {
    /// Different records that reached it.
    pub released_count: u64,
    /// Different records on the log. Must be the same, together with `interrupted_count`.
    pub logged_count: u64,
    /// Records that the log names once more because they were sent once more.
    pub again_count: u64,
    /// Sendings without a line before them, over all ends. Must be 0.
    pub unlogged_count: u64,
    /// Records on the log that never reached it. Must be 0 when all is over.
    pub never_sent_count: u64,
    /// Of a party that is not told what it missed: records on the log that an end kept from it.
    pub interrupted_count: u64,
    /// Acknowledged records that are owed to it and never reached it. Must be 0.
    pub lost_count: u64,
}

impl DisclosureReport {
    /// Whether every sending is on the log, and nothing else is.
    #[must_use]
    pub fn held(&self) -> bool {
        self.broken.is_none() && !self.sent.is_empty() && self.sent.values().all(Sent::held)
    }
}

impl Sent {
    fn held(&self) -> bool {
        let wrong = self.unlogged_count + self.never_sent_count + self.lost_count;
        let is_equal = self.released_count + self.interrupted_count == self.logged_count;
        wrong == 0 && is_equal && self.released_count > 0
    }
}

/// The longest time from a start to a random kill.
const KILL_AFTER_MS_MAX: u64 = 400;
/// What has not arrived so long after the end of the load is lost.
const ARRIVAL_MAX: Duration = Duration::from_secs(120);
const PACE: Pace = Pace::new(16, 10);

/// How a round ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill { after: Duration, mood: Mood },
    Point { point: CrashPoint, passage: u64 },
}

struct Rig {
    setup: Setup,
    launch: Launch,
    parties: Vec<Party>,
    log: PathBuf,
    report: DisclosureReport,
}

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn ends_between_log_and_send(
    plan: &DisclosurePlan,
    dir: &Path,
) -> Result<DisclosureReport, RigError> {
    let mut parties = Vec::new();
    for kind in &plan.parties {
        parties.extend(Party::before_gateway(*kind, dir).await?);
    }
    let appendix: String = parties.iter().map(Party::configuration).collect();
    let gateway = dir.join("gateway");
    let setup = Setup::new(&gateway, plan.device_count, &appendix)?;
    let log = gateway.join("data").join(Series::Disclosures.name());
    let launch = Launch::of(&plan.binary);
    if plan.parties.contains(&PartyKind::Feed) {
        // Machines are kept with the gateway's data, which its first start makes.
        tokio::task::block_in_place(|| setup.start(&launch))?.terminate()?;
        parties.push(Party::machine(&plan.binary, &gateway, &setup)?);
    }
    let mut rig = Rig { setup, launch, parties, log, report: DisclosureReport::default() };
    let load = Load::start(rig.setup.address, &rig.setup.devices, Load::fresh(plan.device_count), PACE);
    let ends = ends(plan);
    for (number, end) in ends.iter().enumerate() {
        rig.round(*end, &load).await?;
        if (number + 1) % 10 == 0 {
            console::progress(&format!("ended {} of {} times", number + 1, ends.len()));
        }
    }
    rig.settle(load).await?;
    Ok(rig.report)
}

fn ends(plan: &DisclosurePlan) -> Vec<End> {
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let mut ends = Vec::new();
    for round in 0..plan.point_rounds {
        for point in CrashPoint::ALL {
            // The first passage, and later ones: with a held batch, a moved cursor, a log that is read back.
            let passage = if round == 0 { 1 } else { dice.random_range(2..40) };
            ends.push(End::Point { point, passage });
        }
    }
    for round in 0..plan.kill_count {
        let after = Duration::from_millis(dice.random_range(0..KILL_AFTER_MS_MAX));
        let mood = [Mood::Takes, Mood::Refuses, Mood::Takes, Mood::Hangs][round % 4];
        ends.push(End::Kill { after, mood });
    }
    ends
}

impl Rig {
    async fn round(&mut self, end: End, load: &Load) -> Result<(), RigError> {
        let (launch, name) = match end {
            End::Kill { mood, .. } => {
                self.parties.iter().for_each(|party| party.be(mood));
                (self.launch.clone(), "kill")
            }
            End::Point { point, passage } => {
                let at = format!("{}:{passage}", point.as_str());
                (self.launch.clone().with("FIELDPOST_CRASH_AT", at), point.as_str())
            }
        };
        // What ends while it starts has ended all the same.
        let started = tokio::task::block_in_place(|| self.setup.start(&launch));
        match (end, started) {
            (End::Kill { after, .. }, Ok(mut gateway)) => {
                load.everyone_hears(1).await?;
                tokio::time::sleep(after).await;
                gateway.kill()?;
            }
            (End::Point { point, passage }, Ok(mut gateway)) => {
                until_ended(&mut gateway, point, passage).await?;
            }
            (End::Point { .. }, Err(RigError::Ended { .. })) => {}
            (_, Err(error)) => return Err(error),
        }
        *self.report.ended_count.entry(name).or_insert(0) += 1;
        self.parties.iter().for_each(|party| party.be(Mood::Takes));
        let named = self.when_counted().await?;
        for party in &self.parties {
            let name = party.kind().recipient();
            let times = |key| named.to.get(name).and_then(|to| to.times.get(key)).copied().unwrap_or(0);
            let received = party.received();
            let unlogged = received.iter().map(|(key, sent)| u64::from(sent.saturating_sub(times(key))));
            self.report.sent.entry(name).or_default().unlogged_count += unlogged.sum::<u64>();
        }
        Ok(())
    }

    /// Waits until the parties have counted what the last gateway sent; then what the log names of it.
    async fn when_counted(&self) -> Result<Named, RigError> {
        for party in &self.parties {
            party.nobody_is_connected(HANG).await?;
        }
        Named::read(&self.log)
    }

    /// The last run: everything arrives, and the two counts are compared.
    async fn settle(&mut self, load: Load) -> Result<(), RigError> {
        let before = self.when_counted().await?;
        let greeted: Vec<_> = self.parties.iter().map(Party::greeted_count).collect();
        let mut gateway = tokio::task::block_in_place(|| self.setup.start(&self.launch))?;
        load.everyone_hears(1).await?;
        for (party, greeted) in self.parties.iter().zip(&greeted) {
            party.is_there(*greeted, HANG).await?;
        }
        // What is on its way now may have been stored before everybody was there: a window for each device.
        let late: Vec<usize> = load.acknowledged().iter().map(|count| count + PACE.window).collect();
        load.until(|now| now.iter().zip(&late).all(|(now, late)| now > late)).await?;
        let mut windows = load.end().await?;
        load::settle(&self.setup, &mut windows).await?;
        let counts = load::counts(&windows);
        let (all, since) = (self.keys(&vec![0; late.len()], &counts), self.keys(&late, &counts));
        let owed = |party: &Party| if party.greeted_count().is_some() { &since } else { &all };
        for party in &self.parties {
            party.has_all(owed(party), ARRIVAL_MAX).await;
        }
        gateway.terminate()?;
        let named = self.when_counted().await?;
        for party in &self.parties {
            let name = party.kind().recipient();
            let cut_off = party.greeted_count().and_then(|_| before.to.get(name));
            let sent = self.report.sent.entry(name).or_default();
            sent.judge(owed(party), &party.received(), named.to.get(name), cut_off);
        }
        let report = &mut self.report;
        (report.lines, report.torn, report.broken) = (named.lines, named.torn, named.broken);
        Ok(())
    }

    /// The keys of each device's records in these spans of sequences.
    fn keys(&self, from: &[usize], to: &[usize]) -> Vec<String> {
        let spans = self.setup.devices.iter().zip(from.iter().zip(to));
        spans.flat_map(|(device, (from, to))| (*from..*to).map(|seq| load::key(device, seq))).collect()
    }
}

impl Sent {
    /// When all is over. `cut_off` is what the log had named before the last start, if the party is not told what it missed.
    fn judge(
        &mut self,
        owed: &[String],
        received: &HashMap<String, u32>,
        named: Option<&Disclosed>,
        cut_off: Option<&Disclosed>,
    ) {
        let Some(named) = named else { return };
        let is_missing = |key: &&String| !received.contains_key(*key);
        self.lost_count = owed.iter().filter(is_missing).count() as u64;
        // Named as often as before the last start: that line was the one that an end cut off.
        let is_cut_off = |key: &&String| {
            cut_off
                .is_some_and(|before| before.times.get(*key).is_some_and(|times| named.times[*key] == *times))
        };
        let (interrupted, never): (Vec<_>, Vec<_>) =
            named.times.keys().filter(is_missing).partition(is_cut_off);
        (self.interrupted_count, self.never_sent_count) = (interrupted.len() as u64, never.len() as u64);
        self.released_count = received.len() as u64;
        self.logged_count = named.times.len() as u64;
        self.again_count = named.again_count;
    }
}

async fn until_ended(gateway: &mut Gateway, point: CrashPoint, passage: u64) -> Result<(), RigError> {
    let began = Instant::now();
    while gateway.ended()?.is_none() {
        if began.elapsed() > HANG {
            return Err(RigError::Cannot {
                what: format!("end the gateway at passage {passage} of {}", point.as_str()),
                why: "it did not get there, or was built without the feature `sabotage`".to_owned(),
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
