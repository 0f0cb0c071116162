//! The tail: memory gives what the files give, costs no read, is decoded once and holds no more than its bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fieldpost_protocol::{DeviceId, ForceId, Lane, Mode};
use futures_util::FutureExt as _;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::super::faulty::FaultyDisk;
use super::super::format::{BATCH_HEADER_BYTES, push_record};
use super::super::shared::lock;
use super::super::tail::{Tail, runs_of};
use super::super::{
    BatchLimits, Crew, Cursor, Entry, EntryClass, FullReason, Gap, Lsn, Reader, Spool, SpoolSettings,
    TryAppendError, Wait, Wanted,
};
use super::{EVERYTHING, dir, open, payload, read_to, small, store};
use crate::record::{Record, RecordKind};

/// Everything these tests write stays in memory.
fn roomy() -> SpoolSettings {
    SpoolSettings { tail_bytes_max: 1 << 20, retain_ms: u64::MAX, ..small() }
}

fn record(number: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    let unit = ("sim", "pc-0001");
    Record::encode_parts(&mut bytes, RecordKind::Envelope, Lane::Live, Mode::Test, number, unit, b"payload");
    bytes
}

#[tokio::test]
async fn a_reader_that_keeps_up_reads_no_file() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, roomy());
    let mut readers = [spool.reader(Lsn(1)), spool.reader(Lsn(1))];
    let before = disk.read_bytes();
    for number in 1..=300 {
        let lsn = store(&spool, &payload(number)).await;
        if number % 7 == 0 {
            for reader in &mut readers {
                read_to(reader, lsn).await;
            }
        }
    }
    assert_eq!(disk.read_bytes(), before);
    spool.close().await;
}

#[tokio::test]
async fn every_reader_is_handed_the_same_decoded_record() {
    let (spool, _) = open(&FaultyDisk::new(), roomy());
    for number in 1..=20 {
        store(&spool, &record(number)).await;
    }
    let (mut one, mut other) = (spool.reader(Lsn(1)), spool.reader(Lsn(5)));
    let ones = one.next_batch(EVERYTHING).await.unwrap();
    let others = other.next_batch(EVERYTHING).await.unwrap();
    assert_eq!((ones.records().count(), others.records().count()), (20, 16));
    for (number, (one, other)) in (5..).zip(ones.records().skip(4).zip(others.records())) {
        let record = one.as_ref().unwrap();
        assert_eq!((record.lsn, record.received_at_ms), (Lsn(number), number));
        assert_eq!(record.device, DeviceId::try_new("pc-0001").unwrap());
        assert_eq!(record.force, ForceId::try_new("sim").unwrap());
        assert!(std::ptr::eq(one, other), "{number} was decoded twice");
    }
    spool.close().await;
}

#[tokio::test]
async fn what_is_no_record_is_an_error_with_its_number() {
    let (spool, _) = open(&FaultyDisk::new(), roomy());
    store(&spool, &record(1)).await;
    store(&spool, b"no record").await;
    let batch = spool.reader(Lsn(1)).next_batch(EVERYTHING).await.unwrap();
    let numbers: Vec<_> =
        batch.records().map(|record| record.as_ref().map(|r| r.lsn).map_err(|e| e.0)).collect();
    assert_eq!(numbers, [Ok(Lsn(1)), Err(Lsn(2))]);
    spool.close().await;
}

#[tokio::test]
async fn nothing_of_a_retired_segment_is_left_in_memory() {
    let (spool, _) = open(&FaultyDisk::new(), SpoolSettings { retain_ms: 0, ..roomy() });
    let mut last = Lsn(0);
    for number in 1..=600 {
        last = store(&spool, &payload(number)).await;
    }
    spool.tend().await;
    let first = spool.stats().first;
    assert!(first > Lsn(1), "nothing retired");
    let batch = spool.reader(Lsn(1)).next_batch(EVERYTHING).await.unwrap();
    assert_eq!(batch.gap.map(|gap| (gap.from, gap.to.next())), Some((Lsn(1), first)));
    let tail = lock(&spool.handle.shared.tail);
    assert!(tail.at(first.0 - 1).is_none() && tail.at(last.0).is_some());
}

#[test]
fn memory_holds_the_newest_and_no_more_than_its_bound() {
    let mut tail = Tail::default();
    let mut offset = 4096;
    for first in (1..2_000).step_by(100) {
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        for lsn in first..first + 100 {
            push_record(&mut batch, lsn, EntryClass::Live, &payload(lsn));
        }
        let runs = runs_of(&batch, 1, offset);
        offset += batch.len() as u64;
        drop(tail.add(runs, 200_000));
        assert!(tail.bytes() <= 200_000);
        let (kept, at) = tail.at(first + 57).expect("the newest is there");
        assert_eq!((kept.run.slots()[at].lsn, kept.spot_before(at + 1).lsn), (first + 57, first + 58));
    }
    assert!(tail.at(1).is_none() && tail.at(2_001).is_none() && tail.bytes() > 100_000);
}

/// A run is kept for as long as a batch that has part of it.
#[tokio::test]
async fn a_batch_keeps_no_run_of_which_it_has_nothing() {
    let (spool, _) = open(&FaultyDisk::new(), roomy());
    for number in 1..=100 {
        let class = if number == 50 { EntryClass::Alarm } else { EntryClass::Live };
        let lsn = spool.append(class, &payload(number)).await.unwrap();
        spool.wait_committed(lsn).await.unwrap();
    }
    let wanted = Wanted { classes: &[EntryClass::Alarm], through: Lsn(100), looked_max: 1_000 };
    let batch = spool.reader(Lsn(1)).look(EVERYTHING, wanted).await.unwrap().unwrap();
    assert_eq!((batch.len(), batch.parts.len(), batch.end), (1, 1, Lsn(100)));
    spool.close().await;
}

