//! The writer: one thread that turns pending entries into committed ones.
//!
//! **An LSN is published only after the fdatasync that covers it returned without error.** The batch grows with the
//! load, since it is whatever arrived during the last commit. When idle there is no delay but some microseconds in which
//! nothing more came; while commits follow each other, a batch of fewer than [`PACE_COUNT`] entries without an alarm waits until [`PACE`] after the last began.
//! - No space: the batch is kept, [`Health::Full`](super::Health::Full) published, and tried again when space returns.
//! - Any other error of a write, and every error of an fdatasync: never tried again. The spool is failed.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::disk::{DirLock, DiskFile, is_full, write_all_at};
use super::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, seal_batch};
use super::log::{new_header, promote_spare};
use super::shared::{AWAKE, Shared, lock};
use super::tail::{Kept, runs_of};
use super::{Lsn, SpoolError, keeper};
use crate::sabotage::{self, Sabotage};

/// How often a writer without space looks again, besides being woken by the keeper.
const RETRY: Duration = Duration::from_millis(200);

/// How far apart commits of small batches are kept: a commit costs the same for one entry as for a hundred, and each
/// wakes everybody who waits. At 10,000 records a second this makes one commit of five.
const PACE: Duration = Duration::from_millis(2);
/// A batch of this size is worth a commit of its own at once.
const PACE_COUNT: u32 = 64;

/// How long a writer that was asleep watches the batch grow at most: a burst takes some tens of microseconds to come, and its
/// first entry alone would cost the rest a whole commit. A hundredth of what an fdatasync takes.
const GATHER: Duration = Duration::from_micros(30);
/// The batch has stopped growing if nothing came in this time; so a lone entry waits no longer.
const GATHER_LOOK: Duration = Duration::from_micros(3);

/// The segment being written.
pub(super) struct Active {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SegmentHeader,
    /// Where the next batch goes.
    pub(super) end: u64,
}

/// Why a batch is not on the disk (yet).
enum WriteError {
    /// Storage failed; final.
    Failed(&'static str, io::Error),
    /// No space: try again later.
    NoSpace,
}

impl WriteError {
    fn of(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| if is_full(&error) { Self::NoSpace } else { Self::Failed(action, error) }
    }
}

/// What has to happen before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing.
    Nothing,
    /// An entry, or the closing.
    Work,
    /// More entries, but no longer than this.
    Company(Duration),
    /// Room on the disk: look again after this, or when the keeper has made some.
    Space(Duration),
    /// The storage has failed: nothing but the closing.
    Closing,
}

/// How far the batch has come.
#[derive(Clone, Copy)]
enum Phase {
    /// There is none.
    Idle,
    /// Taken over from the appends.
    Taken { first_lsn: u64, count: u32, urgent: bool },
    /// Written up to the offset `end`, not synced.
    Written { end: u64, last_lsn: u64, count: u32, urgent: bool },
    /// Storage failed.
    Failed,
}

/// Turns pending entries into committed ones, a step at a time: take, write, sync and publish. What may take long is at
/// most one system call a step, so whoever steps it can put anything between a write and its fsync.
pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Active,
    batch: Vec<u8>,
    phase: Phase,
    /// When the last commit began.
    last_began: Option<Instant>,
}

/// Starts the writer and, under it, the keeper. The lock goes when both have ended.
pub(super) fn start(
    shared: Arc<Shared>,
    active: Active,
    dir_lock: Box<dyn DirLock>,
) -> Result<JoinHandle<()>, SpoolError> {
    let dir = shared.dir.clone();
    let keeper = spawn("spool-keeper", &dir, {
        let shared = Arc::clone(&shared);
        move || keeper::run(&shared)
    })?;
    spawn("spool-writer", &dir, move || {
        let ending = Ending::new(Arc::clone(&shared), Some(keeper), dir_lock);
        let mut writer = Writer::new(shared, active);
        while let Some(wait) = writer.step(Instant::now()) {
            writer.wait(wait);
        }
        drop(writer);
        drop(ending);
    })
}

