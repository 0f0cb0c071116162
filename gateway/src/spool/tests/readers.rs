//! Readers: batches by count, bytes and age; many at once; cancelled ones lose nothing.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::super::faulty::FaultyDisk;
use super::super::{BatchLimits, EntryClass, Lsn, ReadError, Spool};
use super::{EVERYTHING, open, payload, read_to, small, store};

async fn spool_with(count: u64) -> Spool {
    let (spool, _) = open(&FaultyDisk::new(), small());
    for number in 1..=count {
        store(&spool, &payload(number)).await;
    }
    spool
}

#[tokio::test]
async fn a_batch_keeps_its_count_and_its_bytes() {
    let spool = spool_with(20).await;
    let mut reader = spool.reader(Lsn(1));
    let three = BatchLimits { count_max: 3, ..EVERYTHING };
    let batch = reader.next_batch(three).await.unwrap();
    assert_eq!((batch.len(), batch.end), (3, Lsn(3)));
    let few_bytes = BatchLimits { bytes_max: payload(4).len() + payload(5).len(), ..EVERYTHING };
    let batch = reader.next_batch(few_bytes).await.unwrap();
    assert_eq!((batch.len(), batch.end), (2, Lsn(5)));
    let nothing_fits = BatchLimits { bytes_max: 0, ..EVERYTHING };
    let batch = reader.next_batch(nothing_fits).await.unwrap();
    assert_eq!((batch.len(), batch.end), (1, Lsn(6)));
    spool.close().await;
}

#[tokio::test]
async fn a_batch_grows_until_its_age_or_its_count() {
    let spool = spool_with(2).await;
    let mut reader = spool.reader(Lsn(1));
    let young = BatchLimits { count_max: 3, bytes_max: usize::MAX, age_ms_max: 20 };
    let started = Instant::now();
    let batch = reader.next_batch(young).await.unwrap();
    assert_eq!(batch.len(), 2);
    assert!(started.elapsed() >= Duration::from_millis(20));
    for number in 3..=5 {
        store(&spool, &payload(number)).await;
    }
    // Full by count: this would wait for an hour otherwise.
    let old = BatchLimits { age_ms_max: 3_600_000, ..young };
    assert_eq!(reader.next_batch(old).await.unwrap().len(), 3);
    spool.close().await;
}

#[tokio::test]
async fn a_cancelled_read_takes_nothing() {
    let spool = spool_with(0).await;
    let mut reader = spool.reader(Lsn(1));
    assert!(reader.next_batch(EVERYTHING).now_or_never().is_none());
    store(&spool, b"one").await;
    // Polled once it is under way, then dropped.
    let _ = reader.next_batch(EVERYTHING).now_or_never();
    assert_eq!(reader.position(), Lsn(1));
    let seen = read_to(&mut reader, Lsn(1)).await;
    assert_eq!(seen.entries, [(1, b"one".to_vec())]);
    spool.close().await;
}

#[tokio::test]
async fn a_reader_starts_anywhere_and_waits_ahead_of_the_log() {
    let spool = spool_with(50).await;
    for from in [1, 17, 50] {
        let seen = read_to(&mut spool.reader(Lsn(from)), Lsn(50)).await;
        let wanted: Vec<_> = (from..=50).map(|number| (number, payload(number))).collect();
        assert_eq!(seen.entries, wanted);
    }
    let mut ahead = spool.reader(Lsn(52));
    store(&spool, b"51").await;
    assert!(ahead.next_batch(EVERYTHING).now_or_never().is_none());
    store(&spool, b"52").await;
    assert_eq!(ahead.next_batch(EVERYTHING).await.unwrap().entries().next().unwrap().lsn, Lsn(52));
    spool.close().await;
}

#[tokio::test]
async fn a_reader_ends_only_after_it_has_handed_over_everything() {
    let spool = spool_with(5).await;
    let mut reader = spool.reader(Lsn(1));
    spool.close().await;
    assert_eq!(read_to(&mut reader, Lsn(5)).await.entries.len(), 5);
    let end = reader.next_batch(EVERYTHING).await;
    assert!(matches!(end, Err(ReadError::Closed)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_and_readers_agree_on_one_order() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 300;
    let (spool, _) = open(&FaultyDisk::new(), small());
    let _keeps_everything = spool.cursor("slow").unwrap();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let mut reader = spool.reader(Lsn(1));
            tokio::spawn(async move { read_to(&mut reader, Lsn(WRITERS * EACH)).await })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let spool = spool.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let payload = format!("{writer} {number}");
                    let appended = spool.append(EntryClass::Live, payload.as_bytes()).await;
                    appended.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.unwrap());
    }
    assert_eq!(seen[0].entries.len() as u64, WRITERS * EACH);
    assert!(seen[0].gaps.is_empty());
    assert!(seen[0] == seen[1] && seen[1] == seen[2]);
    // Each writer's entries kept the order it appended them in.
    for writer in 0..WRITERS {
        let own = seen[0].entries.iter().filter_map(|(_, payload)| {
            let text = std::str::from_utf8(payload).unwrap();
            let (from, number) = text.split_once(' ').unwrap();
            (from == writer.to_string()).then(|| number.parse::<u64>().unwrap())
        });
        assert!(own.eq(0..EACH));
    }
    spool.close().await;
}
