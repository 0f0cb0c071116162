//! Keeps the alarm snapshot close behind the queue. What lanes have read ahead of the queue is not in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::alarms::snapshot;
use crate::spool::{Cursor, Health, Lsn};

/// How soon a snapshot follows a change; also the longest replay of a SEEN receipt.
const SNAPSHOT_MS: u64 = 500;
/// A snapshot is renewed after so many records even without alarms, so that a restart replays few.
const SNAPSHOT_RECORDS: u64 = 20_000;

/// Keeps the alarm snapshot close behind the queue, and the spool's records until they are in it.
pub(super) async fn keep_snapshot(hub: Arc<Hub>, mut cursor: Cursor, shutdown: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(SNAPSHOT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = None;
    loop {
        let is_last = tokio::select! {
            biased;
            () = shutdown.cancelled() => true,
            _ = ticks.tick() => false,
        };
        // A full spool may need the room of the very records that only the next snapshot lets go.
        let is_full = hub.spool.committed_watch().borrow().health == Health::Full;
        if let Some(text) = hub.snapshot_due(&mut written, is_last || is_full) {
            let written_lsn = written.map_or(Lsn(0), |(_, lsn)| lsn);
            if !hub.write_snapshot(text).await {
                written = None;
            } else if written_lsn > cursor.position()
                && let Err(error) = cursor.advance(written_lsn).await
            {
                tracing::warn!(%error, "the alarm cursor stays where it is");
            }
        }
        if is_last {
            return;
        }
    }
}

impl Hub {
    /// The text of a snapshot if one is due, or `is_wanted` and something has come since the last; notes in `written` what it holds.
    fn snapshot_due(&self, written: &mut Option<(u64, Lsn)>, is_wanted: bool) -> Option<Vec<u8>> {
        let state = self.state();
        let (revision, lsn) = (state.alarms.revision(), state.alarms.folded());
        let is_due = match *written {
            None => lsn > Lsn(0),
            Some((known, at)) => {
                revision != known || lsn.0 >= at.0 + SNAPSHOT_RECORDS || (is_wanted && lsn > at)
            }
        };
        if !is_due {
            return None;
        }
        *written = Some((revision, lsn));
        Some(snapshot::render(&state.alarms))
    }

    async fn write_snapshot(&self, text: Vec<u8>) -> bool {
        let (disk, data_dir) = (Arc::clone(&self.settings.disk), self.settings.data_dir.clone());
        let outcome =
            self.spool.off_runtime(move || snapshot::write(&*disk, &data_dir, &text)).await.flatten();
        let failed_before = self.snapshot_fails.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !failed_before => {
                tracing::error!(%error, "the alarm snapshot cannot be written; a restart will replay more records");
            }
            Ok(()) if failed_before => tracing::info!("the alarm snapshot is written again"),
            _ => {}
        }
        outcome.is_ok()
    }
}
