//! The history at work: one task that reads the spool and settles the store.
//!
//! **It delays nobody and holds the spool no longer than custody can bear**: its cursor moves after each settling, a minute
//! behind at most, and while the spool is full [`PRESSED`]; if the store cannot be written while the spool is full, what waits is let
//! go at the next minute, counted and said on the page.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::none::NoStore;
use super::row::Row;
use super::{Condition, FileStore, HistoryError, HistoryStore, OpenError};
use crate::live::NowMs;
use crate::live::order::ClockBounds;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::spool::{
    Batch, BatchLimits, CommitState, Cursor, Health, Lsn, ReadError, Reader, Spool, SpoolError,
};

/// Name of the spool cursor that keeps records until they are durable here.
pub(crate) const CURSOR_NAME: &str = "history";
/// Directory of the embedded store in the data directory.
pub(crate) const HISTORY_DIR: &str = "history";

/// What was taken is durable at the latest after this: what a crash costs to read again.
const SETTLE: Duration = Duration::from_secs(60);
/// The same while the spool is full: it has no room before every cursor has moved.
const PRESSED: Duration = Duration::from_secs(1);
/// How soon a failed read or settling is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Records whose rows are made and taken at once: their rows fit the memory that the C library keeps, see `spool/tail.rs`.
const AT_ONCE: usize = 256;
/// Half a second of records at once, or a megabyte of a backlog.
const READ_LIMITS: BatchLimits = BatchLimits { count_max: 8_192, bytes_max: 1 << 20, age_ms_max: 500 };
/// What is there already.
const LAST_LIMITS: BatchLimits = BatchLimits { age_ms_max: 0, ..READ_LIMITS };

/// The history as others see it. Clones share it.
#[derive(Clone)]
pub struct History {
    store: Arc<dyn HistoryStore>,
    status: Arc<Status>,
}

#[derive(Default)]
struct Status {
    is_failing: AtomicBool,
    has_stopped: AtomicBool,
    missing_count: AtomicU64,
    taken: watch::Sender<Lsn>,
}

/// The history's task.
pub struct Running {
    history: History,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

/// What the task needs of the gateway.
pub struct Surroundings<'a> {
    /// Where records come from.
    pub spool: &'a Spool,
    /// How far a device's clock is believed.
    pub clock_bounds: ClockBounds,
    /// The wall clock.
    pub now_ms: NowMs,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub shutdown: &'a CancellationToken,
}

/// Starts to fill the embedded store. A new one is filled from the earliest record kept; one that could not be opened keeps
/// no record in the spool, and the page says why there is no history.
///
/// # Errors
/// The cursor cannot be opened.
pub fn start(
    opened: Result<(FileStore, bool), OpenError>,
    around: Surroundings<'_>,
) -> Result<Running, SpoolError> {
    match opened {
        Ok((store, is_new)) => start_new_or_on(Arc::new(store), is_new, around),
        Err(error) => {
            tracing::error!(%error, "there is no history");
            around.spool.retire_cursor(CURSOR_NAME)?;
            let store = Arc::new(NoStore(error.to_string()));
            let history = History { store, status: Arc::default() };
            Ok(Running { history, task: tokio::spawn(async {}), shutdown: around.shutdown.child_token() })
        }
    }
}

/// Starts to fill `store`, from the earliest record kept if it is new.
///
/// # Errors
/// The cursor cannot be opened.
pub fn start_new_or_on(
    store: Arc<dyn HistoryStore>,
    is_new: bool,
    around: Surroundings<'_>,
) -> Result<Running, SpoolError> {
    if is_new {
        // Whatever an earlier store had taken is not in this one.
        around.spool.retire_cursor(CURSOR_NAME)?;
    }
    start_on(store, around)
}

/// Starts to fill `store`.
///
/// # Errors
/// The cursor cannot be opened.
pub fn start_on(store: Arc<dyn HistoryStore>, around: Surroundings<'_>) -> Result<Running, SpoolError> {
    let cursor = around.spool.cursor(CURSOR_NAME)?;
    let status = Arc::new(Status { taken: watch::Sender::new(cursor.position()), ..Status::default() });
    let history = History { store, status };
    let shutdown = around.shutdown.child_token();
    let keeper = Keeper {
        history: history.clone(),
        reader: around.spool.reader(cursor.position().next()),
        cursor,
        commits: around.spool.committed_watch(),
        bounds: around.clock_bounds,
        now_ms: around.now_ms,
        metrics: around.metrics,
    };
    let task = tokio::spawn(keeper.run(shutdown.clone()));
    Ok(Running { history, task, shutdown })
}

