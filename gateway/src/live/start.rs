//! Starting and stopping the live half.
//!
//! **Start-up time does not depend on the backlog**: only the alarm snapshot (at most 33 MB) is read before the page can
//! be served; records are read in the background.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::devices::Devices;
use super::state::State;
use super::{Hub, Journalled, Live, Settings, clock, keep, read, receipts, tasks, verdicts};
use crate::alarms::Book;
use crate::alarms::snapshot::{self, SnapshotError};
use crate::audit::pictures::{PictureFiles, PictureHead};
use crate::config::roster::Roster;
use crate::metrics::Metrics;
use crate::spool::{Lsn, Spool, SpoolError};

/// Name of the spool cursor that keeps records until they are in an alarm snapshot.
pub(crate) const CURSOR_NAME: &str = "alarms";

/// The live half at work.
pub struct Running {
    live: Live,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

/// Starts the live half on the current runtime, see [`prepare`]. It runs until `shutdown` is cancelled or
/// [`Running::stop`].
///
/// # Errors
/// The cursor cannot be opened.
pub fn start(
    settings: Settings,
    spool: &Spool,
    devices: Arc<dyn Devices>,
    roster: Arc<Roster>,
    metrics: Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<Running, SpoolError> {
    let shutdown = shutdown.child_token();
    let (live, tasks) = prepare(settings, spool, devices, roster, metrics, &shutdown)?;
    Ok(Running { live, tasks: tasks.into_iter().collect(), shutdown })
}

/// A part of the live half; it ends when the shutdown is cancelled.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The live half, and the tasks that its caller has to run. Reads the alarm snapshot and opens a cursor: blocking, but small
/// files.
///
/// # Errors
/// The cursor cannot be opened.
pub fn prepare(
    settings: Settings,
    spool: &Spool,
    devices: Arc<dyn Devices>,
    roster: Arc<Roster>,
    metrics: Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<(Live, Vec<Task>), SpoolError> {
    let cursor = spool.cursor(CURSOR_NAME)?;
    let committed = spool.committed();
    let (mut book, may_snapshot) = restore(&settings);
    if book.goes_back_to(committed) {
        tracing::warn!(
            lsn = committed.0,
            "the spool is shorter than the alarm snapshot: it was replaced or lost records; the alarms are kept"
        );
    }
    let from = first_lsn(&book, committed, settings.tail_records_max);
    let mut state = State::new(book, settings.clock_bounds, settings.units_max, roster);
    state.wear(settings.wearers.clone());
    let connections = devices.connections();
    state.set_all_connected(&devices.connected());
    let revision = state.shown().revision();
    let journal = settings.pictures();
    let head = journal.as_ref().map_or(PictureHead::none(), PictureFiles::head);
    if let Err(error) = &journal {
        tracing::error!(%error, "the picture journal cannot be opened: no live page is shown until it can");
    }
    let mut board = Board::default();
    // Above every number of an earlier run, also where its journal is gone.
    board.count_from(head.n.max((settings.now_ms)()));
    let rules = Arc::clone(&settings.rules);
    let hub = Arc::new(Hub {
        settings,
        spool: spool.clone(),
        devices,
        metrics,
        board: Mutex::new(board),
        state: Mutex::new(state),
        folded: watch::Sender::new(Lsn(from.0.saturating_sub(1))),
        shown: watch::Sender::new(Lsn(from.0.saturating_sub(1))),
        alarms_revision: watch::Sender::new(revision),
        journal_wanted: Notify::new(),
        journalled: watch::Sender::new(Journalled { head, failures: 0 }),
        retired: Mutex::default(),
        device_connected: Notify::new(),
        rules: watch::Sender::new(rules),
        is_rebuilding: AtomicBool::new(committed >= from),
        snapshot_fails: AtomicBool::new(!may_snapshot),
        has_stopped: AtomicBool::new(false),
    });
    hub.render();
    let keep: Task = if may_snapshot {
        Box::pin(keep::keep_snapshot(Arc::clone(&hub), cursor, shutdown.clone()))
    } else {
        // Open, the cursor goes on keeping the records that no snapshot holds.
        let shutdown = shutdown.clone();
        Box::pin(async move {
            shutdown.cancelled().await;
            drop(cursor);
        })
    };
    let tasks: Vec<Task> = vec![
        Box::pin(read::read(Arc::clone(&hub), from, committed, shutdown.clone())),
        Box::pin(tasks::render(Arc::clone(&hub), journal.ok(), shutdown.clone())),
        Box::pin(tasks::follow_connections(Arc::clone(&hub), connections, shutdown.clone())),
        Box::pin(receipts::send_receipts(Arc::clone(&hub), shutdown.clone())),
        Box::pin(clock::keep(Arc::clone(&hub), shutdown.clone())),
        Box::pin(verdicts::say(Arc::clone(&hub), committed, shutdown.clone())),
        keep,
    ];
    Ok((Live { hub }, tasks))
}

impl Running {
    /// The picture.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Ends every stream, writes the alarm snapshot, and returns when all is done.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("live", &self.live).finish_non_exhaustive()
    }
}

/// The alarm queue as the last run left it, and whether a new snapshot may be written. Damaged, unreadable or missing:
/// empty, and every retained record is replayed. What could not be read is put aside first; if that fails, it stays
/// where it is and nothing is written in its place.
fn restore(settings: &Settings) -> (Book, bool) {
    match snapshot::read(&*settings.disk, &settings.data_dir) {
        Ok(Some(book)) => {
            tracing::info!(
                alarms = book.iter().count(),
                unacknowledged = book.unacknowledged_count(),
                lsn = book.folded().0,
                "alarm queue restored"
            );
            return (book, true);
        }
        Ok(None) => {
            tracing::info!("no alarm snapshot: the retained records are replayed");
            return (Book::default(), true);
        }
        Err(error @ SnapshotError::Unreadable { .. }) => {
            tracing::error!(%error, "alarm snapshot not readable: the retained records are replayed");
        }
        Err(error @ SnapshotError::Damaged { .. }) => tracing::error!(%error, "alarm snapshot damaged"),
    }
    let aside = snapshot::set_aside(&*settings.disk, &settings.data_dir, (settings.now_ms)());
    match &aside {
        Ok(path) => tracing::warn!(
            path = %path.display(),
            "alarm snapshot put aside: alarms older than the retained records are only there"
        ),
        Err(error) => tracing::error!(
            %error,
            "alarm snapshot could not be put aside: it is kept, and none is written until a restart can read or move it"
        ),
    }
    (Book::default(), aside.is_ok())
}

/// Where to read from: the tail for the units, the snapshot's end for the alarms, whichever is earlier.
fn first_lsn(book: &Book, committed: Lsn, tail_records_max: u64) -> Lsn {
    let alarms_from = book.folded().0 + 1;
    let tail_from = (committed.0 + 1).saturating_sub(tail_records_max).max(1);
    Lsn(alarms_from.min(tail_from))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::alarms::Kept;

    #[test]
    fn a_snapshot_that_can_be_neither_read_nor_moved_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(dir.path().to_owned());
        settings.now_ms = Arc::new(|| 7);
        fs::write(dir.path().join(snapshot::SNAPSHOT_FILE), "rubbish").unwrap();
        assert!(restore(&settings).1, "it was put aside");
        fs::write(dir.path().join(snapshot::SNAPSHOT_FILE), "other rubbish").unwrap();
        assert!(!restore(&settings).1, "there is no second name for it");
        assert_eq!(fs::read(dir.path().join("alarms.json.damaged-7")).unwrap(), b"rubbish");
        assert_eq!(fs::read(dir.path().join(snapshot::SNAPSHOT_FILE)).unwrap(), b"other rubbish");
    }

    #[test]
    fn reading_starts_at_the_tail_or_where_the_snapshot_ends() {
        let snapshot_at = |lsn| Book::restored(Kept { folded: Lsn(lsn), ..Kept::default() });
        assert_eq!(first_lsn(&snapshot_at(0), Lsn(0), 100), Lsn(1), "an empty spool");
        assert_eq!(first_lsn(&snapshot_at(990), Lsn(1000), 100), Lsn(901));
        assert_eq!(first_lsn(&snapshot_at(1000), Lsn(1000), 0), Lsn(1001), "nothing to read");
        assert_eq!(first_lsn(&snapshot_at(500), Lsn(1000), 100), Lsn(501));
        assert_eq!(first_lsn(&snapshot_at(0), Lsn(1000), 100), Lsn(1), "no snapshot: everything retained");
    }
}
