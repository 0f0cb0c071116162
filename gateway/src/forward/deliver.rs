//! Delivering one batch: attempts, pauses, and the search for a poison event.

use std::ops::Range;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::event::{Event, EventState, PassedOver};
use super::forwarder::{Forwarder, Outage, Stopped};
use super::source::Source;
use super::{RefuseReason, RetryReason, Sink, SinkError};
use crate::sabotage::{self, CrashPoint, Sabotage};

/// A sink that refuses this many events in a row is more likely wrong itself than they are: from here on every further
/// refusal is followed by the longest delay, so that an operator can step in before much is set aside, and yet nothing blocks.
const REFUSED_IN_A_ROW_MAX: u32 = 8;

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// No event is owed any more.
    Done,
    /// The sink failed, and the pause after it is over.
    Failed,
    /// The sink refuses event after event: what goes on with these events waits [`Forwarder::slow_delay`] first.
    Slowed,
}

impl<S: Sink, R: Source> Forwarder<S, R> {
    /// Returns when no event is owed any more, or after the pause that follows a failure: by then something else may have to
    /// go first. So it does after each refusal of a sink that refuses much. `oldest_ms` is for the lag only.
    pub(super) async fn deliver(
        &mut self,
        events: &mut [Event],
        oldest_ms: Option<u64>,
    ) -> Result<Delivery, Stopped> {
        let oldest_ms = oldest_ms.unwrap_or_else(|| self.now_ms());
        // A stack of the ranges still owed, the first on top: halving needs log2(events) of them.
        let mut ranges = Vec::with_capacity(16);
        ranges.push(0..events.len());
        if self.is_refusing() {
            // One event tells whether the sink still does.
            let next = events.iter().position(|event| event.state == EventState::Owed);
            ranges.extend(next.map(|next| next..next + 1));
        }
        let mut refused_count = 0_u64;
        let mut delivery = Delivery::Done;
        while let Some(range) = ranges.pop() {
            let piece = &mut events[range.clone()];
            if owed_count(piece) == 0 {
                continue;
            }
            match self.attempt(piece).await? {
                Ok(()) => {}
                Err(_) if sabotage::is(Sabotage::DropFailedBatch) => {}
                Err(SinkError::Refuse { reason, detail }) if owed_count(piece) == 1 => {
                    if !self.set_aside(piece, reason, &detail).await? {
                        delivery = Delivery::Failed;
                        break;
                    }
                    refused_count += 1;
                    if self.is_refusing() {
                        delivery = Delivery::Slowed;
                        break;
                    }
                }
                Err(SinkError::Refuse { .. }) => halve(&range, &mut ranges),
                Err(SinkError::Retry { reason, detail, after_ms }) => {
                    self.observe_lag(oldest_ms);
                    self.pause_after_failure(reason, &detail, after_ms).await?;
                    return Ok(Delivery::Failed);
                }
            }
        }
        if refused_count > 0 {
            tracing::warn!(
                forwarder = self.settings.name,
                count = refused_count,
                kept_in = %self.settings.refusals.display(),
                "the sink refused events for good"
            );
        }
        if delivery == Delivery::Done && !events.is_empty() {
            self.metrics.batches.inc();
        }
        Ok(delivery)
    }

    fn is_refusing(&self) -> bool {
        self.refused_in_a_row_count >= REFUSED_IN_A_ROW_MAX
    }

    /// How long a sink is left alone that refuses event after event.
    pub(super) fn slow_delay(&self) -> Duration {
        self.backoff.longest_delay(self.settings.random.number())
    }

    /// One call of the sink under its deadline, after the disclosure of every owed event is durable; counts what it
    /// accepted, also when it failed as a whole.
    async fn attempt(&mut self, piece: &mut [Event]) -> Result<Result<(), SinkError>, Stopped> {
        if self.sink.discloses() {
            return self.send(piece).await;
        }
        if sabotage::is(Sabotage::SendBeforeLog) {
            let as_they_were = piece.to_vec();
            sabotage::pass(CrashPoint::BeforeLog);
            let sent = self.send(piece).await?;
            sabotage::pass(CrashPoint::BetweenLogAndSend);
            let logged = self.disclose(&as_they_were).await?;
            sabotage::pass(CrashPoint::AfterSend);
            return Ok(logged.and(sent));
        }
        sabotage::pass(CrashPoint::BeforeLog);
        if let Err(error) = self.disclose(piece).await? {
            return Ok(Err(error));
        }
        sabotage::pass(CrashPoint::BetweenLogAndSend);
        let sent = self.send(piece).await;
        sabotage::pass(CrashPoint::AfterSend);
        sent
    }

    async fn disclose(&mut self, piece: &[Event]) -> Result<Result<(), SinkError>, Stopped> {
        let grace = Duration::from_millis(self.settings.stop_ms_max);
        let logged = tokio::select! {
            biased;
            logged = self.settings.recipient.disclose(self.now_ms(), piece) => logged,
            () = async { self.stop.cancelled().await; sleep(grace).await } => return Err(Stopped),
        };
        Ok(logged.map_err(|error| SinkError::retry(RetryReason::Storage, error.to_string())))
    }

