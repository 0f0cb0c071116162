//! Keeps the alarm snapshot close behind the queue, and closed alarms in it no longer than their period. What lanes have read ahead of the queue is not in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::alarms::snapshot;
use crate::spool::{Cursor, Health, Lsn};

/// How soon a snapshot follows a change; also the longest replay of a SEEN receipt.
const SNAPSHOT_MS: u64 = 500;
/// A snapshot is renewed after so many records even without alarms, so that a restart replays few.
const SNAPSHOT_RECORDS: u64 = 20_000;
/// And after this if there is anything new: what its cursor has not passed stays in the spool beyond its period.
const SNAPSHOT_AGE: Duration = Duration::from_secs(300);

/// What the snapshot on disk holds.
#[derive(Debug, Clone, Copy)]
struct Written {
    revision: u64,
    lsn: Lsn,
    at: Instant,
}

impl Written {
    /// Whether it is to be renewed now that the alarms have this `revision` and are folded up to `lsn`; with `is_wanted` for
    /// any news.
    fn is_outdated(self, revision: u64, lsn: Lsn, is_wanted: bool) -> bool {
        let is_wanted = is_wanted || self.at.elapsed() >= SNAPSHOT_AGE;
        revision != self.revision || lsn.0 >= self.lsn.0 + SNAPSHOT_RECORDS || (is_wanted && lsn > self.lsn)
    }
}

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
            let written_lsn = written.map_or(Lsn(0), |written: Written| written.lsn);
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
    fn snapshot_due(&self, written: &mut Option<Written>, is_wanted: bool) -> Option<Vec<u8>> {
        let mut state = self.state();
        if let Some(kept_ms) = self.settings.closed_kept_ms {
            let now_ms = (self.settings.now_ms)();
            state.alarms.forget_closed(now_ms.saturating_sub(kept_ms));
        }
        let (revision, lsn) = (state.alarms.revision(), state.alarms.folded());
        let is_due = match *written {
            None => lsn > Lsn(0),
            Some(written) => written.is_outdated(revision, lsn, is_wanted),
        };
        if !is_due {
            return None;
        }
        *written = Some(Written { revision, lsn, at: Instant::now() });
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quiet_gateway_renews_its_snapshot_in_time_if_there_is_anything_new() {
        let written = Written { revision: 7, lsn: Lsn(100), at: Instant::now() };
        assert!(written.is_outdated(8, Lsn(101), false), "an alarm has changed");
        assert!(!written.is_outdated(7, Lsn(101), false) && written.is_outdated(7, Lsn(101), true));
        advance(SNAPSHOT_AGE - Duration::from_millis(1)).await;
        assert!(!written.is_outdated(7, Lsn(101), false));
        assert!(written.is_outdated(7, Lsn(100 + SNAPSHOT_RECORDS), false));
        advance(Duration::from_millis(1)).await;
        assert!(written.is_outdated(7, Lsn(101), false), "positions would outlive their period");
        assert!(!written.is_outdated(7, Lsn(100), false), "nothing is new");
    }
}
