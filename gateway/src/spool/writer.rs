//! The writer: one thread that turns pending entries into committed ones.
//!
//! **An LSN is published only after the fdatasync that covers it returned without error.** The batch grows with the
//! load, since it is whatever arrived during the last commit. When idle there is no delay at all; while commits follow
//! each other, a batch of fewer than [`PACE_COUNT`] entries without an alarm waits until [`PACE`] after the last began.
//! - No space: the batch is kept, [`Health::Full`](super::Health::Full) published, and tried again when space returns.
//! - Any other error of a write, and every error of an fdatasync: never tried again. The spool is failed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::disk::{DirLock, DiskFile, is_full, write_all_at};
use super::format::{BATCH_HEADER_BYTES, BatchHeader, SegmentHeader, seal_batch};
use super::log::{new_header, promote_spare};
use super::shared::{AWAKE, Shared, lock};
use super::{Lsn, SpoolError, keeper};

/// How often a writer without space looks again, besides being woken by the keeper.
const RETRY: Duration = Duration::from_millis(200);

/// How far apart commits of small batches are kept: a commit costs the same for one entry as for a hundred, and each
/// wakes everybody who waits. At 10,000 records a second this makes one commit of five.
const PACE: Duration = Duration::from_millis(2);
/// A batch of this size is worth a commit of its own at once.
const PACE_COUNT: u32 = 64;

/// The segment being written.
pub(super) struct Active {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SegmentHeader,
    /// Where the next batch goes.
    pub(super) end: u64,
}

/// Why a batch could not be committed.
enum CommitError {
    /// Storage failed; final.
    Failed(&'static str, io::Error),
    /// Closed while waiting for space: the batch was never acknowledged.
    GaveUp,
}

struct Writer {
    shared: Arc<Shared>,
    active: Active,
    batch: Vec<u8>,
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
        let ending = Ending { shared: Arc::clone(&shared), keeper: Some(keeper), dir_lock: Some(dir_lock) };
        let batch = Vec::with_capacity(shared.settings.pending_bytes_max);
        let mut writer = Writer { shared, active, batch, last_began: None };
        writer.run();
        drop(writer);
        drop(ending);
    })
}

/// Closes the spool for everybody else, whichever way the writer ends.
struct Ending {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
    dir_lock: Option<Box<dyn DirLock>>,
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
    fn run(&mut self) {
        while let Some((first_lsn, count)) = self.take_pending() {
            match self.commit(first_lsn, count) {
                Ok(()) => {}
                Err(CommitError::GaveUp) => return,
                Err(CommitError::Failed(action, error)) => {
                    tracing::error!(%error, action, "spool failed: nothing is accepted any more; check the disk, then restart");
                    lock(&self.shared.pending).failed = true;
                    self.shared.publish_health();
                    return self.wait_for_closing();
                }
            }
        }
    }