/// The store's directory in `data_dir`.
#[must_use]
pub fn dir_in(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join(HISTORY_DIR)
}

impl History {
    /// Where rows are found; nobody has looked at them.
    pub(super) fn store(&self) -> &dyn HistoryStore {
        &*self.store
    }

    /// How it is: the store's condition, and what the task has to say.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let mut condition = self.store.condition();
        let mut say = |is_so: bool, words: String| condition.degraded.extend(is_so.then_some(words));
        say(
            self.status.is_failing.load(Ordering::Relaxed),
            "History: cannot be written, replay and tracks end early: check the data directory's disk, or its database"
                .to_owned(),
        );
        say(
            self.status.has_stopped.load(Ordering::Relaxed),
            "History: has stopped: restart the gateway".to_owned(),
        );
        let missing = self.status.missing_count.load(Ordering::Relaxed);
        say(
            missing > 0,
            format!("History: {missing} records are missing since the start: the spool let them go"),
        );
        condition
    }

    /// Waits until the record at `lsn` can be found. Cancel-safe.
    pub async fn wait_taken(&self, lsn: Lsn) {
        let mut taken = self.status.taken.subscribe();
        // Fails only if the sender is gone, and we hold it.
        _ = taken.wait_for(|taken| *taken >= lsn).await;
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("taken", &*self.status.taken.borrow()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("history", &self.history).finish_non_exhaustive()
    }
}

impl Running {
    /// The history.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Settles and returns when that is done.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // A panic in the task is already in the log.
        _ = self.task.await;
    }
}

struct Keeper {
    history: History,
    reader: Reader,
    cursor: Cursor,
    commits: watch::Receiver<CommitState>,
    bounds: ClockBounds,
    now_ms: NowMs,
    metrics: Arc<Metrics>,
}

/// Says on the page that the task has ended, should it do so before shutdown: a panic included.
struct End<'a>(&'a History, &'a CancellationToken);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.1.is_cancelled() {
            self.0.status.has_stopped.store(true, Ordering::Relaxed);
            tracing::error!("the history has stopped following the spool: restart the gateway");
        }
    }
}

