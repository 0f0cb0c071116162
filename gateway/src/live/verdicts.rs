//! Puts what the rules found into the spool, for the history.
//!
//! **After the fold, never in its way**: an alarm is on the page and its receipts are under way before its verdict is appended. What
//! could not be stored is tried again; what a crash cut off is among the unsaid of the snapshot, or found anew when the records
//! behind it are folded again.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::alarms::Verdict;
use crate::record::Record;
use crate::spool::{EntryClass, Lsn, SpoolError};

/// Stored with one commit: 256 of 400 bytes are less than a batch of the fold.
const AT_ONCE: usize = 256;
/// How soon a failed commit is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Until shutdown, from when the state is rebuilt: until `rebuilt_at` is folded, the next record may be the one that says it.
pub(super) async fn say(hub: Arc<Hub>, rebuilt_at: Lsn, shutdown: CancellationToken) {
    let saying = async {
        hub.wait_folded(rebuilt_at).await;
        let mut alarms = hub.alarms_revision.subscribe();
        loop {
            match hub.say_some().await {
                Ok(0) => {
                    if alarms.changed().await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what the rules found could not be stored: the history waits for it");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = saying => {}
    }
}

impl Hub {
    /// Stores some of what is unsaid, and waits until it is folded; how many. Cancelled, they may be appended all the same.
    async fn say_some(&self) -> Result<usize, SpoolError> {
        let (records, lost_count) = {
            let mut state = self.state();
            let records: Vec<Record> = state.alarms.unsaid().take(AT_ONCE).map(Verdict::record).collect();
            (records, state.alarms.take_lost_verdicts())
        };
        if lost_count > 0 {
            tracing::error!(
                lost_count,
                "too many alarms at once: what the rules made of some is in no history"
            );
            self.metrics.history.records_missing.inc_by(lost_count);
        }
        let mut newest = None;
        for record in &records {
            let mut bytes = BytesMut::new();
            record.encode(&mut bytes);
            newest = Some(self.spool.append(EntryClass::Internal, &bytes).await?);
        }
        if let Some(lsn) = newest {
            self.spool.wait_committed(lsn).await?;
            self.wait_folded(lsn).await;
        }
        Ok(records.len())
    }
}
