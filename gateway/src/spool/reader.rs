//! Readers: committed entries in order, and every hole by name.
//!
//! **A reader returns each LSN exactly once: as an entry or inside a [`super::Gap`].** It waits on the commit watch, then
//! takes what is still in memory (see `tail.rs`) or reads with pread (see `reading.rs`), up to the committed end and never
//! past it. Readers hold nothing back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Batch, BatchLimits, Filter, Portion, Taken, Wanted};
use super::reading::{Place, read_batch};
use super::run::{Part, Slot};
use super::shared::{Shared, lock};
use super::{Health, Lsn};

/// A failing read is reported this often before the sectors in question count as damaged: a passing fault must not
/// become a loss, and a bad sector must not stop a sink for ever.
const READ_TRIES: u32 = 3;

/// How soon a reader that lets its batch grow sees that it is full.
const LOOK: Duration = Duration::from_millis(25);

/// Why a reader ends.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// All that is committed was read, and the storage failed: no more will come until a restart.
    #[error(
        "the spool's storage failed; everything committed before was read: check the disk, then restart the gateway"
    )]
    Failed,
    /// All that is committed was read, and the spool is closed.
    #[error("the spool is closed and everything in it was read")]
    Closed,
    /// A segment could not be opened or read. The reader stays where it is; trying again later is safe.
    #[error("cannot read the spool: {0}; check the disk, the reader goes on from the same place")]
    Io(#[from] io::Error),
}

