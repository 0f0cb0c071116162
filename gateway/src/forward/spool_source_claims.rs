//! What the lanes of a spool promise, on a disk in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::source::{Lane, Source, Taken};
use super::spool_source::SpoolSource;
use crate::spool::faulty::{FaultyDisk, Unsynced};
use crate::spool::{BatchLimits, Crew, EntryClass, Lsn, Spool, SpoolSettings, Wait};

const LIMITS: BatchLimits = BatchLimits { count_max: 10, bytes_max: 64 << 10, age_ms_max: 0 };

struct Bench {
    disk: FaultyDisk,
    spool: Spool,
    crew: Crew,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::on(FaultyDisk::new())
    }

    fn on(disk: FaultyDisk) -> Self {
        let mut settings = SpoolSettings::default();
        (settings.segment_bytes, settings.bytes_max, settings.reserve_bytes) = (2 << 20, 64 << 20, 2 << 20);
        let (spool, crew, _) =
            Spool::open_by_hand(Path::new("/spool"), settings, Arc::new(disk.clone())).unwrap();
        Self { disk, spool, crew, now: Instant::now() }
    }

    /// The host loses power; what is on the disk is all that is left.
    fn after_a_power_cut(self) -> Self {
        Self::on(self.disk.cut_power(Unsynced::Lost))
    }

    fn append(&mut self, class: EntryClass, count: u64) {
        for _ in 0..count {
            while self.spool.try_append(class, b"an entry").is_err() {
                self.commit();
            }
        }
        self.commit();
    }

    fn commit(&mut self) {
        // No batch waits for company.
        self.now += Duration::from_secs(1);
        while self.crew.step(self.now) == Some(Wait::Nothing) {}
    }

    fn source(&self) -> SpoolSource {
        SpoolSource::open(&self.spool, "sink", LIMITS).unwrap()
    }
}

/// Takes and delivers what a lane has, up to `batches`; returns numbers and whether they were overtaken.
async fn deliver(source: &mut SpoolSource, lane: Lane, batches: usize) -> Vec<(u64, bool)> {
    let mut delivered = Vec::new();
    for _ in 0..batches {
        let Some(Taken { entries, overtaken, through, .. }) = source.take(lane).await.unwrap() else { break };
        delivered.extend(entries.iter().map(|(lsn, _)| lsn.0).zip(overtaken));
        source.advance(lane, through).await.unwrap();
    }
    delivered
}

fn lsns(delivered: &[(u64, bool)]) -> Vec<u64> {
    delivered.iter().map(|(lsn, _)| *lsn).collect()
}

#[tokio::test]
async fn an_alarm_behind_a_backlog_comes_with_the_next_looks() {
    let mut bench = Bench::new();
    let mut source = bench.source();
    bench.append(EntryClass::Live, 60_000);
    bench.append(EntryClass::Backlog, 60_000);
    bench.append(EntryClass::Alarm, 1);
    assert_eq!(deliver(&mut source, Lane::Alarm, 3).await, [(120_001, false)]);
}

#[tokio::test]
async fn each_class_has_its_lane_and_history_never_passes_live() {
    let mut bench = Bench::new();
    let mut source = bench.source();
    bench.append(EntryClass::Live, 3);
    bench.append(EntryClass::Backlog, 3);
    bench.append(EntryClass::Live, 3);
    bench.append(EntryClass::Internal, 1);
    assert!(deliver(&mut source, Lane::Backlog, 9).await.is_empty(), "live goes first");
    assert_eq!(lsns(&deliver(&mut source, Lane::Alarm, 9).await), [10]);
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 9).await), [1, 2, 3, 7, 8, 9]);
    assert_eq!(lsns(&deliver(&mut source, Lane::Backlog, 9).await), [4, 5, 6]);
    assert_eq!(source.lag_records_count(), 0);
}

