//! Space: a full disk stops acknowledgements, never loses anything, and alarms still have their reserve.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::faulty::FaultyDisk;
use super::super::settings::Sabotage;
use super::super::{
    Clock, Crew, Cursor, EntryClass, FullReason, Gap, GapReason, Health, Lsn, Spool, SpoolSettings,
    TryAppendError,
};
use super::{EVERYTHING, dir, open, payload, read_to, segments, small, store};

async fn health_becomes(spool: &Spool, health: Health) {
    let mut watch = spool.committed_watch();
    watch.wait_for(|state| state.health == health).await.unwrap();
}

const KILOBYTE: [u8; 1000] = [9; 1000];

/// Six segments of 16 KiB, two of them reserve.
fn tight() -> SpoolSettings {
    SpoolSettings { bytes_max: 6 * (16 << 10), reserve_bytes: 2 * (16 << 10), ..small() }
}

/// Stores until live entries are no longer admitted; returns the newest stored one.
async fn fill(spool: &Spool) -> Lsn {
    let mut last = Lsn(0);
    loop {
        match spool.try_append(EntryClass::Live, &KILOBYTE) {
            Ok(lsn) => {
                spool.wait_committed(lsn).await.unwrap();
                last = lsn;
                // Let the keeper decide between two entries, as it would under a real disk's pace.
                spool.tend().await;
            }
            Err(TryAppendError::Full(FullReason::Reserve)) => return last,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn bytes_max_with_an_undelivered_backlog_stops_live_entries_and_lets_alarms_through() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, tight());
    let mut cursor = spool.cursor("slow").unwrap();
    let filled = fill(&spool).await;
    health_becomes(&spool, Health::Full).await;
    // Two reserve segments hold at least 20 alarms of a kilobyte.
    for _ in 0..20 {
        let lsn = spool.append(EntryClass::Alarm, &KILOBYTE).await.unwrap();
        spool.wait_committed(lsn).await.unwrap();
    }
    assert!(spool.stats().bytes <= tight().bytes_max);
    let waiting = tokio::spawn({
        let spool = spool.clone();
        async move { spool.append(EntryClass::Live, b"patient").await.unwrap() }
    });
    let seen = read_to(&mut spool.reader(cursor.position().next()), filled).await;
    assert_eq!(seen.gaps, []);
    assert!(seen.entries.len() as u64 >= filled.0);
    // Delivery makes room: the health returns by itself and the waiting entry goes in.
    cursor.advance(spool.committed()).await.unwrap();
    health_becomes(&spool, Health::Ok).await;
    let lsn = waiting.await.unwrap();
    spool.wait_committed(lsn).await.unwrap();
    spool.close().await;
}

#[tokio::test]
async fn the_hard_bound_holds_even_for_alarms_and_nothing_is_lost() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, tight());
    let mut cursor = spool.cursor("slow").unwrap();
    let mut last = Lsn(0);
    while let Ok(lsn) = spool.try_append(EntryClass::Alarm, &KILOBYTE) {
        last = lsn;
        let mut watch = spool.committed_watch();
        // Not `Health::Full`: that comes already with the reserve, while there is still room for alarms.
        watch.wait_for(|state| state.committed >= lsn || state.stalled).await.unwrap();
    }
    assert!(spool.stats().bytes <= tight().bytes_max);
    assert!(spool.committed() < last, "pending entries stay unacknowledged");
    let committed = spool.committed();
    let seen = read_to(&mut spool.reader(Lsn(1)), committed).await;
    assert!(seen.gaps.is_empty() && seen.entries.len() as u64 >= committed.0);
    cursor.advance(committed).await.unwrap();
    spool.wait_committed(last).await.unwrap();
    health_becomes(&spool, Health::Ok).await;
    spool.close().await;
}

