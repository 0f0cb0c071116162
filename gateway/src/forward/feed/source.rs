//! The spool as a machine's source: its places are the client's.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::place;
use crate::alarms::{Acceptance, AlarmId};
use crate::forward::SpoolSource;
use crate::forward::source::{Lane, Source, SourceError, Taken};
use crate::spool::{BatchLimits, LanePositions, Lsn, Spool};

/// How often a machine is told of places that only stepped over what is not for it: else it would come back to what retention
/// has removed long since, and be told of a gap that is none.
const TELL_LATE: Duration = Duration::from_secs(5);

/// Tells every place that it moves to.
pub(super) struct FeedSource {
    spool: SpoolSource,
    messages: mpsc::Sender<Bytes>,
    told_at: Instant,
    /// What was stepped over and not told.
    has_news: bool,
}

impl FeedSource {
    pub(super) fn new(
        spool: &Spool,
        places: LanePositions,
        limits: BatchLimits,
        messages: mpsc::Sender<Bytes>,
    ) -> Self {
        let spool = SpoolSource::after(spool, places, limits);
        Self { spool, messages, told_at: Instant::now(), has_news: false }
    }

    /// Cancel-safe: what was not told is still news.
    async fn tell(&mut self) {
        self.has_news = true;
        // A connection that is gone ends the forwarder.
        _ = self.messages.send(place::message(self.spool.places())).await;
        (self.told_at, self.has_news) = (Instant::now(), false);
    }
}

impl Source for FeedSource {
    async fn wait(&mut self) -> Result<(), SourceError> {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.told_at + TELL_LATE), if self.has_news => {}
                waited = self.spool.wait() => return waited,
            }
            self.tell().await;
        }
    }

    async fn take(&mut self, lane: Lane) -> Result<Option<Taken>, SourceError> {
        self.spool.take(lane).await
    }

    fn overtake(&mut self) -> bool {
        self.spool.overtake()
    }

    async fn advance(&mut self, lane: Lane, through: Lsn) -> Result<(), SourceError> {
        self.spool.advance(lane, through).await?;
        self.tell().await;
        Ok(())
    }

    fn pass(&mut self, lane: Lane, through: Lsn) {
        self.has_news = true;
        self.spool.pass(lane, through);
    }

    /// Nobody said that it has them: what was written to a connection may have gone with it.
    async fn confirm(&mut self, _acceptance: &Acceptance, _alarms: Vec<AlarmId>) -> Vec<AlarmId> {
        Vec::new()
    }

    fn took(&mut self, count: usize, is_full: bool, took: Duration) {
        self.spool.took(count, is_full, took);
    }

    fn lag_records_count(&self) -> u64 {
        self.spool.lag_records_count()
    }
}
