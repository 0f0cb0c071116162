//! Force systems that misbehave under load: **nothing is lost, JetStream has everything once, and while one sink is broken
//! an alarm still reaches the other at once.**
//!
//! ```text
//!                            ,-> witness   an HTTP sink that always works
//! devices, alarms -> gateway +-> cad       an HTTP sink: gone, hangs, answers 500 or rubbish, closes mid-batch or mid-answer
//!                            '-> nats      a nats-server: killed, stopped
//! ```
//!
//! One case after the other, in one run: what a case left behind is the start of the next one.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use fieldpost_gateway::config::RELEASE_ALL;
use fieldpost_protocol::BootId;

use super::{
    OutageError, RigError,
    gateway::{Launch, SPOOL, Setup},
    load::{self, HANG, Load, Pace},
    nats::{Nats, collect},
    sink::{HttpSink, Mood},
    spool,
};
use crate::{
    console,
    raw::{Client, Credentials, Window},
};

/// What is done to a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Case {
    NatsKilled,
    NatsStopped,
    CadGone,
    CadHangs,
    CadAnswers500,
    CadClosesMidBatch,
    CadTalksRubbish,
    CadBreaksOff,
}

impl Case {
    const ALL: [Self; 8] = [
        Self::NatsKilled,
        Self::NatsStopped,
        Self::CadGone,
        Self::CadHangs,
        Self::CadAnswers500,
        Self::CadClosesMidBatch,
        Self::CadTalksRubbish,
        Self::CadBreaksOff,
    ];
}

/// What to do.
#[derive(Debug, Clone)]
pub struct SinkPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// The nats-server binary.
    pub nats_server: PathBuf,
    /// Devices.
    pub device_count: usize,
    /// How long each case lasts.
    pub lasts: Duration,
    /// For everything to arrive when all is well again; what has not is lost.
    pub arrival_max: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SinkReport {
    /// Cases gone through.
    pub case_count: usize,
    /// Records and alarms whose PUBACK a device has read.
    pub acknowledged_count: usize,
    /// Of these, not in JetStream at the end. Must be 0.
    pub lost_by_nats_count: usize,
    /// In JetStream more than once. Must be 0.
    pub twice_in_nats_count: usize,
    /// Not at the HTTP sink that was broken. Must be 0.
    pub lost_by_cad_count: usize,
    /// Not at the HTTP sink that never was. Must be 0.
    pub lost_by_witness_count: usize,
    /// Alarms that took longer than five seconds to the witness while another sink was broken. Must be 0.
    pub late_alarm_count: usize,
    /// The longest, in ms.
    pub alarm_ms_max: u128,
    /// Of what one sink lost, what the gateway does not owe it any more: no wait would bring it.
    pub gone_count: u64,
}

impl SinkReport {
    pub(super) fn held(&self) -> bool {
        let broken = self.lost_by_nats_count
            + self.twice_in_nats_count
            + self.lost_by_cad_count
            + self.lost_by_witness_count
            + self.late_alarm_count;
        self.acknowledged_count > 0 && broken == 0
    }
}

/// An alarm must be there far sooner, also on a busy machine.
const ALARM_MAX: Duration = Duration::from_secs(5);
const PACE: Pace = Pace::new(4, 50);

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn sinks(plan: &SinkPlan, dir: &Path) -> Result<SinkReport, RigError> {
    let nats_io = RigError::io("start nats-server");
    let mut nats = Nats::start(&plan.nats_server, &dir.join("nats")).map_err(nats_io)?;
    let (witness, mut cad) = (HttpSink::start().await?, HttpSink::start().await?);
    let retry = "retry_delay_ms_max = 1000\nattempt_ms_max = 2000\n";
    let hook = |name: &str, url: String| {
        format!("[[forward.webhook]]\nname = \"{name}\"\nurl = \"{url}\"\n{retry}{RELEASE_ALL}\n")
    };
    let appendix = [
        format!("[[forward.nats]]\nurl = \"{}\"\n{retry}{RELEASE_ALL}\n", nats.url()),
        hook("witness", witness.url()),
        hook("cad", cad.url()),
    ];
    // One device more than the load has: it raises the alarms.
    let setup = Setup::new(&dir.join("gateway"), plan.device_count + 1, &appendix.join("\n"))?;
    let (wearer, officers) = setup.devices.split_last().expect("there is one at least");
    let mut gateway = tokio::task::block_in_place(|| setup.start(&Launch::of(&plan.binary)))?;
    let load = Load::start(setup.address, officers, Load::fresh(plan.device_count), PACE);
    load.everyone_hears(10).await?;
    let mut wearing = Wearing::new(&setup, wearer).await?;
    let mut report = SinkReport::default();
    for case in Case::ALL {
        console::progress(&format!("now: {case:?}"));
        break_it(case, &mut nats, &mut cad)?;
        let key = wearing.alarm().await?;
        let began = std::time::Instant::now();
        let arrived = witness.has_all(std::slice::from_ref(&key), ALARM_MAX).await;
        report.alarm_ms_max = report.alarm_ms_max.max(began.elapsed().as_millis());
        report.late_alarm_count += usize::from(!arrived);
        load.everyone_hears(1).await?;
        // How long the fault lasts, not a wait for something to be ready.
        tokio::time::sleep(plan.lasts).await;
        mend(case, &mut nats, &mut cad).await?;
        report.case_count += 1;
    }
    let mut windows = load.end().await?;
    load::settle(&setup, &mut windows).await?;
    let mut keys: Vec<String> = wearing.keys();
    for (officer, count) in officers.iter().zip(load::counts(&windows)) {
        keys.extend((0..count).map(|seq| load::key(officer, seq)));
    }
    judge(plan.arrival_max, &keys, &nats, &cad, &witness, &mut report).await?;
    gateway.terminate()?;
    let lost_count =
        report.lost_by_nats_count.max(report.lost_by_cad_count).max(report.lost_by_witness_count);
    report.gone_count = (lost_count as u64).saturating_sub(spool::owed_count_max(&dir.join(SPOOL))?);
    Ok(report)
}