impl Keeper {
    async fn run(mut self, shutdown: CancellationToken) {
        let history = self.history.clone();
        let _end = End(&history, &shutdown);
        let (mut settle_at, mut pressed_at) = (Instant::now() + SETTLE, Instant::now());
        loop {
            let pressed = pressed(self.commits.clone(), self.holds_back(), pressed_at);
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = pressed => {
                    pressed_at = Instant::now() + if self.settle_or_keep().await { PRESSED } else { RETRY };
                    continue;
                }
                batch = timeout_at(settle_at, self.reader.next_batch(READ_LIMITS)) => batch,
            };
            match batch {
                Err(_) => {
                    let settled = self.settle().await;
                    settle_at = Instant::now() + if settled { SETTLE } else { RETRY };
                }
                Ok(Ok(batch)) => {
                    if !self.take(batch, &shutdown).await {
                        break;
                    }
                }
                Ok(Err(ReadError::Closed | ReadError::Failed)) => break,
                Ok(Err(error @ ReadError::Io(_))) => {
                    tracing::warn!(%error, "the history waits");
                    pause(&shutdown).await;
                }
            }
            self.observe_lag();
        }
        if shutdown.is_cancelled() {
            self.take_last(&shutdown).await;
        }
        self.settle().await;
    }

    /// Takes what was committed while the next batch was growing: after a stop the store ends where the spool does. A backlog
    /// of more than a batch waits for the next start.
    async fn take_last(&mut self, shutdown: &CancellationToken) {
        let is_behind = self.reader.position() <= self.commits.borrow().committed;
        if is_behind && let Ok(batch) = self.reader.next_batch(LAST_LIMITS).await {
            self.take(batch, shutdown).await;
        }
    }

    /// Takes a batch, settling first where there is no room; false if the gateway stops before that succeeded.
    async fn take(&mut self, batch: Batch, shutdown: &CancellationToken) -> bool {
        let unreadable_count = batch.records().filter(|record| record.is_err()).count() as u64;
        self.miss(batch.gap.map_or(0, |gap| gap.count()) + unreadable_count);
        let mut records = batch.records().flatten().peekable();
        while records.peek().is_some() {
            let some: Vec<_> = records.by_ref().take(AT_ONCE).collect();
            if !self.take_some(&some, shutdown).await {
                return false;
            }
        }
        self.history.status.taken.send_replace(batch.end);
        true
    }

    async fn take_some(&mut self, records: &[&Record], shutdown: &CancellationToken) -> bool {
        loop {
            let rows: Vec<_> =
                records.iter().flat_map(|record| Row::of_record(record, self.bounds)).collect();
            let rows_count = rows.len() as u64;
            if self.history.store.take(rows).await != Err(HistoryError::Full) {
                self.metrics.history.rows.inc_by(rows_count);
                return true;
            }
            if shutdown.is_cancelled() {
                return false;
            }
            if !self.settle().await {
                pause(shutdown).await;
            }
        }
    }

    /// Whether records stay in the spool for what was taken and is not durable yet.
    fn holds_back(&self) -> bool {
        *self.history.status.taken.borrow() > self.cursor.position()
    }

    /// Makes durable what was taken, or lets it go if that failed while the spool is full, and moves the cursor. False if it failed
    /// and the spool has room.
    async fn settle(&mut self) -> bool {
        if self.settle_or_keep().await {
            return true;
        }
        let is_full = self.commits.borrow().health == Health::Full;
        if is_full {
            // Custody goes before history: the spool needs the room of these very records.
            let let_go = self.history.store.let_go().await.unwrap_or(0);
            self.miss(let_go);
            self.move_on().await;
        }
        is_full
    }

    /// Makes durable what was taken and moves the cursor. False if that failed: nothing is let go.
    async fn settle_or_keep(&mut self) -> bool {
        let settled = self.history.store.settle((self.now_ms)()).await;
        self.note(settled.as_ref().err());
        if settled.is_ok() {
            self.move_on().await;
        }
        settled.is_ok()
    }

    /// Moves the cursor behind everything that was taken.
    async fn move_on(&mut self) {
        let through = *self.history.status.taken.borrow();
        if let Err(error) = self.cursor.advance(through).await {
            tracing::warn!(%error, "the history's cursor stays where it is");
        }
        let condition = self.history.store.condition();
        self.metrics.history.bytes.set(i64::try_from(condition.bytes).unwrap_or(i64::MAX));
    }

    fn note(&self, error: Option<&HistoryError>) {
        let failed_before = self.history.status.is_failing.swap(error.is_some(), Ordering::Relaxed);
        self.metrics.history.failing.set(error.is_some().into());
        match error {
            Some(error) if !failed_before => tracing::error!(%error, "the history cannot be written"),
            None if failed_before => tracing::info!("the history is written again"),
            _ => {}
        }
    }

    fn miss(&self, count: u64) {
        self.metrics.history.records_missing.inc_by(count);
        self.history.status.missing_count.fetch_add(count, Ordering::Relaxed);
    }

    fn observe_lag(&self) {
        let lag_count =
            self.commits.borrow().committed.0.saturating_sub(self.history.status.taken.borrow().0);
        self.metrics.history.lag_records.set(i64::try_from(lag_count).unwrap_or(i64::MAX));
    }
}

/// Until the spool is full and held back, not before `at`. Cancel-safe.
async fn pressed(mut commits: watch::Receiver<CommitState>, is_held_back: bool, at: Instant) {
    if is_held_back {
        tokio::time::sleep_until(at).await;
        if commits.wait_for(|state| state.health == Health::Full).await.is_ok() {
            return;
        }
    }
    // Nobody needs room, or the spool is gone: the reader says so.
    std::future::pending::<()>().await;
}

async fn pause(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(RETRY) => {}
    }
}