    /// Swaps the pending batch for an empty buffer; waits for the first entry. `None` when closing and done.
    fn take_pending(&mut self) -> Option<(u64, u32)> {
        self.batch.clear();
        self.batch.resize(BATCH_HEADER_BYTES, 0);
        let mut pending = lock(&self.shared.pending);
        loop {
            let pace_left =
                self.last_began.map_or(Duration::ZERO, |began| PACE.saturating_sub(began.elapsed()));
            let is_due =
                pending.urgent || pending.count >= PACE_COUNT || pending.closing || pace_left.is_zero();
            if pending.count > 0 && is_due {
                break;
            }
            if pending.count == 0 && pending.closing {
                return None;
            }
            pending = if pending.count == 0 {
                pending.wake_at = 1;
                self.shared.work.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner)
            } else {
                pending.wake_at = PACE_COUNT;
                let waited = self.shared.work.wait_timeout(pending, pace_left);
                waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
            };
        }
        self.last_began = Some(Instant::now());
        pending.wake_at = AWAKE;
        pending.urgent = false;
        std::mem::swap(&mut pending.buf, &mut self.batch);
        let count = std::mem::take(&mut pending.count);
        let first_lsn = pending.next_lsn - u64::from(count);
        drop(pending);
        self.shared.room.notify_waiters();
        Some((first_lsn, count))
    }

    fn commit(&mut self, first_lsn: u64, count: u32) -> Result<(), CommitError> {
        if self.active.end + self.batch.len() as u64 > self.active.header.segment_bytes {
            self.roll(first_lsn)?;
        }
        let header = BatchHeader {
            first_lsn,
            written_at_ms: self.shared.settings.clock.now_ms(),
            count,
            bytes: (self.batch.len() - BATCH_HEADER_BYTES) as u32,
        };
        seal_batch(&mut self.batch, self.active.header.seed(), header);
        self.write()?;
        let end = self.active.end + self.batch.len() as u64;
        let last_lsn = first_lsn + u64::from(count) - 1;
        #[cfg(test)]
        self.sabotage(end, last_lsn);
        let sync_started = Instant::now();
        self.sync()?;
        let sync_us = sync_started.elapsed().as_micros() as u64;
        let counters = &self.shared.counters;
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.records.fetch_add(u64::from(count), Ordering::Relaxed);
        counters.bytes.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        counters.sync_us.fetch_add(sync_us, Ordering::Relaxed);
        counters.sync_us_max.fetch_max(sync_us, Ordering::Relaxed);
        self.publish(end, last_lsn);
        Ok(())
    }

    /// Writes the batch; waits out a full disk (a preallocated file can still meet one on a copy-on-write system).
    fn write(&self) -> Result<(), CommitError> {
        loop {
            match write_all_at(&*self.active.file, &self.batch, self.active.end) {
                Ok(()) => {
                    self.set_stalled(false);
                    return Ok(());
                }
                Err(error) if is_full(&error) => self.wait_for_space()?,
                Err(error) => return Err(CommitError::Failed("write a batch", error)),
            }
        }
    }

    fn sync(&self) -> Result<(), CommitError> {
        let synced = self.active.file.sync_data();
        #[cfg(test)]
        let synced = synced.or_else(|error| {
            let settings = &self.shared.settings;
            if settings.sabotaged(super::settings::Sabotage::RetryFailedSync) {
                self.active.file.sync_data()
            } else {
                Err(error)
            }
        });
        synced.map_err(|error| CommitError::Failed("fdatasync a batch", error))
    }

    /// From here on the entries are the gateway's.
    fn publish(&mut self, end: u64, last_lsn: u64) {
        self.active.end = end;
        {
            let mut log = lock(&self.shared.log);
            log.committed = last_lsn;
            if let Some(active) = log.segments.back_mut() {
                active.end = end;
            }
        }
        self.shared.watch.send_modify(|state| state.committed = Lsn(last_lsn));
    }

    /// Goes on in a new segment that starts with `base`.
    fn roll(&mut self, base: u64) -> Result<(), CommitError> {
        loop {
            let spare = lock(&self.shared.log).spares.pop_front();
            let Some(spare) = spare else {
                keeper::tend(&self.shared);
                if lock(&self.shared.log).spares.is_empty() {
                    self.wait_for_space()?;
                }
                continue;
            };
            let header = new_header(&self.shared.settings, base, &spare);
            let promoted = promote_spare(&*self.shared.disk, &self.shared.dir, &spare, &header);
            let (file, meta) = match promoted {
                Ok(promoted) => promoted,
                Err(error) if is_full(&error) => {
                    lock(&self.shared.log).spares.push_front(spare);
                    self.wait_for_space()?;
                    continue;
                }
                Err(error) => return Err(CommitError::Failed("start a segment", error)),
            };
            self.active = Active { file, header, end: meta.end };
            let spares_left = {
                let mut log = lock(&self.shared.log);
                log.segments.push_back(meta);
                log.spares.len()
            };
            self.set_stalled(false);
            if spares_left < self.shared.settings.reserve_segments() {
                // The reserve is touched: decide now, not in a moment, who may still write.
                keeper::tend(&self.shared);
            } else {
                self.shared.poke_keeper();
            }
            return Ok(());
        }
    }

    fn wait_for_space(&self) -> Result<(), CommitError> {
        self.set_stalled(true);
        self.shared.poke_keeper();
        let pending = lock(&self.shared.pending);
        if pending.closing {
            return Err(CommitError::GaveUp);
        }
        let (pending, _) =
            self.shared.work.wait_timeout(pending, RETRY).unwrap_or_else(std::sync::PoisonError::into_inner);
        if pending.closing {
            return Err(CommitError::GaveUp);
        }
        Ok(())
    }

    fn set_stalled(&self, stalled: bool) {
        if self.shared.stalled.swap(stalled, Ordering::AcqRel) != stalled {
            self.shared.publish_health();
        }
    }

    fn wait_for_closing(&self) {
        let mut pending = lock(&self.shared.pending);
        while !pending.closing {
            pending = self.shared.work.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    #[cfg(test)]
    fn sabotage(&mut self, end: u64, last_lsn: u64) {
        if self.shared.settings.sabotaged(super::settings::Sabotage::PublishBeforeSync) {
            self.publish(end, last_lsn);
        }
    }
}
