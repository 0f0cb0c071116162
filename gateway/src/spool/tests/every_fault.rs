//! A fault at every change of a run: whatever the n-th call is (a write, an fsync, a rename, a new file), whether it
//! fails once or from then on, with EIO or ENOSPC. **Nothing is acknowledged that the next start does not find.**
//!
//! n runs until a run has fewer changes than that, so no call is left out. After each run the power goes, and with it what
//! was never synced, or a part of it.

use std::io::ErrorKind;
use std::sync::Arc;

use super::super::faulty::{FaultyDisk, Lasts, Unsynced};
use super::super::settings::Sabotage;
use super::super::{Cursor, EntryClass, Health, Lsn, Spool, SpoolError, SpoolSettings};
use super::{open, read_to};

/// Batches of a run: enough for three segments, of which one is retired and used again.
const BATCHES: u64 = 12;
const BATCH_COUNT: u64 = 4;

fn settings(sabotage: Sabotage) -> SpoolSettings {
    SpoolSettings {
        segment_bytes: 12 << 10,
        bytes_max: 96 << 10,
        reserve_bytes: 0,
        retain_ms: 0,
        pending_bytes_max: 4 << 10,
        sabotage,
        ..SpoolSettings::default()
    }
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(700, number as u8);
    payload
}

/// What was promised before the run ended.
#[derive(Debug, Default, Clone, Copy)]
struct Promised {
    acknowledged: u64,
    delivered: u64,
    /// The spool stopped for good.
    failed: bool,
    /// It waited for space and went on by itself.
    waited: bool,
}

/// How a run met its fault, so that a rig that tests nothing is noticed.
#[derive(Debug, Default)]
struct Met {
    refused_to_open: u32,
    failed: u32,
    waited: u32,
    unharmed: u32,
}

/// The fault of one run.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// How many changes succeed before it.
    n: u64,
    lasts: Lasts,
}

impl Fault {
    /// A fault that passes: the power goes soon after it, before the sink has taken everything.
    fn batches_after(self) -> u64 {
        if self.lasts == Lasts::Once { self.n % 3 } else { BATCHES }
    }
}

/// Runs with the n-th change failing, for every n. What was wrong, if anything.
async fn rig(kind: ErrorKind, lasts: Lasts, sabotage: Sabotage) -> Result<Met, String> {
    let mut met = Met::default();
    for n in 0.. {
        let disk = FaultyDisk::new();
        let fault = Fault { n, lasts };
        disk.fail_change_after(n, kind, lasts);
        let survived = survive(&disk, fault, sabotage).await;
        let promised = survived.map_err(|found| format!("{kind} at change {n}: {found}"))?;
        let was_met = disk.changes_count() > n;
        match promised {
            None => met.refused_to_open += 1,
            Some(Promised { failed: true, .. }) => met.failed += 1,
            Some(Promised { waited: true, .. }) => met.waited += 1,
            Some(_) => met.unharmed += 1,
        }
        if !was_met {
            break;
        }
    }
    Ok(met)
}

/// One run with its fault, then the next start. `None` if the fault kept the first start from opening.
async fn survive(disk: &FaultyDisk, fault: Fault, sabotage: Sabotage) -> Result<Option<Promised>, String> {
    let opened = Spool::open(&super::dir(), settings(sabotage), Arc::new(disk.clone()));
    let spool = match opened {
        Ok((spool, _)) => spool,
        Err(SpoolError::Io { .. }) => {
            disk.heal();
            return recovers(disk, &Promised::default(), sabotage).await.map(|()| None);
        }
        Err(error) => return Err(format!("opening: {error}")),
    };
    let promised = run(&spool, disk, fault).await;
    // What was not synced is gone, or sector by sector by a coin.
    let unsynced = if fault.n.is_multiple_of(2) { Unsynced::Lost } else { Unsynced::Torn(fault.n) };
    let survivor = disk.cut_power(unsynced);
    spool.close().await;
    let promised = promised?;
    recovers(&survivor, &promised, sabotage).await?;
    Ok(Some(promised))
}

/// Stores batches and delivers behind them: all of them, or until the spool has failed, or until some batches after the
/// n-th change.
async fn run(spool: &Spool, disk: &FaultyDisk, fault: Fault) -> Result<Promised, String> {
    let mut left = fault.batches_after();
    let mut promised = Promised::default();
    // A gateway whose sink has no cursor does not start: without one nothing would hold the segments.
    let Ok(mut cursor) = spool.cursor("sink") else { return Ok(promised) };
    for batch in 0..BATCHES {
        for number in 1..=BATCH_COUNT {
            // Alarms are committed at once: a run takes no longer than its calls.
            let appended = spool.append(EntryClass::Alarm, &payload(batch * BATCH_COUNT + number)).await;
            match appended {
                Ok(lsn) if lsn.0 == batch * BATCH_COUNT + number => {}
                Err(SpoolError::Failed) => return stays_failed(spool, promised).await,
                other => return Err(format!("append: {other:?}")),
            }
        }
        let last = Lsn((batch + 1) * BATCH_COUNT);
        match committed(spool, disk, last, &mut promised).await {
            Ok(()) => promised.acknowledged = last.0,
            Err(SpoolError::Failed) => return stays_failed(spool, promised).await,
            Err(error) => return Err(format!("commit: {error}")),
        }
        if disk.changes_count() > fault.n {
            let Some(less) = left.checked_sub(1) else { break };
            left = less;
        }
        if batch % 3 == 2 {
            deliver(spool, &mut cursor, last, &mut promised).await?;
        }
    }
    Ok(promised)
}

