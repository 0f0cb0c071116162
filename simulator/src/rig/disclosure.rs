//! The gateway ends between disclosure log and send, at every point: **nothing was sent that is not on the log.**
//!
//! ```text
//! bare devices -> gateway binary -> a force system over HTTP that counts every record that reaches it
//!                     '- disclosure log      ended at a point of its code, or by kill -9 at a random instant, again and again
//! ```
//! After every end, before the next start: each record reached the force system at most as often as the log names it. When
//! all is over: both name the same records, so count(released) = count(disclosure log), and the chain holds.
//!
//! The points need a gateway with the feature `sabotage`, which ends itself there (`FIELDPOST_CRASH_AT`). The same build
//! can send first and log behind it (`FIELDPOST_SABOTAGE=send-before-log`): this rig must find that.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fieldpost_gateway::{
    audit::{Series, runs::Run, verify::verify},
    config::RELEASE_ALL,
    sabotage::CrashPoint,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    RigError,
    gateway::{Gateway, Launch, Setup},
    load::{self, HANG, Load, Pace},
    sink::{HttpSink, Mood},
};
use crate::console;

/// What to do.
#[derive(Debug, Clone)]
pub struct DisclosurePlan {
    /// The gateway's binary.
    pub binary: PathBuf,
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
    /// Different records that reached the force system.
    pub released_count: u64,
    /// Different records on the log. Must be the same.
    pub logged_count: u64,
    /// Records that the log names once more because they were sent once more.
    pub again_count: u64,
    /// Sendings without a line before them, over all ends. Must be 0.
    pub unlogged_count: u64,
    /// Records on the log that never reached the force system. Must be 0 when all is over.
    pub never_sent_count: u64,
    /// Acknowledged records that never reached it. Must be 0.
    pub lost_count: u64,
    /// Lines of the log.
    pub lines: u64,
    /// Of these, torn by an end and said as such.
    pub torn: u64,
    /// Where the chain breaks. Must be nothing.
    pub broken: Option<String>,
}

impl DisclosureReport {
    /// Whether every sending is on the log, and nothing else is.
    #[must_use]
    pub fn held(&self) -> bool {
        let wrong = self.unlogged_count + self.never_sent_count + self.lost_count;
        wrong == 0
            && self.released_count == self.logged_count
            && self.released_count > 0
            && self.broken.is_none()
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
    sink: HttpSink,
    log: PathBuf,
    report: DisclosureReport,
}

/// What the log names.
#[derive(Default)]
struct Named {
    /// How often each record.
    times: HashMap<String, u32>,
    again_count: u64,
    lines: u64,
    torn: u64,
    broken: Option<String>,
}

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn ends_between_log_and_send(
    plan: &DisclosurePlan,
    dir: &Path,
) -> Result<DisclosureReport, RigError> {
    let sink = HttpSink::start().await?;
    let appendix = format!(
        "[[forward.webhook]]\nname = \"cad\"\nurl = \"{}\"\nretry_delay_ms_min = 10\nretry_delay_ms_max = 100\n{RELEASE_ALL}\n",
        sink.url()
    );
    let gateway = dir.join("gateway");
    let setup = Setup::new(&gateway, plan.device_count, &appendix)?;
    let log = gateway.join("data").join(Series::Disclosures.name());
    let launch = Launch::of(&plan.binary);
    let mut rig = Rig { setup, launch, sink, log, report: DisclosureReport::default() };
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
                self.sink.be(mood);
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
        self.sink.be(Mood::Takes);
        self.sink.nobody_is_connected(HANG).await?;
        let named = self.read_log()?;
        let unlogged =
            self.sink.received().into_iter().map(|(key, times)| {
                u64::from(times.saturating_sub(named.times.get(&key).copied().unwrap_or(0)))
            });
        self.report.unlogged_count += unlogged.sum::<u64>();
        Ok(())
    }

    /// The last run: everything arrives, and the two counts are compared.
    async fn settle(&mut self, load: Load) -> Result<(), RigError> {
        let mut gateway = tokio::task::block_in_place(|| self.setup.start(&self.launch))?;
        load.everyone_hears(1).await?;
        let mut windows = load.end().await?;
        load::settle(&self.setup, &mut windows).await?;
        let mut keys = Vec::new();
        for (device, count) in self.setup.devices.iter().zip(load::counts(&windows)) {
            keys.extend((0..count).map(|seq| load::key(device, seq)));
        }
        self.sink.has_all(&keys, ARRIVAL_MAX).await;
        gateway.terminate()?;
        self.sink.nobody_is_connected(HANG).await?;
        let (named, received) = (self.read_log()?, self.sink.received());
        let report = &mut self.report;
        report.lost_count = keys.iter().filter(|key| !received.contains_key(*key)).count() as u64;
        report.never_sent_count =
            named.times.keys().filter(|key| !received.contains_key(*key)).count() as u64;
        report.released_count = received.len() as u64;
        report.logged_count = named.times.len() as u64;
        report.again_count = named.again_count;
        (report.lines, report.torn, report.broken) = (named.lines, named.torn, named.broken);
        Ok(())
    }

    fn read_log(&self) -> Result<Named, RigError> {
        let mut named = Named::default();
        let mut lines: HashMap<u64, Vec<String>> = HashMap::new();
        let verdict = verify(&self.log, &[], &mut |line| {
            let Some(said) = &line.disclosure else { return Ok(()) };
            let keys = match said.of {
                Some(of) => lines.get(&of).cloned().unwrap_or_default(),
                None => said.keys.iter().flat_map(|run| Run::parse(run).keys()).collect(),
            };
            if line.what == "records_disclosed_again" {
                named.again_count += keys.len() as u64;
            }
            for key in &keys {
                *named.times.entry(key.clone()).or_insert(0) += 1;
            }
            lines.insert(line.n, keys);
            Ok(())
        });
        let verdict = verdict.map_err(RigError::io("read the disclosure log"))?;
        (named.lines, named.torn) = (verdict.lines, verdict.torn);
        named.broken =
            verdict.broken.map(|broken| format!("{} {}: {}", broken.file, broken.line, broken.what));
        Ok(named)
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
