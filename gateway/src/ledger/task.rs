//! The ledger at work: one task that reads the spool and keeps the snapshot.
//!
//! **It delays nobody**: it has its own reader, so neither a device nor the live page waits for it, and it reads twice a
//! second what has come together since.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Bounds, Ledger, snapshot};
use crate::dedup::Dedup;
use crate::record::RecordError;
use crate::sealed::SealedError;
use crate::spool::{
    Batch, BatchLimits, CommitState, Cursor, Disk, Health, Lsn, ReadError, Reader, RealDisk, Spool,
    SpoolError,
};

/// Name of the spool cursor that keeps records until they are in a snapshot.
pub(crate) const CURSOR_NAME: &str = "ledger";

/// A snapshot follows at the latest after so many records: folded anew in a fraction of a second.
pub const SNAPSHOT_RECORDS: u64 = 200_000;
/// And at the latest after so many looks a second apart, if there was any record; at the next look if the spool is full, as
/// it may be waiting for us to let go.
const SNAPSHOT_LOOKS: u64 = 30;
const LOOK_MS: u64 = 1_000;
/// How soon a failed read of the spool is tried again.
const READ_RETRY_MS: u64 = 1_000;
/// Half a second of records at once, or a megabyte of a backlog.
const READ_LIMITS: BatchLimits = BatchLimits { count_max: 8_192, bytes_max: 1 << 20, age_ms_max: 500 };

/// The ledger as others see it. Clones share it.
#[derive(Debug, Clone)]
pub struct SharedLedger {
    ledger: Arc<Mutex<Ledger>>,
    folded: watch::Sender<Lsn>,
    /// What it says is stored may not be in the spool any more.
    is_ahead: bool,
}

/// The ledger's task.
#[derive(Debug)]
pub struct Running {
    shared: SharedLedger,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

/// Reads the snapshot in `data_dir` and starts to fold what came after, see [`prepare`].
///
/// # Errors
/// The cursor cannot be opened.
pub fn start(
    data_dir: &Path,
    spool: &Spool,
    now_ms: u64,
    shutdown: &CancellationToken,
) -> Result<Running, SpoolError> {
    let shutdown = shutdown.child_token();
    let (shared, keeping) = prepare(Arc::new(RealDisk), data_dir, spool, now_ms, &shutdown)?;
    Ok(Running { shared, task: tokio::spawn(keeping), shutdown })
}

/// What folds and keeps the snapshot; it ends when the shutdown is cancelled.
pub type Keeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The ledger as the snapshot in `data_dir` on `disk` has it, and the task that its caller has to run. Blocking for one
/// small file and the snapshot.
///
/// # Errors
/// The cursor cannot be opened.
pub fn prepare(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    spool: &Spool,
    now_ms: u64,
    shutdown: &CancellationToken,
) -> Result<(SharedLedger, Keeping), SpoolError> {
    let cursor = spool.cursor(CURSOR_NAME)?;
    let (mut ledger, may_snapshot) = restore(&*disk, data_dir, Bounds::default(), now_ms);
    let is_ahead = ledger.goes_back_to(spool.committed());
    if is_ahead {
        tracing::warn!(
            lsn = spool.committed().0,
            "the spool is shorter than the ledger: it was replaced or lost records; the ledger keeps what it knew"
        );
    }
    let reader = spool.reader(ledger.folded().next());
    let folded = watch::Sender::new(ledger.folded());
    let shared = SharedLedger { ledger: Arc::new(Mutex::new(ledger)), folded, is_ahead };
    let keeper = Keeper {
        shared: shared.clone(),
        disk,
        data_dir: data_dir.to_owned(),
        spool: spool.clone(),
        reader,
        cursor,
        commits: spool.committed_watch(),
        written: shared.lock().folded(),
        may_snapshot,
        has_failed: false,
    };
    Ok((shared, Box::pin(keeper.run(shutdown.clone()))))
}

/// The ledger as the last run left it, and whether a new snapshot may be written.
fn restore(disk: &dyn Disk, data_dir: &Path, bounds: Bounds, now_ms: u64) -> (Ledger, bool) {
    let error = match snapshot::read(disk, data_dir, bounds) {
        Ok(Some(ledger)) => return (ledger, true),
        Ok(None) => {
            tracing::info!("no loss ledger yet: the retained records are replayed");
            return (Ledger::new(bounds), true);
        }
        Err(error) => error,
    };
    match &error {
        SealedError::Unreadable { .. } => tracing::error!(%error, "loss ledger not readable"),
        SealedError::Damaged { .. } => tracing::error!(%error, "loss ledger damaged"),
    }
    let aside = snapshot::set_aside(disk, data_dir, now_ms);
    if let Err(error) = &aside {
        tracing::error!(%error, "loss ledger could not be put aside: none is written until a restart can read or move it");
    }
    (Ledger::new(bounds), aside.is_ok())
}

impl SharedLedger {
    /// Locks the ledger: hold it for one look.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic while folding leaves one record half entered: an account that is off by one, not a broken one.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Teaches the front door's memory which identities were used. Not if the spool lost records that the ledger has:
    /// their devices may send them again.
    pub fn teach(&self, dedup: &Dedup) {
        if !self.is_ahead {
            dedup.learn_from(&self.lock());
        }
    }

