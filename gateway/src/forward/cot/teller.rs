//! What one TAK party is told: the picture, the alarms that stand, and the disclosure of both.
//!
//! **An event is on the disclosure log before it is written, and one that is passed over is not on it.** Only here is it known
//! which is which, so the forwarder leaves the log to this module.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::message::Cot;
use super::metrics::TakTaking;
use super::picture::{Cancelled, Picture, Said};
use super::scope;
use super::settings::Terms;
use super::sink::Job;
use super::talk::{End, Talk};
use crate::forward::event::PassedOver;
use crate::forward::release::NotLogged;
use crate::live::AcknowledgeError;
use crate::live::standing::{Situation, StandingAlarm};
use crate::login::Operator;
use crate::sabotage::{self, CrashPoint, Sabotage};
use crate::spool::Clock;

/// See the module.
pub(super) struct Teller {
    terms: Terms,
    situation: Arc<dyn Situation>,
    clock: Clock,
    picture: Picture,
    changes: watch::Receiver<u64>,
    /// What is released of the alarms as they were when `changes` was looked at.
    alarms: Vec<StandingAlarm>,
}

impl Teller {
    pub(super) fn new(terms: Terms, situation: Arc<dyn Situation>, clock: Clock) -> Self {
        let mut changes = situation.changes();
        changes.mark_changed();
        let picture = Picture::new(terms.spans);
        Self { terms, situation, clock, picture, changes, alarms: Vec::new() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(super) fn name(&self) -> &str {
        &self.terms.name
    }

    /// Returns when an alarm has changed since it was told; `None`: no more will.
    pub(super) async fn alarm_changed(&mut self) -> Option<()> {
        self.changes.changed().await.ok()?;
        // Waiting for it has marked it as seen.
        self.changes.mark_changed();
        Some(())
    }

    /// A new connection: every alarm that stands, then the newest of every unit.
    pub(super) async fn begin(&mut self, talk: &mut Talk) -> Result<(), End> {
        let everything = self.picture.begin(self.now_ms());
        self.tell_alarms(talk).await?;
        self.send_in_turns(talk, &everything).await
    }

    /// Tells the alarms that are due.
    pub(super) async fn tell_alarms(&mut self, talk: &mut Talk) -> Result<(), End> {
        self.look_at_alarms();
        let due = self.picture.due(&self.alarms, self.now_ms());
        self.send(talk, &due).await
    }

    /// The other end has ended the alert `uid` for itself. If it is one that stands: takes the alarm as `operator`, if there is
    /// one and they can have looked at it, and tells it again, for it ends only when a person closes it. Who cancels it over and over
    /// is answered now and then ([`Picture::hear_cancel`]). What became of that; `None`: no such alert.
    pub(super) async fn take_alarm(
        &mut self,
        talk: &mut Talk,
        uid: &str,
        operator: Option<&Operator>,
    ) -> Result<Option<TakTaking>, End> {
        let cancelled = self.picture.hear_cancel(uid, self.now_ms());
        let taking = match (cancelled, operator) {
            (Cancelled::Nothing, _) => return Ok(None),
            (Cancelled::TooSoon, _) => TakTaking::TooSoon,
            (Cancelled::Meant(_), None) => TakTaking::NotAllowed,
            (Cancelled::Meant(alarm), Some(operator)) => {
                match self.situation.acknowledge(&alarm, operator).await {
                    Ok(()) => TakTaking::Taken,
                    Err(AcknowledgeError::Taken(_)) => TakTaking::Late,
                    Err(error) => {
                        tracing::error!(client = self.name(), %error, "a TAK client's acknowledgement is not stored");
                        TakTaking::Failed
                    }
                }
            }
        };
        self.tell_alarms(talk).await?;
        Ok(Some(taking))
    }

    /// Writes what a batch has to say, and tells who waits what became of it.
    pub(super) async fn work(&mut self, talk: &mut Talk, job: Job) -> Result<(), End> {
        let (cots, passed) = self.take(&job.said);
        let sent = self.send(talk, &cots).await;
        let told = sent.clone().map(|()| passed).map_err(Into::into);
        drop(job.done.send(told));
        sent
    }

    /// The same for a party whose faults are not ours: what it did not get is passed over, and told anew when it comes again.
    pub(super) async fn work_or_pass_over(&mut self, talk: &mut Talk, job: Job) -> Result<(), End> {
        let (cots, passed) = self.take(&job.said);
        let sent = self.send(talk, &cots).await;
        let told = match &sent {
            Ok(()) => Ok(passed),
            // A fault of ours: the forwarder tries again.
            Err(end @ End::NotLogged(_)) => Err(end.clone().into()),
            Err(_) => Ok(nobody_there(passed)),
        };
        drop(job.done.send(told));
        sent
    }

    /// Nobody is there. The records move the picture all the same.
    pub(super) fn pass_over(&mut self, job: Job) {
        let (_, passed) = self.take(&job.said);
        drop(job.done.send(Ok(nobody_there(passed))));
    }

    /// What the records have to say, and why one has nothing.
    fn take(&mut self, said: &[Said]) -> (Vec<Cot>, Vec<Option<PassedOver>>) {
        let now_ms = self.now_ms();
        self.look_at_alarms();
        let mut cots = Vec::new();
        let passed = said.iter().map(|said| {
            let unit = said.unit();
            let mut name = self.situation.name(&unit, now_ms);
            if !said.has_name {
                name.callsign = Arc::from(unit.device.as_str());
            }
            let taken = self.picture.take(said, &name, &self.alarms, now_ms);
            taken.map(|some| cots.extend(some)).err()
        });
        let passed = passed.collect();
        (cots, passed)
    }

    /// Takes the book's alarms if they have changed: it can hold thousands.
    fn look_at_alarms(&mut self) {
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.borrow_and_update();
            let release = &self.terms.release;
            let alarms = self.situation.alarms();
            self.alarms = alarms.iter().filter_map(|alarm| scope::alarm(release, alarm)).collect();
        }
    }

    /// Where only so much may be written in a second, alarms that are due go in between.
    async fn send_in_turns(&mut self, talk: &mut Talk, cots: &[Cot]) -> Result<(), End> {
        let Some(at_once) = talk.at_once() else { return self.send(talk, cots).await };
        for some in cots.chunks(at_once) {
            self.send(talk, some).await?;
            self.tell_alarms(talk).await?;
        }
        Ok(())
    }

    async fn send(&self, talk: &mut Talk, cots: &[Cot]) -> Result<(), End> {
        if cots.is_empty() {
            return Ok(());
        }
        sabotage::pass(CrashPoint::BeforeLog);
        if sabotage::is(Sabotage::SendBeforeLog) {
            talk.write(cots).await?;
            sabotage::pass(CrashPoint::BetweenLogAndSend);
            self.disclose(cots).await?;
        } else {
            self.disclose(cots).await?;
            sabotage::pass(CrashPoint::BetweenLogAndSend);
            talk.write(cots).await?;
        }
        sabotage::pass(CrashPoint::AfterSend);
        Ok(())
    }

    async fn disclose(&self, cots: &[Cot]) -> Result<(), NotLogged> {
        let keys = cots.iter().flat_map(|cot| [Some(&cot.key), cot.battery_key.as_ref()]).flatten();
        let keys: BTreeSet<&str> = keys.map(String::as_str).collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        self.terms.recipient.disclose_keys(self.now_ms(), &keys).await
    }
}

fn nobody_there(passed: Vec<Option<PassedOver>>) -> Vec<Option<PassedOver>> {
    passed.into_iter().map(|reason| reason.or(Some(PassedOver::NobodyThere))).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::sync::oneshot;

    use super::super::picture::Spans;
    use super::super::settings::Style;
    use super::super::talk::Side;
    use super::*;
    use crate::audit::What;
    use crate::forward::release::Release;
    use crate::forward::testing::{MemoryJournal, position_record};
    use crate::live::order::ClockBounds;
    use crate::live::standing::Quiet;
    use crate::record::Record;

    fn teller(journal: &MemoryJournal) -> Teller {
        let spans = Spans {
            sends_every_position: false,
            position_stale_ms: 90_000,
            alarm_repeat_ms: 30_000,
            alarm_stale_ms: 300_000,
            clock: ClockBounds { ahead_ms_max: 60_000, behind_ms_max: 3_600_000 },
        };
        let (release, recipient) = (Release::everything(), journal.recipient());
        let terms = Terms { name: "cad".to_owned(), takes_protobuf: true, release, recipient, spans };
        Teller::new(terms, Quiet::shared(), Clock::system())
    }

    fn said(record: Record) -> Said {
        Said { key: record.key(), alarm: None, record: record.into(), has_name: true }
    }

    async fn told(
        teller: &mut Teller,
        talk: &mut Talk,
        lsns: &[u64],
    ) -> (Result<(), End>, Result<Vec<Option<PassedOver>>, crate::forward::SinkError>) {
        let (done, written) = oneshot::channel();
        let said = lsns.iter().map(|lsn| said(position_record(*lsn))).collect();
        let worked = teller.work(talk, Job { said, done }).await;
        (worked, written.await.unwrap())
    }

    async fn written(mut theirs: DuplexStream) -> String {
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn what_is_passed_over_is_not_on_the_disclosure_log_and_what_is_sent_is() {
        let journal = MemoryJournal::default();
        let (ours, theirs) = duplex(1 << 20);
        let (mut teller, mut talk) = (teller(&journal), Talk::over(ours, Side::Server));
        let (worked, passed) = told(&mut teller, &mut talk, &[5, 4, 6]).await;
        assert!(worked.is_ok());
        assert_eq!(passed.unwrap(), [None, Some(PassedOver::Older), None]);
        assert_eq!(journal.keys(What::RecordsDisclosed), ["sim.pc-0001.3.5", "sim.pc-0001.3.6"]);
        drop(talk);
        assert_eq!(written(theirs).await.matches("</event>").count(), 2);
    }

    #[tokio::test]
    async fn without_a_line_on_the_disclosure_log_nothing_is_sent() {
        let journal = MemoryJournal::default();
        *journal.failures_left.lock().unwrap() = 1;
        let (ours, theirs) = duplex(1 << 20);
        let (mut teller, mut talk) = (teller(&journal), Talk::over(ours, Side::Server));
        let (worked, passed) = told(&mut teller, &mut talk, &[5]).await;
        assert!(matches!(worked, Err(End::NotLogged(_))));
        assert!(passed.is_err(), "the forwarder keeps it");
        drop(talk);
        assert_eq!(written(theirs).await, "");
    }

    /// What a server gets in each read of a connection in this style.
    async fn reads(style: Style, lsns: std::ops::Range<u64>) -> (Vec<String>, std::time::Duration) {
        let journal = MemoryJournal::default();
        let (ours, mut theirs) = duplex(1 << 20);
        let (mut teller, mut talk) = (teller(&journal), Talk::over(ours, Side::Server).in_style(style));
        let began = tokio::time::Instant::now();
        let reading = tokio::spawn(async move {
            let (mut reads, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
            while let Ok(count @ 1..) = theirs.read(&mut buffer).await {
                reads.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
            }
            reads
        });
        let (worked, _) = told(&mut teller, &mut talk, &lsns.collect::<Vec<_>>()).await;
        assert!(worked.is_ok());
        drop(talk);
        (reading.await.unwrap(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn events_go_out_together_each_behind_a_declaration_or_one_by_one_without() {
        let (together, _) = reads(Style::default(), 1..41).await;
        assert_eq!(together.concat().matches("<?xml").count(), 40);
        let style = Style { omits_declaration: true, events_per_s_max: std::num::NonZeroU32::new(20) };
        let (apart, took) = reads(style, 1..41).await;
        assert!(
            apart.iter().all(|read| read.starts_with("<event") && read.ends_with("</event>")),
            "{apart:?}"
        );
        assert!(apart.iter().all(|read| read.matches("</event>").count() == 1) && apart.len() == 40);
        assert!((1_900..2_500).contains(&took.as_millis()), "40 events at 20 a second took {took:?}");
    }
}