/// Complains if an undelivered entry is gone after the spool was filled.
async fn undelivered_rig(settings: SpoolSettings) -> Result<(), String> {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, settings);
    let cursor = spool.cursor("slow").unwrap();
    for number in 0..60 {
        let Ok(lsn) = spool.try_append(EntryClass::Live, &KILOBYTE) else {
            break;
        };
        spool.wait_committed(lsn).await.map_err(|error| format!("{number}: {error}"))?;
        spool.tend().await;
    }
    let seen = read_to(&mut spool.reader(cursor.position().next()), spool.committed()).await;
    spool.close().await;
    match seen.gaps.first() {
        Some(gap) => Err(format!("undelivered entries are gone: {gap:?}")),
        None => Ok(()),
    }
}

#[tokio::test]
async fn retention_never_takes_what_a_cursor_still_needs() {
    undelivered_rig(tight()).await.unwrap();
}

#[tokio::test]
async fn a_keeper_that_ignores_cursors_is_noticed() {
    let sabotaged = SpoolSettings { sabotage: Sabotage::DeleteUndelivered, ..tight() };
    undelivered_rig(sabotaged).await.unwrap_err();
}

#[tokio::test]
async fn a_full_disk_is_waited_out_and_the_reserve_is_preallocated() {
    let disk = FaultyDisk::new();
    let roomy = SpoolSettings { bytes_max: 1 << 20, ..tight() };
    let (spool, _) = open(&disk, roomy);
    let _cursor = spool.cursor("slow").unwrap();
    spool.tend().await;
    // Somebody else filled the disk: nothing can grow any more, but the files made beforehand are there.
    disk.set_space(Some(0));
    let filled = fill(&spool).await;
    health_becomes(&spool, Health::Full).await;
    assert!(spool.stats().scarce.is_some());
    let alarm = spool.append(EntryClass::Alarm, b"help").await.unwrap();
    spool.wait_committed(alarm).await.unwrap();
    disk.set_space(None);
    spool.tend().await;
    health_becomes(&spool, Health::Ok).await;
    let last = store(&spool, b"again").await;
    let seen = read_to(&mut spool.reader(Lsn(1)), last).await;
    assert_eq!((seen.entries.len() as u64, seen.gaps.len()), (last.0, 0));
    assert!(last > filled);
    spool.close().await;
}

#[tokio::test]
async fn a_write_without_space_is_kept_and_committed_when_space_returns() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    store(&spool, b"before").await;
    disk.fail_write_after(0, ErrorKind::StorageFull);
    let kept = spool.append(EntryClass::Live, b"kept").await.unwrap();
    health_becomes(&spool, Health::Full).await;
    assert_eq!(spool.committed(), Lsn(1));
    disk.heal();
    spool.wait_committed(kept).await.unwrap();
    health_becomes(&spool, Health::Ok).await;
    let seen = read_to(&mut spool.reader(Lsn(1)), kept).await;
    assert_eq!(seen.entries[1], (2, b"kept".to_vec()));
    spool.close().await;
}

#[tokio::test]
async fn a_full_spool_can_be_closed() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    disk.fail_write_after(0, ErrorKind::StorageFull);
    spool.append(EntryClass::Live, b"unlucky").await.unwrap();
    health_becomes(&spool, Health::Full).await;
    spool.close().await;
    disk.heal();
    let (spool, report) = open(&disk, small());
    assert_eq!(report.last, Lsn(0));
    spool.close().await;
}

/// A clock the test turns.
fn clock() -> (Arc<AtomicU64>, Clock) {
    let now_ms = Arc::new(AtomicU64::new(1_000_000));
    let hand = Arc::clone(&now_ms);
    (hand, Clock::new(move || now_ms.load(Ordering::Relaxed)))
}

