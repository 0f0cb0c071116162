//! Commit: what is published is durable, and what is not durable is not published.

use std::io::ErrorKind;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::super::faulty::{FaultyDisk, Unsynced};
use super::super::{EntryClass, FullReason, Health, Lsn, RealDisk, Spool, SpoolError, TryAppendError};
use super::{EVERYTHING, open, payload, read_to, small, store};

#[tokio::test]
async fn what_was_stored_is_read_back_after_a_restart_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk);
    let (spool, report) = Spool::open(dir.path(), small(), disk.clone()).unwrap();
    assert!(report.is_clean());
    for number in 1..=1000 {
        assert_eq!(spool.append(EntryClass::Live, &payload(number)).await.unwrap(), Lsn(number));
    }
    spool.wait_committed(Lsn(1000)).await.unwrap();
    spool.close().await;
    let (spool, report) = Spool::open(dir.path(), small(), disk).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.last, Lsn(1000));
    let cursor = spool.cursor("keeps-everything").unwrap();
    let seen = read_to(&mut spool.reader(cursor.position().next()), Lsn(1000)).await;
    assert_eq!(seen.gaps, []);
    let wanted: Vec<_> = (seen.entries[0].0..=1000).map(|number| (number, payload(number))).collect();
    assert_eq!(seen.entries, wanted);
    spool.close().await;
}

#[tokio::test]
async fn committed_waits_for_the_fsync() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    disk.hold_syncs();
    let lsn = spool.append(EntryClass::Alarm, b"held").await.unwrap();
    disk.sync_is_held().await;
    assert_eq!(spool.committed(), Lsn(0));
    disk.release_syncs();
    spool.wait_committed(lsn).await.unwrap();
    assert_eq!(spool.committed(), lsn);
    spool.close().await;
}

#[tokio::test]
async fn the_batch_grows_while_a_commit_is_under_way() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    disk.hold_syncs();
    store_nothing_yet(&spool, 1).await;
    disk.sync_is_held().await;
    store_nothing_yet(&spool, 20).await;
    disk.release_syncs();
    spool.wait_committed(Lsn(21)).await.unwrap();
    assert_eq!(spool.stats().commits_total, 2);
    spool.close().await;
}

async fn store_nothing_yet(spool: &Spool, count: u64) {
    for number in 0..count {
        spool.append(EntryClass::Live, &payload(number)).await.unwrap();
    }
}

#[tokio::test]
async fn an_append_over_the_bound_waits_and_a_cancelled_one_takes_nothing() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    disk.hold_syncs();
    store_nothing_yet(&spool, 1).await;
    disk.sync_is_held().await;
    let kilobyte = [7; 1024];
    while spool.try_append(EntryClass::Live, &kilobyte).is_ok() {}
    assert_eq!(spool.try_append(EntryClass::Live, &kilobyte), Err(TryAppendError::Full(FullReason::Pending)));
    // The last quarter is for alarms.
    spool.try_append(EntryClass::Alarm, b"help").unwrap();
    let given_out = spool.stats().appended;
    let mut waiting = Box::pin(spool.append(EntryClass::Live, &kilobyte));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    assert_eq!(spool.stats().appended, given_out);
    let waiting = spool.append(EntryClass::Live, &kilobyte);
    disk.release_syncs();
    assert_eq!(waiting.await.unwrap(), given_out.next());
    spool.wait_committed(given_out.next()).await.unwrap();
    spool.close().await;
}

#[tokio::test]
async fn an_entry_over_the_limit_is_refused_by_name() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let huge = vec![0; 8 << 10];
    let refused = spool.append(EntryClass::Live, &huge).await;
    assert!(matches!(refused, Err(SpoolError::TooLarge { bytes: 8192, .. })), "{refused:?}");
    assert_eq!(store(&spool, &[1; 2048]).await, Lsn(1));
    spool.close().await;
}

#[tokio::test]
async fn short_writes_are_completed() {
    let disk = FaultyDisk::new();
    disk.short_writes(7);
    let (spool, _) = open(&disk, small());
    store(&spool, &payload(80)).await;
    let after = disk.cut_power(Unsynced::Lost);
    let (spool, _) = open(&after, small());
    let seen = read_to(&mut spool.reader(Lsn(1)), Lsn(1)).await;
    assert_eq!(seen.entries, [(1, payload(80))]);
    spool.close().await;
}

#[tokio::test]
async fn a_second_gateway_is_refused_until_the_first_is_gone() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let second = Spool::open(&super::dir(), small(), Arc::new(disk.clone()));
    assert!(matches!(second, Err(SpoolError::Locked { .. })));
    spool.close().await;
    open(&disk, small()).0.close().await;
}

#[tokio::test]
async fn a_failed_fsync_is_final_and_nothing_is_acknowledged_after_it() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    store(&spool, b"good").await;
    disk.fail_sync_after(0);
    let lost = spool.append(EntryClass::Alarm, b"lost").await.unwrap();
    assert!(matches!(spool.wait_committed(lost).await, Err(SpoolError::Failed)));
    assert_eq!(spool.committed(), Lsn(1));
    assert_eq!(spool.committed_watch().borrow().health, Health::Failed);
    assert!(matches!(spool.append(EntryClass::Alarm, b"later").await, Err(SpoolError::Failed)));
    spool.close().await;
    // Opening again is the way back: what the failed sync may have left behind is durable by then, or cut.
    let (spool, report) = open(&disk, small());
    let next = store(&spool, b"after").await;
    assert_eq!(next, report.last.next());
    let after = disk.cut_power(Unsynced::Lost);
    let (again, _) = open(&after, small());
    let seen = read_to(&mut again.reader(Lsn(1)), next).await;
    assert_eq!(seen.gaps, []);
    assert_eq!(seen.entries.first(), Some(&(1, b"good".to_vec())));
    assert_eq!(seen.entries.last(), Some(&(next.0, b"after".to_vec())));
    again.close().await;
    spool.close().await;
}

#[tokio::test]
async fn a_failed_write_is_final_too() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    disk.fail_write_after(0, ErrorKind::Other);
    let lost = spool.append(EntryClass::Live, b"lost").await.unwrap();
    assert!(matches!(spool.wait_committed(lost).await, Err(SpoolError::Failed)));
    let mut reader = spool.reader(Lsn(1));
    assert!(reader.next_batch(EVERYTHING).await.is_err());
    spool.close().await;
}
