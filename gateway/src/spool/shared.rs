//! What the handle, the writer, the keeper, readers and cursors share; and the append path.
//!
//! **An append is a copy into one buffer under a short lock**: no allocation, channel or system call per record. The
//! writer swaps the buffer out, so the batch is whatever arrived during the previous fdatasync.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::archive::{Archive, ArchiveStats};
use super::disk::{DirLock, Disk};
use super::format::{BATCH_HEADER_BYTES, RECORD_HEADER_BYTES, push_record};
use super::log::Log;
use super::recovery::io_error;
use super::tail::Tail;
use super::writer::Active;
use super::{
    CommitState, EntryClass, FullReason, Health, Lsn, RecoveryReport, SpoolError, SpoolSettings,
    TryAppendError, recovery,
};

/// Entries not yet taken by the writer.
pub(super) struct Pending {
    /// A batch in the making: room for its header, then records.
    pub(super) buf: Vec<u8>,
    pub(super) count: u32,
    /// LSN of the next entry.
    pub(super) next_lsn: u64,
    /// An entry that must not wait for company is in the batch: an alarm, or what the gateway itself has to say.
    pub(super) urgent: bool,
    /// At how many entries an append wakes the writer; [`AWAKE`] while it is not asleep.
    pub(super) wake_at: u32,
    pub(super) closing: bool,
    pub(super) failed: bool,
}

/// The writer is not asleep: no append needs to wake it.
pub(super) const AWAKE: u32 = u32::MAX;

/// Counters since the spool was opened.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) sync_us: AtomicU64,
    pub(super) sync_us_max: AtomicU64,
    pub(super) damaged: AtomicU64,
}

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) settings: SpoolSettings,
    pub(super) disk: Arc<dyn Disk>,
    /// Nobody else works here: see [`super::Crew`].
    pub(super) by_hand: bool,
    pub(super) pending: Mutex<Pending>,
    /// Wakes the writer.
    pub(super) work: Condvar,
    /// Wakes appends that wait for room.
    pub(super) room: Notify,
    pub(super) log: Mutex<Log>,
    /// The newest of what is committed.
    pub(super) tail: Mutex<Tail>,
    /// What is known of the archive.
    pub(super) archive: Mutex<Archive>,
    /// Held by whoever retires and refills segments (keeper, or writer in need).
    pub(super) tending: Mutex<()>,
    /// True when the keeper has something to do.
    pub(super) poked: Mutex<bool>,
    /// Wakes the keeper.
    pub(super) keeper: Condvar,
    /// Counts the keeper's rounds.
    pub(super) rounds: watch::Sender<u64>,
    pub(super) watch: watch::Sender<CommitState>,
    /// Changes with the health, the closing, and the commit of an entry that must not wait: unlike `watch`, not hundreds of
    /// times a second.
    pub(super) news: watch::Sender<()>,
    /// Only classes that may use the reserve are admitted.
    pub(super) reserve_only: AtomicBool,
    /// The writer holds a batch it has no space for.
    pub(super) stalled: AtomicBool,
    /// The writer has ended: the keeper is to follow.
    pub(super) writer_done: AtomicBool,
    /// By class: no entry of it has a later number. After a start nobody knows better than the end of the log.
    newest_of: [AtomicU64; EntryClass::COUNT],
    pub(super) counters: Counters,
}

/// Position of one cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CursorStats {
    /// The sink's name.
    pub name: String,
    /// Newest entry the sink has durably taken.
    pub position: Lsn,
}

/// Figures of an open spool; counters count from its opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpoolStats {
    /// Whether it takes entries.
    pub health: Health,
    /// Earliest entry kept.
    pub first: Lsn,
    /// Newest durable entry.
    pub committed: Lsn,
    /// Newest entry given out, durable or not.
    pub appended: Lsn,
    /// Bytes waiting for the writer.
    pub pending_bytes: u64,
    /// Segment files with records.
    pub segments_count: u64,
    /// Preallocated files, reserve included.
    pub spares_count: u64,
    /// Bytes of all segment files and spares.
    pub bytes: u64,
    /// The bound on `bytes`.
    pub bytes_max: u64,
    /// Group commits.
    pub commits_total: u64,
    /// Committed entries.
    pub records_total: u64,
    /// Committed bytes, headers included.
    pub bytes_total: u64,
    /// Time spent in fdatasync of commits, microseconds.
    pub sync_us_total: u64,
    /// Longest fdatasync of a commit, microseconds.
    pub sync_us_max: u64,
    /// Entries readers found damaged (counted by each reader that met them).
    pub damaged_total: u64,
    /// Why no further segment can be prepared, if so.
    pub scarce: Option<String>,
    /// What is kept of segments that went.
    pub archive: ArchiveStats,
    /// All cursors, open or not.
    pub cursors: Vec<CursorStats>,
}