#[tokio::test]
async fn delivered_segments_stay_for_the_retention_time_and_then_become_a_gap() {
    let disk = FaultyDisk::new();
    let (now_ms, clock) = clock();
    let settings = SpoolSettings { retain_ms: 60_000, clock, ..small() };
    let (spool, _) = open(&disk, settings);
    let mut cursor = spool.cursor("quick").unwrap();
    while spool.stats().segments_count < 3 {
        store(&spool, &KILOBYTE).await;
    }
    cursor.advance(spool.committed()).await.unwrap();
    spool.tend().await;
    assert_eq!(spool.stats().first, Lsn(1));
    now_ms.fetch_add(60_000, Ordering::Relaxed);
    spool.tend().await;
    let first = spool.stats().first;
    assert_eq!(spool.stats().segments_count, 1);
    let batch = spool.reader(Lsn(1)).next_batch(EVERYTHING).await.unwrap();
    assert_eq!(batch.gap, Some(Gap { from: Lsn(1), to: Lsn(first.0 - 1), reason: GapReason::Retention }));
    assert_eq!(batch.entries().next().unwrap().lsn, first);
    spool.close().await;
}

#[tokio::test]
async fn a_reader_in_a_retired_segment_reads_on_undisturbed() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("quick").unwrap();
    let mut number = 0;
    while spool.stats().segments_count < 2 {
        number += 1;
        store(&spool, &payload(number)).await;
    }
    let mut reader = spool.reader(Lsn(1));
    let one = super::BatchLimits { count_max: 1, ..EVERYTHING };
    assert_eq!(reader.next_batch(one).await.unwrap().end, Lsn(1));
    cursor.advance(spool.committed()).await.unwrap();
    spool.tend().await;
    // Out of the map: what it had not read is an explicit gap, not a misread of a recycled file.
    let seen = read_to(&mut reader, spool.committed()).await;
    assert_eq!(seen.gaps.len(), 1);
    assert_eq!(seen.gaps[0].from, Lsn(2));
    let wanted: Vec<_> = (seen.gaps[0].to.0 + 1..=number).map(|n| (n, payload(n))).collect();
    assert_eq!(seen.entries, wanted);
    spool.close().await;
}

#[tokio::test]
async fn recycled_segments_are_erased_before_they_wait() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("quick").unwrap();
    for _ in 0..60 {
        let lsn = store(&spool, b"a position to be forgotten").await;
        cursor.advance(lsn).await.unwrap();
        store(&spool, &KILOBYTE).await;
    }
    cursor.advance(spool.committed()).await.unwrap();
    spool.tend().await;
    spool.close().await;
    let kept = segments(&disk);
    for path in disk.paths().iter().filter(|path| !kept.contains(path)) {
        let bytes = disk.bytes(path).unwrap();
        let found = bytes.windows(10).any(|window| window == b"a position");
        assert!(!found, "{}", path.display());
    }
}

/// Starts over with numbers from 1 in a file full of intact records of an earlier life that have the same numbers.
async fn stale_rig(sabotage: Sabotage) -> Result<(), String> {
    let settings = || SpoolSettings { erase_recycled: false, sabotage, ..small() };
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, settings());
    let mut cursor = spool.cursor("quick").unwrap();
    // Two segments; the first goes with its records still in it.
    while spool.stats().segments_count < 2 {
        store(&spool, b"stale entry").await;
    }
    cursor.advance(spool.committed()).await.unwrap();
    spool.close().await;
    // The keeper of this run may have been too late; the next one's first round is not.
    let (spool, _) = open(&disk, settings());
    spool.tend().await;
    spool.close().await;
    let is_used = |path: &&std::path::PathBuf| path.extension().is_some_and(|end| end == "used");
    for path in disk.paths().iter().filter(|path| !is_used(path)) {
        disk.lose_file(path);
    }
    if disk.paths().is_empty() {
        return Err("the rig found no recycled file".to_owned());
    }
    let (spool, _) = open(&disk, settings());
    let lsn = store(&spool, b"fresh entry").await;
    assert_eq!(lsn, Lsn(1));
    spool.close().await;
    let (spool, report) = open(&disk, settings());
    let seen = read_to(&mut spool.reader(Lsn(1)), report.last).await;
    spool.close().await;
    if seen.entries == [(1, b"fresh entry".to_vec())] && seen.gaps.is_empty() {
        Ok(())
    } else {
        Err(format!("{} entries came back", seen.entries.len() - 1))
    }
}

#[tokio::test]
async fn stale_records_of_a_recycled_segment_never_come_back() {
    stale_rig(Sabotage::None).await.unwrap();
}