/// Waits for the commit; where the spool says that there is no space, makes some and lets it go on by itself.
async fn committed(
    spool: &Spool,
    disk: &FaultyDisk,
    last: Lsn,
    promised: &mut Promised,
) -> Result<(), SpoolError> {
    let mut watch = spool.committed_watch();
    let told = watch.wait_for(|state| state.committed >= last || state.health != Health::Ok || state.stalled);
    let state = *told.await.map_err(|_| SpoolError::Closed)?;
    if state.committed < last && state.health != Health::Failed {
        promised.waited = true;
        disk.heal();
        spool.tend().await;
    }
    spool.wait_committed(last).await
}

/// What the sink has taken and the cursor durably says may go; a cursor that cannot be written holds everything.
async fn deliver(spool: &Spool, cursor: &mut Cursor, to: Lsn, promised: &mut Promised) -> Result<(), String> {
    let seen = read_to(&mut spool.reader(cursor.position().next()), to).await;
    if !seen.gaps.is_empty() {
        return Err(format!("lost before it was delivered: {:?}", seen.gaps));
    }
    // Whether it worked or not: the sink has them.
    promised.delivered = to.0;
    let _ = cursor.advance(to).await;
    spool.tend().await;
    Ok(())
}

/// After a failure nothing is taken and nothing more counts as committed.
async fn stays_failed(spool: &Spool, mut promised: Promised) -> Result<Promised, String> {
    promised.failed = true;
    // A sabotaged spool may have published before it failed: what it said is what it has to keep.
    promised.acknowledged = promised.acknowledged.max(spool.committed().0);
    let later = spool.append(EntryClass::Alarm, b"later").await;
    if !matches!(later, Err(SpoolError::Failed)) {
        return Err(format!("an entry was taken after the failure: {later:?}"));
    }
    if spool.committed().0 == promised.acknowledged {
        Ok(promised)
    } else {
        Err("something was acknowledged after the failure".to_owned())
    }
}

/// The next start finds everything acknowledged and not delivered, unchanged, and goes on.
async fn recovers(disk: &FaultyDisk, promised: &Promised, sabotage: Sabotage) -> Result<(), String> {
    let (spool, report) = open(disk, settings(sabotage));
    let last = report.last;
    if last.0 < promised.acknowledged {
        return Err(format!("{} acknowledged, {last} found", promised.acknowledged));
    }
    let from = spool.cursor("sink").map_err(|error| error.to_string())?.position().next();
    if from.0 > promised.delivered + 1 {
        return Err(format!("{} delivered, the cursor goes on at {from}", promised.delivered));
    }
    let seen = read_to(&mut spool.reader(from), last).await;
    let lost = seen.gaps.iter().find(|gap| gap.from.0 <= promised.acknowledged);
    if let Some(lost) = lost {
        return Err(format!("acknowledged entries are gone: {lost:?}"));
    }
    if let Some((lsn, _)) = seen.entries.iter().find(|(lsn, bytes)| *bytes != payload(*lsn)) {
        return Err(format!("entry {lsn} is not what was sent"));
    }
    let next = spool.append(EntryClass::Live, b"goes on").await.map_err(|error| error.to_string())?;
    spool.wait_committed(next).await.map_err(|error| error.to_string())?;
    spool.close().await;
    Ok(())
}

#[tokio::test]
async fn an_io_error_at_any_change_acknowledges_nothing_that_is_lost() {
    let met = rig(ErrorKind::Other, Lasts::Once, Sabotage::None).await.unwrap();
    assert!(met.failed >= 2 * BATCHES as u32 && met.refused_to_open > 5 && met.unharmed > 5, "{met:?}");
}

#[tokio::test]
async fn an_io_error_that_stays_acknowledges_nothing_that_is_lost() {
    let met = rig(ErrorKind::Other, Lasts::UntilHealed, Sabotage::None).await.unwrap();
    assert!(met.failed >= 2 * BATCHES as u32 && met.refused_to_open > 5, "{met:?}");
}

#[tokio::test]
async fn a_disk_full_at_any_change_acknowledges_nothing_that_is_lost() {
    let met = rig(ErrorKind::StorageFull, Lasts::Once, Sabotage::None).await.unwrap();
    assert!(met.failed > 5 && met.unharmed > 5, "{met:?}");
}

#[tokio::test]
async fn a_disk_that_stays_full_is_waited_for_and_acknowledges_nothing_that_is_lost() {
    let met = rig(ErrorKind::StorageFull, Lasts::UntilHealed, Sabotage::None).await.unwrap();
    assert!(met.waited > 5, "{met:?}");
}

#[tokio::test]
async fn a_spool_that_retries_a_failed_fsync_is_noticed_at_some_change() {
    let found = rig(ErrorKind::Other, Lasts::Once, Sabotage::RetryFailedSync).await.unwrap_err();
    assert!(found.contains("acknowledged"), "{found}");
}

#[tokio::test]
async fn a_spool_that_acknowledges_before_the_fsync_is_noticed_at_some_change() {
    let found = rig(ErrorKind::Other, Lasts::Once, Sabotage::PublishBeforeSync).await.unwrap_err();
    assert!(found.contains("acknowledged"), "{found}");
}
