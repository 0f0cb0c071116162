//! The loop of one forwarder: take a batch of a lane, render it, deliver it, move the lane's cursor.
//!
//! **Alarms go before live, live before history, and history always goes on**: a turn is alarms, up to four batches of live
//! entries with a look for alarms before each, and one batch of history. A batch that the sink does not take is held while the
//! others have their turn first. Live entries that waited too long become history, so the newest are next.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, BackoffSettings, Random};
use super::deliver::{self, Delivery};
use super::event::{ClockBounds, Event, EventState, Gap, GapReason, Renderer, Withheld};
use super::metrics::ForwarderMetrics;
use super::refusals::Refusals;
use super::release::{Recipient, Release};
use super::resend::Resend;
use super::source::{Lane, Source, SourceError, Taken};
use super::{RetryReason, Sink};
use crate::alarms::{Acceptance, AlarmId};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::retention::Rules;
use crate::sabotage::{self, CrashPoint, Sabotage};
use crate::spool::{Clock, Lsn};

/// Batches of live entries before history has its turn: history gets one of five at least, of nine beside an alarm flood.
const LIVE_BATCHES_MAX: usize = 4;
/// Looks for alarms between two other batches: 200,000 entries of a backlog.
const ALARM_LOOKS_MAX: usize = 4;
/// Live entries that have waited longer are not live any more: the newest go first.
const LIVE_MS_MAX: u64 = 2_000;
/// Most events remembered that were delivered before their batch was overtaken; more would be delivered twice.
const OVERTAKEN_MAX: usize = 100_000;

/// Most alarms that wait to be noted as delivered; of more the wearers are not told.
const UNCONFIRMED_MAX: usize = 10_000;

/// How one forwarder behaves.
#[derive(Debug, Clone)]
pub struct ForwarderSettings {
    /// Its configured name: metric label, log field, part of a gap's key.
    pub name: String,
    /// Pauses between attempts.
    pub backoff: BackoffSettings,
    /// How long one attempt may take, in ms.
    pub attempt_ms_max: u64,
    /// How long a running attempt may still take once the gateway stops, in ms.
    pub stop_ms_max: u64,
    /// Which device clocks are believed.
    pub clock: ClockBounds,
    /// What the sink may be sent.
    pub release: Release,
    /// The way to the disclosure log: what is not on it is not sent.
    pub recipient: Recipient,
    /// Where refused events are kept.
    pub refusals: PathBuf,
    /// Wall clock.
    pub wall: Clock,
    /// For jitter.
    pub random: Random,
}

/// One forwarder: a source, a sink, and what stands between them.
pub struct Forwarder<S, R> {
    pub(super) sink: S,
    pub(super) source: R,
    pub(super) settings: ForwarderSettings,
    pub(super) backoff: Backoff,
    pub(super) refusals: Refusals,
    pub(super) metrics: ForwarderMetrics,
    pub(super) stop: CancellationToken,
    pub(super) outage: Option<Outage>,
    pub(super) refused_in_a_row_count: u32,
    cursor_is_stuck: bool,
    marking_was_said: bool,
    /// A batch of each lane that the sink has not taken yet.
    held: [Option<Batch>; 3],
    /// Live events that the sink took before newer ones overtook their batch.
    settled: BTreeSet<Lsn>,
    /// Alarms that the sink has and that could not be noted yet.
    unconfirmed: Vec<AlarmId>,
    pub(super) renderer: Renderer,
    /// What a person asked for with refused events.
    pub(super) resend: Resend,
}

/// An outage is logged when it starts, when its reason changes and when it ends: never per attempt.
pub(super) struct Outage {
    pub(super) since: Instant,
    pub(super) attempts_count: u64,
    pub(super) reason: RetryReason,
}

/// The gateway is stopping; what is still owed stays in the spool.
pub(super) struct Stopped;