/// Reads committed entries from a position on.
pub struct Reader {
    shared: Arc<Shared>,
    /// `None` only while a read is under way or after one was cancelled.
    place: Option<Place>,
    /// Where `place` starts again if it is lost.
    next: u64,
    /// Reads that failed in a row.
    failures_count: u32,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Lsn) -> Self {
        Self { shared, place: None, next: from.0.max(1), failures_count: 0 }
    }

    /// Another reader at the same place, which need not look for it.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            place: self.place.clone(),
            next: self.next,
            failures_count: 0,
        }
    }

    /// The next LSN this reader will account for.
    pub fn position(&self) -> Lsn {
        Lsn(self.next)
    }

    /// The next batch. Waits for the first entry, then up to `age_ms_max` for more, but not if an alarm or an entry of the
    /// gateway itself is among them. Never empty.
    ///
    /// Cancel-safe: a cancelled call took nothing.
    ///
    /// # Errors
    /// See [`ReadError`]; `Failed` and `Closed` only after everything committed was handed over.
    pub async fn next_batch(&mut self, limits: BatchLimits) -> Result<Batch, ReadError> {
        self.wait_for_first().await?;
        if limits.age_ms_max > 0 {
            self.wait_for_more(limits).await;
        }
        self.read(limits, Filter::EVERYTHING).await
    }

    /// What is there now of some classes, without waiting. `None` if nothing is committed from here to `wanted.through`.
    /// The batch may hold no entry: then there is none up to its end.
    ///
    /// Cancel-safe: a cancelled call took nothing.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub async fn look(
        &mut self,
        limits: BatchLimits,
        wanted: Wanted<'_>,
    ) -> Result<Option<Batch>, ReadError> {
        let is_due = |next| {
            let committed = self.shared.watch.borrow().committed;
            next <= committed.min(wanted.through).0 || lock(&self.shared.log).first() > next
        };
        if !is_due(self.next) {
            return Ok(None);
        }
        self.read(limits, wanted.into()).await.map(Some)
    }

    async fn read(&mut self, limits: BatchLimits, filter: Filter) -> Result<Batch, ReadError> {
        // In memory a reader never waits, so others are given their turn.
        tokio::task::yield_now().await;
        if let Some(batch) = self.read_tail(limits, filter) {
            return Ok(batch);
        }
        let mut place = self.place.take().unwrap_or_else(|| Place::new(self.next));
        let shared = Arc::clone(&self.shared);
        let salvage = self.failures_count >= READ_TRIES;
        let read = self.shared.off_runtime(move || {
            let batch = read_batch(&shared, &mut place, limits, filter, salvage);
            (place, batch)
        });
        let (place, batch) = read.await?;
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                self.failures_count += 1;
                return Err(error.into());
            }
        };
        self.failures_count = 0;
        self.next = place.next();
        self.place = Some(place);
        Ok(batch)
    }

    /// The next batch from memory; `None` if the next entry is not there any more.
    fn read_tail(&mut self, limits: BatchLimits, filter: Filter) -> Option<Batch> {
        let committed = self.shared.watch.borrow().committed.0;
        let mut portion = Portion::new(limits, filter);
        let mut next = self.next;
        let mut last = None;
        loop {
            // The writer needs the lock before each commit is told: it is not held while entries are looked at.
            let found = lock(&self.shared.tail).at(next);
            let Some((kept, from)) = found else { break };
            let wanted_before = portion.count;
            let slots = &kept.run.slots()[from..];
            let mut is_taken = |slot: &&Slot| {
                let payload_bytes = slot.payload().len();
                slot.lsn <= committed && portion.take(slot.lsn, slot.class, payload_bytes) != Taken::NotNow
            };
            let taken_count = slots.iter().take_while(&mut is_taken).count();
            if taken_count == 0 {
                break;
            }
            let is_whole = taken_count == slots.len();
            let slots = from..from + taken_count;
            next += taken_count as u64;
            last = Some(kept.spot_before(slots.end));
            // A run is kept for as long as the batch is: not one of which nothing is wanted.
            if portion.count > wanted_before {
                portion.parts.push(Part { run: kept.run, slots, classes: filter.classes });
            }
            if !is_whole {
                break;
            }
        }
        self.place.get_or_insert_with(|| Place::new(next)).move_to(last?);
        self.failures_count = 0;
        self.next = next;
        Some(portion.finish(None, next))
    }

    async fn wait_for_first(&self) -> Result<(), ReadError> {
        let mut watch = self.shared.watch.subscribe();
        loop {
            let state = *watch.borrow_and_update();
            if state.committed.0 >= self.next || lock(&self.shared.log).first() > self.next {
                return Ok(());
            }
            if state.health == Health::Failed {
                return Err(ReadError::Failed);
            }
            if state.closed || watch.changed().await.is_err() {
                return Err(ReadError::Closed);
            }
        }
    }

    /// Returns when a full batch is there, an entry that must not wait, the time is over or nothing more will come. Commits
    /// come hundreds of times a second and do not wake a reader that has time.
    async fn wait_for_more(&self, limits: BatchLimits) {
        let deadline = Instant::now() + Duration::from_millis(limits.age_ms_max);
        let mut news = self.shared.news.subscribe();
        loop {
            news.mark_unchanged();
            let state = *self.shared.watch.borrow();
            let is_over = state.closed || state.health == Health::Failed || Instant::now() >= deadline;
            if is_over || state.urgent.0 >= self.next || self.enough(state.committed.0, limits) {
                return;
            }
            let look_at = deadline.min(Instant::now() + LOOK);
            _ = tokio::time::timeout_at(look_at, news.changed()).await;
        }
    }

    fn enough(&self, committed: u64, limits: BatchLimits) -> bool {
        if (committed + 1).saturating_sub(self.next) >= limits.count_max.max(1) as u64 {
            return true;
        }
        let log = lock(&self.shared.log);
        let Some((base, end)) = log.segments.back().map(|active| (active.base, active.end)) else {
            return true;
        };
        match self.place.as_ref().and_then(|place| place.offset_in(base)) {
            // In the active segment the bytes ahead are known; anywhere else there is at least a segment's worth.
            Some(offset) => end.saturating_sub(offset) >= limits.bytes_max as u64,
            None => self.next < base || end >= limits.bytes_max as u64,
        }
    }
}
