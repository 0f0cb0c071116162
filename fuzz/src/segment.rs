//! A spool segment as a crash, a bad disk or a misdirected write may leave it.
//!
//! ```text
//! input: count of records u8 | records: class and length u8 each | damage: kind u8, place u16, length u8, byte u8 ...
//! ```

use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_gateway::spool::fuzz_door::{HEADER_BYTES, Record, Segment, walk, write_segment};
use fieldpost_gateway::spool::{EntryClass, Lsn, verify_on};

const FILE_BYTES: usize = 8192;
const BASE: Lsn = Lsn(1000);

/// Writes a segment, damages it, and reads it: no wrong record; every number is there, told lost, or behind the end.
pub fn check(input: &[u8]) {
    // As secret as the real one: an input cannot hold a record with the right checksum, since it decides the epoch.
    let epoch = input.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let Some((segment, damage)) = written(input, epoch) else { return };
    let damaged = Damaged::new(&segment, damage);
    let Some(walked) = walk(&damaged.bytes) else {
        assert!(damaged.header_was_hit, "an intact header was refused");
        return;
    };
    let mut told = walked.gaps.iter().flat_map(|gap| gap.from.0..=gap.to.0);
    let mut expected = BASE;
    for record in &walked.records {
        for hole in expected.0..record.lsn.0 {
            assert_eq!(told.next(), Some(hole), "a hole that nobody told, or not that one");
        }
        assert!(segment.records.iter().any(|(written, _)| written == record), "wrong record {record:?}");
        expected = record.lsn.next();
    }
    if !damaged.frames_were_copied {
        intact_records_are_found(&segment, &damaged, &walked.records);
    }
    verify_agrees(&segment, damaged.bytes, walked.records.len());
}

/// Only what was hit is lost.
fn intact_records_are_found(segment: &Segment, damaged: &Damaged, found: &[Record]) {
    for (record, place) in &segment.records {
        let is_intact = damaged.bytes.get(place.clone()) == Some(&segment.bytes[place.clone()]);
        assert!(!is_intact || found.contains(record), "intact record {} was not found", record.lsn);
    }
}

/// `fieldpost spool verify` counts the same and does not fail.
fn verify_agrees(segment: &Segment, bytes: Vec<u8>, found_count: usize) {
    let disk = FaultyDisk::new();
    let dir = std::path::Path::new("/spool");
    disk.set_bytes(&dir.join(&segment.file_name), bytes);
    let verdict = verify_on(&disk, dir).expect("damage is a verdict, not an error");
    assert_eq!(verdict.entries_count, found_count as u64);
}

fn written(input: &[u8], epoch: u64) -> Option<(Segment, &[u8])> {
    let (count, rest) = input.split_first()?;
    let (shapes, damage) = rest.split_at_checked(usize::from(count % 32))?;
    let mut batches = vec![Vec::new()];
    for shape in shapes {
        let class = [EntryClass::Alarm, EntryClass::Live, EntryClass::Backlog, EntryClass::Internal];
        let payload = vec![*shape; usize::from(shape >> 2)];
        batches.last_mut()?.push((class[usize::from(shape & 3)], payload));
        if shape % 5 == 0 {
            batches.push(Vec::new());
        }
    }
    batches.retain(|batch| !batch.is_empty());
    Some((write_segment(BASE, epoch, count & 32 != 0, FILE_BYTES, &batches), damage))
}

struct Damaged {
    bytes: Vec<u8>,
    header_was_hit: bool,
    /// An intact frame may stand where another was: then the walk follows the frame, and tells what it passed.
    frames_were_copied: bool,
}

impl Damaged {
    fn new(segment: &Segment, script: &[u8]) -> Self {
        let mut damaged =
            Self { bytes: segment.bytes.clone(), header_was_hit: false, frames_were_copied: false };
        for step in script.chunks_exact(5).take(64) {
            let [kind, low, high, len, byte] = *step else { unreachable!("chunks of five") };
            damaged.step(kind, usize::from(u16::from_le_bytes([low, high])), usize::from(len), byte);
        }
        damaged
    }

    fn step(&mut self, kind: u8, place: usize, len: usize, byte: u8) {
        // Half of the steps aim at the records, which fill a small part of the file.
        let at = if kind & 8 == 0 { HEADER_BYTES + place % 2048 } else { place % FILE_BYTES };
        let file_bytes = self.bytes.len();
        let Some(hit) = self.bytes.get_mut(at..) else { return };
        let len = len.min(hit.len());
        self.header_was_hit |= at < HEADER_BYTES || kind % 8 == 4;
        match kind % 8 {
            0 => hit.iter_mut().take(1).for_each(|hit| *hit ^= 1 << (byte % 8)),
            1 => hit[..len].fill(byte),
            2 => hit[..len].fill(0),
            3 => hit.iter_mut().skip(len % 2 * 512).for_each(|hit| *hit = 0),
            4 => self.bytes.truncate(at),
            5 => hit.iter_mut().take(len).for_each(|hit| *hit = hit.wrapping_add(byte)),
            _ => {
                let from = HEADER_BYTES + usize::from(byte) * 8;
                if from + len <= file_bytes {
                    self.frames_were_copied = true;
                    self.bytes.copy_within(from..from + len, at);
                }
            }
        }
    }
}
