//! Cursors and opening: positions survive, damage means duplicates and never holes.

use super::super::faulty::{FaultyDisk, Unsynced};
use super::super::{Lsn, SpoolError, SpoolSettings};
use super::{cursor_path, open, payload, read_to, segments, small, store};

#[tokio::test]
async fn a_cursor_survives_a_power_cut() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("sink").unwrap();
    for number in 1..=5 {
        store(&spool, &payload(number)).await;
        cursor.advance(Lsn(number)).await.unwrap();
    }
    let after = disk.cut_power(Unsynced::Lost);
    let (spool, report) = open(&after, small());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(spool.cursor("sink").unwrap().position(), Lsn(5));
    spool.close().await;
}

#[tokio::test]
async fn a_cursor_never_goes_back_or_past_the_commit_and_has_one_owner() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("sink").unwrap();
    store(&spool, b"one").await;
    store(&spool, b"two").await;
    cursor.advance(Lsn(2)).await.unwrap();
    cursor.advance(Lsn(1)).await.unwrap();
    assert_eq!(cursor.position(), Lsn(2));
    let ahead = cursor.advance(Lsn(3)).await;
    assert!(matches!(ahead, Err(SpoolError::CursorAhead { .. })));
    let second = spool.cursor("sink");
    assert!(matches!(second, Err(SpoolError::CursorInUse { .. })));
    drop(cursor);
    spool.cursor("sink").unwrap();
    for name in ["", "../etc", ".hidden", "a b"] {
        let refused = spool.cursor(name);
        assert!(matches!(refused, Err(SpoolError::CursorName { .. })), "{name}");
    }
    spool.close().await;
}

#[tokio::test]
async fn a_damaged_slot_falls_back_to_the_one_before() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("sink").unwrap();
    for number in 1..=2 {
        store(&spool, b"entry").await;
        cursor.advance(Lsn(number)).await.unwrap();
    }
    drop(cursor);
    spool.close().await;
    let good = disk.bytes(&cursor_path("sink")).unwrap();
    for at in (0..28).chain(4096..4124) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        disk.set_bytes(&cursor_path("sink"), bytes);
        let (spool, report) = open(&disk, small());
        assert!(report.is_clean());
        let position = spool.cursor("sink").unwrap().position();
        assert!([Lsn(1), Lsn(2)].contains(&position), "{position} at {at}");
        spool.close().await;
    }
}

#[tokio::test]
async fn a_cursor_file_of_garbage_starts_again_at_the_earliest_entry_and_says_so() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    store(&spool, b"entry").await;
    spool.close().await;
    for garbage in [vec![], vec![0; 8192], vec![0xff; 8192], b"hello".to_vec()] {
        disk.set_bytes(&cursor_path("sink"), garbage);
        let (spool, report) = open(&disk, small());
        assert_eq!(report.cursors_reset, ["sink"]);
        let mut cursor = spool.cursor("sink").unwrap();
        assert_eq!(cursor.position(), Lsn(0));
        cursor.advance(Lsn(1)).await.unwrap();
        spool.close().await;
        let (spool, report) = open(&disk, small());
        assert!(report.is_clean());
        spool.close().await;
    }
}

#[tokio::test]
async fn a_cursor_that_cannot_be_written_keeps_its_old_position() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("sink").unwrap();
    store(&spool, b"entry").await;
    disk.fail_cursor_writes(std::io::ErrorKind::Other);
    assert!(cursor.advance(Lsn(1)).await.is_err());
    assert_eq!(cursor.position(), Lsn(0));
    assert_eq!(spool.stats().cursors[0].position, Lsn(0));
    spool.close().await;
}

#[tokio::test]
async fn a_retired_cursor_holds_nothing_any_more() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let cursor = spool.cursor("gone").unwrap();
    assert!(spool.retire_cursor("gone").is_err());
    drop(cursor);
    while spool.stats().segments_count < 3 {
        store(&spool, &[1; 1000]).await;
    }
    spool.tend().await;
    assert_eq!(spool.stats().first, Lsn(1));
    spool.retire_cursor("gone").unwrap();
    spool.tend().await;
    assert_eq!(spool.stats().segments_count, 1);
    spool.close().await;
}

#[tokio::test]
async fn numbers_a_cursor_has_seen_are_never_given_out_again() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("sink").unwrap();
    for _ in 0..5 {
        store(&spool, b"entry").await;
    }
    cursor.advance(Lsn(5)).await.unwrap();
    drop(cursor);
    spool.close().await;
    for path in segments(&disk) {
        disk.lose_file(&path);
    }
    let (spool, report) = open(&disk, small());
    let skipped = report.skipped.unwrap();
    assert_eq!((skipped.from, skipped.to), (Lsn(1), Lsn(5)));
    assert_eq!(store(&spool, b"new").await, Lsn(6));
    let seen = read_to(&mut spool.reader(Lsn(6)), Lsn(6)).await;
    assert_eq!(seen.entries, [(6, b"new".to_vec())]);
    spool.close().await;
}

#[tokio::test]
async fn opening_reads_one_segment_however_many_there_are() {
    let disk = FaultyDisk::new();
    let settings = || SpoolSettings { bytes_max: 4 << 20, ..small() };
    let (spool, _) = open(&disk, settings());
    let _cursor = spool.cursor("slow").unwrap();
    while spool.stats().segments_count < 100 {
        store(&spool, &[1; 3000]).await;
    }
    spool.close().await;
    let before = disk.read_bytes();
    let (spool, _) = open(&disk, settings());
    let read_bytes = disk.read_bytes() - before;
    // 100 header pages, one segment and a cursor, not 100 segments.
    assert!(read_bytes <= 100 * 4096 + (16 << 10) + 8192, "{read_bytes}");
    spool.close().await;
}