#[tokio::test]
async fn the_newest_overtake_and_what_they_skipped_follows_as_history_once() {
    let mut bench = Bench::new();
    let mut source = bench.source();
    bench.append(EntryClass::Live, 100);
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 1).await), Vec::from_iter(1..=10));
    assert!(source.overtake());
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 9).await), Vec::from_iter(91..=100));
    bench.append(EntryClass::Live, 100);
    assert!(source.overtake());
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 9).await), Vec::from_iter(191..=200));
    // Half of the history, then a power cut: nothing is forgotten and nothing comes twice.
    let mut history = deliver(&mut source, Lane::Backlog, 6).await;
    drop(source);
    let bench = bench.after_a_power_cut();
    let mut source = bench.source();
    assert!(deliver(&mut source, Lane::Live, 9).await.is_empty());
    history.extend(deliver(&mut source, Lane::Backlog, 99).await);
    assert_eq!(lsns(&history), Vec::from_iter((11..=90).chain(101..=190)));
    assert!(history.iter().all(|(_, overtaken)| *overtaken));
    assert!(deliver(&mut source, Lane::Alarm, 9).await.is_empty());
    assert_eq!(source.lag_records_count(), 0);
}

#[tokio::test]
async fn reads_grow_while_the_sink_is_fast_and_a_jump_goes_to_the_last_read() {
    let mut bench = Bench::new();
    let limits = BatchLimits { count_max: 2_000, bytes_max: 1 << 20, age_ms_max: 0 };
    let mut source = SpoolSource::open(&bench.spool, "sink", limits).unwrap();
    bench.append(EntryClass::Live, 9_000);
    for count in [500, 1_000, 2_000, 2_000] {
        assert_eq!(deliver(&mut source, Lane::Live, 1).await.len(), count);
        source.took(count, true, Duration::from_millis(1));
    }
    source.took(2_000, true, Duration::from_secs(1));
    assert!(source.overtake());
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 1).await), Vec::from_iter(8_001..=9_000));
}

#[tokio::test]
async fn little_is_not_worth_a_jump() {
    let mut bench = Bench::new();
    let mut source = bench.source();
    bench.append(EntryClass::Live, 10);
    assert!(!source.overtake());
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 9).await), Vec::from_iter(1..=10));
}

#[tokio::test]
async fn a_cursor_from_before_the_lanes_is_the_place_of_each() {
    let mut bench = Bench::new();
    bench.append(EntryClass::Live, 5);
    bench.append(EntryClass::Alarm, 5);
    let mut cursor = bench.spool.cursor("sink").unwrap();
    cursor.advance(Lsn(7)).await.unwrap();
    drop(cursor);
    let mut source = bench.source();
    assert!(deliver(&mut source, Lane::Live, 9).await.is_empty());
    assert_eq!(lsns(&deliver(&mut source, Lane::Alarm, 9).await), [8, 9, 10]);
}

#[tokio::test]
async fn numbers_that_only_the_alarm_lane_has_seen_are_not_given_out_again() {
    let mut bench = Bench::new();
    bench.append(EntryClass::Live, 5);
    bench.append(EntryClass::Alarm, 5);
    let mut source = bench.source();
    deliver(&mut source, Lane::Alarm, 9).await;
    drop(source);
    // The storage comes back without its segments, but with its cursors.
    let disk = bench.disk.cut_power(Unsynced::Lost);
    for name in crate::spool::Disk::list(&disk, Path::new("/spool")).unwrap() {
        if name.ends_with(".seg") {
            crate::spool::Disk::remove(&disk, &Path::new("/spool").join(name)).unwrap();
        }
    }
    let bench = Bench::on(disk);
    assert_eq!(bench.spool.committed(), Lsn(10));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_has_nothing_goes_along_and_its_cursor_follows_within_a_second() {
    let mut bench = Bench::new();
    let mut source = bench.source();
    bench.append(EntryClass::Live, 30);
    // After a start nobody knows what there is: each lane looks once.
    for lane in Lane::ALL {
        deliver(&mut source, lane, 9).await;
    }
    bench.append(EntryClass::Live, 3);
    assert_eq!(lsns(&deliver(&mut source, Lane::Live, 9).await), [31, 32, 33]);
    let waits = tokio::time::timeout(Duration::from_secs(5), source.wait()).await;
    assert!(waits.is_err(), "there is nothing");
    let position = bench.spool.stats().cursors[0].position;
    assert_eq!((source.lag_records_count(), position), (0, Lsn(33)));
}