    /// Waits until the record at `lsn` is folded. Cancel-safe.
    pub async fn wait_folded(&self, lsn: Lsn) {
        let mut folded = self.folded.subscribe();
        // Fails only if the sender is gone, and we hold it.
        _ = folded.wait_for(|folded| *folded >= lsn).await;
    }

    fn take(&self, batch: &Batch) {
        let mut ledger = self.lock();
        if let Some(gap) = batch.gap {
            ledger.miss(gap.count(), gap.to);
        }
        for record in batch.records() {
            match record {
                Ok(record) => ledger.fold(record),
                Err(RecordError(lsn)) => ledger.miss(1, *lsn),
            }
        }
        drop(ledger);
        self.folded.send_replace(batch.end);
    }
}

impl Running {
    /// The ledger.
    #[must_use]
    pub fn shared(&self) -> &SharedLedger {
        &self.shared
    }

    /// Writes the snapshot and returns when that is done.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // A panic in the task is already in the log.
        _ = self.task.await;
    }
}

struct Keeper {
    shared: SharedLedger,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    spool: Spool,
    reader: Reader,
    cursor: Cursor,
    commits: watch::Receiver<CommitState>,
    /// Records up to here are in the snapshot on disk.
    written: Lsn,
    may_snapshot: bool,
    has_failed: bool,
}

impl Keeper {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut looks = interval(Duration::from_millis(LOOK_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks_count: u64 = 0;
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = looks.tick() => {
                    looks_count += 1;
                    let is_full = self.commits.borrow().health == Health::Full;
                    if is_full || looks_count.is_multiple_of(SNAPSHOT_LOOKS) {
                        self.write_snapshot().await;
                    }
                    continue;
                }
                batch = self.reader.next_batch(READ_LIMITS) => batch,
            };
            match batch {
                Ok(batch) => self.shared.take(&batch),
                Err(ReadError::Closed | ReadError::Failed) => break,
                Err(error @ ReadError::Io(_)) => {
                    tracing::warn!(%error, "loss ledger waits");
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(Duration::from_millis(READ_RETRY_MS)) => {}
                    }
                }
            }
            if self.reader.position().0 > self.written.0 + SNAPSHOT_RECORDS {
                self.write_snapshot().await;
            }
        }
        self.write_snapshot().await;
    }

    async fn write_snapshot(&mut self) {
        if !self.may_snapshot || self.reader.position() <= self.written.next() {
            return;
        }
        let (disk, data_dir, shared) = (Arc::clone(&self.disk), self.data_dir.clone(), self.shared.clone());
        // The lock is held while a large fleet is rendered: not on a thread that serves devices.
        let written = self.spool.off_runtime(move || {
            let ledger = shared.lock();
            let (lsn, text) = (ledger.folded(), snapshot::render(&ledger));
            drop(ledger);
            (lsn, snapshot::write(&*disk, &data_dir, &text))
        });
        // A panic while rendering, which is in the log: the cursor stays.
        let Ok((lsn, written)) = written.await else { return };
        let failed_before = std::mem::replace(&mut self.has_failed, written.is_err());
        // Also if it could not be written: on a full disk the spool may need the room of these very records, and custody
        // goes before book-keeping. They are in memory; only a crash before the next snapshot makes them `missed`.
        if lsn > self.cursor.position()
            && let Err(error) = self.cursor.advance(lsn).await
        {
            tracing::warn!(%error, "the ledger's cursor stays where it is");
        }
        match written {
            Ok(()) => self.written = lsn,
            Err(error) if !failed_before => {
                tracing::error!(%error, "the loss ledger cannot be written; a restart will replay more records");
            }
            Err(_) => {}
        }
    }
}