/// Locks whatever another thread may have left: every critical section leaves its data whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) async fn append(&self, class: EntryClass, payload: &[u8]) -> Result<Lsn, SpoolError> {
        let mut attempt = self.try_append(class, payload);
        while let Err(TryAppendError::Full(_)) = attempt {
            let mut room = std::pin::pin!(self.room.notified());
            // Registered before the next attempt, so that room made in between is not missed.
            room.as_mut().enable();
            attempt = self.try_append(class, payload);
            if let Err(TryAppendError::Full(_)) = attempt {
                room.await;
            }
        }
        attempt.map_err(|error| match error {
            TryAppendError::TooLarge { bytes, bytes_max } => SpoolError::TooLarge { bytes, bytes_max },
            TryAppendError::Failed => SpoolError::Failed,
            TryAppendError::Closed | TryAppendError::Full(_) => SpoolError::Closed,
        })
    }

    pub(super) fn try_append(&self, class: EntryClass, payload: &[u8]) -> Result<Lsn, TryAppendError> {
        let bytes_max = self.settings.payload_bytes_max();
        if payload.len() > bytes_max {
            return Err(TryAppendError::TooLarge { bytes: payload.len(), bytes_max });
        }
        let mut pending = lock(&self.pending);
        if pending.failed {
            return Err(TryAppendError::Failed);
        }
        if pending.closing {
            return Err(TryAppendError::Closed);
        }
        self.admit(&pending, class, RECORD_HEADER_BYTES + payload.len())?;
        let lsn = pending.next_lsn;
        push_record(&mut pending.buf, lsn, class, payload);
        pending.count += 1;
        pending.next_lsn += 1;
        // Under the lock, and before it can be committed: who sees it committed sees this.
        self.newest_of[class.index()].store(lsn, Ordering::Relaxed);
        pending.urgent |= class.may_use_reserve();
        let asleep = pending.wake_at != AWAKE;
        let wake = asleep && (pending.urgent || pending.count >= pending.wake_at);
        if wake {
            pending.wake_at = AWAKE;
        }
        drop(pending);
        if wake {
            self.work.notify_one();
        }
        Ok(Lsn(lsn))
    }

    pub(super) fn newest_of(&self, class: EntryClass) -> Lsn {
        Lsn(self.newest_of[class.index()].load(Ordering::Relaxed))
    }

    fn admit(&self, pending: &Pending, class: EntryClass, bytes: usize) -> Result<(), TryAppendError> {
        let bound = self.settings.pending_bytes_max;
        let bound = if class.may_use_reserve() {
            bound
        } else if self.reserve_only.load(Ordering::Acquire) {
            return Err(TryAppendError::Full(FullReason::Reserve));
        } else {
            // The last quarter is for alarms: a stalled writer must not leave them standing behind live records.
            bound - bound / 4
        };
        // One entry of any admitted size always fits an empty batch.
        if pending.count > 0 && pending.buf.len() + bytes > bound {
            return Err(TryAppendError::Full(FullReason::Pending));
        }
        Ok(())
    }

    /// Recomputes the health from its causes and publishes it if it changed.
    pub(super) fn publish_health(&self) {
        let mut change = None;
        self.watch.send_if_modified(|state| {
            // Read under the watch's lock: writer and keeper may both be here, and the last to publish has seen both.
            let failed = lock(&self.pending).failed;
            let stalled = self.stalled.load(Ordering::Acquire);
            let full = self.reserve_only.load(Ordering::Acquire) || stalled;
            let health = match (failed, full) {
                (true, _) => Health::Failed,
                (false, true) => Health::Full,
                (false, false) => Health::Ok,
            };
            let before = std::mem::replace(&mut state.health, health);
            change = Some((before, health));
            std::mem::replace(&mut state.stalled, stalled) != stalled || before != health
        });
        match change {
            Some((Health::Ok, Health::Full)) => {
                let cause =
                    lock(&self.log).scarce.clone().unwrap_or_else(|| "no space for a batch".to_owned());
                tracing::error!(cause, "spool is full: only alarms are accepted until there is room");
            }
            Some((Health::Full, Health::Ok)) => {
                tracing::info!("spool has room again: everything is accepted");
            }
            _ => {}
        }
        self.news.send_replace(());
        // Waiters look for themselves whether there is room.
        self.room.notify_waiters();
    }

    /// Wakes the keeper, and with it a writer that waits for space.
    pub(super) fn poke_keeper(&self) {
        *lock(&self.poked) = true;
        self.keeper.notify_one();
    }

    pub(super) async fn tend_now(&self) {
        let mut rounds = self.rounds.subscribe();
        // The round under way may have looked already: wait for one that starts after it.
        let target = *rounds.borrow_and_update() + 2;
        while *rounds.borrow_and_update() < target {
            if self.watch.borrow().closed {
                return;
            }
            self.poke_keeper();
            if rounds.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn stats(&self) -> SpoolStats {
        let state = *self.watch.borrow();
        let (appended, pending_bytes) = {
            let pending = lock(&self.pending);
            let bytes = pending.buf.len() - BATCH_HEADER_BYTES;
            (Lsn(pending.next_lsn - 1), bytes as u64)
        };
        let archive = lock(&self.archive).stats(self.settings.archive_bytes_max);
        let log = lock(&self.log);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SpoolStats {
            health: state.health,
            first: Lsn(log.first()),
            committed: state.committed,
            appended,
            pending_bytes,
            segments_count: log.segments.len() as u64,
            spares_count: log.spares.len() as u64,
            bytes: log.bytes(self.settings.segment_bytes),
            bytes_max: self.settings.bytes_max,
            commits_total: count(&self.counters.commits),
            records_total: count(&self.counters.records),
            bytes_total: count(&self.counters.bytes),
            sync_us_total: count(&self.counters.sync_us),
            sync_us_max: count(&self.counters.sync_us_max),
            damaged_total: count(&self.counters.damaged),
            scarce: log.scarce.clone(),
            archive,
            cursors: log
                .cursors
                .iter()
                .map(|(name, &position)| CursorStats { name: name.clone(), position: Lsn(position) })
                .collect(),
        }
    }
}

/// What opening left for whoever does the work: the writer's place, and the directory's lock.
pub(super) struct Work {
    pub(super) active: Active,
    pub(super) dir_lock: Box<dyn DirLock>,
}

impl Shared {
    /// Recovers what is in `dir`. `by_hand`: readers and cursors work in their caller's thread.
    pub(super) fn open(
        dir: &Path,
        settings: SpoolSettings,
        disk: Arc<dyn Disk>,
        by_hand: bool,
    ) -> Result<(Arc<Self>, Work, RecoveryReport), SpoolError> {
        settings.check()?;
        let recovered = recovery::recover(dir, &settings, &*disk)?;
        let archive = match settings.keep {
            Some(_) => Archive::open(&*disk, dir).map_err(io_error("open the archive of", dir))?,
            None => Archive::default(),
        };
        let mut buf = Vec::with_capacity(settings.pending_bytes_max);
        buf.resize(BATCH_HEADER_BYTES, 0);
        let shared = Arc::new(Self {
            dir: dir.to_owned(),
            disk,
            by_hand,
            pending: Mutex::new(Pending {
                buf,
                count: 0,
                next_lsn: recovered.next_lsn,
                urgent: false,
                wake_at: AWAKE,
                closing: false,
                failed: false,
            }),
            work: Condvar::new(),
            room: Notify::new(),
            log: Mutex::new(recovered.log),
            tail: Mutex::default(),
            archive: Mutex::new(archive),
            tending: Mutex::new(()),
            poked: Mutex::new(true),
            keeper: Condvar::new(),
            rounds: watch::Sender::new(0),
            news: watch::Sender::new(()),
            watch: watch::Sender::new(CommitState {
                committed: Lsn(recovered.next_lsn - 1),
                urgent: Lsn(0),
                health: Health::Ok,
                stalled: false,
                closed: false,
            }),
            reserve_only: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            writer_done: AtomicBool::new(false),
            newest_of: std::array::from_fn(|_| AtomicU64::new(recovered.next_lsn - 1)),
            counters: Counters::default(),
            settings,
        });
        let work = Work { active: recovered.active, dir_lock: recovered.lock };
        Ok((shared, work, recovered.report))
    }

    /// Runs what reads or writes files: on a thread of its own, or here if the spool is worked by hand.
    ///
    /// # Errors
    /// The work panicked, or the runtime is shutting down.
    pub(super) async fn off_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.by_hand {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}

/// Closes the spool when it is dropped. Owns the writer's thread, if it has one.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>, writer: Option<JoinHandle<()>>) -> Self {
        Self { shared, writer: Mutex::new(writer) }
    }

    pub(super) async fn close(&self) {
        self.begin_closing();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // A panic of the writer was reported by its own thread; closing goes on.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        } else {
            let mut watch = self.shared.watch.subscribe();
            let _ = watch.wait_for(|state| state.closed).await;
        }
    }

    fn begin_closing(&self) {
        lock(&self.shared.pending).closing = true;
        self.shared.work.notify_one();
        self.shared.room.notify_waiters();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.begin_closing();
    }
}