    async fn send(&mut self, piece: &mut [Event]) -> Result<Result<(), SinkError>, Stopped> {
        let (owed_before_count, passed_before) = (owed_count(piece), passed_over(piece));
        let limit = Duration::from_millis(self.settings.attempt_ms_max);
        let grace = Duration::from_millis(self.settings.stop_ms_max);
        let attempt = tokio::select! {
            biased;
            attempt = timeout(limit, self.sink.deliver(piece)) => attempt,
            () = async { self.stop.cancelled().await; sleep(grace).await } => return Err(Stopped),
        };
        let result = attempt.unwrap_or_else(|_| {
            let detail = format!("no answer within {} ms", self.settings.attempt_ms_max);
            Err(SinkError::retry(RetryReason::Timeout, detail))
        });
        if result.is_ok() {
            piece.iter_mut().filter(|event| event.state == EventState::Owed).for_each(accept);
        }
        let settled_count = owed_before_count - owed_count(piece);
        let mut accepted_count = settled_count;
        for ((reason, before), after) in PassedOver::ALL.iter().zip(passed_before).zip(passed_over(piece)) {
            self.metrics.passed_over(*reason, (after - before) as u64);
            accepted_count -= after - before;
        }
        if settled_count > 0 {
            self.metrics.delivered.inc_by(accepted_count as u64);
            self.refused_in_a_row_count = 0;
            self.note_success();
        }
        Ok(result)
    }

    /// Keeps the one owed event of `piece` among the refusals; it counts as done only once it is durable there. `false`: it cannot
    /// be kept, and the pause after that is over.
    async fn set_aside(
        &mut self,
        piece: &mut [Event],
        reason: RefuseReason,
        detail: &str,
    ) -> Result<bool, Stopped> {
        let Some(event) = piece.iter_mut().find(|event| event.state == EventState::Owed) else {
            return Ok(true);
        };
        if let Err(error) = self.refusals.keep(event, reason, detail, self.now_ms()).await {
            let detail = format!("cannot keep a refused event: {error}");
            self.pause_after_failure(RetryReason::Storage, &detail, None).await?;
            return Ok(false);
        }
        event.state = EventState::Refused;
        self.metrics.refused(reason);
        self.refused_in_a_row_count += 1;
        if self.refused_in_a_row_count == REFUSED_IN_A_ROW_MAX {
            tracing::error!(
                forwarder = self.settings.name,
                count = self.refused_in_a_row_count,
                detail,
                "the sink refuses event after event: check that it takes this format; forwarding goes on slowly"
            );
        }
        Ok(true)
    }

    /// Counts and logs a failure, then waits: the backoff's delay, or longer if the sink asked for it.
    pub(super) async fn pause_after_failure(
        &mut self,
        reason: RetryReason,
        detail: &str,
        after_ms: Option<u64>,
    ) -> Result<(), Stopped> {
        self.metrics.retried(reason);
        self.metrics.failing.set(1);
        let outage = self.outage.get_or_insert(Outage { since: Instant::now(), attempts_count: 0, reason });
        outage.attempts_count += 1;
        if outage.attempts_count == 1 || outage.reason != reason {
            outage.reason = reason;
            tracing::warn!(
                forwarder = self.settings.name,
                sink = self.sink.kind(),
                reason = reason.as_str(),
                detail,
                "delivery failed; the spool holds the records"
            );
        }
        let delay = self.backoff.next_delay(self.settings.random.number());
        self.pause(delay.max(Duration::from_millis(after_ms.unwrap_or(0)))).await
    }

    fn note_success(&mut self) {
        self.backoff.reset();
        self.metrics.failing.set(0);
        self.metrics.last_success.set(i64::try_from(self.now_ms() / 1000).unwrap_or(i64::MAX));
        if let Some(outage) = self.outage.take() {
            tracing::info!(
                forwarder = self.settings.name,
                failed_attempts = outage.attempts_count,
                seconds = outage.since.elapsed().as_secs(),
                "delivering again"
            );
        }
    }

    pub(super) async fn pause(&mut self, delay: Duration) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = sleep(delay) => Ok(()),
        }
    }
}

fn accept(event: &mut Event) {
    event.state = EventState::Accepted;
}

pub(super) fn owed_count(events: &[Event]) -> usize {
    events.iter().filter(|event| event.state == EventState::Owed).count()
}

/// How many were passed over, for each of [`PassedOver::ALL`].
fn passed_over(events: &[Event]) -> [usize; PassedOver::ALL.len()] {
    let count = |reason| events.iter().filter(|event| event.state == EventState::PassedOver(reason)).count();
    PassedOver::ALL.map(count)
}

/// The first half comes off the stack first: order holds.
fn halve(range: &Range<usize>, ranges: &mut Vec<Range<usize>>) {
    let middle = range.start + range.len() / 2;
    ranges.push(middle..range.end);
    ranges.push(range.start..middle);
}
