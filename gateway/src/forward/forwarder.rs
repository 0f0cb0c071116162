//! The loop of one forwarder: take a batch, render it, deliver it, move the cursor.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, BackoffSettings, Random};
use super::event::{ClockBounds, Event, EventState, Gap, GapReason, Renderer};
use super::metrics::ForwarderMetrics;
use super::refusals::Refusals;
use super::source::{Source, SourceError, Taken};
use super::{RetryReason, Sink};
use crate::alarms::{Acceptance, AlarmId};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::spool::{Clock, Lsn};

/// Most alarms remembered as delivered ahead of their place; more would be delivered twice.
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
    /// Alarms delivered ahead of their place.
    overtaken: BTreeSet<Lsn>,
    /// Alarms that the sink has and that could not be noted yet.
    unconfirmed: Vec<AlarmId>,
    renderer: Renderer,
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

    pub(super) fn with_handles(
        settings: ForwarderSettings,
        source: R,
        sink: S,
        metrics: ForwarderMetrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            backoff: Backoff::new(settings.backoff),
            refusals: Refusals::new(settings.refusals.clone()),
            metrics,
            renderer: Renderer::new(settings.clock),
            outage: None,
            cursor_is_stuck: false,
            overtaken: BTreeSet::new(),
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
        while let Ok(()) = self.one_batch().await {}
        tracing::info!(forwarder = self.settings.name, "forwarder stopped");
    }

    async fn one_batch(&mut self) -> Result<(), Stopped> {
        self.alarms_first().await?;
        let taken = self.take().await?;
        let through = taken.through;
        let mut batch = self.render(&taken);
        drop(taken);
        let delivered = self.deliver(&mut batch.events, batch.oldest_ms).await;
        // Before the cursor: after a crash in between the alarm comes again, and so does this.
        self.confirm(&batch.events).await;
        if delivered.is_err() {
            // Whatever the sink has taken without a hole need not be sent again after the restart.
            let settled = batch.events.iter().take_while(|event| event.state != EventState::Owed).last();
            if let Some(event) = settled {
                self.advance(event.lsn).await;
            }
            return delivered;
        }
        self.advance(through).await;
        self.observe_lag(self.now_ms());
        Ok(())
    }

    /// Delivers the alarms that wait behind a backlog. The cursor does not move for them; where the reader meets them
    /// again they are left out. After a restart in between they come twice, which their keys allow.
    async fn alarms_first(&mut self) -> Result<(), Stopped> {
        // An error comes again from the next read, and is handled there.
        let alarms = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Stopped),
            alarms = self.source.take_urgent() => alarms.unwrap_or_default(),
        };
        let records = alarms.iter().filter_map(|(lsn, entry)| Record::decode(*lsn, entry).ok());
        let mut events: Vec<_> = records.filter_map(|record| self.renderer.event(&record).ok()).collect();
        if events.is_empty() {
            return Ok(());
        }
        let delivered = self.deliver(&mut events, None).await;
        self.confirm(&events).await;
        delivered?;
        let room_count = OVERTAKEN_MAX.saturating_sub(self.overtaken.len());
        self.overtaken.extend(events.iter().take(room_count).map(|event| event.lsn));
        Ok(())
    }

    /// Notes the alarms that the sink has. What finds no room is noted after a later batch, or after a restart.
    async fn confirm(&mut self, events: &[Event]) {
        let accepted = events.iter().filter(|event| event.state == EventState::Accepted);
        self.unconfirmed.extend(accepted.filter_map(|event| event.alarm.as_deref().cloned()));
        if self.unconfirmed.is_empty() {
            return;
        }
        self.unconfirmed.truncate(UNCONFIRMED_MAX);
        let alarms = std::mem::take(&mut self.unconfirmed);
        let acceptance = Acceptance { by: self.settings.name.clone(), at_ms: self.now_ms() };
        self.unconfirmed = self.source.confirm(&acceptance, alarms).await;
    }

    async fn take(&mut self) -> Result<Taken, Stopped> {
        loop {
            let taken = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Stopped),
                taken = self.source.take() => taken,
            };
            match taken {
                Ok(taken) => return Ok(taken),
                Err(SourceError::Again(detail)) => {
                    self.pause_after_failure(RetryReason::Storage, &detail, None).await?;
                }
                Err(SourceError::Ended(detail)) => {
                    tracing::warn!(forwarder = self.settings.name, detail, "nothing more to forward");
                    return Err(Stopped);
                }
            }
        }
    }

    /// Moves the cursor. If that fails, forwarding goes on: after a restart these events are delivered twice, which
    /// their keys allow; holding back the next alarm would be worse.
    async fn advance(&mut self, through: Lsn) {
        match self.source.advance(through).await {
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
        for (lsn, entry) in &taken.entries {
            let Ok(record) = Record::decode(*lsn, entry) else {
                gaps.push(Gap { first: *lsn, last: *lsn, reason: GapReason::Unreadable });
                continue;
            };
            oldest_ms.get_or_insert(record.received_at_ms);
            if self.overtaken.remove(lsn) {
                continue;
            }
            match self.renderer.event(&record) {
                Ok(event) => events.push(event),
                Err(reason) => self.metrics.withheld(reason),
            }
        }
        self.render_gaps(&gaps, &mut events);
        Batch { events, oldest_ms }
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

struct Batch {
    events: Vec<Event>,
    /// When the gateway received the first of them.
    oldest_ms: Option<u64>,
}
