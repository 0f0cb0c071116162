//! Reads committed records for the page, in three lanes.
//!
//! ```text
//!                 |<-- not folded yet: b b L b A b b L b A b b b b b -->| committed
//! in order ======>                             all of it: the state
//! live                 ----------> L ------------> L                      over the backlog
//! alarms               --------------------> A ----------> A ----------->  over everything else
//! ```
//! **An alarm, and what people do to it, waits for no other record; what is live waits for no history.** A device's alarm above
//! its quota is stored as live, and waits as such. The fold goes through all records in order and is the only truth; while more
//! than a batch waits for it, two lanes run ahead of it and show what they find ([`super::ahead`]). What is kept, and where a
//! restart goes on, are the fold's alone.
//!
//! The lanes cost nothing while the fold keeps up. Else a turn is alarms, one batch of live records and one batch in order, so
//! the fold always goes on. Where a batch of live records has less history between them than records, that lane gains nothing
//! and rests until the fold has come to it. A lane ahead that cannot read the disk holds up nobody: the fold reads the same
//! place later, and says what is lost there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Hub;
use super::ahead::look_ahead;
use super::fold::fold;
use crate::sabotage::{self, Sabotage};
use crate::spool::{Batch, BatchLimits, EntryClass, Lsn, ReadError, Reader, Wanted};

/// One lock of the state for so many records: about a millisecond. A position may wait a fifth of the time between two
/// renderings, so that the reader does not wake at every commit; an alarm does not wait (see `Reader::next_batch`).
const READ_LIMITS: BatchLimits = BatchLimits { count_max: 512, bytes_max: 256 * 1024, age_ms_max: 50 };
/// Records a look of a lane steps over at most: about a millisecond.
const LOOKED_MAX: usize = 10_000;
/// Looks for alarms in a turn: 80,000 records of others.
const ALARM_LOOKS_MAX: usize = 8;
/// How soon a failed read of the spool is tried again.
const READ_RETRY_MS: u64 = 1_000;

/// What belongs to alarms: who took them, and which system has them.
const ALARM_CLASSES: [EntryClass; 2] = [EntryClass::Alarm, EntryClass::Internal];

/// Reads committed records from `from` on and folds them; the state is rebuilt at `rebuilt_at`.
pub(super) async fn read(hub: Arc<Hub>, from: Lsn, rebuilt_at: Lsn, shutdown: CancellationToken) {
    let _end = ReaderEnd { hub: Arc::clone(&hub), shutdown: shutdown.clone() };
    let mut lanes = Lanes::new(&hub, from, rebuilt_at);
    loop {
        let turn = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            turn = lanes.turn() => turn,
        };
        match turn {
            Ok(()) => {}
            Err(ReadError::Closed) => return,
            Err(error @ ReadError::Failed) => {
                tracing::error!(%error, "the page shows what was committed until now");
                return;
            }
            Err(error @ ReadError::Io(_)) => {
                tracing::warn!(%error, "live reader waits");
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(READ_RETRY_MS)) => {}
                }
            }
        }
    }
}

/// The readers. Those ahead are never behind the one in order when they look.
struct Lanes {
    hub: Arc<Hub>,
    rebuilt_at: Lsn,
    in_order: Reader,
    alarms: Reader,
    live: Reader,
    /// Its last batch had less between its records than records.
    live_rests: bool,
    /// It was said that a lane ahead cannot read.
    has_warned: bool,
}

impl Lanes {
    fn new(hub: &Arc<Hub>, from: Lsn, rebuilt_at: Lsn) -> Self {
        let in_order = hub.spool.reader(from);
        let alarms = in_order.fork();
        // What is rebuilt is not news.
        let live = hub.spool.reader(from.max(rebuilt_at.next()));
        Self {
            hub: Arc::clone(hub),
            rebuilt_at,
            in_order,
            alarms,
            live,
            live_rests: false,
            has_warned: false,
        }
    }

    /// Shows what must not wait, if much does, then folds a batch. Waits for it.
    async fn turn(&mut self) -> Result<(), ReadError> {
        if self.is_behind() {
            let looked = [self.look_for_alarms().await, self.look_for_live().await];
            looked.into_iter().try_for_each(|looked| self.get_over(looked))?;
        }
        let batch = self.in_order.next_batch(READ_LIMITS).await?;
        self.hub.fold_batch(&batch, self.rebuilt_at);
        Ok(())
    }

