//! The place of one TAK client that connects to us: what it is told while it is there, and what goes on while it is not.
//!
//! ```text
//! nobody there: records move the picture, nothing is sent and nothing disclosed
//! it comes: offer of protobuf -> every alarm that stands, newest of every unit -> jobs, ticks, what it says -> it goes
//! ```
//! **A client that is slow, hostile or gone holds up nobody**: the records of its output are passed over, so the spool is not held
//! for it, and what it missed it is told anew when it comes again.
//!
//! Bounds: one connection, one job at a time, and those of [`super::talk`].

use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::door::{Arrival, Pass};
use super::metrics::{TakEnd, TakMetrics, TakTaking};
use super::parse::Heard;
use super::sink::Job;
use super::split::Protocol;
use super::talk::{CANCEL, Due, End, Side, Talk};
use super::teller::Teller;
use super::{PING_MS, TICK_MS};
use crate::login::Operator;

/// The task.
pub(super) struct Guest {
    teller: Teller,
    takes_protobuf: bool,
    acknowledges_as: Option<Operator>,
    arrivals: mpsc::Receiver<Arrival>,
    jobs: mpsc::Receiver<Job>,
    metrics: TakMetrics,
    stop: CancellationToken,
    /// It came again while it was there.
    next: Option<Arrival>,
}

impl Guest {
    pub(super) fn new(
        teller: Teller,
        (takes_protobuf, acknowledges_as): (bool, Option<Operator>),
        arrivals: mpsc::Receiver<Arrival>,
        jobs: mpsc::Receiver<Job>,
        metrics: TakMetrics,
        stop: CancellationToken,
    ) -> Self {
        Self { teller, takes_protobuf, acknowledges_as, arrivals, jobs, metrics, stop, next: None }
    }

    /// Runs until the sink is gone.
    pub(super) async fn run(mut self) {
        while let Some(arrival) = self.wait().await {
            let Arrival { stream, peer, not_after_s, pass } = arrival;
            self.metrics.accepted.inc();
            self.metrics.connected.inc();
            tracing::info!(client = self.teller.name(), %peer, "TAK client connected");
            let side = Side::Client {
                takes_protobuf: self.takes_protobuf,
                refused: self.metrics.events_refused.clone(),
            };
            let mut talk = Talk::over(stream, side);
            let why =
                self.talk_until_over(&mut talk, not_after_s, pass).await.unwrap_or_else(|end| why(&end));
            drop(talk);
            self.metrics.connected.dec();
            self.metrics.ended(why).inc();
            self.say_gone(peer, why);
        }
    }

    fn say_gone(&self, peer: SocketAddr, why: TakEnd) {
        let (client, reason) = (self.teller.name(), why.as_str());
        if matches!(why, TakEnd::PeerGone | TakEnd::Stopping) {
            tracing::info!(client, %peer, reason, "TAK client gone");
        } else {
            tracing::warn!(client, %peer, reason, "TAK client cut off");
        }
    }

    /// Returns when the client is there; `None`: no more will. Records that come meanwhile are passed over.
    async fn wait(&mut self) -> Option<Arrival> {
        if let Some(arrival) = self.next.take() {
            return Some(arrival);
        }
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                arrival = self.arrivals.recv() => return arrival,
                job = self.jobs.recv() => self.teller.pass_over(job?),
            }
        }
    }

    async fn talk_until_over(
        &mut self,
        talk: &mut Talk,
        not_after_s: i64,
        mut pass: Pass,
    ) -> Result<TakEnd, End> {
        // It may have waited for the one before it to go.
        if pass.is_void() {
            return Ok(TakEnd::Revoked);
        }
        if self.takes_protobuf {
            let detail = "<TakControl><TakProtocolSupport version=\"1\"/></TakControl>";
            talk.say(&super::own_uid(self.teller.name()), "t-x-takp-v", self.teller.now_ms(), detail).await?;
        }
        self.teller.begin(talk).await?;
        let mut tick = interval(std::time::Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = Due::every(PING_MS);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(TakEnd::Stopping),
                arrival = self.arrivals.recv() => {
                    self.next = arrival;
                    return Ok(if self.next.is_some() { TakEnd::CameAgain } else { TakEnd::Stopping });
                }
                _ = tick.tick() => {
                    if is_past(not_after_s, self.teller.now_ms()) {
                        return Ok(TakEnd::Outdated);
                    }
                    if pass.is_void() {
                        return Ok(TakEnd::Revoked);
                    }
                    self.teller.tell_alarms(talk).await?;
                    if ping.is_now() {
                        talk.sign_of_life(&self.pong_uid(), "t-x-c-t", self.teller.now_ms()).await?;
                    }
                }
                job = self.jobs.recv() => match job {
                    Some(job) => self.teller.work_or_pass_over(talk, job).await?,
                    None => return Ok(TakEnd::Stopping),
                },
                changed = self.teller.alarm_changed() => match changed {
                    Some(()) => self.teller.tell_alarms(talk).await?,
                    None => return Ok(TakEnd::Stopping),
                },
                // Last: what it says must never hold up what it is told.
                heard = talk.hear() => self.answer(talk, &heard?).await?,
            }
        }
    }

    async fn answer(&mut self, talk: &mut Talk, heard: &Heard) -> Result<(), End> {
        let now_ms = self.teller.now_ms();
        match heard.kind.as_str() {
            // It is listening for our answer, and the reader for frames from here on.
            "t-x-takp-q" if talk.protocol == Protocol::Xml => {
                let detail = "<TakControl><TakResponse status=\"true\"/></TakControl>";
                talk.say(&heard.uid, "t-x-takp-r", now_ms, detail).await?;
                talk.protocol = Protocol::Protobuf;
                tracing::info!(client = self.teller.name(), "the TAK client takes protobuf");
                Ok(())
            }
            "t-x-c-t" => talk.sign_of_life(&self.pong_uid(), "t-x-c-t-r", now_ms).await,
            CANCEL => {
                let operator = self.acknowledges_as.as_ref();
                if let Some(taking) = self.teller.take_alarm(talk, &heard.uid, operator).await? {
                    self.metrics.acknowledged(taking).inc();
                    // These can come as fast as the client likes.
                    if taking != TakTaking::TooSoon {
                        let result = taking.as_str();
                        tracing::info!(
                            client = self.teller.name(),
                            result,
                            "TAK client acknowledges an alarm"
                        );
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn pong_uid(&self) -> String {
        super::own_uid(self.teller.name()) + "-ping"
    }
}

fn is_past(not_after_s: i64, now_ms: u64) -> bool {
    i64::try_from(now_ms / 1000).unwrap_or(i64::MAX) > not_after_s
}

fn why(end: &End) -> TakEnd {
    match end {
        End::Broken(_) | End::Mute => TakEnd::PeerGone,
        End::Slow => TakEnd::TooSlow,
        End::NotTak(_) => TakEnd::NotTak,
        End::NotLogged(_) => TakEnd::NoLog,
    }
}
