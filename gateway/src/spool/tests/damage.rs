//! Damage: only what was hit is lost, what is lost is told, and nothing wrong is ever read.

use std::path::PathBuf;

use super::super::faulty::FaultyDisk;
use super::super::format::{BATCH_HEADER_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::super::settings::Sabotage;
use super::super::{EntryClass, GapReason, Lsn, SpoolSettings, verify_on};
use super::{Seen, dir, only_segment, open, payload, read_to, segments, small, store};

/// A clean spool on a quiet disk: the files and the entries in them.
struct Original {
    files: Vec<(PathBuf, Vec<u8>)>,
    entries: Vec<(u64, Vec<u8>)>,
}

/// Some batches of several records each; `sealed` adds a further segment, so that the first is not the last.
async fn original(sealed: bool) -> Original {
    let disk = FaultyDisk::new();
    let settings = SpoolSettings {
        // Nothing retires.
        retain_ms: u64::MAX,
        ..small()
    };
    let (spool, _) = open(&disk, settings);
    let mut entries = Vec::new();
    let mut number = 0;
    while if sealed { segments(&disk).len() < 2 } else { number < 12 } {
        let batch: Vec<_> = (0..4)
            .map(|_| {
                number += 1;
                (number, payload(number * 7))
            })
            .collect();
        // The first goes alone, the others gather behind its sync: batches of one and of three.
        disk.hold_syncs();
        for (lsn, payload) in &batch {
            let given = spool.try_append(EntryClass::Live, payload).unwrap();
            assert_eq!(given, Lsn(*lsn));
            disk.sync_is_held().await;
        }
        disk.release_syncs();
        spool.wait_committed(Lsn(number)).await.unwrap();
        entries.extend(batch);
    }
    spool.close().await;
    let files = segments(&disk).into_iter().map(|path| (path.clone(), disk.bytes(&path).unwrap())).collect();
    Original { files, entries }
}

/// Opens the files and reads everything: what came, what was reported lost, and what was cut at the tail.
async fn read_damaged(files: &[(PathBuf, Vec<u8>)], settings: SpoolSettings) -> (Seen, u64) {
    let disk = FaultyDisk::new();
    for (path, bytes) in files {
        disk.set_bytes(path, bytes.clone());
    }
    let verification = verify_on(&disk, &dir()).unwrap();
    let (spool, report) = open(&disk, settings);
    let seen = read_to(&mut spool.reader(Lsn(1)), report.last).await;
    assert_eq!(verification.entries_count, seen.entries.len() as u64);
    assert_eq!(verification.damaged, seen.gaps);
    spool.close().await;
    (seen, report.torn.map_or(0, |torn| torn.entries_count))
}

/// Flips bits at `offset` of the first file; complains unless at most the one record there is lost, and told.
async fn flip_rig(
    original: &Original,
    offset: usize,
    mask: u8,
    settings: SpoolSettings,
) -> Result<(), String> {
    let mut files = original.files.clone();
    files[0].1[offset] ^= mask;
    let (seen, cut) = read_damaged(&files, settings).await;
    let wrong = seen.entries.iter().find(|entry| !original.entries.contains(entry));
    if let Some(wrong) = wrong {
        return Err(format!("{offset}: wrong record {wrong:?}"));
    }
    let told: u64 = cut + seen.gaps.iter().map(super::Gap::count).sum::<u64>();
    let missing = (original.entries.len() - seen.entries.len()) as u64;
    if missing != told {
        return Err(format!("{offset}: {missing} missing, {told} told"));
    }
    if missing > 1 {
        return Err(format!("{offset}: {missing} lost by one byte"));
    }
    if missing == 1 && offset < SEGMENT_HEADER_BYTES {
        return Err(format!("{offset}: a record lost by a header byte"));
    }
    Ok(())
}

fn settings() -> SpoolSettings {
    SpoolSettings { retain_ms: u64::MAX, ..small() }
}

/// Where the records of a file end.
fn used_bytes(file: &[u8]) -> usize {
    file.iter().rposition(|&byte| byte != 0).unwrap() + 1
}

#[tokio::test]
async fn every_byte_of_the_last_segment_may_flip_and_at_most_its_record_is_lost() {
    let original = original(false).await;
    for offset in 0..used_bytes(&original.files[0].1) {
        // All bits, and one bit that moves on with the offset.
        for mask in [0xff, 1 << (offset % 8)] {
            if offset < SEGMENT_HEADER_BYTES && offset % 2048 >= 64 && offset % 64 != 0 {
                // Between the header copies nothing is read: a sample will do.
                continue;
            }
            flip_rig(&original, offset, mask, settings()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_record_byte_of_a_sealed_segment_may_flip_and_only_that_record_is_lost() {
    let original = original(true).await;
    let used = used_bytes(&original.files[0].1);
    for offset in (SEGMENT_HEADER_BYTES..used).step_by(7).chain(used - 120..used) {
        flip_rig(&original, offset, 1 << (offset % 8), settings()).await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_stops_at_damage_is_noticed() {
    let original = original(false).await;
    let sabotaged = SpoolSettings { sabotage: Sabotage::StopAtDamage, ..settings() };
    let offset = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES + RECORD_HEADER_BYTES + 1;
    let mut files = original.files.clone();
    files[0].1[offset] ^= 1;
    let disk = FaultyDisk::new();
    disk.set_bytes(&files[0].0, files[0].1.clone());
    let (spool, report) = open(&disk, sabotaged);
    let seen = read_to(&mut spool.reader(Lsn(1)), report.last).await;
    assert!(seen.entries.is_empty() && seen.gaps.is_empty(), "the sabotage does not work");
    spool.close().await;
    // The honest reader passes the rig on the same damage.
    flip_rig(&original, offset, 1, settings()).await.unwrap();
}

#[tokio::test]
async fn a_hole_as_long_as_a_page_loses_only_the_records_in_it() {
    let original = original(true).await;
    let mut files = original.files.clone();
    files[0].1[6000..10_096].fill(0xa5);
    let (seen, cut) = read_damaged(&files, settings()).await;
    assert_eq!((seen.gaps.len(), cut), (1, 0));
    assert_eq!(seen.gaps[0].reason, GapReason::Damaged);
    let lost = seen.gaps[0].count();
    assert_eq!(seen.entries.len() as u64 + lost, original.entries.len() as u64);
    assert!(seen.entries.iter().all(|entry| original.entries.contains(entry)));
}

#[tokio::test]
async fn a_segment_without_any_header_is_one_gap() {
    let original = original(true).await;
    let mut files = original.files.clone();
    files[0].1[..SEGMENT_HEADER_BYTES].fill(0);
    let (seen, _) = read_damaged(&files, settings()).await;
    assert_eq!((seen.gaps.len(), seen.gaps[0].from), (1, Lsn(1)));
    assert_eq!(seen.entries.len() as u64 + seen.gaps[0].count(), original.entries.len() as u64);
}

#[tokio::test]
async fn a_last_segment_without_any_header_is_skipped_and_its_numbers_never_used_again() {
    let original = original(false).await;
    let disk = FaultyDisk::new();
    let (path, mut bytes) = original.files[0].clone();
    bytes[..SEGMENT_HEADER_BYTES].fill(0);
    disk.set_bytes(&path, bytes);
    let (spool, report) = open(&disk, settings());
    assert_eq!(report.unreadable_segments.len(), 1);
    let skipped = report.skipped.unwrap();
    assert!(skipped.to.0 >= original.entries.len() as u64);
    let lsn = store(&spool, b"new").await;
    assert!(lsn > skipped.to);
    let seen = read_to(&mut spool.reader(Lsn(1)), lsn).await;
    assert_eq!(seen.gaps, [skipped]);
    assert_eq!(seen.entries, [(lsn.0, b"new".to_vec())]);
    spool.close().await;
}

/// The last batch cut at every byte; behind the cut lies what `behind` makes of the offset.
async fn torn_rig(behind: fn(usize) -> u8) {
    let original = original(false).await;
    let (path, bytes) = &original.files[0];
    let used = used_bytes(bytes);
    let batch_bytes: usize =
        original.entries[9..].iter().map(|(_, payload)| RECORD_HEADER_BYTES + payload.len()).sum();
    let last_batch = used - batch_bytes - BATCH_HEADER_BYTES;
    for cut_at in last_batch..used {
        let mut torn = bytes.clone();
        for (offset, byte) in torn.iter_mut().enumerate().skip(cut_at) {
            *byte = behind(offset);
        }
        let disk = FaultyDisk::new();
        disk.set_bytes(path, torn);
        let (spool, report) = open(&disk, settings());
        let kept = report.last.0;
        assert!((9..12).contains(&kept), "cut at {cut_at}: {kept} kept");
        assert!(report.damaged.is_empty(), "cut at {cut_at}: {report:?}");
        if cut_at > last_batch + BATCH_HEADER_BYTES {
            let torn = report.torn.unwrap();
            assert_eq!(torn.entries_count, 12 - kept);
            assert_eq!(torn.at_offset + torn.bytes, used as u64);
        }
        // Life goes on over the torn bytes, and none of them comes back.
        let lsn = store(&spool, b"new").await;
        assert_eq!(lsn.0, kept + 1);
        spool.close().await;
        let (spool, report) = open(&disk, settings());
        assert_eq!(report.last, lsn, "cut at {cut_at}");
        let seen = read_to(&mut spool.reader(Lsn(1)), lsn).await;
        let mut wanted = original.entries[..kept as usize].to_vec();
        wanted.push((lsn.0, b"new".to_vec()));
        assert_eq!((seen.entries, seen.gaps), (wanted, vec![]), "cut at {cut_at}");
        spool.close().await;
    }
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_keeps_every_whole_record() {
    torn_rig(|_| 0).await;
}

#[tokio::test]
async fn a_tail_torn_over_old_bytes_keeps_every_whole_record() {
    torn_rig(|offset| (offset as u8).wrapping_mul(31) | 1).await;
}

#[tokio::test]
async fn random_files_are_refused_or_empty_but_never_a_panic() {
    let path = only_segment_name();
    for length in [0, 1, 63, 64, 4095, 4096, 4097, 5000, 16 << 10] {
        let disk = FaultyDisk::new();
        disk.set_bytes(&path, (0..length).map(|at| (at * 131 % 251) as u8).collect());
        let (spool, report) = open(&disk, settings());
        assert_eq!(report.unreadable_segments.len(), 1);
        let lsn = store(&spool, b"new").await;
        let seen = read_to(&mut spool.reader(Lsn(1)), lsn).await;
        assert_eq!(seen.entries.len(), 1);
        spool.close().await;
    }
}

fn only_segment_name() -> PathBuf {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, settings());
    drop(spool);
    only_segment(&disk)
}

#[tokio::test]
async fn a_lost_segment_file_is_a_gap() {
    let original = original(true).await;
    let disk = FaultyDisk::new();
    for (path, bytes) in &original.files[1..] {
        disk.set_bytes(path, bytes.clone());
    }
    let (spool, report) = open(&disk, settings());
    let seen = read_to(&mut spool.reader(Lsn(1)), report.last).await;
    assert_eq!(seen.gaps[0].from, Lsn(1));
    assert_eq!(seen.gaps[0].count() + seen.entries.len() as u64, report.last.0);
    spool.close().await;
}

#[tokio::test]
async fn an_unreadable_sector_is_an_error_first_and_a_gap_if_it_stays() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, SpoolSettings { tail_bytes_max: 0, ..settings() });
    let lsn = store(&spool, b"there").await;
    let mut reader = spool.reader(Lsn(1));
    disk.fail_reads(std::io::ErrorKind::Other);
    for _ in 0..3 {
        assert!(reader.next_batch(super::EVERYTHING).await.is_err());
        assert_eq!(reader.position(), Lsn(1));
    }
    let batch = reader.next_batch(super::EVERYTHING).await.unwrap();
    assert_eq!(batch.gap.unwrap().to, lsn);
    // A fault that passes costs nothing.
    disk.heal();
    let seen = read_to(&mut spool.reader(Lsn(1)), lsn).await;
    assert_eq!(seen.entries, [(1, b"there".to_vec())]);
    spool.close().await;
}