/// Closes the spool for everybody else, whichever way the writer ends.
pub(super) struct Ending {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
    dir_lock: Option<Box<dyn DirLock>>,
}

impl Ending {
    pub(super) fn new(
        shared: Arc<Shared>,
        keeper: Option<JoinHandle<()>>,
        dir_lock: Box<dyn DirLock>,
    ) -> Self {
        Self { shared, keeper, dir_lock: Some(dir_lock) }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        {
            let mut pending = lock(&self.shared.pending);
            pending.closing = true;
            pending.failed |= std::thread::panicking();
        }
        self.shared.publish_health();
        self.shared.writer_done.store(true, Ordering::Release);
        self.shared.poke_keeper();
        if let Some(keeper) = self.keeper.take() {
            // A panic of the keeper was reported by its own thread; closing goes on.
            let _ = keeper.join();
        }
        drop(self.dir_lock.take());
        self.shared.room.notify_waiters();
        self.shared.watch.send_modify(|state| state.closed = true);
        self.shared.news.send_replace(());
        self.shared.rounds.send_modify(|rounds| *rounds += 1);
    }
}

fn spawn(
    name: &str,
    dir: &std::path::Path,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, SpoolError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| SpoolError::Io {
        action: "start the threads of",
        path: PathBuf::from(dir),
        source,
    })
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, active: Active) -> Self {
        let batch = Vec::with_capacity(shared.settings.pending_bytes_max);
        Self { shared, active, batch, phase: Phase::Idle, last_began: None }
    }

    /// Goes one step on, if there is one; says what to wait for before the next. `None` when closing and done.
    pub(super) fn step(&mut self, now: Instant) -> Option<Wait> {
        let stepped = match self.phase {
            Phase::Idle => return self.take_pending(now),
            Phase::Taken { first_lsn, count, urgent } => self.write(first_lsn, count, urgent),
            Phase::Written { end, last_lsn, count, urgent } => self.sync(end, last_lsn, count, urgent),
            Phase::Failed => return (!lock(&self.shared.pending).closing).then_some(Wait::Closing),
        };
        match stepped {
            Ok(phase) => {
                self.phase = phase;
                Some(Wait::Nothing)
            }
            Err(WriteError::NoSpace) => self.stall(),
            Err(WriteError::Failed(action, error)) => {
                tracing::error!(%error, action, "spool failed: nothing is accepted any more; check the disk, then restart");
                lock(&self.shared.pending).failed = true;
                self.shared.publish_health();
                self.phase = Phase::Failed;
                Some(Wait::Nothing)
            }
        }
    }

    /// Blocks until what `wait` names may have happened.
    fn wait(&self, wait: Wait) {
        if wait == Wait::Nothing {
            return;
        }
        let pending = lock(&self.shared.pending);
        // Whoever had something for a sleeping writer since it looked has marked it awake.
        let is_called = matches!(wait, Wait::Work | Wait::Company(_)) && pending.wake_at == AWAKE;
        if pending.closing || is_called {
            return;
        }
        let work = &self.shared.work;
        match wait {
            Wait::Company(longest) | Wait::Space(longest) => {
                drop(work.wait_timeout(pending, longest).unwrap_or_else(PoisonError::into_inner));
            }
            Wait::Work => {
                drop(work.wait(pending).unwrap_or_else(PoisonError::into_inner));
                self.gather();
            }
            _ => drop(work.wait(pending).unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Watches the batch for as long as it grows, but not beyond [`GATHER`], and not at all if an alarm is in it.
    fn gather(&self) {
        let began = Instant::now();
        let mut known_count = 0;
        while began.elapsed() < GATHER {
            let (count, is_urgent) = {
                let pending = lock(&self.shared.pending);
                (pending.count, pending.urgent || pending.closing)
            };
            if is_urgent || count == known_count || count >= PACE_COUNT {
                return;
            }
            known_count = count;
            let looked = Instant::now();
            while looked.elapsed() < GATHER_LOOK {
                std::hint::spin_loop();
            }
        }
    }

    /// Swaps the pending batch for an empty buffer, if it is due.
    fn take_pending(&mut self, now: Instant) -> Option<Wait> {
        self.batch.clear();
        self.batch.resize(BATCH_HEADER_BYTES, 0);
        let mut pending = lock(&self.shared.pending);
        if pending.count == 0 {
            pending.wake_at = 1;
            return (!pending.closing).then_some(Wait::Work);
        }
        let since_last = self.last_began.map_or(PACE, |began| now.saturating_duration_since(began));
        let pace_left = PACE.saturating_sub(since_last);
        let is_due = pending.urgent || pending.count >= PACE_COUNT || pending.closing || pace_left.is_zero();
        if !is_due {
            pending.wake_at = PACE_COUNT;
            return Some(Wait::Company(pace_left));
        }
        self.last_began = Some(now);
        pending.wake_at = AWAKE;
        let urgent = std::mem::take(&mut pending.urgent);
        std::mem::swap(&mut pending.buf, &mut self.batch);
        let count = std::mem::take(&mut pending.count);
        let first_lsn = pending.next_lsn - u64::from(count);
        drop(pending);
        self.shared.room.notify_waiters();
        self.phase = Phase::Taken { first_lsn, count, urgent };
        Some(Wait::Nothing)
    }

    /// Writes the batch, in a new segment if it does not fit this one. A preallocated file can still meet a full disk, on
    /// a copy-on-write system.
    fn write(&mut self, first_lsn: u64, count: u32, urgent: bool) -> Result<Phase, WriteError> {
        let is_full = self.active.end + self.batch.len() as u64 > self.active.header.segment_bytes;
        if is_full || self.is_old() {
            self.roll(first_lsn)?;
        }
        let header = BatchHeader {
            first_lsn,
            written_at_ms: self.shared.settings.clock.now_ms(),
            count,
            bytes: (self.batch.len() - BATCH_HEADER_BYTES) as u32,
        };
        seal_batch(&mut self.batch, self.active.header.seed(), header);
        write_all_at(&*self.active.file, &self.batch, self.active.end)
            .map_err(WriteError::of("write a batch"))?;
        self.set_stalled(false);
        let end = self.active.end + self.batch.len() as u64;
        Ok(Phase::Written { end, last_lsn: first_lsn + u64::from(count) - 1, count, urgent })
    }

    /// Whether it is time to leave a segment that is not full: every cursor has passed the one before, and there is a spare
    /// beside the reserve. So an outage of a sink fills segments before it takes the next.
    fn is_old(&self) -> bool {
        let settings = &self.shared.settings;
        let Some(limit_ms) = settings.seal_after_ms else { return false };
        let SegmentHeader { base, created_at_ms, .. } = self.active.header;
        // One of a time to come was made while the clock was ahead: nobody knows how old it is.
        let is_due =
            settings.clock.now_ms().checked_sub(created_at_ms).is_none_or(|age_ms| age_ms >= limit_ms);
        if !is_due || self.active.end <= SEGMENT_HEADER_BYTES as u64 {
            return false;
        }
        let log = lock(&self.shared.log);
        log.slowest_cursor().is_none_or(|position| position + 1 >= base)
            && log.spares.len() > settings.reserve_segments()
    }

    fn sync(&mut self, end: u64, last_lsn: u64, count: u32, urgent: bool) -> Result<Phase, WriteError> {
        #[cfg(test)]
        self.sabotage(end, last_lsn, urgent);
        let sync_started = Instant::now();
        self.sync_file()?;
        let sync_us = sync_started.elapsed().as_micros() as u64;
        let counters = &self.shared.counters;
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.records.fetch_add(u64::from(count), Ordering::Relaxed);
        counters.bytes.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        counters.sync_us.fetch_add(sync_us, Ordering::Relaxed);
        counters.sync_us_max.fetch_max(sync_us, Ordering::Relaxed);
        self.publish(end, last_lsn, urgent);
        Ok(Phase::Idle)
    }

    fn sync_file(&self) -> Result<(), WriteError> {
        let synced = self.active.file.sync_data();
        let is_retried = sabotage::is(Sabotage::RetryFailedSync);
        #[cfg(test)]
        let is_retried =
            is_retried || self.shared.settings.sabotaged(super::settings::Sabotage::RetryFailedSync);
        let synced =
            synced.or_else(|error| if is_retried { self.active.file.sync_data() } else { Err(error) });
        // Whatever the error: it is never tried again.
        synced.map_err(|error| WriteError::Failed("fdatasync a batch", error))
    }

    /// From here on the entries are the gateway's.
    fn publish(&mut self, end: u64, last_lsn: u64, urgent: bool) {
        self.active.end = end;
        // Before anybody is told, so that whoever wakes finds it.
        let gone = self.keep_in_memory(end - self.batch.len() as u64);
        {
            let mut log = lock(&self.shared.log);
            log.committed = last_lsn;
            if let Some(active) = log.segments.back_mut() {
                active.end = end;
            }
        }
        self.shared.watch.send_modify(|state| {
            state.committed = Lsn(last_lsn);
            if urgent {
                state.urgent = Lsn(last_lsn);
            }
        });
        if urgent {
            self.shared.news.send_replace(());
        }
        // Freeing hundreds of decoded records takes its time, and no PUBACK waits for it any more.
        drop(gone);
    }

    /// Hands the batch, which lies at `offset`, to the readers. Returns what had to make room.
    fn keep_in_memory(&self, offset: u64) -> Vec<Kept> {
        let bytes_max = self.shared.settings.tail_bytes_max;
        if bytes_max == 0 {
            return Vec::new();
        }
        let runs = runs_of(&self.batch, self.active.header.base, offset);
        lock(&self.shared.tail).add(runs, bytes_max)
    }

    /// Goes on in a new segment that starts with `base`.
    fn roll(&mut self, base: u64) -> Result<(), WriteError> {
        let mut spare = lock(&self.shared.log).take_spare();
        if spare.is_none() {
            keeper::tend(&self.shared);
            spare = lock(&self.shared.log).take_spare();
        }
        let spare = spare.ok_or(WriteError::NoSpace)?;
        let header = new_header(&self.shared.settings, base, &spare);
        let promoted = promote_spare(&*self.shared.disk, &self.shared.dir, &spare, &header);
        let (file, meta) = promoted.map_err(WriteError::of("start a segment")).inspect_err(|error| {
            if matches!(error, WriteError::NoSpace) {
                lock(&self.shared.log).put_back(spare);
            }
        })?;
        self.active = Active { file, header, end: meta.end };
        let spares_left = {
            let mut log = lock(&self.shared.log);
            log.add_segment(meta);
            log.spares.len()
        };
        self.set_stalled(false);
        if spares_left < self.shared.settings.reserve_segments() {
            // The reserve is touched: decide now, not in a moment, who may still write.
            keeper::tend(&self.shared);
        } else {
            self.shared.poke_keeper();
        }
        Ok(())
    }

    /// There is no space for the batch: it is kept. Closing, it is given up; it was never acknowledged.
    fn stall(&self) -> Option<Wait> {
        self.set_stalled(true);
        self.shared.poke_keeper();
        (!lock(&self.shared.pending).closing).then_some(Wait::Space(RETRY))
    }

    fn set_stalled(&self, stalled: bool) {
        if self.shared.stalled.swap(stalled, Ordering::AcqRel) != stalled {
            self.shared.publish_health();
        }
    }

    #[cfg(test)]
    fn sabotage(&mut self, end: u64, last_lsn: u64, urgent: bool) {
        if self.shared.settings.sabotaged(super::settings::Sabotage::PublishBeforeSync) {
            self.publish(end, last_lsn, urgent);
        }
    }
}