    /// A look ahead that the disk refused is tried again in the next turn; the fold goes on meanwhile.
    fn get_over(&mut self, looked: Result<(), ReadError>) -> Result<(), ReadError> {
        match looked {
            Err(error @ ReadError::Io(_)) => {
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!(%error, "the page cannot look ahead of what it has folded");
                }
                Ok(())
            }
            looked => looked,
        }
    }

    /// Whether more than the next batch waits for the fold.
    fn is_behind(&self) -> bool {
        let waiting_count = self.hub.spool.committed().next().0.saturating_sub(self.in_order.position().0);
        waiting_count > READ_LIMITS.count_max as u64 && !sabotage::is(Sabotage::OneLane)
    }

    async fn look_for_alarms(&mut self) -> Result<(), ReadError> {
        if self.alarms.position() < self.in_order.position() {
            self.alarms = self.in_order.fork();
        }
        for _ in 0..ALARM_LOOKS_MAX {
            let committed = self.hub.spool.committed();
            let next = self.alarms.position();
            if ALARM_CLASSES.iter().all(|class| self.hub.spool.newest_of(*class) < next) {
                self.hub.note_shown(committed);
                return Ok(());
            }
            if !self.hub.state().alarms_ahead.has_room_for(READ_LIMITS.count_max) {
                return Ok(());
            }
            let wanted = Wanted { classes: &ALARM_CLASSES, through: committed, looked_max: LOOKED_MAX };
            let Some(batch) = self.alarms.look(READ_LIMITS, wanted).await? else { return Ok(()) };
            self.hub.show(&batch);
            self.hub.note_shown(batch.end);
            if batch.end >= committed {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn look_for_live(&mut self) -> Result<(), ReadError> {
        let spool = &self.hub.spool;
        let folded = self.in_order.position();
        // Where both are at one place, a fork would forget how often this reader has failed there.
        if self.live.position() < folded {
            self.live = self.in_order.fork();
        }
        self.live_rests &= self.live.position() > folded;
        let next = self.live.position();
        let has_history = spool.newest_of(EntryClass::Backlog) >= self.in_order.position();
        if self.live_rests || !has_history || spool.newest_of(EntryClass::Live) < next {
            return Ok(());
        }
        let wanted =
            Wanted { classes: &[EntryClass::Live], through: spool.committed(), looked_max: LOOKED_MAX };
        let Some(batch) = self.live.look(READ_LIMITS, wanted).await? else { return Ok(()) };
        let looked_count = batch.end.next().0.saturating_sub(next.0);
        self.live_rests = 2 * batch.len() as u64 > looked_count;
        self.hub.show(&batch);
        Ok(())
    }
}

/// Says on the page that the reader has ended, should it do so before shutdown: a panic included.
struct ReaderEnd {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
}

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        if !self.shutdown.is_cancelled() {
            self.hub.has_stopped.store(true, Ordering::Relaxed);
            tracing::error!("the page has stopped following the spool: restart the gateway");
        }
    }
}

impl Hub {
    fn fold_batch(&self, batch: &Batch, rebuilt_at: Lsn) {
        let mut state = self.state();
        let records_count = batch.len() as u64;
        for record in batch.records() {
            match record {
                Ok(record) => {
                    fold(&mut state, record);
                    // One by one: what was laid over has its place between two records.
                    state.catch_up(record.lsn);
                }
                Err(_) => _ = self.metrics.live.records_unreadable.inc(),
            }
        }
        state.catch_up(batch.end);
        self.announce_alarms(&state);
        drop(state);
        self.metrics.live.records.inc_by(records_count);
        self.metrics.live.records_missing.inc_by(batch.gap.map_or(0, |gap| gap.count()));
        self.folded.send_replace(batch.end);
        self.note_shown(batch.end);
        if self.is_rebuilding.load(Ordering::Acquire) && batch.end >= rebuilt_at {
            // What was replayed is not news: its age says nothing about how fast the page is.
            self.state().forget_changed_by();
            self.is_rebuilding.store(false, Ordering::Release);
            tracing::info!(lsn = batch.end.0, "live state rebuilt");
        }
    }

    /// Shows what a lane has read ahead of the fold. What cannot be read is counted where the fold comes to it.
    fn show(&self, batch: &Batch) {
        if batch.is_empty() {
            return;
        }
        let mut state = self.state();
        for record in batch.records().flatten() {
            look_ahead(&mut state, record);
        }
        self.announce_alarms(&state);
    }

    /// Everything of alarms up to `through` is shown.
    fn note_shown(&self, through: Lsn) {
        self.shown.send_if_modified(|shown| {
            let is_news = through > *shown;
            *shown = through.max(*shown);
            is_news
        });
    }
}

#[cfg(test)]
#[path = "read_claims.rs"]
mod claims;