impl<S: Sink, R: Source> Forwarder<S, R> {
    /// A forwarder at its cursor. Nothing happens until [`Forwarder::run`].
    #[must_use]
    pub fn new(
        settings: ForwarderSettings,
        source: R,
        sink: S,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> Self {
        let handles = metrics.forward.forwarder(&settings.name);
        Self::with_handles(settings, source, sink, handles, stop)
    }

    /// Keeps refused events no longer than `rules` say, nor shorter where somebody holds them.
    #[must_use]
    pub(crate) fn under(mut self, rules: Arc<Rules>) -> Self {
        self.resend.rules = Some(rules);
        self
    }

    pub(super) fn with_handles(
        settings: ForwarderSettings,
        source: R,
        sink: S,
        metrics: ForwarderMetrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            backoff: Backoff::new(settings.backoff),
            refusals: Refusals::new(settings.refusals.clone(), settings.release.fields),
            resend: Resend::new(&settings),
            metrics,
            renderer: Renderer::new(settings.clock, settings.release.clone()),
            outage: None,
            cursor_is_stuck: false,
            marking_was_said: false,
            held: [None, None, None],
            settled: BTreeSet::new(),
            unconfirmed: Vec::new(),
            refused_in_a_row_count: 0,
            sink,
            source,
            settings,
            stop,
        }
    }

    /// Forwards until `stop` is cancelled, then ends at a batch border.
    pub async fn run(mut self) {
        tracing::info!(forwarder = self.settings.name, sink = self.sink.kind(), "forwarder started");
        while let Ok(()) = self.one_turn().await {}
        tracing::info!(forwarder = self.settings.name, "forwarder stopped");
    }

    /// Alarms, then what is live, then one batch of history. After a failure the next turn begins again with the alarms.
    async fn one_turn(&mut self) -> Result<(), Stopped> {
        self.wait().await?;
        for _ in 0..LIVE_BATCHES_MAX {
            for _ in 0..ALARM_LOOKS_MAX {
                match self.one_batch(Lane::Alarm).await? {
                    Progress::Failed => return Ok(()),
                    Progress::Passed { has_more: true } => {}
                    _ => break,
                }
            }
            match self.one_batch(Lane::Live).await? {
                Progress::Failed => return Ok(()),
                Progress::Passed { has_more: true } | Progress::Delivered { has_more: true } => {}
                _ => break,
            }
        }
        if !matches!(self.one_batch(Lane::Backlog).await?, Progress::Failed) {
            self.resend().await?;
        }
        Ok(())
    }