fn break_it(case: Case, nats: &mut Nats, cad: &mut HttpSink) -> Result<(), RigError> {
    match case {
        Case::NatsKilled => nats.stop().map_err(RigError::io("kill nats-server"))?,
        Case::NatsStopped => super::error::signal(nats.id(), "STOP")?,
        Case::CadGone => cad.go(),
        Case::CadHangs => cad.be(Mood::Hangs),
        Case::CadAnswers500 => cad.be(Mood::Refuses),
        Case::CadClosesMidBatch => cad.be(Mood::ClosesMidBatch),
        Case::CadTalksRubbish => cad.be(Mood::TalksRubbish),
        Case::CadBreaksOff => cad.be(Mood::BreaksOff),
    }
    Ok(())
}

async fn mend(case: Case, nats: &mut Nats, cad: &mut HttpSink) -> Result<(), RigError> {
    match case {
        Case::NatsKilled => nats.restart().map_err(RigError::io("start nats-server again"))?,
        Case::NatsStopped => super::error::signal(nats.id(), "CONT")?,
        Case::CadGone => cad.come_back().await?,
        Case::CadHangs
        | Case::CadAnswers500
        | Case::CadClosesMidBatch
        | Case::CadTalksRubbish
        | Case::CadBreaksOff => cad.be(Mood::Takes),
    }
    Ok(())
}

async fn judge(
    arrival_max: Duration,
    keys: &[String],
    nats: &Nats,
    cad: &HttpSink,
    witness: &HttpSink,
    report: &mut SinkReport,
) -> Result<(), RigError> {
    report.acknowledged_count = keys.len();
    let expected: HashMap<String, u32> = keys.iter().map(|key| (key.clone(), 0)).collect();
    let missing = |found: &HashMap<String, u32>| keys.iter().filter(|key| !found.contains_key(*key)).count();
    for (sink, lost) in [(witness, &mut report.lost_by_witness_count), (cad, &mut report.lost_by_cad_count)] {
        sink.has_all(keys, arrival_max).await;
        *lost = missing(&sink.taken());
    }
    match Box::pin(collect(&nats.url(), &expected, arrival_max)).await {
        Ok(stream) => {
            report.lost_by_nats_count = missing(&stream);
            report.twice_in_nats_count = stream.values().filter(|count| **count > 1).count();
        }
        Err(OutageError::Missing { missing_count, .. }) => report.lost_by_nats_count = missing_count,
        Err(other) => return Err(RigError::cannot("read JetStream")(other)),
    }
    Ok(())
}

/// A device that raises alarms, one at a time.
struct Wearing<'a> {
    client: Client,
    window: Window,
    wearer: &'a Credentials,
}

impl<'a> Wearing<'a> {
    async fn new(setup: &Setup, wearer: &'a Credentials) -> Result<Self, RigError> {
        let client = Client::connect(setup.address, wearer, 64).await.map_err(RigError::cannot("connect"))?;
        Ok(Self { client: client.raising_alarms(wearer), window: Window::new(BootId(1)), wearer })
    }

    /// Raises one, waits for its PUBACK, and returns its key.
    async fn alarm(&mut self) -> Result<String, RigError> {
        let seq = self.window.issued_count();
        let work = async {
            self.client.fill(&mut self.window, 1, u32::MAX).await?;
            self.client.settle(&mut self.window).await
        };
        let heard = tokio::time::timeout(HANG, work).await.map_err(|_| RigError::Hang(HANG))?;
        heard.map_err(RigError::cannot("raise an alarm"))?;
        Ok(load::key(self.wearer, seq as usize))
    }

    fn keys(&self) -> Vec<String> {
        (0..self.window.acknowledged.len()).map(|seq| load::key(self.wearer, seq)).collect()
    }
}