/// What a reader is asked in a walk.
#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u8,
        class: u8,
        bytes: u16,
    },
    Next {
        count_max: usize,
        bytes_max: usize,
    },
    Look {
        classes: u8,
        count_max: usize,
        looked_max: usize,
        short_of: u64,
    },
    Fork,
    /// The reader's call is dropped before it is ready.
    Cancel,
    /// The sink has everything, and what is not in the newest segment goes.
    Retire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..12u8, 0..4u8, 0..400u16).prop_map(|(count, class, bytes)| Step::Append { count, class, bytes }),
        3 => (0..20usize, 0..4_000usize).prop_map(|(count_max, bytes_max)| Step::Next { count_max, bytes_max }),
        3 => (any::<u8>(), 0..9usize, 0..30usize, 0..4u64).prop_map(
            |(classes, count_max, looked_max, short_of)| Step::Look { classes, count_max, looked_max, short_of }
        ),
        1 => Just(Step::Fork),
        1 => Just(Step::Cancel),
        1 => Just(Step::Retire),
    ]
}

/// Two spools with the same entries: one without memory. Worked by hand, so that both have the same batches.
struct Twins([Twin; 2]);

struct Twin {
    spool: Spool,
    crew: Crew,
    sink: Cursor,
    reader: Reader,
    now: Instant,
}

type Told = (Option<Gap>, Vec<Entry>, Lsn);

impl Twins {
    fn new(tail_bytes_max: usize) -> Self {
        Self([tail_bytes_max, 0].map(Twin::new))
    }

    async fn apply(&mut self, step: &Step) -> [Option<Told>; 2] {
        let Self([memory, files]) = self;
        [memory.apply(step).await, files.apply(step).await]
    }

    fn positions(&self) -> [Lsn; 2] {
        [&self.0[0], &self.0[1]].map(|twin| twin.reader.position())
    }
}

impl Twin {
    fn new(tail_bytes_max: usize) -> Self {
        let settings = SpoolSettings { tail_bytes_max, ..small() };
        let (spool, crew, _) = Spool::open_by_hand(&dir(), settings, Arc::new(FaultyDisk::new())).unwrap();
        let (sink, reader) = (spool.cursor("sink").unwrap(), spool.reader(Lsn(1)));
        Self { spool, crew, sink, reader, now: Instant::now() }
    }

    /// Commits what is pending.
    fn commit(&mut self) {
        while self.crew.step(self.now) != Some(Wait::Work) {
            self.now += Duration::from_secs(1);
        }
    }

    fn append(&mut self, class: EntryClass, payload: &[u8]) {
        while self.spool.try_append(class, payload) == Err(TryAppendError::Full(FullReason::Pending)) {
            self.commit();
        }
    }

    async fn apply(&mut self, step: &Step) -> Option<Told> {
        let committed = self.spool.committed();
        let batch = match *step {
            Step::Append { count, class, bytes } => {
                let class = EntryClass::ALL[usize::from(class)];
                (0..count).for_each(|number| self.append(class, &vec![number; usize::from(bytes)]));
                self.commit();
                None
            }
            Step::Next { count_max, bytes_max } if self.reader.position() <= committed => {
                let limits = BatchLimits { count_max, bytes_max, age_ms_max: 0 };
                Some(self.reader.next_batch(limits).await.unwrap())
            }
            Step::Look { classes, count_max, looked_max, short_of } => {
                let has = |class: &EntryClass| classes & (1 << class.index()) != 0;
                let classes: Vec<_> = EntryClass::ALL.into_iter().filter(has).collect();
                let through = Lsn(committed.0.saturating_sub(short_of));
                let limits = BatchLimits { count_max, ..EVERYTHING };
                self.reader.look(limits, Wanted { classes: &classes, through, looked_max }).await.unwrap()
            }
            Step::Fork => {
                self.reader = self.reader.fork();
                None
            }
            Step::Cancel => {
                drop(self.reader.next_batch(EVERYTHING).now_or_never());
                None
            }
            Step::Retire => {
                self.sink.advance(committed).await.unwrap();
                self.crew.tend();
                None
            }
            Step::Next { .. } => None,
        };
        batch.map(|batch| (batch.gap, batch.entries().collect(), batch.end))
    }
}

/// Whatever is asked in whatever order, and however little fits into memory, a reader is told the same as without.
#[test]
fn memory_and_files_tell_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let walk = (0..20_000usize, vec(step(), 1..40));
    let checked = TestRunner::new(Config { cases: cases(), failure_persistence: None, ..Config::default() })
        .run(&walk, |(tail_bytes_max, steps)| {
            runtime.block_on(async {
                let mut twins = Twins::new(tail_bytes_max);
                for step in &steps {
                    let [memory, files] = twins.apply(step).await;
                    prop_assert_eq!(&memory, &files, "{:?}", step);
                    let [memory, files] = twins.positions();
                    prop_assert_eq!(memory, files, "{:?}", step);
                }
                Ok(())
            })
        });
    checked.unwrap();
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}
