//! Puts what the rules found into the spool, for the history.
//!
//! **After the fold, never in its way**: an alarm is on the page and its receipts are under way before its verdict is appended. What
//! could not be stored is tried again; what a crash cut off is among the unsaid of the snapshot, or found anew when the records
//! behind it are folded again. Nor does it use the spool's reserve: while that is in use, verdicts wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::alarms::Verdict;
use crate::record::Record;
use crate::spool::{EntryClass, Health, Lsn, Spool, SpoolError};

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
        let (newest, all) = append(&self.spool, &records).await;
        // Also after an error: what was admitted is unsaid until it is folded, and would be appended again.
        if let Some(lsn) = newest {
            self.spool.wait_committed(lsn).await?;
            self.wait_folded(lsn).await;
        }
        all.map(|()| records.len())
    }
}

/// Appends `records`, each when the spool has room beside its reserve: that is for alarms, and verdicts can wait. Returns the newest
/// that was admitted, also if a later one was refused.
async fn append(spool: &Spool, records: &[Record]) -> (Option<Lsn>, Result<(), SpoolError>) {
    let mut commits = spool.committed_watch();
    let mut newest = None;
    for record in records {
        // Fails only if the spool is gone, and we hold it.
        _ = commits.wait_for(|state| state.health != Health::Full || state.closed).await;
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        match spool.append(EntryClass::Internal, &bytes).await {
            Ok(lsn) => newest = Some(lsn),
            Err(error) => return (newest, Err(error)),
        }
    }
    (newest, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::path::Path;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::alarms::{Acknowledgement, AlarmId};
    use crate::spool::faulty::FaultyDisk;
    use crate::spool::{PAYLOAD_BYTES_MAX, SpoolSettings, TryAppendError};

    /// Six segments of 16 KiB, two of them reserve.
    fn spool() -> Spool {
        let mut settings = SpoolSettings::default();
        (settings.segment_bytes, settings.pending_bytes_max, settings.tail_bytes_max) =
            (16 << 10, 4 << 10, 2 << 10);
        (settings.bytes_max, settings.reserve_bytes, settings.retain_ms) =
            (6 * (16 << 10), 2 * (16 << 10), 0);
        Spool::open(Path::new("/spool"), settings, Arc::new(FaultyDisk::new())).unwrap().0
    }

    /// Some record of the gateway's own.
    fn record() -> Record {
        let alarm: AlarmId = "sim/pc-0001/1/0".parse().unwrap();
        let said = Acknowledgement {
            alarm: alarm.to_string(),
            operator: "anna".to_owned(),
            at_ms: 1_000,
            seen_as: None,
        };
        said.record(&alarm)
    }

    #[tokio::test]
    async fn a_verdict_waits_while_only_the_reserve_is_left() {
        let spool = spool();
        let mut cursor = spool.cursor("slow").unwrap();
        loop {
            match spool.try_append(EntryClass::Live, &[9; 1000]) {
                Ok(lsn) => spool.wait_committed(lsn).await.unwrap(),
                Err(TryAppendError::Full(_)) => break,
                Err(error) => panic!("{error}"),
            }
            spool.tend().await;
        }
        spool.committed_watch().wait_for(|state| state.health == Health::Full).await.unwrap();
        let before = spool.newest_of(EntryClass::Internal);
        let records = [record()];
        let mut verdict = pin!(append(&spool, &records));
        let mut looks = Context::from_waker(Waker::noop());
        assert!(verdict.as_mut().poll(&mut looks).is_pending(), "the reserve is for alarms");
        assert_eq!(spool.newest_of(EntryClass::Internal), before);
        let alarm = spool.append(EntryClass::Alarm, b"alarm").await.unwrap();
        spool.wait_committed(alarm).await.unwrap();
        cursor.advance(alarm).await.unwrap();
        let (newest, all) = verdict.await;
        all.unwrap();
        assert!(newest > Some(alarm));
        spool.close().await;
    }

    #[tokio::test]
    async fn what_was_admitted_before_an_error_is_known() {
        let spool = spool();
        let mut large = record();
        large.payload = vec![0; PAYLOAD_BYTES_MAX + 1].into();
        let (newest, all) = append(&spool, &[record(), large, record()]).await;
        assert!(matches!(all, Err(SpoolError::TooLarge { .. })), "{all:?}");
        spool.wait_committed(newest.unwrap()).await.unwrap();
        assert_eq!(spool.newest_of(EntryClass::Internal), newest.unwrap(), "and nothing after it");
        spool.close().await;
    }
}