#[tokio::test]
async fn a_spool_that_forgets_its_epochs_is_noticed() {
    let found = stale_rig(Sabotage::ForgetEpoch).await.unwrap_err();
    assert!(found.ends_with("came back"), "{found}");
}

/// A spool with a sink, a keeper that works only when told, and a clock.
struct Aging {
    spool: Spool,
    crew: Crew,
    sink: Cursor,
    now_ms: Arc<AtomicU64>,
    disk: FaultyDisk,
    began: Instant,
}

impl Aging {
    fn new(settings: SpoolSettings) -> Self {
        let (disk, now_ms) = (FaultyDisk::new(), Arc::new(AtomicU64::new(5_000)));
        let shown_ms = Arc::clone(&now_ms);
        let clock = Clock::new(move || shown_ms.load(Ordering::Relaxed));
        let settings = SpoolSettings { clock, retain_ms: u64::MAX, ..settings };
        let (spool, mut crew, _) = Spool::open_by_hand(&dir(), settings, Arc::new(disk.clone())).unwrap();
        let sink = spool.cursor("sink").unwrap();
        crew.tend();
        Self { spool, crew, sink, now_ms, disk, began: Instant::now() }
    }

    fn store(&mut self, number: u64) {
        let lsn = self.spool.try_append(EntryClass::Live, &payload(number)).unwrap();
        while self.spool.committed() < lsn {
            self.began += Duration::from_secs(1);
            self.crew.step(self.began).unwrap();
        }
    }

    async fn deliver(&mut self) {
        self.sink.advance(self.spool.committed()).await.unwrap();
    }

    /// How many segments there are, after what was stored was found in them.
    async fn segments(&self, stored: usize) -> usize {
        let seen = read_to(&mut self.spool.reader(Lsn(1)), self.spool.committed()).await;
        assert_eq!((seen.entries.len(), seen.gaps), (stored, vec![]));
        segments(&self.disk).len()
    }
}

#[tokio::test]
async fn a_segment_is_left_when_it_is_old_but_not_for_a_file_of_the_reserve() {
    let with_reserve = SpoolSettings { reserve_bytes: 2 * (16 << 10), ..small() };
    let cases = [
        (Some(1_000), small(), true, 5, "each is old when the next record comes"),
        (Some(1_001), small(), true, 3, "every second one is"),
        (None, small(), true, 1, "only a full one is left"),
        (Some(1_000), with_reserve, false, 2, "the spare beside the reserve is used, and the keeper late"),
    ];
    for (seal_after_ms, settings, is_tended, wanted, why) in cases {
        let mut aging = Aging::new(SpoolSettings { seal_after_ms, ..settings });
        for number in 0..5 {
            if is_tended {
                aging.crew.tend();
            }
            aging.store(number);
            aging.deliver().await;
            aging.now_ms.fetch_add(1_000, Ordering::Relaxed);
        }
        assert_eq!(aging.segments(5).await, wanted, "{why}");
    }
}

#[tokio::test]
async fn an_outage_of_a_sink_does_not_take_a_segment_for_each_period() {
    let mut aging = Aging::new(SpoolSettings { seal_after_ms: Some(1_000), ..small() });
    for number in 0..40 {
        aging.crew.tend();
        aging.store(number);
        aging.now_ms.fetch_add(1_000, Ordering::Relaxed);
    }
    assert_eq!(aging.segments(40).await, 2);
    aging.deliver().await;
    aging.crew.tend();
    aging.store(40);
    assert_eq!(aging.segments(41).await, 3, "the sink is back");
}

#[tokio::test]
async fn a_segment_of_a_time_to_come_is_left_once() {
    let mut aging = Aging::new(SpoolSettings { seal_after_ms: Some(1_000_000), ..small() });
    aging.store(0);
    aging.deliver().await;
    aging.now_ms.store(4_000, Ordering::Relaxed);
    for number in 1..10 {
        aging.crew.tend();
        aging.store(number);
        aging.deliver().await;
    }
    assert_eq!(aging.segments(10).await, 2);
}