    /// Returns when a lane may have something, or a person asked for something.
    async fn wait(&mut self) -> Result<(), Stopped> {
        loop {
            self.let_expired_go().await;
            if self.held.iter().any(Option::is_some) || self.resend.has_work() {
                return Ok(());
            }
            let waited = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Stopped),
                waited = self.source.wait() => waited,
                () = sleep_until(self.resend.look_at) => continue,
            };
            return self.unless_broken(waited).await.map(drop);
        }
    }

    /// Goes on in one lane by one batch: the one that failed before, or the next.
    async fn one_batch(&mut self, lane: Lane) -> Result<Progress, Stopped> {
        let Some(mut batch) = self.next_batch(lane).await? else { return Ok(Progress::Nothing) };
        let has_more = batch.has_more;
        if batch.events.is_empty() {
            self.source.pass(lane, batch.through);
            self.observe_lag(self.now_ms());
            return Ok(Progress::Passed { has_more });
        }
        let (owed_count, began) = (deliver::owed_count(&batch.events), Instant::now());
        let delivered = self.deliver(&mut batch.events, batch.oldest_ms).await;
        if matches!(delivered, Ok(Delivery::Done)) {
            self.source.took(owed_count, has_more, began.elapsed());
        }
        // Before the cursor: after a crash in between the alarm comes again, and so does this.
        self.confirm(&mut batch.events).await;
        match delivered {
            Ok(Delivery::Done) => {
                self.advance(lane, batch.through).await;
                self.observe_lag(self.now_ms());
                Ok(Progress::Delivered { has_more })
            }
            Ok(Delivery::Failed) => {
                self.held[lane as usize] = Some(batch);
                Ok(Progress::Failed)
            }
            Ok(Delivery::Slowed) => {
                // The gateway may be stopped in the pause.
                self.advance_to_hole(lane, &batch).await;
                self.held[lane as usize] = Some(batch);
                self.pause(self.slow_delay()).await?;
                Ok(Progress::Failed)
            }
            Err(Stopped) => {
                // What the sink has taken without a hole need not be sent again after the restart.
                self.advance_to_hole(lane, &batch).await;
                Err(Stopped)
            }
        }
    }

    async fn next_batch(&mut self, lane: Lane) -> Result<Option<Batch>, Stopped> {
        let batch = match self.held[lane as usize].take() {
            None => self.take(lane).await?,
            held => held,
        };
        match batch {
            Some(batch) if lane == Lane::Live && self.is_old(&batch) => {
                self.advance_to_hole(lane, &batch).await;
                if !self.source.overtake() {
                    return Ok(Some(batch));
                }
                // What the sink has of it already is left out where the backlog comes to it.
                let settled = batch.events.iter().filter(|event| event.state != EventState::Owed);
                let room_count = OVERTAKEN_MAX.saturating_sub(self.settled.len());
                self.settled.extend(settled.take(room_count).map(|event| event.lsn));
                self.take(lane).await
            }
            batch => Ok(batch),
        }
    }

    /// Whether what has come since is worth more than this.
    fn is_old(&self, batch: &Batch) -> bool {
        let age_ms = |received_ms| self.now_ms().saturating_sub(received_ms);
        batch.oldest_ms.is_some_and(|received_ms| age_ms(received_ms) > LIVE_MS_MAX)
    }

    async fn advance_to_hole(&mut self, lane: Lane, batch: &Batch) {
        let settled = batch.events.iter().take_while(|event| event.state != EventState::Owed).last();
        if let Some(event) = settled {
            self.advance(lane, event.lsn).await;
        }
    }

    /// Notes the alarms that the sink has, each once. What finds no room is noted after a later batch, or after a restart.
    pub(super) async fn confirm(&mut self, events: &mut [Event]) {
        let is_accepted = |event: &&mut Event| {
            event.state == EventState::Accepted || sabotage::is(Sabotage::DeliverUnasked)
        };
        let accepted = events.iter_mut().filter(is_accepted);
        self.unconfirmed.extend(accepted.filter_map(|event| event.alarm.take()).map(|alarm| *alarm));
        if self.unconfirmed.is_empty() {
            return;
        }
        self.unconfirmed.truncate(UNCONFIRMED_MAX);
        let alarms = std::mem::take(&mut self.unconfirmed);
        let acceptance = Acceptance { by: self.settings.name.clone(), at_ms: self.now_ms() };
        self.unconfirmed = self.source.confirm(&acceptance, alarms).await;
    }

    /// The next batch of a lane, if it has one now.
    async fn take(&mut self, lane: Lane) -> Result<Option<Batch>, Stopped> {
        let taken = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Stopped),
            taken = self.source.take(lane) => taken,
        };
        let taken = self.unless_broken(taken).await?.flatten();
        Ok(taken.map(|taken| self.render(&taken)))
    }

    /// After an error of the source that may pass: nothing, and the pause is over.
    async fn unless_broken<T>(&mut self, told: Result<T, SourceError>) -> Result<Option<T>, Stopped> {
        match told {
            Ok(told) => Ok(Some(told)),
            Err(SourceError::Again(detail)) => {
                self.pause_after_failure(RetryReason::Storage, &detail, None).await?;
                Ok(None)
            }
            Err(SourceError::Ended(detail)) => {
                tracing::warn!(forwarder = self.settings.name, detail, "nothing more to forward");
                Err(Stopped)
            }
        }
    }

    /// Moves a lane's cursor. If that fails, forwarding goes on: after a restart these events are delivered twice, which
    /// their keys allow; holding back the next alarm would be worse.
    async fn advance(&mut self, lane: Lane, through: Lsn) {
        sabotage::pass(CrashPoint::BeforeCursor);
        match self.source.advance(lane, through).await {
            Ok(()) => self.cursor_is_stuck = false,
            Err(error) => {
                self.metrics.retried(RetryReason::Storage);
                if !std::mem::replace(&mut self.cursor_is_stuck, true) {
                    tracing::error!(
                        forwarder = self.settings.name,
                        %error,
                        "the cursor cannot be written: after a restart events since now are delivered twice"
                    );
                }
            }
        }
    }

    fn render(&mut self, taken: &Taken) -> Batch {
        let mut events = Vec::with_capacity(taken.entries.len() + taken.gaps.len());
        let mut gaps = taken.gaps.clone();
        let mut oldest_ms = None;
        for ((lsn, entry), overtaken) in taken.entries.iter().zip(&taken.overtaken) {
            let Ok(record) = Record::decode(*lsn, entry) else {
                gaps.push(Gap { first: *lsn, last: *lsn, reason: GapReason::Unreadable });
                continue;
            };
            oldest_ms.get_or_insert(record.received_at_ms);
            if self.settled.remove(lsn) {
                continue;
            }
            match self.renderer.event_of(&record, *overtaken) {
                Ok(event) => events.push(event),
                Err(reason) => self.withhold(reason),
            }
        }
        self.render_gaps(&gaps, &mut events);
        Batch { events, oldest_ms, through: taken.through, has_more: taken.has_more }
    }

    /// Counted always; what is marked above the output is said once, too: somebody may be waiting for it.
    pub(super) fn withhold(&mut self, reason: Withheld) {
        self.metrics.withheld(reason);
        if reason == Withheld::Marking && !std::mem::replace(&mut self.marking_was_said, true) {
            tracing::warn!(
                forwarder = self.settings.name,
                marking = self.settings.release.marking.as_str(),
                "records are marked above this output and are withheld from it"
            );
        }
    }

    fn render_gaps(&mut self, gaps: &[Gap], events: &mut Vec<Event>) {
        for gap in gaps {
            self.metrics.lost(gap.reason, gap.count());
            tracing::error!(
                forwarder = self.settings.name,
                reason = gap.reason.as_str(),
                count = gap.count(),
                first_lsn = gap.first.0,
                "records lost to this forwarder; the loss is forwarded in their place"
            );
            events.push(self.renderer.gap(&self.settings.name, gap, self.now_ms()));
        }
        if !gaps.is_empty() {
            events.sort_by_key(|event| event.lsn);
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.settings.wall.now_ms()
    }

    pub(super) fn observe_lag(&self, oldest_ms: u64) {
        let lag_count = self.source.lag_records_count();
        self.metrics.lag_records.set(i64::try_from(lag_count).unwrap_or(i64::MAX));
        let age_ms = if lag_count == 0 { 0 } else { self.now_ms().saturating_sub(oldest_ms) };
        // Whole ms of any age that matters fit 32 bits (49 days); beyond that the gauge stays there.
        self.metrics.lag_seconds.set(f64::from(u32::try_from(age_ms).unwrap_or(u32::MAX)) / 1000.0);
    }
}

/// Rendered entries of one lane; it is held while the sink does not take it.
struct Batch {
    events: Vec<Event>,
    /// When the gateway received the first of them.
    oldest_ms: Option<u64>,
    /// Where the lane is once they are delivered.
    through: Lsn,
    /// Whether it goes on right behind them.
    has_more: bool,
}

/// How far a lane has got.
enum Progress {
    /// It has nothing now.
    Nothing,
    /// There was nothing to deliver.
    Passed { has_more: bool },
    /// The sink has a batch more.
    Delivered { has_more: bool },
    /// The sink failed; the batch is held.
    Failed,
}
